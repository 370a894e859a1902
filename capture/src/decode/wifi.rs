//! Wi-Fi: IEEE 802.11 data frames with or without a radiotap header, and aggregates of several packets (A-MSDU).

use super::bytes::array_at;
use super::link::{Layer, Walk, ethertype};
use super::{Decoded, Decoder, Undecodable, Weird};

/// Header of a data frame with three addresses, bytes (IEEE 802.11 section 9.3.2.1).
const HEADER: usize = 24;
/// The fourth address, between access points.
const FOURTH_ADDRESS: usize = 6;
/// QoS control, of which the highest bit says that this is an aggregate.
const QOS: usize = 2;
/// Header of one packet of an aggregate: two addresses and a length.
const SUBFRAME: usize = 14;

impl Walk<'_> {
    /// What the driver says of the reception; its length is little-endian, as all of it.
    pub(super) fn radiotap(&mut self) -> Result<Layer, Weird> {
        let short = Weird::TruncatedRadiotap;
        let len = array_at(self.rest, 2).map(u16::from_le_bytes).ok_or(short)?;
        self.skip_more_than(usize::from(len), short)?;
        Ok(Layer::Wifi)
    }

    /// Only frames with data, and of these those that are not encrypted, lead on.
    pub(super) fn wifi(&mut self) -> Result<Layer, Weird> {
        let short = Weird::TruncatedWifi;
        if self.rest.len() <= HEADER {
            return Err(short);
        }
        let [control, flags] = array_at::<2>(self.rest, 0).ok_or(short)?;
        let (is_data, is_empty) = (control & 0x08 != 0, control & 0x40 != 0);
        if !is_data || is_empty {
            return Ok(Layer::Other(0));
        }
        let mut len = HEADER;
        if flags & 0x03 == 0x03 {
            len += FOURTH_ADDRESS;
        }
        let qos = *self.rest.get(len).ok_or(short)?;
        let has_qos = control & 0x80 != 0;
        if has_qos {
            if flags & 0x40 != 0 {
                return Ok(Layer::Other(0));
            }
            len += QOS;
        }
        self.skip_more_than(len, short)?;
        if has_qos && qos & 0x80 != 0 {
            return Ok(Layer::Aggregate);
        }
        self.wifi_llc()
    }

    /// 802.2 with SNAP and an EtherType; anything else is of no interest.
    fn wifi_llc(&mut self) -> Result<Layer, Weird> {
        let head = array_at::<8>(self.rest, 0).ok_or(Weird::TruncatedWifiLlc)?;
        self.skip(8);
        let [0xaa, 0xaa, 3, 0, 0, 0, high, low] = head else { return Ok(Layer::Other(0)) };
        Ok(match u16::from_be_bytes([high, low]) {
            ethertype::IPV4 | ethertype::IPV6 => Layer::Ip,
            other => Layer::Other(other),
        })
    }
}

/// The packets of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Aggregate<'a> {
    pub(super) decoder: Decoder,
    pub(super) walk: Walk<'a>,
    pub(super) wire_len: u32,
}

impl<'a> Iterator for Aggregate<'a> {
    type Item = Result<Decoded<'a>, Undecodable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.rest.is_empty() {
            return None;
        }
        let one = self.subframe();
        // Like Zeek: nothing behind a packet that cannot be read.
        if !matches!(one, Ok(Decoded::Ip(_))) {
            self.walk.rest = &[];
        }
        Some(one)
    }
}

