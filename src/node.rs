//! Roles on Kafka: one a process, or several.

use std::sync::Arc;

use aggregate::Aggregate;
use anyhow::Context as _;
use bus::clock::{Clock, System};
use bus::drive::Stop;
use bus::kafka::Kafka;
use bus::{Bus, Member, Role};
use capture::Capture;
use manager::Manager;
use sink::Sink;

use crate::cli::{CaptureArgs, OutputArgs, RoleName};
use crate::config::Config;
use crate::run::{aggregate_config, input, manager_config, role_on};

/// Rotation of a cluster's logs where nothing else is said; ZeekControl's.
const ROTATE: &str = "1h";

/// `weir capture`
pub fn capture(args: &CaptureArgs, config: &Config) -> anyhow::Result<()> {
    let node = config.node_name()?;
    let kafka = Kafka::connect(config.kafka()?)?;
    let lanes = kafka.lanes();
    let clock: Arc<dyn Clock> = Arc::new(System);
    let settings = config.capture(&node, lanes, &args.input)?;
    let mut role = Capture::new(settings, input(&args.input), args.again, clock.clone())?;
    let stop = crate::stop::on_signal()?;
    let me = capture::role::member(&node, lanes);
    let began = std::time::Instant::now();
    role_on(&kafka, &me, &mut role, &*clock, &stop, false)?;
    let summary = role.summary();
    if summary.already_read {
        eprintln!("weir: this input was read to its end before; --again reads it once more");
        return Ok(());
    }
    crate::summary::print(summary, &[], began.elapsed());
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
    let mut sinks = Vec::new();
    if let (true, Some(output)) = (roles.contains(&RoleName::Sink), &wanted.output) {
        sinks = config.sinks(&node, output, ROTATE)?;
    }
    let kafka: Arc<dyn Bus> = Arc::new(Kafka::connect(config.kafka()?)?);
    if let Some(first) = sinks.first() {
        let formats: Vec<&str> = sinks.iter().map(|sink| sink.format.as_str()).collect();
        sink::check_dir(&first.dir, &formats, first.rotate, first.force)?;
    }
    let stop = crate::stop::on_signal()?;
    let mut threads = Vec::new();
    for (me, role) in members(roles, wanted, config, &node, sinks, kafka.lanes())? {
        threads.push(start(kafka.clone(), me, role, stop.clone(), drain)?);
    }
    let mut failed = None;
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a role panicked")));
        failed = failed.or(ended.err());
    }
    failed.map_or(Ok(()), Err)
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
        let role = Aggregate::new(aggregate_config(config, node, lanes, wanted.sources));
        runners.push((aggregate::member(node), Box::new(role)));
    }
    if roles.contains(&RoleName::Manager) {
        let role = Manager::new(manager_config(node, lanes));
        runners.push((manager::member(node), Box::new(role)));
    }
    for sink in sinks {
        let me = sink::member(&sink.format, node);
        runners.push((me, Box::new(Sink::new(sink, lanes)?)));
    }
    Ok(runners)
}

fn start(
    bus: Arc<dyn Bus>,
    me: Member,
    mut role: Box<dyn Role>,
    stop: Stop,
    drain: bool,
) -> anyhow::Result<std::thread::JoinHandle<anyhow::Result<()>>> {
    let name = me.group.clone();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let ran = role_on(&*bus, &me, &mut *role, &System, &stop, drain);
        if ran.is_err() {
            // A node whose roles do not all run must not look alive.
            stop.request();
        }
        ran
    });
    thread.context("cannot start a thread")
}
