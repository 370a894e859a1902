//! IP in IP (RFC 2003, RFC 2473, RFC 4213), as Zeek's `IPTunnel` analyzer opens it.

use super::Oddity;
use crate::decode::proto;

/// The source of its weirds.
const SOURCE: &str = "IPTUNNEL";
/// The tunnels around are as many as are followed.
pub const TOO_DEEP: Oddity = Oddity::new("exceeded_tunnel_max_depth", SOURCE);

/// How an inner packet fails Zeek's `IP::ParsePacket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It is not of the version that was announced.
    Version,
    /// It is longer than what was captured of it.
    Short,
    /// It ends before the bytes do.
    Long,
}

impl Misfit {
    /// The weird that an IP tunnel raises for it.
    pub fn oddity(self) -> Oddity {
        let name = match self {
            Misfit::Version => "invalid_inner_IP_version",
            Misfit::Short => "truncated_inner_IP",
            Misfit::Long => "inner_IP_payload_length_mismatch",
        };
        Oddity::new(name, SOURCE)
    }
}

/// Whether `bytes` are exactly one packet of the version that the protocol number stands for
/// (`IP::ParsePacket`).
pub fn fits(proto: u8, bytes: &[u8]) -> Result<(), Misfit> {
    let (version, total) = match (proto, bytes) {
        // Zeek says so of a short IPv4 header only.
        (proto::IPV4, _) if bytes.len() < 20 => return Err(Misfit::Version),
        (proto::IPV6, _) if bytes.len() < 40 => return Err(Misfit::Short),
        (proto::IPV4, [first, _, high, low, ..]) => {
            (*first >> 4 == 4, usize::from(u16::from_be_bytes([*high, *low])))
        }
        (proto::IPV6, [first, _, _, _, high, low, ..]) => {
            (*first >> 4 == 6, usize::from(u16::from_be_bytes([*high, *low])) + 40)
        }
        _ => return Err(Misfit::Version),
    };
    if !version {
        return Err(Misfit::Version);
    }
    match bytes.len().cmp(&total) {
        std::cmp::Ordering::Less => Err(Misfit::Short),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Misfit::Long),
    }
}
