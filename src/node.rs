//! Roles on Kafka: one a process, or several.

use std::sync::Arc;

use aggregate::Aggregate;
use bus::clock::{Clock, System};
use bus::drive::Stop;
use bus::kafka::Kafka;
use bus::{Bus, Member, Role};
use capture::Capture;
use manager::Manager;
use sink::Sink;

use crate::acknowledge::Acknowledges;
use crate::cli::{CaptureArgs, OutputArgs, RoleName};
use crate::config::Config;
use crate::crew;
use crate::run::{aggregate_config, input, manager_config, role_on};

/// Rotation of a cluster's logs where nothing else is said; ZeekControl's.
const ROTATE: &str = "1h";

/// `weir capture`
pub fn capture(args: &CaptureArgs, config: &Config) -> anyhow::Result<()> {
    let node = config.node_name()?;
    let kafka = Kafka::connect(config.kafka()?)?;
    let lanes = kafka.lanes();
    let clock: Arc<dyn Clock> = Arc::new(System);
    let mut settings = config.capture(&node, lanes, &args.input)?;
    config.spool(&mut settings, args.spool.as_deref());
    let mut role = Capture::new(settings, input(&args.input), args.again, clock.clone())?;
    let stop = crate::stop::on_signal()?;
    let me = capture::role::member(&node, lanes);
    let began = std::time::Instant::now();
    let ran = role_on(&kafka, &me, &mut role, &*clock, &stop);
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
    let kafka: Arc<dyn Bus> = Arc::new(Kafka::connect(config.kafka()?)?);
    let stop = crate::stop::on_signal()?;
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
        let role = Acknowledges::new(Box::new(role), "aggregate", node, lanes);
        runners.push((aggregate::member(node), Box::new(role)));
    }
    if roles.contains(&RoleName::Manager) {
        let role = Manager::new(manager_config(config, node, lanes, None)?);
        runners.push((manager::member(node), Box::new(role)));
    }
    for sink in sinks {
        let me = sink::member(&sink.format, node);
        let role = Box::new(Sink::new(sink, lanes)?);
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
