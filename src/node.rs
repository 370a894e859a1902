//! Roles on Kafka: one a process, or several.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::Aggregate;
use bus::clock::{Clock, System};
use bus::drive::Stop;
use bus::kafka::Kafka;
use bus::{Bus, BusError, Member, Role};
use capture::Capture;
use capture::live::{self, spool_dir};
use capture::role::live_source;
use manager::Manager;
use sink::Sink;

use crate::acknowledge::Acknowledges;
use crate::cli::{CaptureArgs, OutputArgs, RoleName};
use crate::config::Config;
use crate::crew;
use crate::run::{aggregate_config, input, manager_config, role_on};

/// Rotation of a cluster's logs where nothing else is said; ZeekControl's.
const ROTATE: &str = "1h";

/// How long a broker may take to answer at the start, and how long where packets could be captured meanwhile.
const CONNECT: Duration = Duration::from_secs(10);
const CONNECT_AT_ONCE: Duration = Duration::from_secs(2);

/// Between two times that a broker is looked for at the start, and how soon a stop is seen meanwhile.
const CONNECT_AGAIN: Duration = Duration::from_secs(2);
const STOP_LOOK: Duration = Duration::from_millis(50);

/// `weir capture`
pub fn capture(args: &CaptureArgs, config: &Config) -> anyhow::Result<()> {
    let node = config.node_name()?;
    let stop = crate::stop::on_signal()?;
    let Some((kafka, is_there)) = reach(args, config, &node, &stop)? else { return Ok(()) };
    let lanes = kafka.lanes();
    let clock: Arc<dyn Clock> = Arc::new(System);
    let mut settings = config.capture(&node, lanes, &args.input)?;
    config.spool(&mut settings, args.spool.as_deref());
    settings.joins = config.joins();
    let mut role = Capture::new(settings, input(&args.input), args.again, clock.clone())?;
    if !is_there {
        role.begin()?;
    }
    let me = role.member();
    let began = std::time::Instant::now();
    let mut acknowledging = Acknowledges::new(&mut role, &me.group, &node, lanes);
    let ran = role_on(&kafka, &me, &mut acknowledging, &*clock, &stop);
    let left = role.close();
    let summary = role.summary();
    ran.inspect_err(|_| crate::summary::left(&left))?;
    if summary.already_read {
        eprintln!("weir: this input was read to its end before; --again reads it once more");
        return Ok(());
    }
    crate::summary::print(&summary, &[], began.elapsed());
    crate::summary::left(&left);
    anyhow::ensure!(left.lost + left.spooled == 0, "stopped before the bus had taken everything");
    anyhow::ensure!(summary.problems.is_empty(), "{}", summary.problems.join("; "));
    Ok(())
}

/// The bus, and whether a broker has answered. What an interface gives waits for none where an earlier process has
/// noted how many lanes there are; else for as long as it takes. Nothing where a stop came first.
fn reach(
    args: &CaptureArgs,
    config: &Config,
    node: &str,
    stop: &Stop,
) -> anyhow::Result<Option<(Kafka, bool)>> {
    let interface = args.input.interface.as_deref();
    let spool = config.spool_dir(args.spool.as_deref()).zip(interface);
    let spool = spool.map(|(dir, interface)| spool_dir(&dir, &live_source(node, interface)));
    let known = spool.as_deref().and_then(live::lanes);
    let patience = if known.is_some() { CONNECT_AT_ONCE } else { CONNECT };
    let mut is_said = false;
    loop {
        let error = match Kafka::connect_within(config.kafka()?, patience) {
            Ok(kafka) => return Ok(Some((kafka.hurried_by(stop), true))),
            Err(error) => error,
        };
        let (BusError::Session(why), Some(_)) = (&error, interface) else {
            return Err(error.into());
        };
        if let Some(lanes) = known {
            tracing::error!("{why}: packets are captured and rows wait for a broker");
            let kafka = Kafka::later(config.kafka()?, lanes)?;
            return Ok(Some((kafka.hurried_by(stop), false)));
        }
        if !std::mem::replace(&mut is_said, true) {
            tracing::error!(
                "{why}: no packet is captured before one answers, as there is no spool that knows how many \
                 partitions topics have"
            );
        }
        let until = Instant::now() + CONNECT_AGAIN;
        while Instant::now() < until && !stop.requested() {
            std::thread::sleep(STOP_LOOK);
        }
        if stop.requested() {
            return Ok(None);
        }
    }
}

/// What was typed for the consumer roles.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Where logs go.
    pub output: Option<OutputArgs>,
    /// How many file sources belong together.
    pub sources: Option<usize>,
}

/// One or several consumer roles, each in its thread, until stopped or drained.
pub fn consumers(
    roles: &[RoleName],
    wanted: &Wanted,
    drain: bool,
    config: &Config,
) -> anyhow::Result<()> {
    let node = config.node_name()?;
    if config.policy.file.is_some() {
        tracing::warn!(
            "policy.file is for `weir run`: a cluster has what `weir policy push` gave it"
        );
    }
    let mut sinks = Vec::new();
    if let (true, Some(output)) = (roles.contains(&RoleName::Sink), &wanted.output) {
        sinks = config.sinks(&node, output, ROTATE)?;
    }
    let stop = crate::stop::on_signal()?;
    let kafka: Arc<dyn Bus> = Arc::new(Kafka::connect(config.kafka()?)?.hurried_by(&stop));
    let mut stages = Vec::new();
    for (me, role) in members(roles, wanted, config, &node, sinks, kafka.lanes())? {
        stages.push(start(kafka.clone(), me, role, &stop)?);
    }
    let mut failed = None;
    // In the order of the data: what one has written is there for the next to drain.
    for Stage { stop, thread } in stages {
        if drain {
            stop.request_drain();
        }
        failed = failed.or(crew::join(thread).err());
    }
    failed.map_or(Ok(()), Err)
}

/// One role at work.
struct Stage {
    stop: Stop,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

type Runner = (Member, Box<dyn Role>);

fn members(
    roles: &[RoleName],
    wanted: &Wanted,
    config: &Config,
    node: &str,
    sinks: Vec<sink::Config>,
    lanes: u32,
) -> anyhow::Result<Vec<Runner>> {
    let mut runners: Vec<Runner> = Vec::new();
    if roles.contains(&RoleName::Aggregate) {
        let role = Aggregate::new(aggregate_config(config, node, lanes, wanted.sources)?);
        let role = Box::new(role) as Box<dyn Role>;
        let role = Acknowledges::new(role, "aggregate", node, lanes);
        runners.push((aggregate::member(node, config.overlap()), Box::new(role)));
    }
    if roles.contains(&RoleName::Manager) {
        let role = Manager::new(manager_config(config, node, lanes, None)?);
        runners.push((manager::member(node), Box::new(role)));
    }
    for sink in sinks {
        let me = sink::member(&sink.format, node);
        let role = Box::new(Sink::new(sink, lanes)?) as Box<dyn Role>;
        let role = Acknowledges::new(role, &me.group, node, lanes);
        runners.push((me, Box::new(role)));
    }
    Ok(runners)
}

fn start(
    bus: Arc<dyn Bus>,
    me: Member,
    mut role: Box<dyn Role>,
    all: &Stop,
) -> anyhow::Result<Stage> {
    let name = me.group.clone();
    let (stop, all) = (all.drained_apart(), all.clone());
    let told = stop.clone();
    let work = move || role_on(&*bus, &me, &mut *role, &System, &told);
    // A node whose roles do not all run must not look alive.
    let thread = crew::start(&name, work, move || all.request())?;
    Ok(Stage { stop, thread })
}
