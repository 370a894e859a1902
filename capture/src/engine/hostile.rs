//! Traffic that is meant to fill the engine or to drive it mad: limits hold, and are counted.

use super::*;
use crate::source::Link;

/// Flows held at once in these tests.
const FLOWS_MAX: usize = 640;

fn engine() -> Engine {
    let config = Config { flows_max: FLOWS_MAX, ignore_checksums: true, ..Config::new("hostile") };
    Engine::new(Arc::new(config), 0, 1)
}

fn ip4(proto: u8, src: [u8; 4], dst: [u8; 4], id: u16, fragment: u16, body: &[u8]) -> Vec<u8> {
    let len = (20 + body.len()) as u16;
    let mut ip = vec![0x45, 0];
    for half in [len, id, fragment] {
        ip.extend(half.to_be_bytes());
    }
    ip.extend([64, proto, 0, 0]);
    ip.extend(src);
    ip.extend(dst);
    ip.extend(body);
    ip
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut tcp = [from.to_be_bytes(), to.to_be_bytes()].concat();
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    tcp
}

fn send(engine: &mut Engine, ts_us: i64, data: &[u8]) {
    engine.packet(&Packet { ts_us, link: Link::Raw, wire_len: data.len() as u32, data });
}

/// Rows by stream, at the end.
fn rows(engine: &mut Engine) -> BTreeMap<&'static str, usize> {
    engine.finish();
    engine.out().take("n").iter().map(|rows| (rows.def.name, rows.marks.len())).collect()
}

fn host(n: u32) -> [u8; 4] {
    [10, (n >> 16) as u8, (n >> 8) as u8, n as u8]
}

#[test]
fn a_flood_of_syns_holds_the_limit_and_loses_no_row() {
    let mut engine = engine();
    for n in 0..20_000 {
        send(&mut engine, i64::from(n), &ip4(6, host(n), [192, 168, 0, 1], 1, 0, &tcp(9, 80, 2)));
        assert!(engine.open_flows() <= FLOWS_MAX);
    }
    let counters = engine.counters();
    assert_eq!(counters.flows, 20_000);
    assert_eq!(counters.evicted + engine.open_flows() as u64, 20_000);
    assert_eq!(rows(&mut engine)["conn"], 20_000);
}

#[test]
fn a_flood_of_first_fragments_makes_no_flow() {
    let mut engine = engine();
    for n in 0..20_000u32 {
        send(
            &mut engine,
            i64::from(n),
            &ip4(17, host(n), [192, 168, 0, 1], n as u16, 0x2000, &[7; 64]),
        );
    }
    assert_eq!((engine.open_flows(), engine.counters().fragments), (0, 20_000));
    let held: usize = engine.fragments.values().map(Reassembler::len).sum();
    assert!(engine.fragments.len() <= SHARDS as usize && held <= 512 * SHARDS as usize, "{held}");
}

#[test]
fn packets_within_packets_end_at_the_depth_of_tunnels() {
    let mut engine = engine();
    let mut packet = tcp(9, 80, 2);
    packet = ip4(6, [10, 0, 0, 1], [10, 0, 0, 2], 1, 0, &packet);
    for n in 0..200 {
        packet = ip4(4, host(n), host(n + 1), 1, 0, &packet);
    }
    send(&mut engine, 0, &packet);
    let (batch, _) = engine.out().weird.finish("n");
    let names = model::read::text(&batch, "name").expect("a column");
    let names: Vec<&str> = (0..batch.num_rows()).map(|row| names.value(row)).collect();
    assert!(names.iter().any(|name| name.starts_with("exceeded_tunnel_max_depth")), "{names:?}");
    assert!(names.len() <= crate::tunnel::DEPTH_MAX);
}

#[test]
fn headers_within_headers_end() {
    let mut engine = engine();
    // Hop-by-hop options behind each other, which name themselves as the next header.
    let mut packet = vec![0x60, 0, 0, 0, 0x1f, 0x40, 0, 64];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(2));
    packet.extend([0, 0, 1, 4, 0, 0, 0, 0].repeat(1000));
    for at in 0..100 {
        send(&mut engine, at, &packet);
    }
    // The header at which reading stopped is of no transport: all are one flow of another protocol.
    assert_eq!((engine.counters().in_flows, engine.counters().flows), (100, 1));
    assert_eq!(rows(&mut engine)["conn"], 1);
}

#[test]
fn the_same_oddity_of_the_same_hosts_is_one_row() {
    let mut engine = engine();
    for at in 0..5000 {
        // An IP header that is longer than the packet.
        let mut packet = ip4(6, [10, 0, 0, 1], [10, 0, 0, 2], 1, 0, &[]);
        packet[0] = 0x4f;
        send(&mut engine, at, &packet);
    }
    assert!(engine.counters().weirds_held >= 4990);
    assert!(rows(&mut engine)["weird"] <= 3);
}

#[test]
fn time_that_jumps_is_walked_in_one_step() {
    let mut engine = engine();
    let syn = ip4(6, [10, 0, 0, 1], [10, 0, 0, 2], 1, 0, &tcp(9, 80, 2));
    // The latest time that a source gives; the earliest is 0.
    let far = 253_402_300_799_999_999;
    let began = std::time::Instant::now();
    for n in 0..2000 {
        send(&mut engine, if n % 2 == 0 { n } else { far - 2000 + n }, &syn);
    }
    assert!(began.elapsed().as_secs() < 20);
    assert!(rows(&mut engine)["conn"] >= 2);
}

/// One IPv6 packet through an engine that checks checksums.
fn one_ip6(header: &[u8; 8], rest: &[u8]) -> Engine {
    let mut engine = Engine::new(Arc::new(Config::new("hostile")), 0, 1);
    let packet = [&header[..], &[7; 32], rest].concat();
    send(&mut engine, 0, &packet);
    engine
}

#[test]
fn a_mobility_header_has_a_checksum() {
    let packet = [59, 0, 1, 0, 0, 1, 0, 0];
    let mut engine = one_ip6(&[0x60, 0, 0, 0, 0, 8, 135, 64], &packet);
    assert_eq!(engine.counters().bad_checksums, 1);
    let (batch, _) = engine.out().weird.finish("n");
    let names = model::read::text(&batch, "name").expect("a column");
    assert_eq!((batch.num_rows(), names.value(0)), (1, "bad_MH_checksum"));
}

#[test]
fn a_length_of_zero_counts_as_the_header_has_it() {
    let mut engine = one_ip6(&[0x60, 0, 0, 0, 0, 0, 99, 64], &[0; 14]);
    engine.finish();
    let (batch, _) = engine.out().conn.finish("n");
    let bytes = model::read::count(&batch, "orig_ip_bytes").expect("a column");
    assert_eq!((batch.num_rows(), bytes.value(0)), (1, 40));
}
