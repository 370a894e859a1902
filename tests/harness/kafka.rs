//! A real Kafka broker for tests, started from jars on this machine and gone with the test process.
//!
//! The broker itself is the work of `tests/kafka/kafka.sh serve`, which runs it until standard input
//! closes; this file holds the other end of that pipe, so that no way to end a test process, not even
//! `kill -9`, leaves a broker behind. The jars come from `WEIR_TEST_KAFKA_LIBS`, or else from `.kafka/libs`
//! in the checkout, where they are fetched to if need be.
//!
//! It needs only the standard library and `tempfile`, and so can be included by any crate of the
//! workspace: `#[path = "../../tests/harness/kafka.rs"] mod kafka;`

#![allow(dead_code)] // no user needs all of it

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to start, on a machine that does much else.
const START: Duration = Duration::from_secs(90);

/// How long its ports may take to be free once it was killed.
const END: Duration = Duration::from_secs(20);

/// What the broker logs when it is up.
const STARTED: &str = "Kafka Server started";

/// Runs the broker, notes that it ended, and when the pipe is closed removes its folder.
const WRAPPER: &str = r#"
    bash "$0" serve "$1" "$2" "$3"
    echo "$?" > "$1/ended"
    cat > /dev/null
    rm -rf "$1"
"#;

/// What each of several brokers may take of memory.
const HEAP_OF_SEVERAL: &str = "320m";

/// One broker with its own data. Dropping it ends the broker and removes the data.
#[derive(Debug)]
pub struct Kafka {
    child: Option<Child>,
    port: u16,
    controller: u16,
    /// Where a proxy finds it, and where those find the proxy who ask there for the broker.
    proxied: (u16, u16),
    /// What it is told in its environment.
    told: Vec<(&'static str, String)>,
    dir: TempDir,
}

impl Kafka {
    /// Starts a broker with no data, and returns when it answers.
    pub fn start() -> Kafka {
        prepare();
        // A port that was free a moment ago may be taken before the broker has it: then once more.
        let mut last = String::new();
        for _ in 0..3 {
            let mut kafka = Kafka::new();
            match kafka.launch() {
                Ok(()) => return kafka,
                Err(error) => last = error,
            }
        }
        panic!("no broker: {last}");
    }

    /// Starts three brokers that are one cluster: topics have three copies, two must have a record.
    pub fn start_three() -> [Kafka; 3] {
        prepare();
        let mut three = [(); 3].map(|()| Kafka::new());
        let voter =
            |(n, kafka): (usize, &Kafka)| format!("{}@127.0.0.1:{}", n + 1, kafka.controller);
        let voters = three.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
        for (n, kafka) in three.iter_mut().enumerate() {
            kafka.told.push(("WEIR_KAFKA_NODE", (n + 1).to_string()));
            kafka.told.push(("WEIR_KAFKA_VOTERS", voters.clone()));
            kafka.told.push(("WEIR_KAFKA_HEAP", HEAP_OF_SEVERAL.to_owned()));
        }
        // None is up before a second is: they are started together.
        for kafka in &mut three {
            kafka.begin().expect("a broker's shell");
        }
        for kafka in &mut three {
            kafka.wait_until_up().unwrap_or_else(|error| panic!("one of three brokers: {error}"));
        }
        three
    }

    fn new() -> Kafka {
        let [port, controller, inner, outer] = free_ports();
        let dir = tempfile::Builder::new().prefix("weir-kafka-").tempdir();
        let dir = dir.expect("a temporary folder for the broker");
        let told = vec![("WEIR_KAFKA_PROXIED", format!("{inner}:{outer}"))];
        Kafka { child: None, port, controller, proxied: (inner, outer), told, dir }
    }

    /// Where a proxy finds the broker, and where it has to listen itself: two ports.
    pub fn proxied(&self) -> (u16, u16) {
        self.proxied
    }

    /// Its folder, which is gone when it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What clients use as `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the broker as a power cut would. Its data stays for [`Kafka::restart`].
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = format!("-{}", child.id());
            let status = Command::new("kill").args(["-KILL", "--", &group]).status();
            assert!(
                status.is_ok_and(|s| s.success()),
                "the broker's process group {group} is gone"
            );
            child.wait().expect("the end of the broker's shell");
            let from = Instant::now();
            while answers(self.port) || answers(self.controller) {
                assert!(from.elapsed() < END, "the broker was killed and still answers");
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Kills the broker if it runs, and starts it on the same port with the same data.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(error) = self.launch() {
            panic!("the broker did not start again: {error}");
        }
    }

    /// What the broker logged since it was last started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts it on the same port with the same data.
    pub fn launch(&mut self) -> Result<(), String> {
        self.begin()?;
        self.wait_until_up()
    }

    fn begin(&mut self) -> Result<(), String> {
        for old in ["log", "ended"] {
            let _ = fs::remove_file(self.dir.path().join(old)); // they tell of the last start
        }
        let child = Command::new("sh")
            .args(["-c", WRAPPER])
            .arg(script())
            .arg(self.dir.path())
            .args([self.port.to_string(), self.controller.to_string()])
            .envs(self.told.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("sh: {e}"))?;
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let from = Instant::now();
        while !(self.log().contains(STARTED) && answers(self.port)) {
            if from.elapsed() > START || self.ended() {
                let said = self.log();
                self.kill();
                return Err(format!("after {:?} the broker had said:\n{said}", from.elapsed()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether the broker has ended by itself.
    fn ended(&self) -> bool {
        self.dir.path().join("ended").exists()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The broker that all tests of this process share, started by the first that asks.
///
/// Statics are never dropped: it ends because the pipe closes with the process.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(Kafka::start)
}

/// Has the jars fetched if they are nowhere.
fn prepare() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let status =
            Command::new("bash").arg(script()).arg("classpath").stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|s| s.success()), "Kafka's jars: try ./dev kafka classpath");
    });
}

/// `tests/kafka/kafka.sh`, seen from the root package or from a member crate.
fn script() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |dir: &Path| dir.join("tests/kafka/kafka.sh");
    let found = package.ancestors().take(2).map(of).find(|path| path.exists());
    found.expect("tests/kafka/kafka.sh in the checkout")
}

/// Ports that nobody uses, all held until all are known.
fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
