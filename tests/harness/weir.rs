//! The `weir` command: run to its end, or left running as a role of a cluster.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::{LOOK, PATIENCE, folder};

/// `weir` with these arguments and none of the settings of whoever runs the tests.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(args);
    without_settings(&mut command);
    command
}

/// What a command starts does not see the settings of whoever runs the tests.
pub fn without_settings(command: &mut Command) {
    for (key, _) in std::env::vars() {
        if key.starts_with("WEIR_") {
            command.env_remove(key);
        }
    }
}

/// The same command started by another one, such as `nsenter`, which becomes it.
pub fn inside(outer: &[String], command: &Command) -> Command {
    let Some((program, args)) = outer.split_first() else { panic!("no outer command") };
    let mut whole = Command::new(program);
    whole.args(args).arg(command.get_program()).args(command.get_args());
    hand_on(command, &mut whole);
    whole
}

/// The same command with some argument another one.
pub fn replaced(command: &Command, old: &str, new: &str) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(command.get_args().map(|arg| if arg == old { new.as_ref() } else { arg }));
    hand_on(command, &mut other);
    other
}

/// What a command changes of the environment, another one changes as well.
fn hand_on(from: &Command, to: &mut Command) {
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
}

/// Runs `weir` to its end.
pub fn weir(args: &[&str]) -> Done {
    Running::start(command(args)).wait()
}

/// Runs `weir` to its end, which has to be a good one.
pub fn weir_ok(args: &[&str]) -> Done {
    weir(args).ok()
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Done {
    what: String,
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// It has to have ended well.
    pub fn ok(self) -> Done {
        assert_eq!(self.code, Some(0), "{}\n{}{}", self.what, self.err, self.out);
        self
    }

    /// It has to have failed with this code, and to have said each of these.
    pub fn fails(self, code: i32, said: &[&str]) -> Done {
        assert_eq!(self.code, Some(code), "{}\n{}", self.what, self.err);
        for word in said {
            assert!(
                self.err.contains(word),
                "{}\nnot a word of `{word}`:\n{}",
                self.what,
                self.err
            );
        }
        assert!(!self.err.contains("panicked"), "{}\n{}", self.what, self.err);
        self
    }
}

/// A command at work. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    said: TempDir,
}

impl Running {
    /// Starts a command; what it says goes to files, so that no full pipe holds it up.
    pub fn start(mut command: Command) -> Running {
        let said = folder();
        let file = |name: &str| File::create(said.path().join(name)).expect("a file for its words");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the command starts");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        Running { what: format!("weir {}", args.join(" ")), child, said }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still at work.
    pub fn is_alive(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Waits until it has said this on standard error.
    pub fn wait_for(&mut self, text: &str) {
        let from = Instant::now();
        while !self.read("err").contains(text) {
            assert!(self.is_alive() && from.elapsed() < PATIENCE, "{}: no `{text}`", self.what);
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self) -> Done {
        let from = Instant::now();
        let status = loop {
            match self.ended() {
                Some(status) => break status,
                None if from.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                None => panic!(
                    "{} still runs after {PATIENCE:?}:\n{}\n{}",
                    self.what,
                    self.read("err"),
                    self.stacks()
                ),
            }
        };
        let (out, err) = (self.read("out"), self.read("err"));
        Done { what: self.what.clone(), code: status.code(), out, err }
    }

    /// Where each of its threads is, where there is a debugger to tell.
    fn stacks(&self) -> String {
        let id = self.child.id().to_string();
        let told = Command::new("gdb")
            .args(["-p", &id, "-batch", "-ex", "thread apply all bt 25"])
            .stdin(Stdio::null())
            .output();
        told.map_or_else(
            |error| format!("where it is gdb would tell: {error}"),
            |told| String::from_utf8_lossy(&told.stdout).into_owned(),
        )
    }

    /// Waits until it listens to SIGTERM, which before that kills a process that has only just begun.
    fn until_it_listens(&self) {
        const SIGTERM: u64 = 15;
        let from = Instant::now();
        let path = format!("/proc/{}/status", self.child.id());
        let listens = |status: &str| {
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            Some(u64::from_str_radix(caught.trim(), 16).ok()? >> (SIGTERM - 1) & 1 == 1)
        };
        // One that has ended never will: it is seen where it is waited for.
        let may = |status: String| !status.contains("State:\tZ") && listens(&status) == Some(false);
        while from.elapsed() < PATIENCE && fs::read_to_string(&path).is_ok_and(may) {
            std::thread::sleep(LOOK);
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(self) -> Done {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        if name == "TERM" {
            self.until_it_listens();
        }
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} for {}", self.what);
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.read("err")
    }

    /// What it is.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Sends SIGKILL: nothing of it is left but what it had made lasting.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.said.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
