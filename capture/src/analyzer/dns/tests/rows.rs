//! What each row and each weird says.

use super::*;

#[test]
fn a_query_and_its_reply_are_one_row() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(7));
    assert_eq!(bench.out.dns.len(), 0);
    bench.reply(&reply(7, &[a([1, 2, 3, 4]), a([5, 6, 7, 8])]));
    assert_eq!(bench.signals, [Signal::Confirmed]);
    let rows = bench.finish();
    assert_eq!(rows.len(), 1);
    let text = ["query", "qclass_name", "qtype_name", "rcode_name", "answers", "opcode_name"];
    assert_eq!(
        rows.cells(0, &text),
        ["www.example.com", "C_INTERNET", "A", "NOERROR", "1.2.3.4|5.6.7.8", "query"]
    );
    let bits = ["AA", "TC", "RD", "RA", "rejected"];
    assert_eq!(rows.cells(0, &bits), ["false", "false", "true", "true", "false"]);
    assert_eq!(rows.cells(0, &["trans_id", "Z", "proto"]), ["7", "0", "udp"]);
    assert_eq!(rows.cell(0, "ts"), (START + 1000).to_string());
    assert!(rows.cell(0, "rtt").contains("0.001"));
    assert!(rows.cell(0, "TTLs").contains("300.0"));
}

#[test]
fn what_has_no_partner_is_written_at_the_end() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    bench.query(&query(2));
    bench.reply(&reply(3, &[a([1, 2, 3, 4])]));
    assert_eq!(bench.out.dns.len(), 0);
    let rows = bench.finish();
    let ids: Vec<_> = (0..rows.len()).map(|row| rows.cell(row, "trans_id")).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(rows.cells(0, &["rcode", "answers", "rtt"]), ["-", "-", "-"]);
    let names = ["query", "qtype", "rcode", "rtt", "answers"];
    assert_eq!(rows.cells(2, &names), ["www.example.com", "-", "0", "-", "1.2.3.4"]);
}

#[test]
fn queries_sent_again_are_paired_in_order() {
    let mut bench = Bench::new(Transport::Udp);
    for id in [1, 1, 2] {
        bench.query(&query(id));
    }
    bench.reply(&reply(2, &[]));
    bench.reply(&reply(1, &[a([1, 1, 1, 1])]));
    bench.reply(&reply(1, &[a([2, 2, 2, 2])]));
    // The third reply has no query; the next query takes it.
    bench.reply(&reply(1, &[a([3, 3, 3, 3])]));
    bench.query(&query(1));
    let rows = bench.rows();
    let all: Vec<_> =
        (0..rows.len()).map(|row| rows.cells(row, &["trans_id", "answers"])).collect();
    assert_eq!(all, [["2", "-"], ["1", "1.1.1.1"], ["1", "2.2.2.2"], ["1", "3.3.3.3"]]);
    assert_eq!(bench.finish().len(), 0);
}

#[test]
fn a_reply_without_records_is_rejected() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    bench.reply(&message(1, 0x8183, [1, 0, 0, 0], &[QUESTION]));
    bench.query(&query(2));
    bench.reply(&message(2, 0x8185, [0, 0, 0, 0], &[]));
    bench.query(&query(3));
    bench.reply(&message(3, 0x8183, [1, 0, 1, 0], &[QUESTION, &rr(POINTER, 6, 1, 1, b"")]));
    let rows = bench.finish();
    let all: Vec<_> =
        (0..3).map(|row| rows.cells(row, &["rcode_name", "rejected", "rtt"])).collect();
    assert_eq!(
        all,
        [["NXDOMAIN", "true", "-"], ["REFUSED", "true", "-"], ["NXDOMAIN", "false", "-"]]
    );
}

