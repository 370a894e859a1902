//! Ports of servers: what Zeek's analyzers register (`likely_server_ports`). They decide who is the
//! originator of a flow whose beginning was not seen.

/// TCP, by protocol: dce-rpc, dnp3, dns, finger, ftp, http, imap, irc, krb, ldap, modbus, mqtt, mysql,
/// postgresql, rdp, redis, smb, smtp, socks, ssh, ssl, syslog, xmpp.
const TCP: &[u16] = &[
    135, 20000, 53, 79, 21, 2811, 80, 81, 631, 1080, 3128, 8000, 8080, 8888, 143, 6666, 6667, 6668,
    6669, 88, 389, 3268, 502, 1883, 1434, 3306, 5432, 3389, 6379, 139, 445, 25, 587, 22, 443, 465,
    563, 585, 614, 636, 989, 990, 992, 993, 995, 5223, 514, 5222, 5269,
];

/// UDP, by protocol: ayiya, dhcp, dnp3, dns, dtls, geneve, gtpv1, krb, ldap, ntp, radius, rdpeudp,
/// sip, snmp, syslog, teredo, vxlan, gre.
const UDP: &[u16] = &[
    5072, 67, 4011, 20000, 53, 137, 5353, 5355, 443, 6081, 2152, 2123, 88, 389, 123, 1812, 3389,
    5060, 161, 162, 514, 3544, 4789, 4754,
];

/// Two sets of ports as bits, for a look-up per new flow.
#[derive(Debug)]
pub struct Ports {
    tcp: Box<[u64; 1024]>,
    udp: Box<[u64; 1024]>,
}

impl Default for Ports {
    fn default() -> Ports {
        let mut ports = Ports { tcp: Box::new([0; 1024]), udp: Box::new([0; 1024]) };
        for port in TCP {
            ports.tcp[usize::from(*port) / 64] |= 1 << (port % 64);
        }
        for port in UDP {
            ports.udp[usize::from(*port) / 64] |= 1 << (port % 64);
        }
        ports
    }
}

impl Ports {
    /// Whether a TCP server is likely behind this port.
    pub fn tcp(&self, port: u16) -> bool {
        self.tcp[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }

    /// Whether a UDP server is likely behind this port.
    pub fn udp(&self, port: u16) -> bool {
        self.udp[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_all_analyzers_are_servers() {
        let ports = Ports::default();
        for kind in crate::analyzer::ALL {
            assert!(kind.tcp_ports.iter().all(|port| ports.tcp(*port)), "{}", kind.name);
            assert!(kind.udp_ports.iter().all(|port| ports.udp(*port)), "{}", kind.name);
        }
        assert!(!ports.tcp(40_000) && !ports.udp(68));
    }
}
