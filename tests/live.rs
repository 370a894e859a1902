//! `weir run --interface` on real sockets: threads share the packets of an interface, flows stay whole.

use std::fs;
use std::process::Command;

use crate::harness::{folder, logs, weir};

/// Flows that [`TRAFFIC`] makes.
const FLOWS: usize = 200;

/// A namespace with nothing but a loopback interface; capture by three threads; queries that are each
/// answered from an echo server.
const TRAFFIC: &str = r#"
set -e
ip link set lo up
"$0" run --interface lo --threads 3 -C --out "$1" 2> "$1.err" &
weir=$!
sockets() { grep -c . /proc/net/packet; }
tries=0
until [ "$(sockets)" -ge 4 ]; do
    tries=$((tries + 1)); [ $tries -lt 200 ]; sleep 0.1
done
sleep 0.5
python3 - <<'PYTHON'
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 7777))
for n in range(200):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("127.0.0.1", 30000 + n))
    client.sendto(b"x" * 10, ("127.0.0.1", 7777))
    data, peer = server.recvfrom(100)
    server.sendto(data * 2, peer)
    client.recvfrom(100)
PYTHON
sleep 0.5
kill -TERM $weir
wait $weir
"#;

fn can_make_namespaces() -> bool {
    let made = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    made.is_ok_and(|made| made.status.success())
}

#[test]
fn threads_share_an_interface_and_flows_stay_whole() {
    if !can_make_namespaces() {
        eprintln!("skipped: this user may not make network namespaces");
        return;
    }
    let dir = folder();
    let out = dir.path().join("logs");
    let mut traffic = Command::new("unshare");
    traffic.args(["--net", "sh", "-c", TRAFFIC, env!("CARGO_BIN_EXE_weir")]).arg(&out);
    weir::without_settings(&mut traffic);
    let done = traffic.output().expect("unshare starts");
    let said = fs::read_to_string(dir.path().join("logs.err")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}\n{said}");
    let logs = logs::read(&out);
    let counts = logs["conn"].count(["id.resp_p", "orig_pkts", "resp_pkts", "resp_bytes"]);
    let whole = counts.get(&["7777", "1", "1", "20"]).copied();
    assert_eq!((whole, counts.len()), (Some(FLOWS), 1), "{counts:?}\n{said}");
}
