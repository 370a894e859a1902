//! Networks that count as local (Zeek's `Site::local_nets`).

use std::net::{IpAddr, Ipv6Addr};

/// A set of networks.
#[derive(Debug, Clone, Default)]
pub struct Nets {
    /// Address bits and prefix length; IPv4 in the low 32 bits.
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
}

/// Address space that the Internet does not route, from IANA's special-purpose registries; the same
/// blocks as Zeek's `Site::private_address_space`. The IPv4 ones count as 6to4 too.
const PRIVATE_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/24",
    "239.0.0.0/8",
    "240.0.0.0/4",
    "255.255.255.255/32",
];
const PRIVATE_V6: &[&str] = &[
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:2::/48",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
];

impl Nets {
    /// The private address space.
    pub fn private() -> Nets {
        let mut nets = Nets::default();
        for text in PRIVATE_V4.iter().chain(PRIVATE_V6) {
            // The tables are constants that the test below walks.
            let _ = nets.add(text);
        }
        for (bits, len) in nets.v4.clone() {
            nets.v6.push(((0x2002u128 << 112) | (u128::from(bits) << 80), len + 16));
        }
        nets
    }

    /// Adds a network such as `10.0.0.0/8`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let wrong = || format!("`{text}` is no network; write one as 10.0.0.0/8 or fd00::/8");
        let (ip, len) = text.split_once('/').ok_or_else(wrong)?;
        let len: u8 = len.parse().map_err(|_| wrong())?;
        match ip.parse().map_err(|_| wrong())? {
            IpAddr::V4(ip) if len <= 32 => self.v4.push((u32::from(ip), len)),
            IpAddr::V6(ip) if len <= 128 => self.v6.push((u128::from(ip), len)),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Whether the set is empty: then `local_orig` and `local_resp` are unset.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of the networks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => {
                let bits = u32::from(ip);
                self.v4.iter().any(|(net, len)| (bits ^ net).leading_zeros() >= u32::from(*len))
            }
            IpAddr::V6(ip) => self.contains_v6(ip),
        }
    }

    fn contains_v6(&self, ip: Ipv6Addr) -> bool {
        let bits = u128::from(ip);
        self.v6.iter().any(|(net, len)| (bits ^ net).leading_zeros() >= u32::from(*len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_space() {
        let nets = Nets::private();
        assert_eq!(nets.v4.len(), PRIVATE_V4.len());
        assert_eq!(nets.v6.len(), PRIVATE_V6.len() + PRIVATE_V4.len());
        for ip in ["10.1.2.3", "172.31.255.255", "fe80::1", "2002:a01::1", "255.255.255.255"] {
            assert!(nets.contains(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.0", "2a00::1", "ff02::1", "224.0.1.1"] {
            assert!(!nets.contains(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn bad_networks_are_named() {
        let mut nets = Nets::default();
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(nets.add(text).unwrap_err().contains(text));
        }
    }
}
