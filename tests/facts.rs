//! What the captures' README says must be in the logs, as literal expectations.

use std::collections::BTreeSet;

use crate::harness::logs::{self, Logs};
use crate::harness::packets::Pcap;
use crate::harness::weir::weir_ok;
use crate::harness::{folder, text, trace};

fn logs_of(name: &str) -> Logs {
    let dir = folder();
    weir_ok(&["run", "--read", &trace(&format!("{name}.pcap")), "--out", &text(dir.path())]);
    logs::read(dir.path())
}

#[test]
fn flows_are_as_many_as_pairs_of_endpoints() {
    for name in ["dns", "ftp", "guess", "http", "mixed", "scan", "ssh", "tls"] {
        let want = Pcap::read(&trace(&format!("{name}.pcap"))).flows();
        let logs = logs_of(name);
        let got = logs["conn"].count(["proto"]);
        let of = |proto: &str| got.get(&[proto]).copied();
        assert_eq!(
            [of("tcp"), of("udp")],
            [want.get(&6).copied(), want.get(&17).copied()],
            "{name}"
        );
    }
}

#[test]
fn mixed_has_the_flows_that_tshark_counts() {
    let conn = &logs_of("mixed")["conn"];
    let counts = conn.count(["proto"]);
    assert_eq!([counts[&["tcp"]], counts[&["udp"]], counts[&["icmp"]]], [222, 390, 11]);
    let states: BTreeSet<&str> = conn.column("conn_state").into_iter().collect();
    for state in ["S0", "S1", "SF", "REJ", "RSTO", "RSTR"] {
        assert!(states.contains(state), "{state} among {states:?}");
    }
    // The mirror missed packets of dim; what far lost came again.
    let missed = |host: &str| -> u64 {
        let cells = conn.only("id.orig_h", host).column("missed_bytes").join(" ");
        cells.split(' ').map(|cell| cell.parse::<u64>().expect("a count")).sum()
    };
    assert!(missed("10.77.0.8") > 0);
    assert_eq!([missed("10.77.0.9"), missed("10.77.0.2")], [0, 0]);
}

#[test]
fn ssh_is_what_exchanges_keys() {
    // Two logins, an unknown key, wrong passwords; the client that leaves after the banner shows nothing.
    let conn = &logs_of("ssh")["conn"];
    let services = conn.only("id.resp_p", "22").column("service").join(" ");
    let count = |word: &str| services.split(' ').filter(|service| *service == word).count();
    assert_eq!([count("ssh"), count("-")], [4, 1], "{services}");
}

#[test]
fn ssh_log_tells_who_got_in() {
    let ssh = &logs_of("ssh")["ssh"];
    let got = ssh.select(["id.resp_h", "version", "auth_success", "cipher_alg", "host_key_alg"]);
    let chacha = "chacha20-poly1305@openssh.com";
    assert_eq!(
        got,
        [
            ["10.77.0.10", "2", "T", chacha, "ssh-ed25519"],
            ["fd77::10", "2", "T", "aes128-ctr", "rsa-sha2-256"],
            // A key that is not known, and passwords.
            ["10.77.0.10", "2", "F", chacha, "ssh-ed25519"],
            ["10.77.0.10", "2", "F", chacha, "ssh-ed25519"],
            ["10.77.0.10", "-", "-", "-", "-"],
        ]
    );
    // Behind the first failure, of no method at all: the key; a method without a prompt and three passwords.
    assert_eq!(ssh.only("auth_success", "F").column("auth_attempts"), ["1", "4"]);
}

#[test]
fn ftp_log_has_what_was_moved() {
    let logs = logs_of("ftp");
    let ftp = &logs["ftp"];
    let moved = ftp.count(["command", "mime_type", "file_size"]);
    let of = |cells: [&str; 3]| moved.get(&cells).copied();
    // By EPSV, PASV, EPRT and PORT, over IPv6, in the session; what is encrypted is not seen.
    assert_eq!(of(["RETR", "text/plain", "8893"]), Some(6));
    assert_eq!(of(["RETR", "image/png", "1081"]), Some(2));
    assert_eq!(of(["STOR", "text/plain", "-"]), Some(1));
    assert_eq!(ftp.only("command", "DELE").column("arg"), ["ftp://10.77.0.10/pub/upload"]);
    assert_eq!(ftp.only("command", "PORT").column("data_channel.orig_h"), ["10.77.0.10"]);
    let files: BTreeSet<&str> = logs["files"].column("fuid").into_iter().collect();
    let named: Vec<&str> = ftp.column("fuid").into_iter().filter(|fuid| *fuid != "-").collect();
    assert!(named.len() == 9 && named.iter().all(|fuid| files.contains(fuid)), "{named:?}");
}

