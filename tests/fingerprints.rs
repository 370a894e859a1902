//! JA3, JA3S and JA4 of the handshakes in `tls.pcap`, from the packets to the log.
//!
//! The values of JA3 and JA3S are tshark's 4.0; those of JA4 were made from tshark's dissection by
//! a script that shares nothing with weir. Neither saw the flow to the server of plain HTTP unasked:
//! its JA3 is tshark's with that port decoded as TLS, its JA4 is left out.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::harness::weir::weir_ok;
use crate::harness::{folder, text, trace};

/// Client's port, JA3, JA3S, JA4.
const WANT: &[(u64, &str, &str, &str)] = &[
    (
        47086,
        "f146948b4a599d4d7ddf071b74696983",
        "15af977ce25de452b96affa2addb1036",
        "t13d041000_16476d049b0b_78f1d400d464",
    ),
    (
        47096,
        "5d70a188544fb769122c0d9b2509a405",
        "2253c82f03b621c5144709b393fde2c9",
        "t13d041100_16476d049b0b_6775ac8fe30b",
    ),
    (47100, "871a754af286dfb70c1b53c6887c62e0", "-", "t12d280700_d943125447b4_e7e480e5a997"),
    (
        48406,
        "0149f47eabf9a20d0893e2a44e5a6323",
        "15af977ce25de452b96affa2addb1036",
        "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
    ),
    (
        48418,
        "89dfc51e72bdcb94e4ba4622588002b1",
        "15af977ce25de452b96affa2addb1036",
        "t13d0412h1_16476d049b0b_85302d7e289e",
    ),
    (
        48424,
        "87b9bfc7da97115ed2276737b09f8d74",
        "263c859c5391203d774bc0599793d915",
        "t12d2807h1_d943125447b4_a44c6288192a",
    ),
    (
        48438,
        "0149f47eabf9a20d0893e2a44e5a6323",
        "15af977ce25de452b96affa2addb1036",
        "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
    ),
    (
        48442,
        "871a754af286dfb70c1b53c6887c62e0",
        "567bb420d39046dbfd1f68b558d86382",
        "t12d280700_d943125447b4_e7e480e5a997",
    ),
    (
        48450,
        "871a754af286dfb70c1b53c6887c62e0",
        "fd4bc6cea4877646ccd62f0792ec0b62",
        "t12d280700_d943125447b4_e7e480e5a997",
    ),
    (48546, "a3afc2c46ba4a7d7fbe1cfb7a3031c2f", "-", ""),
    (
        49996,
        "f146948b4a599d4d7ddf071b74696983",
        "15af977ce25de452b96affa2addb1036",
        "t13d041000_16476d049b0b_78f1d400d464",
    ),
    (
        50000,
        "5d70a188544fb769122c0d9b2509a405",
        "2253c82f03b621c5144709b393fde2c9",
        "t13d041100_16476d049b0b_6775ac8fe30b",
    ),
    (
        55572,
        "87b9bfc7da97115ed2276737b09f8d74",
        "263c859c5391203d774bc0599793d915",
        "t12d2807h2_d943125447b4_a44c6288192a",
    ),
    (
        55584,
        "89dfc51e72bdcb94e4ba4622588002b1",
        "15af977ce25de452b96affa2addb1036",
        "t13d0412h2_16476d049b0b_85302d7e289e",
    ),
    (
        58328,
        "871a754af286dfb70c1b53c6887c62e0",
        "b653c251b0ee54c3088fe7bb997cf59d",
        "t12d280700_d943125447b4_e7e480e5a997",
    ),
    (
        58330,
        "871a754af286dfb70c1b53c6887c62e0",
        "fd4bc6cea4877646ccd62f0792ec0b62",
        "t12d280700_d943125447b4_e7e480e5a997",
    ),
    (58336, "c530fe02c38ae3c65f583433e0c815f2", "-", "t12d020700_c66b7cee1896_e7e480e5a997"),
    (
        58352,
        "22558766122974704364c9c75c5cce0a",
        "263c859c5391203d774bc0599793d915",
        "t12d2808h2_d943125447b4_e7e480e5a997",
    ),
];

#[test]
fn fingerprints_are_those_that_tshark_finds() {
    let dir = folder();
    let out = text(dir.path());
    weir_ok(&["run", "--read", &trace("tls.pcap"), "--out", &out, "--format", "json"]);
    let log = fs::read_to_string(dir.path().join("ssl.json")).expect("a log");
    let rows: BTreeMap<u64, Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|row| (row["id.orig_p"].as_u64().expect("a port"), row))
        .collect();
    assert_eq!(rows.len(), WANT.len());
    for (port, ja3, ja3s, ja4) in WANT {
        let got = ["ja3", "ja3s", "ja4"].map(|column| rows[port][column].as_str().unwrap_or("-"));
        let want = [*ja3, *ja3s, if ja4.is_empty() { got[2] } else { *ja4 }];
        assert_eq!(got, want, "of the client at port {port}");
    }
}
