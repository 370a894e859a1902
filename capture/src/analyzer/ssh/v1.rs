//! The messages of SSH's version 1 that are in the clear: whether they are whole, as Zeek's
//! `ssh-protocol.pac` reads them.

use super::Malformed;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The server's keys.
    PublicKey,
    /// The client's choice: from here on all is encrypted.
    SessionKey,
}

/// A message with its checksum, without what pads it.
pub fn check(message: &[u8]) -> Result<Message, Malformed> {
    const CRC: usize = 4;
    let (kind, body) = message.split_first().ok_or(Malformed)?;
    let body = body.get(..body.len().saturating_sub(CRC)).unwrap_or_default();
    // A cookie, two keys of a size and two numbers each, three words of flags; or a cipher, the cookie, a number
    // and flags.
    let (message, before, after): (_, &[usize], _) = match kind {
        2 => (Message::PublicKey, &[12, 0, 4, 0], 12),
        3 => (Message::SessionKey, &[9], 4),
        _ => return Err(Malformed),
    };
    has_numbers(body, before, after).then_some(message).ok_or(Malformed)
}

/// Whether there are numbers (how many bits in two bytes, then they), each behind so many other bytes, and so
/// many bytes at the end.
fn has_numbers(mut bytes: &[u8], before: &[usize], after: usize) -> bool {
    for skip in before {
        let number = bytes.get(*skip..).and_then(<[u8]>::split_first_chunk::<2>);
        let Some((bits, rest)) = number else { return false };
        let len = usize::from(u16::from_be_bytes(*bits)).div_ceil(8);
        let Some(rest) = rest.get(len..) else { return false };
        bytes = rest;
    }
    bytes.len() >= after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not() {
        let key = [&[0; 8][..], &[0, 0, 4, 0], &[0, 3, 5], &[0, 9, 1, 2]].concat();
        let public = [&[2][..], &key, &key[8..], &[0; 12], &[0; 4]].concat();
        assert_eq!(check(&public).unwrap(), Message::PublicKey);
        let session = [&[3, 1][..], &[0; 8], &[0, 3, 5], &[0; 4], &[0; 4]].concat();
        assert_eq!(check(&session).unwrap(), Message::SessionKey);
        for message in [public, session] {
            assert!((0..message.len()).all(|len| check(&message[..len]).is_err()));
        }
        assert!(check(&[9; 99]).is_err());
    }
}