#[test]
fn every_type_has_zeeks_text() {
    let name = b"\x02Ns\xc0\x10";
    let mut soa = name.to_vec();
    soa.extend(b"\x05admin\xc0\x10");
    soa.extend([0; 20]);
    let mut rrsig = [0, 1, 8, 3].to_vec();
    rrsig.extend([0; 14]);
    let signed = [&rrsig[..], b"\xc0\x10", b"signature"].concat();
    let by_root = [&rrsig[..], b"\0", b"signature"].concat();
    for (rtype, data, want) in [
        (2, &name[..], "ns.example.com"),
        (5, name, "ns.example.com"),
        (12, b"\0", "-"),
        (15, b"\0\x0a\x02mx\xc0\x10", "mx.example.com"),
        (33, b"\0\x01\0\x02\0\x50\x02mx\xc0\x10", "mx.example.com"),
        (6, &soa, "ns.example.com"),
        (16, b"\x05hello\x02\xffy", "TXT 5 hello TXT 2 \\xffy"),
        (99, b"\x03abc", "SPF 3 abc"),
        (28, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", "2001:db8::1"),
        (13, b"\x01a\x01b", "-"),
        (257, b"\0\x05issueca", "-"),
        (65, b"\0\x01\0", "-"),
        (29, &[0, 18, 22, 19, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], "LOC:  18 22 19"),
        (35, b"\0\x01\0\x02\x01u\x03sip\x04!.*!\0", "NAPTR 1 2 u sip !.*!"),
        (35, b"\0\x01\0\x02\x01u\x03sip\0\x01A\0", "NAPTR 1 2 u sip A"),
        (35, b"\0\x01\0\x02\0\0\x02!!\x01A\0", "NAPTR 1 2   !! A"),
        (44, b"\x01\x01\xab\xcd", "SSHFP: abcd"),
        (46, &signed, "RRSIG 1 example.com"),
        (46, &by_root, "RRSIG 1 <Root>"),
        (48, b"\x01\x01\x03\x08key", "DNSKEY 8"),
        (43, b"\0\x01\x08\x02digest", "DS 8 2"),
        (47, b"\xc0\x10\0\x01\x40", "NSEC www.example.com example.com"),
        (50, b"\x01\0\0\x01\x01s\x01h\0\x01\x40", "NSEC3"),
        (51, b"\x01\0\0\x01\x01s", "NSEC3PARAM"),
        (65534, b"\x08\0\x01\0\x01", "BIND9 signing signal"),
        (10, b"anything", "<unknown type=10>"),
    ] {
        assert_eq!(shown(rtype, data), want, "type {rtype}");
    }
}

#[test]
fn dynamic_updates_show_what_changes() {
    let zone = b"\x07example\x03com\0\0\x06\0\x01";
    let host = b"\x01h\xc0\x0c";
    let records = [
        rr(host, 255, 254, 0, b""),
        rr(host, 255, 255, 0, b""),
        rr(host, 1, 254, 0, b""),
        rr(host, 28, 255, 0, b""),
        rr(host, 255, 255, 0, b""),
        rr(host, 1, 255, 0, b""),
        rr(host, 1, 1, 60, &[1, 2, 3, 4]),
        rr(host, 28, 1, 60, &[0; 16]),
    ];
    let mut all = vec![&zone[..]];
    all.extend(records.iter().map(|record| &record[..]));
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&message(1, 0x2800, [1, 4, 4, 0], &all));
    bench.reply(&message(1, 0xa800, [1, 4, 4, 0], &all));
    let rows = bench.finish();
    assert_eq!(
        rows.cell(0, "answers").split('|').collect::<Vec<_>>(),
        [
            "pre: NameNotInUse h.example.com",
            "pre: NameInUse h.example.com",
            "pre: NoRRSet A h.example.com",
            "pre: RRSetExists AAAA h.example.com",
            "del: RRSet * h.example.com",
            "del: RRSet A",
            "add: A h.example.com 1.2.3.4",
            "add: AAAA h.example.com ::",
        ]
    );
    assert_eq!(rows.cells(0, &["opcode_name", "qtype"]), ["dynamic-update", "-"]);
}

#[test]
fn netbios_names_are_decoded() {
    let question = b"\x20FHEPFCELEHFCEPFFFACACACACACACABL\0\0\x20\0\x01";
    let mut bench = Bench::between(Transport::Udp, ("10.0.0.1", 137), ("10.0.0.255", 137));
    bench.query(&message(1, 0x0110, [1, 0, 0, 0], &[question]));
    let status = b"\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0\0\x21\0\x01";
    bench.query(&message(2, 0x0000, [1, 0, 0, 0], &[status]));
    let rows = bench.finish();
    assert_eq!(
        rows.cells(0, &["query", "qtype_name", "opcode_name", "Z"]),
        ["WORKGROUP", "NIMLOC", "netbios-query", "1"]
    );
    assert_eq!(rows.cells(1, &["query", "qtype_name"]), ["*", "NBSTAT"]);
}

#[test]
fn a_reply_that_comes_first_turns_the_flow() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&reply(1, &[a([1, 2, 3, 4])]));
    let rows = bench.finish();
    assert_eq!(rows.cells(0, &["id.orig_h", "id.orig_p"]), ["10.0.0.2", "53"]);
    assert_eq!(rows.cells(0, &["id.resp_h", "id.resp_p"]), ["10.0.0.1", "40000"]);
    // Several messages in one segment: the engine turns the flow only after them.
    let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut bench = Bench::new(Transport::Tcp);
    bench.query(&[framed(&reply(1, &[])), framed(&query(1))].concat());
    assert_eq!(bench.finish().cell(0, "id.orig_h"), "10.0.0.2");
    let mut bench = Bench::between(Transport::Udp, ("10.0.0.1", 5353), ("224.0.0.251", 5353));
    bench.query(&reply(0, &[a([1, 2, 3, 4])]));
    assert_eq!(bench.finish().cell(0, "id.orig_h"), "10.0.0.1");
}