impl<'a> Aggregate<'a> {
    fn subframe(&mut self) -> Result<Decoded<'a>, Undecodable> {
        let short = Weird::TruncatedSubframe;
        let len = array_at(self.walk.rest, SUBFRAME - 2).map(u16::from_be_bytes).ok_or(short)?;
        let len = usize::from(len);
        self.walk.skip(SUBFRAME);
        let mut one = self.walk;
        one.rest = one.rest.get(..len).ok_or(Weird::TruncatedSubframePacket)?;
        self.walk.skip(len);
        // Zeek takes the rest of the division for the padding.
        self.walk.skip((len % 4).min(self.walk.rest.len()));
        let found = one.wifi_llc();
        let bad = Weird::InvalidSubframe;
        match self.decoder.network(one, found, self.wire_len) {
            Ok(Decoded::NotIp { ethertype, mut weirds }) => {
                weirds.insert(bad);
                Ok(Decoded::NotIp { ethertype, weirds })
            }
            Err(mut broken) => {
                broken.also.insert(bad);
                Err(broken)
            }
            ip => ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Link;

    const WIFI: Link = Link::Other(105);

    /// An IPv4 packet without payload.
    fn packet(last: u8) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 20, 0, 1, 0, 0, 64, 99, 0, 0];
        ip.extend([10, 0, 0, 1, 10, 0, 0, last]);
        ip
    }

    fn snap(payload: &[u8]) -> Vec<u8> {
        [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], payload].concat()
    }

    /// A frame of data with these first two bytes.
    fn frame(control: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        [&[control, flags][..], &[0; 22], rest].concat()
    }

    fn decode(link: Link, frame: &[u8]) -> Result<Decoded<'_>, Undecodable> {
        Decoder::default().decode(link, frame.len() as u32, frame)
    }

    fn last_octets(decoded: Result<Decoded<'_>, Undecodable>) -> Vec<String> {
        let tell = |one: Result<Decoded<'_>, Undecodable>| match one {
            Ok(Decoded::Ip(ip)) => ip.dst.to_string(),
            Ok(Decoded::NotIp { weirds, .. }) => format!("{weirds:?}"),
            Err(broken) => broken.reason.to_string(),
            Ok(Decoded::Aggregate(_)) => "one in another".to_owned(),
        };
        match decoded {
            Ok(Decoded::Aggregate(several)) => several.map(tell).collect(),
            one => vec![tell(one)],
        }
    }

    #[test]
    fn data_frames_lead_to_their_packet() {
        let plain = frame(0x08, 0x01, &snap(&packet(2)));
        assert_eq!(last_octets(decode(WIFI, &plain)), ["10.0.0.2"]);
        let radiotap = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &plain].concat();
        assert_eq!(last_octets(decode(Link::Other(127), &radiotap)), ["10.0.0.2"]);
        let four_and_qos = frame(0x88, 0x03, &[&[0; 6][..], &[0, 0], &snap(&packet(3))].concat());
        assert_eq!(last_octets(decode(WIFI, &four_and_qos)), ["10.0.0.3"]);
    }

    #[test]
    fn other_frames_are_passed_over_and_short_ones_are_odd() {
        let beacon = frame(0x80, 0, &[0; 40]);
        let encrypted = frame(0x88, 0x40, &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let null_data = frame(0x48, 0, &[0; 10]);
        for quiet in [beacon, encrypted, null_data] {
            assert_eq!(last_octets(decode(WIFI, &quiet)), ["{}"]);
        }
        assert_eq!(last_octets(decode(WIFI, &[8; 24])), ["truncated_802_11_header"]);
        let short = frame(0x08, 0, &[0xaa, 0xaa]);
        assert_eq!(last_octets(decode(WIFI, &short)), ["truncated_802_11_llc_header"]);
        let short = [0, 0, 9, 0, 0, 0, 0, 0];
        assert_eq!(last_octets(decode(Link::Other(127), &short)), ["truncated_radiotap_header"]);
    }

    #[test]
    fn an_aggregate_gives_all_its_packets() {
        let sub = |payload: &[u8]| [&[0; 12][..], &[0, payload.len() as u8], payload].concat();
        let mut rest = vec![0x80, 0];
        rest.extend(sub(&snap(&packet(2))));
        rest.extend(sub(&snap(&packet(3))));
        let whole = frame(0x88, 0x01, &rest);
        assert_eq!(last_octets(decode(WIFI, &whole)), ["10.0.0.2", "10.0.0.3"]);
        let cut = &whole[..whole.len() - 1];
        assert_eq!(last_octets(decode(WIFI, cut)), ["10.0.0.2", "truncated_802_11_amsdu_packet"]);
        rest.splice(2.., sub(&[7; 8]));
        let odd = last_octets(decode(WIFI, &frame(0x88, 0x01, &rest)));
        assert_eq!(odd, ["{InvalidSubframe}"]);
    }
}
