//! `weir run`: every role in this process, on the memory bus.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aggregate::Aggregate;
use anyhow::Context as _;
use bus::clock::{Clock, System};
use bus::drive::{Stop, Until, drive};
use bus::memory::{Memory, Retain};
use bus::{Bus, Member, Role};
use capture::Capture;
use capture::role::Input;
use capture::source::LiveOptions;
use capture::worker::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use manager::Manager;
use manager::decide::Document;
use sink::Sink;

use crate::cli::{InputArgs, RunArgs};
use crate::config::{BadConfig, Config};
use crate::{crew, detectors};

/// One process needs no more than one lane: it has one aggregator and one manager.
const LANES: u32 = 1;
/// Zeek's own name of a node that is no cluster's, so that `peer` reads as it does there.
const NODE: &str = "zeek";

/// What the command line says of the input.
pub fn input(args: &InputArgs) -> Input {
    match &args.interface {
        None => Input::Files(args.read.clone()),
        Some(interface) => {
            let options = LiveOptions { filter: args.filter.clone(), ..LiveOptions::default() };
            Input::Live(interface.clone(), options)
        }
    }
}

/// Reads packets and writes logs.
pub fn run(args: &RunArgs, config: &Config) -> anyhow::Result<()> {
    let node = config.node.clone().unwrap_or_else(|| NODE.into());
    let sinks = config.sinks(&node, &args.output, "0")?;
    let policy = args.policy.as_deref().or(config.policy.file.as_deref());
    let policy = policy.map(crate::policy::read).transpose()?.map(|(document, _)| document);
    let capture_config = config.capture(&node, LANES, &args.input)?;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let mut capture =
        Capture::new(capture_config, input(&args.input), false, clock.clone())?.ends_when_stopped();
    // Wrong settings are said before a folder is made.
    let settings = Settings {
        aggregate: with_summary_asked_for(aggregate_config(config, &node, LANES, Some(1))?, config),
        manager: manager_config(config, &node, LANES, policy)?,
        sinks,
    };
    let formats: Vec<&str> = settings.sinks.iter().map(|sink| sink.format.as_str()).collect();
    if let Some(first) = settings.sinks.first() {
        sink::check_dir(&first.dir, &formats, first.rotate, first.force)?;
    }
    let stop = crate::stop::on_signal()?;
    let began = Instant::now();
    let progress = capture.progress();
    let pipeline = Pipeline::start(&node, settings, clock.clone(), stop.clone())?;
    let bar = show(&progress, &args.input);
    let me = capture::role::member(&node, LANES);
    let bus = &*pipeline.bus;
    let read = drive(bus, &me, &mut capture, &*clock, &stop, Until::Forever);
    let left = capture.close();
    // What was processed is kept, whatever became of the rest.
    let written = pipeline.finish();
    if let Some(bar) = bar {
        bar.finish();
    }
    read.context("capture")?;
    let written = written?;
    let summary = capture.summary();
    crate::summary::print(&summary, &written.files, began.elapsed());
    crate::summary::notices(&written.notices);
    crate::summary::left(&left);
    let problems = &summary.problems;
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

/// Settings of the roles behind capture.
struct Settings {
    aggregate: aggregate::Config,
    manager: manager::Config,
    sinks: Vec<sink::Config>,
}

/// The roles behind capture, each in its thread.
struct Pipeline {
    bus: Arc<Memory>,
    /// Ends capture.
    all: Stop,
    stages: Vec<Vec<Stage>>,
}

/// What the roles behind capture made.
#[derive(Default)]
struct Written {
    files: Vec<sink::Summary>,
    notices: manager::Counters,
}

/// What one of them made.
enum Made {
    Rows,
    Decisions(manager::Counters),
    Files(Box<sink::Summary>),
}

/// One role at work.
struct Stage {
    stop: Stop,
    thread: std::thread::JoinHandle<anyhow::Result<Made>>,
}

impl Pipeline {
    fn start(
        node: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        all: Stop,
    ) -> anyhow::Result<Pipeline> {
        let Settings { aggregate, manager, sinks } = settings;
        let bus = Arc::new(Memory::new(LANES, Retain::UntilRead));
        // One sensor has nothing to be joined with.
        let members: Vec<Member> = [aggregate::member(node, false), manager::member(node)]
            .into_iter()
            .chain(sinks.iter().map(|sink| sink::member(&sink.format, node)))
            .collect();
        // Before anything is written, so that nothing is let go before all have read it.
        for member in &members {
            bus.expect(&member.group, &member.topics);
        }
        let mut pipeline = Pipeline { bus, all, stages: Vec::new() };
        let aggregate = Aggregate::new(aggregate::Config { overlap: false, ..aggregate });
        let aggregate =
            pipeline.stage(aggregate::member(node, false), aggregate, &clock, |_| Made::Rows)?;
        pipeline.stages.push(vec![aggregate]);
        let manager = Manager::new(manager);
        let decisions = |manager: &Manager| Made::Decisions(manager.counters());
        let manager = pipeline.stage(manager::member(node), manager, &clock, decisions)?;
        pipeline.stages.push(vec![manager]);
        let mut last = Vec::new();
        for config in sinks {
            // What was read is gone from this bus.
            let config = sink::Config { waits_for_room: false, ..config };
            let member = sink::member(&config.format, node);
            let role = Sink::new(config, LANES)?;
            let files = |sink: &Sink| Made::Files(Box::new(sink.summary().clone()));
            last.push(pipeline.stage(member, role, &clock, files)?);
        }
        pipeline.stages.push(last);
        Ok(pipeline)
    }

    fn stage<R: Role + 'static>(
        &self,
        me: Member,
        mut role: R,
        clock: &Arc<dyn Clock>,
        made: fn(&R) -> Made,
    ) -> anyhow::Result<Stage> {
        let (bus, clock, stop) = (self.bus.clone(), clock.clone(), Stop::new());
        let told = stop.clone();
        let (name, read_by) = (me.group.clone(), bus.clone());
        let work = move || {
            role_on(&*bus, &me, &mut role, &*clock, &told)?;
            Ok(made(&role))
        };
        // Nobody reads for this role any more: the others must not wait for it, and there is no use in
        // capturing on.
        let (group, all) = (name.clone(), self.all.clone());
        let failed = move || {
            read_by.forget(&group);
            all.request();
        };
        let thread = crew::start(&name, work, failed)?;
        Ok(Stage { stop, thread })
    }

    /// Drains the roles in the order of the data.
    fn finish(self) -> anyhow::Result<Written> {
        let mut written = Written::default();
        let mut failed = None;
        for stage in self.stages {
            for role in &stage {
                role.stop.request_drain();
            }
            self.bus.nudge();
            for role in stage {
                match crew::join(role.thread) {
                    Ok(Made::Rows) => {}
                    Ok(Made::Decisions(counters)) => written.notices = counters,
                    Ok(Made::Files(summary)) => written.files.push(*summary),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(written),
        }
    }
}

/// Settings of an aggregator.
pub fn aggregate_config(
    config: &Config,
    node: &str,
    lanes: u32,
    sources: Option<usize>,
) -> Result<aggregate::Config, BadConfig> {
    let mut made = aggregate::Config::new(node, lanes);
    made.prefix = config.prefix();
    made.sources = sources.or(config.cluster.sources);
    if let Some(grace_ms) = config.cluster.grace_ms {
        made.grace_ms = grace_ms;
    }
    (made.site, made.detect) = (detectors::site(config)?, detectors::settings(config)?);
    made.overlap = config.overlap();
    made.summary_us = detectors::summary_us(config)?;
    made.join_window_us = config.join_window_us()?.unwrap_or(made.join_window_us);
    Ok(made)
}

/// One process sums nothing up unless its settings say how often: Zeek has no such log.
fn with_summary_asked_for(made: aggregate::Config, config: &Config) -> aggregate::Config {
    let is_asked_for = config.cluster.summary_interval.is_some();
    aggregate::Config { summary_us: made.summary_us.filter(|_| is_asked_for), ..made }
}

/// Settings of a manager.
pub fn manager_config(
    config: &Config,
    node: &str,
    lanes: u32,
    policy: Option<Arc<Document>>,
) -> Result<manager::Config, BadConfig> {
    let mut made = manager::Config::new(node, lanes);
    (made.prefix, made.policy) = (config.prefix(), policy);
    (made.site, made.detect) = (detectors::site(config)?, detectors::settings(config)?);
    Ok(made)
}

/// A bar on a terminal, nothing elsewhere.
fn show(progress: &Arc<Progress>, args: &InputArgs) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() || args.interface.is_some() {
        return None;
    }
    let bar = ProgressBar::new(0);
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {msg} packets, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let (shown, progress) = (bar.clone(), progress.clone());
    std::thread::spawn(move || {
        while !shown.is_finished() {
            shown.set_length(progress.total.load(Ordering::Relaxed));
            shown.set_position(progress.read.load(Ordering::Relaxed));
            shown.set_message(progress.packets.load(Ordering::Relaxed).to_string());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    Some(bar)
}

/// Runs one role on any bus until it is done, stopped or drained.
pub fn role_on(
    bus: &dyn Bus,
    me: &Member,
    role: &mut dyn Role,
    clock: &dyn Clock,
    stop: &Stop,
) -> anyhow::Result<()> {
    drive(bus, me, role, clock, stop, Until::Forever).with_context(|| me.group.clone())
}