#[test]
fn http_has_every_request_with_its_reply() {
    const HOST: &str = "10.77.0.10";
    let logs = logs_of("http");
    let got = logs["http"].select(["method", "host", "uri", "status_code"]);
    assert_eq!(
        got,
        [
            ["GET", HOST, "/", "200"],
            ["GET", HOST, "/missing", "404"],
            ["GET", HOST, "/picture.png", "200"],
            ["GET", HOST, "/paper.pdf", "200"],
            ["GET", HOST, "/notes.txt.gz", "200"],
            ["GET", HOST, "/data.json", "200"],
            ["GET", HOST, "/chunked.shtml", "200"],
            ["HEAD", HOST, "/data.json", "200"],
            ["POST", HOST, "/form", "200"],
            ["POST", HOST, "/form", "200"],
            ["PUT", HOST, "/form", "200"],
            ["GET", HOST, "/", "200"],
            ["GET", "www.example.test", "http://www.example.test/", "200"],
            ["GET", HOST, "/private", "200"],
            ["GET", HOST, "/private", "200"],
            ["GET", HOST, "/data.json", "200"],
            ["GET", HOST, "/old", "301"],
            ["GET", HOST, "/index.html", "200"],
            ["GET", HOST, "/broken", "503"],
            ["GET", HOST, "/data.json", "206"],
            ["GET", "www.example.test", "/?q=1'+or+1=1&x=<b>", "200"],
            ["GET", "a.test", "/paper.pdf", "200"],
            ["GET", "b.test", "/", "200"],
        ]
    );
    let http = &logs["http"];
    assert_eq!(http.only("info_code", "100").rows.len(), 1);
    assert_eq!(http.only("username", "alice").rows.len(), 1);
    let tagged = http.select(["uri", "tags"]).into_iter().filter(|row| row[1] != "(empty)");
    assert_eq!(tagged.collect::<Vec<_>>(), [["/?q=1'+or+1=1&x=<b>", "HTTP::URI_SQLI"]]);
    assert_eq!(
        http.only("proxied", "X-FORWARDED-FOR -> 192.0.2.7,VIA -> 1.1 proxy.example.test")
            .rows
            .len(),
        1
    );
    let put = http.only("method", "PUT");
    assert_eq!(put.column("request_body_len"), ["3000"]);
    let form = http.only("referrer", "http://10.77.0.10/index.html");
    assert_eq!(
        form.select(["user_agent", "request_body_len"]),
        [["Mozilla/5.0 (weir test)", "19"]]
    );
    let types: BTreeSet<&str> = http.column("resp_mime_types").into_iter().collect();
    for kind in ["text/html", "image/png", "application/pdf", "application/x-gzip", "text/json"] {
        assert!(types.contains(kind), "{kind} among {types:?}");
    }
    assert_eq!(logs["conn"].only("service", "http").count(["conn_state"])[&["SF"]], 17);
}

/// Hashes are of the contents that traces/make.sh serves and sends, by Python's hashlib.
#[test]
fn files_are_what_was_served_and_sent() {
    let files = &logs_of("http")["files"];
    let sums = files.select(["is_orig", "seen_bytes", "mime_type", "md5", "sha1", "sha256"]);
    let paper = "cfa3181c1ee36e8bce5e39f84959f4558ea7ba32c0e4539a8ab3c8ce8c716ec6";
    let body = "e1630f843370f402870799e14abbf2b06af2d23b0153658e1211dffabc61ad8f";
    let form = "63ca1c68beab13cc39146b32d2c54ca0eedbbed438dc413887c4fa34870e5b36";
    let want = [
        (2, ["F", "69", "application/pdf"], ["1bbc324f", "85824fa8"], paper),
        (2, ["T", "3000", "text/plain"], ["33d7ac42", "f212f0ce"], body),
        (1, ["T", "19", "text/plain"], ["68480277", "277ae7b1"], form),
    ];
    for (times, cells, heads, sha256) in want {
        let of = |row: &&[&str; 6]| {
            row[..3] == cells && row[3].starts_with(heads[0]) && row[4].starts_with(heads[1])
        };
        let found: Vec<_> = sums.iter().filter(of).map(|row| row[5]).collect();
        assert_eq!(found, vec![sha256; times], "{cells:?}");
    }
    // Bytes 100 to 199 of 6023 came: the file never ended, and has no hash.
    let range = files.only("timedout", "T");
    assert_eq!(
        range.select(["seen_bytes", "missing_bytes", "total_bytes", "md5"]),
        [["100", "100", "6023", "-"]]
    );
    // Every file that a transaction tells of is there.
    let ids: BTreeSet<&str> = files.column("fuid").into_iter().collect();
    let logs = logs_of("http");
    let http = &logs["http"];
    let told = [http.column("orig_fuids"), http.column("resp_fuids")].concat();
    let told: BTreeSet<&str> = told.iter().flat_map(|ids| ids.split(',')).collect();
    assert_eq!(told.iter().filter(|id| id.len() > 1).count(), ids.len());
    assert!(ids.is_subset(&told));
}

