//! Which addresses are local (Zeek `base/utils/site.zeek`).

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    v6: bool,
    bits: u128,
    length: u32,
}

/// What is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetError(String);

impl std::fmt::Display for NetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is no network like 10.0.0.0/8 or fc00::/7", self.0)
    }
}

impl std::error::Error for NetError {}

impl Net {
    /// The network of `length` leading bits around `ip`; a longer length is the address itself.
    pub fn new(ip: IpAddr, length: u32) -> Net {
        let (v6, bits, width) = spread(ip);
        Net { v6, bits, length: length.min(width) }
    }

    /// Whether `ip` lies in it. An IPv4 address never lies in an IPv6 network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (v6, bits, _) = spread(ip);
        v6 == self.v6 && (self.length == 0 || (bits ^ self.bits) >> (128 - self.length) == 0)
    }
}

/// Family, the address in the highest bits, and how many there are.
fn spread(ip: IpAddr) -> (bool, u128, u32) {
    match ip {
        IpAddr::V4(v4) => (false, u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (true, u128::from(v6), 128),
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Net, NetError> {
        let wrong = || NetError(text.to_owned());
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().ok().filter(|l| *l <= width).ok_or_else(wrong)?,
            None => width,
        };
        Ok(Net::new(ip, length))
    }
}

/// IPv4 blocks that IANA does not route: Zeek's `Site::private_address_space`.
const PRIVATE_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 24),
    ([239, 0, 0, 0], 8),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// IPv6 blocks of the same kind; Zeek's 6to4 forms of the IPv4 blocks are left out.
const PRIVATE_V6: &[(u128, u32)] = &[
    (0, 128),
    (1, 128),
    (0x0064_ff9b_0001 << 80, 48),
    (0x0100 << 112, 64),
    (0x2001 << 112, 23),
    (0x2001_0db8 << 96, 32),
    (0xfc00 << 112, 7),
    (0xfe80 << 112, 10),
    (0xfec0 << 112, 10),
];

/// What is known of the network that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Networks that are ours.
    pub local: Vec<Net>,
}

impl Default for Site {
    /// The private address space.
    fn default() -> Site {
        let v4 = PRIVATE_V4.iter().map(|(ip, length)| Net::new(IpAddr::from(*ip), *length));
        let v6 = PRIVATE_V6
            .iter()
            .map(|(bits, length)| Net::new(IpAddr::V6(Ipv6Addr::from(*bits)), *length));
        Site { local: v4.chain(v6).collect() }
    }
}

impl Site {
    /// Whether the address is one of ours.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.local.iter().any(|net| net.contains(ip))
    }

    /// The same of an address as text; what is none is not local.
    pub fn has(&self, host: &str) -> bool {
        host.parse().is_ok_and(|ip| self.is_local(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_space_is_local_by_default() {
        let site = Site::default();
        for local in ["10.0.0.66", "172.31.255.255", "192.168.1.1", "fe80::1", "fd00::1", "::1"] {
            assert!(site.is_local(ip(local)), "{local}");
        }
        for remote in ["8.8.8.8", "172.32.0.1", "2600::1", "::ffff:8.8.8.8", "11.0.0.0"] {
            assert!(!site.is_local(ip(remote)), "{remote}");
        }
    }

    #[test]
    fn networks_are_read_and_refused() {
        let net: Net = "10.1.0.0/16".parse().unwrap();
        assert!(net.contains(ip("10.1.2.3")) && !net.contains(ip("10.2.0.0")));
        assert!("::/0".parse::<Net>().unwrap().contains(ip("::1")));
        assert!(!"::/0".parse::<Net>().unwrap().contains(ip("1.2.3.4")));
        assert!("1.2.3.4".parse::<Net>().unwrap().contains(ip("1.2.3.4")));
        for wrong in ["10.0.0.0/33", "x", "10.0.0/8", "10.0.0.0/", "::/129", ""] {
            assert!(wrong.parse::<Net>().is_err(), "{wrong}");
        }
    }
}
