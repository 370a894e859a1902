//! A cluster on the shared broker or on another: topics of its own, roles as processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::weir::{Done, Running, command};
use super::{folder, kafka, text};

/// What workers of a test share is one tap, as behind a load balancer: nothing of a flow waits for another half.
const TAP: &str = "test";

/// Partitions of every topic: several for each of two members.
const PARTITIONS: &str = "4";

/// A prefix of its own, and a folder.
#[derive(Debug)]
pub struct Cluster {
    brokers: String,
    prefix: String,
    dir: TempDir,
    /// A file of settings.
    config: Option<PathBuf>,
}

/// What one process of a cluster is: the node's name, and its arguments.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Role and options.
    pub args: Vec<String>,
}

/// A node by its name and arguments.
pub fn node(name: &str, args: &[&str]) -> Node {
    Node { name: name.to_owned(), args: args.iter().map(|arg| (*arg).to_owned()).collect() }
}

impl Cluster {
    /// Without topics.
    pub fn bare() -> Cluster {
        Cluster::bare_on(kafka::shared().brokers())
    }

    fn bare_on(brokers: String) -> Cluster {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let prefix = format!("t{}-{number}", std::process::id());
        Cluster { brokers, prefix, dir: folder(), config: None }
    }

    /// With its topics, on these brokers, with these settings.
    pub fn on(brokers: String, settings: &str) -> Cluster {
        let mut cluster = Cluster::bare_on(brokers);
        let file = cluster.path("weir.toml");
        std::fs::write(&file, settings).expect("a file of settings");
        cluster.config = Some(file);
        cluster.run(&["topics", "create", "--partitions", PARTITIONS]).ok();
        cluster
    }

    /// With its topics.
    pub fn new() -> Cluster {
        let cluster = Cluster::bare();
        cluster.run(&["topics", "create", "--partitions", PARTITIONS]).ok();
        cluster
    }

    /// The prefix of its topics.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A place below its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where its brokers are.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// `weir` with these arguments, ready to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut ours = vec!["--brokers", &self.brokers, "--prefix", &self.prefix];
        let config = self.config.as_deref().map(text).unwrap_or_default();
        if self.config.is_some() {
            ours.extend(["--config", &config]);
        }
        let mut command = command(&[&ours, args].concat());
        command.env("WEIR_CLUSTER_TAP", TAP);
        command
    }

    /// Starts `weir` with these arguments.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Runs `weir` with these arguments to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.spawn(args).wait()
    }

    /// Starts a node.
    pub fn start(&self, node: &Node) -> Running {
        self.start_with(node, &[])
    }

    fn start_with(&self, node: &Node, more: &[&str]) -> Running {
        Running::start(self.command_of(node, more))
    }

    /// The command of a node with further arguments.
    pub fn command_of(&self, node: &Node, more: &[&str]) -> Command {
        let mut args = vec!["--node", &node.name];
        args.extend(node.args.iter().map(String::as_str));
        args.extend(more);
        self.command(&args)
    }

    /// Starts nodes.
    pub fn start_all(&self, nodes: &[Node]) -> Vec<Running> {
        nodes.iter().map(|node| self.start(node)).collect()
    }

    /// Runs nodes, all at the same time, to the end of what there is; each has to end well.
    pub fn drain(&self, nodes: &[Node]) {
        let running: Vec<_> =
            nodes.iter().map(|node| self.start_with(node, &["--drain"])).collect();
        for node in running {
            node.wait().ok();
        }
    }

    /// Two aggregators.
    pub fn aggregators(&self) -> Vec<Node> {
        ["a0", "a1"].map(|name| node(name, &["aggregate", "--sources", "3"])).into()
    }

    /// A manager.
    pub fn managers(&self) -> Vec<Node> {
        vec![node("m0", &["manager"])]
    }

    /// Two sinks that write TSV and Parquet into one folder.
    pub fn sinks(&self, out: &Path, rotate: &str) -> Vec<Node> {
        let out = text(out);
        let args = ["sink", "--format", "tsv,parquet", "--rotate", rotate, "--out", &out];
        ["s0", "s1"].map(|name| node(name, &args)).into()
    }
}

/// Capture workers, each with an input of its own.
pub fn workers(inputs: &[String]) -> Vec<Node> {
    let named = inputs.iter().enumerate();
    named.map(|(n, input)| node(&format!("w{n}"), &["capture", "--read", input])).collect()
}