#[test]
fn certificates_are_those_of_the_test_authority() {
    let x509 = &logs_of("tls")["x509"];
    let (authority, person) = ("CN=weir test CA,O=weir test,C=DE", "alice@example.test");
    let server = "CN=www.example.test,O=weir test,C=DE";
    let client = "CN=alice@example.test,OU=people,O=weir test";
    let columns = ["certificate.subject", "certificate.key_alg", "host_cert", "client_cert"];
    let mut got = x509.select(columns);
    got.sort_unstable();
    let (rsa, ec) = ("rsaEncryption", "id-ecPublicKey");
    let want = [
        [client, ec, "T", "T"],
        [authority, rsa, "F", "F"],
        [authority, rsa, "F", "T"],
        [server, rsa, "T", "F"],
    ];
    assert_eq!(got, want);
    assert_eq!(x509.only("certificate.issuer", authority).rows.len(), 4);
    assert_eq!(x509.only("basic_constraints.ca", "T").only("san.dns", "-").rows.len(), 2);
    let names = x509.only("certificate.subject", server);
    assert_eq!(
        names.select(["san.dns", "san.ip"]),
        [["www.example.test,*.example.test", "10.77.0.10"]]
    );
    assert_eq!(x509.only("san.email", person).column("certificate.curve"), ["prime256v1"]);
}

#[test]
fn dns_has_every_query_with_its_answer() {
    let dns = &logs_of("dns")["dns"];
    let asked = [
        ["udp", "www.example.test", "A", "NOERROR"],
        ["udp", "www.example.test", "AAAA", "NOERROR"],
        ["udp", "web.example.test", "A", "NOERROR"],
        ["udp", "example.test", "MX", "NOERROR"],
        ["udp", "example.test", "TXT", "NOERROR"],
        ["udp", "_xmpp-client._tcp.example.test", "SRV", "NOERROR"],
        ["udp", "10.0.77.10.in-addr.arpa", "PTR", "NOERROR"],
        [
            "udp",
            "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa",
            "PTR",
            "NOERROR",
        ],
        ["udp", "absent.example.test", "A", "NXDOMAIN"],
        ["udp", "example.com", "A", "REFUSED"],
        ["udp", "version.bind", "TXT", "NOERROR"],
        ["tcp", "www.example.test", "A", "NOERROR"],
        ["udp", "big.example.test", "TXT", "NOERROR"],
        ["tcp", "big.example.test", "TXT", "NOERROR"],
        ["udp", "big.example.test", "TXT", "NOERROR"],
        ["tcp", "www.example.test", "A", "NOERROR"],
        ["tcp", "absent.example.test", "A", "NXDOMAIN"],
    ];
    for server in ["10.77.0.10", "fd77::10"] {
        let answered = dns.only("id.resp_h", server);
        let mut got = answered.select(["proto", "query", "qtype_name", "rcode_name"]);
        let mut want = asked;
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want, "{server}");
        assert_eq!(answered.only("qclass_name", "C_CHAOS").column("query"), ["version.bind"]);
    }
    let lost = dns.only("id.resp_h", "10.77.1.53");
    assert_eq!(lost.select(["query", "rcode", "answers"]), [["lost.example.test", "-", "-"]; 2]);
    let web = dns.only("query", "web.example.test");
    assert_eq!(web.column("answers"), ["www.example.test,10.77.0.10"; 2]);
    assert_eq!(dns.rows.len(), 36);
}

