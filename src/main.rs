//! The `weir` command: what was typed, to the part that does it, to an exit code.

mod acknowledge;
mod audit;
mod cli;
mod config;
mod crew;
mod detectors;
mod node;
mod policy;
mod run;
mod schema;
mod status;
mod stop;
mod summary;
mod tail;
mod topics;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;

/// A tenth of capture's time goes to the allocator; this one takes half of what the C library's does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry(cli.verbose);
    let outcome = config::Config::load(&cli).and_then(|config| dispatch(cli.command, config));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough of it (`weir schema | head`).
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.downcast_ref::<config::BadConfig>().is_some();
            eprintln!("weir: {error:#}");
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn dispatch(command: cli::Command, config: config::Config) -> anyhow::Result<()> {
    use cli::{Command, RoleName};
    match command {
        Command::Run(args) => run::run(&args, &config),
        Command::Capture(args) => node::capture(&args, &config),
        Command::Aggregate(args) => {
            let wanted = node::Wanted { sources: args.sources.sources, ..Default::default() };
            node::consumers(&[RoleName::Aggregate], &wanted, args.drain.drain, &config)
        }
        Command::Manager(args) => {
            node::consumers(&[RoleName::Manager], &Default::default(), args.drain, &config)
        }
        Command::Sink(args) => {
            let wanted = node::Wanted { output: Some(args.output), sources: None };
            node::consumers(&[RoleName::Sink], &wanted, args.drain.drain, &config)
        }
        Command::Node(args) => {
            let (output, sources) = (Some(args.output), args.sources.sources);
            let wanted = node::Wanted { output, sources };
            node::consumers(&args.roles, &wanted, args.drain.drain, &config)
        }
        Command::Topics(args) => topics::topics(&args, &config),
        Command::Policy(args) => policy::policy(&args, &config),
        Command::Tail(args) => tail::tail(&args, &config),
        Command::Audit(args) => audit::audit(&args, &config),
        Command::Status(args) => status::status(&args, &config),
        Command::Schema(args) => schema::schema(&args),
    }
}

/// Messages go to standard error; `-v` says more, `WEIR_LOG` says it by module.
fn telemetry(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