#[test]
fn oddities_have_zeeks_names() {
    let forward = message(1, 0x0100, [1, 0, 0, 0], &[b"\xc0\x20\0\x01\0\x01"]);
    let cut = message(1, 0x0100, [1, 0, 0, 0], &[b"\x03www\0\0"]);
    let past = message(1, 0x0100, [1, 0, 0, 0], &[b"\x30www"]);
    let long = message(1, 0x0100, [1, 0, 0, 0], &[b"\x41", &[b'x'; 80]]);
    let many: Vec<u8> = [63u8].iter().copied().chain([b'y'; 63]).collect();
    let too_long = message(1, 0x0100, [1, 0, 0, 0], &[&many.repeat(9), b"\0\0\x01\0\x01"]);
    for (bytes, want) in [
        (b"short".to_vec(), &["DNS_truncated_len_lt_hdr_len"][..]),
        (message(1, 0x1800, [0; 4], &[]), &["DNS_unknown_opcode"]),
        (forward, &["DNS_label_forward_compress_offset"]),
        (cut, &["DNS_truncated_quest_too_short"]),
        (past, &["DNS_label_len_gt_pkt", "DNS_truncated_quest_too_short"]),
        (long, &["DNS_label_too_long"]),
        (too_long, &["DNS_label_len_gt_name_len", "DNS_NAME_too_long"]),
        (message(1, 0x0100, [26, 0, 0, 0], &[]), &["DNS_Conn_count_too_large"]),
        (reply(1, &[rr(POINTER, 1, 1, 1, b"123")]), &["DNS_RR_bad_length"]),
        (reply(1, &[rr(POINTER, 10, 1, 1, b"1")]), &["DNS_RR_unknown_type"]),
        (reply(1, &[rr(POINTER, 16, 1, 1, b"\x09short")]), &["DNS_TXT_char_str_past_rdlen"]),
        (message(1, 0x2800, [2, 0, 0, 0], &[]), &["DNS_DU_invalid_zone_count"]),
    ] {
        let mut bench = Bench::new(Transport::Udp);
        bench.reply(&bytes);
        assert_eq!(bench.weirds, want);
        assert_eq!(bench.gave_up, want == ["DNS_unknown_opcode"]);
    }
}

#[test]
fn a_chain_of_pointers_ends() {
    // The data of a TXT record holds pointers, each to the one before it; the next record's name
    // points to the last of them.
    let first = 23;
    let pointers: Vec<u8> =
        (0..30u8).flat_map(|i| [0xc0, if i == 0 { 12 } else { first + 2 * (i - 1) }]).collect();
    let chain = rr(b"\0", 16, 1, 0, &pointers);
    let at_last = [0xc0, first + 58];
    let last = rr(&at_last, 1, 1, 1, &[1, 2, 3, 4]);
    let mut bench = Bench::new(Transport::Udp);
    bench.reply(&message(1, 0x8000, [0, 2, 0, 0], &[&chain, &last]));
    // As TXT the data is malformed, so what follows is not read.
    assert_eq!(bench.weirds, ["DNS_TXT_char_str_past_rdlen"]);
    let chain = rr(b"\0", 13, 1, 0, &pointers);
    let mut bench = Bench::new(Transport::Udp);
    bench.reply(&message(1, 0x8000, [0, 2, 0, 0], &[&chain, &last]));
    assert_eq!(bench.weirds, ["DNS_max_compression_chain_depth_exceeded"]);
    assert_eq!(bench.finish().cell(0, "answers"), "1.2.3.4");
}

#[test]
fn too_many_questions_end_the_reading() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    bench.query(&message(2, 0, [26, 0, 0, 0], &[]));
    bench.reply(&reply(1, &[]));
    assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    assert_eq!(bench.finish().len(), 2);
}

#[test]
fn a_silent_flow_ends() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    let first = bench.now;
    assert_eq!(bench.analyzer.deadline(), Some(first + SESSION_TIMEOUT));
    bench.now += 5_000_000;
    bench.query(&query(2));
    bench.now = first + SESSION_TIMEOUT;
    bench.call(|analyzer, cx| analyzer.expire(cx));
    assert!(!bench.over);
    assert_eq!(bench.analyzer.deadline(), Some(first + 2 * SESSION_TIMEOUT));
    bench.now += SESSION_TIMEOUT;
    bench.call(|analyzer, cx| analyzer.expire(cx));
    assert!(bench.over);
    assert_eq!(bench.analyzer.deadline(), None);
    assert_eq!(bench.finish().len(), 2);
}