#[test]
fn tls_has_every_handshake_with_its_outcome() {
    let ssl = &logs_of("tls")["ssl"];
    let counts = ssl.count(["version", "established", "resumed", "last_alert"]);
    let want = [
        (["-", "F", "F", "-"], 1), // a server of plain HTTP
        (["-", "F", "F", "handshake_failure"], 1),
        (["-", "F", "F", "protocol_version"], 1),
        (["TLSv12", "T", "F", "-"], 5),
        (["TLSv12", "T", "T", "-"], 2),
        (["TLSv13", "F", "F", "unknown_ca"], 1),
        (["TLSv13", "T", "F", "-"], 5),
        (["TLSv13", "T", "T", "-"], 2),
    ];
    assert_eq!(counts, want.into());
    assert_eq!(ssl.count(["server_name"]), [(["www.example.test"], 18)].into());
    // Certificates are in the clear in full handshakes of 1.2, the client's in one of them.
    let full = ssl.only("version", "TLSv12").only("resumed", "F");
    assert_eq!(full.count(["sni_matches_cert"]), [(["T"], 5)].into());
    let chains: BTreeSet<&str> = full.column("cert_chain_fps").into_iter().collect();
    assert_eq!(chains.len(), 1);
    assert_eq!(full.only("client_cert_chain_fps", "(empty)").rows.len(), 4);
    assert_eq!(ssl.only("next_protocol", "http/1.1").rows.len(), 3);
}

#[test]
fn ssh_has_its_five_flows() {
    let conn = &logs_of("ssh")["conn"];
    assert_eq!(
        conn.only("id.resp_p", "22").count(["proto", "conn_state"]),
        [(["tcp", "SF"], 5)].into()
    );
}

#[test]
fn a_scan_gives_one_notice_of_its_kind() {
    let logs = logs_of("scan");
    let scanner = logs["conn"].only("id.orig_h", "10.77.0.66");
    let want = [(["22", "REJ"], 5), (["22", "S0"], 35), (["23", "REJ"], 5), (["23", "S0"], 35)];
    assert_eq!(scanner.count(["id.resp_p", "conn_state"]), want.into());
    for (name, kinds) in [("scan", 1), ("mixed", 2)] {
        let notice = logs_of(name).remove("notice").expect("a notice");
        // In mixed the ports of one host are scanned too.
        let ports = "10.77.0.66 scanned at least 15 unique ports of host 10.77.0.10 in 0m0s";
        let scans = notice.only("note", "Scan::Port_Scan");
        assert_eq!(scans.column("msg"), vec![ports; kinds - 1], "{name}");
        assert_eq!(notice.column("note").len(), kinds);
        let notice = notice.only("note", "Scan::Address_Scan");
        assert_eq!(
            notice.select([
                "note",
                "src",
                "p",
                "proto",
                "sub",
                "n",
                "actions",
                "suppress_for",
                "msg"
            ]),
            [[
                "Scan::Address_Scan",
                "10.77.0.66",
                "22",
                "tcp",
                "local",
                "1",
                "Notice::ACTION_LOG",
                "3600.000000",
                "10.77.0.66 scanned at least 25 unique hosts on port 22/tcp in 0m0s",
            ]],
            "{name}"
        );
    }
    for name in ["http", "dns", "tls", "ssh"] {
        assert!(!logs_of(name).contains_key("notice"), "{name}");
    }
}

#[test]
fn a_little_of_everything_reads_on_every_link() {
    for name in ["vlan", "sll", "sll2", "raw"] {
        let logs = logs_of(name);
        let pages = logs["http"].select(["id.resp_h", "host", "uri", "status_code"]);
        let want = [
            ["10.77.0.10", "10.77.0.10", "/", "200"],
            ["fd77::10", "[fd77::10]", "/data.json", "200"],
        ];
        assert_eq!(pages, want, "{name}");
        let asked = logs["dns"].select(["query", "qtype_name", "answers"]);
        assert_eq!(asked, [["www.example.test", "A", "10.77.0.10"]], "{name}");
        let pings = logs["conn"].only("orig_bytes", "112");
        let pings = pings.select(["id.orig_h", "id.resp_h", "proto", "resp_bytes"]);
        let want =
            [["10.77.0.2", "10.77.0.10", "icmp", "112"], ["fd77::2", "fd77::10", "icmp", "112"]];
        assert_eq!(pings, want, "{name}");
        let bad = logs.get("weird").map_or(0, |w| w.only("name", "bad_TCP_checksum").rows.len());
        assert_eq!(bad, usize::from(name.starts_with("sll")), "{name}");
    }
}

#[test]
fn the_link_layer_changes_no_row() {
    logs::assert_same("null.pcap, dns.pcap", &logs_of("dns"), &logs_of("null"), &[]);
}
