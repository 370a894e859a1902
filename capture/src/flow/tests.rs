//! What tells flows apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Key, octets};

#[test]
fn keys_of_equal_bytes_are_other_flows() {
    let v4 = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
    let v6 = |n: u8| IpAddr::V6(Ipv6Addr::from(octets(v4(n))));
    let key = |realm, src, dst, proto, one_way| Key::new(realm, src, dst, proto, one_way).0;
    let keys = [
        key(0, (v4(1), 5), (v4(2), 7), 6, false),
        key(0, (v6(1), 5), (v6(2), 7), 6, false),
        key(0, (v4(1), 5), (v4(2), 7), 17, false),
        key(1, (v4(1), 5), (v4(2), 7), 6, false),
        key(0, (v4(1), 5), (v4(2), 7), 6, true),
        key(0, (v4(1), 7), (v4(2), 5), 6, false),
        key(0, (v4(1), 5), (v4(3), 7), 6, false),
    ];
    for (i, one) in keys.iter().enumerate() {
        assert_eq!(keys.iter().filter(|other| one == *other).count(), 1, "{i}");
    }
    assert_eq!(keys[0], key(0, (v4(2), 7), (v4(1), 5), 6, false));
}
