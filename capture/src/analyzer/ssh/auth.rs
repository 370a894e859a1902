//! Whether a login worked, told by the lengths of encrypted packets (Zeek's `SSH.cc`).
//!
//! What the server says while somebody logs in has few lengths: that it will hear of a login (24 bytes
//! before encryption), that one failed (always the same methods are left, so always as long), that one
//! worked (16 bytes shorter than the first). Errs on the side of silence.

use super::Dir;

/// By how much the word that a login worked is shorter than that logins are heard.
const SUCCESS_IS_SHORTER: usize = 16;

/// A first answer longer by more than this has a banner of the site in it.
const BANNER_IS_LONGER: usize = 256;

/// What was seen of a login so far.
#[derive(Debug, Default)]
pub struct Auth {
    client_spoke: bool,
    banner_skipped: bool,
    /// Lengths of the server's answers: logins are heard, one failed.
    accept: Option<usize>,
    failure: Option<usize>,
    /// Somebody is in: lengths say nothing more.
    pub decided: bool,
}

impl Auth {
    /// A segment of encrypted bytes; whether a login worked, where it tells.
    pub fn segment(&mut self, dir: Dir, len: usize) -> Option<bool> {
        if self.decided {
            return None;
        }
        if dir == Dir::Orig {
            self.client_spoke = true;
            return None;
        }
        if !self.client_spoke {
            return None;
        }
        let Some(accept) = self.accept else {
            self.accept = Some(len);
            return None;
        };
        let worked = len + SUCCESS_IS_SHORTER == accept;
        match self.failure {
            Some(failure) if len == failure => return Some(false),
            _ if worked => {
                self.decided = true;
                return Some(true);
            }
            Some(_) => {}
            None if !self.banner_skipped && len > accept + BANNER_IS_LONGER => {
                self.banner_skipped = true;
            }
            None => self.failure = Some(len),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lens: &[usize]) -> Vec<bool> {
        let mut auth = Auth::default();
        auth.segment(Dir::Orig, 52);
        lens.iter().filter_map(|len| auth.segment(Dir::Resp, *len)).collect()
    }

    #[test]
    fn lengths_tell() {
        // Logins without anything to show; a first failure is only the measure.
        assert_eq!(told(&[52, 36]), [true]);
        assert_eq!(told(&[52, 84, 84, 84, 36, 84, 36]), [false, false, true]);
        assert_eq!(told(&[52, 84, 36]), [true]);
        assert!(told(&[52, 84, 100]).is_empty());
    }

    #[test]
    fn a_banner_is_passed_over_once() {
        assert_eq!(told(&[52, 400, 84, 84]), [false]);
        assert_eq!(told(&[52, 400, 400, 400, 84]), [false]);
    }

    #[test]
    fn the_client_must_have_spoken() {
        let mut auth = Auth::default();
        assert_eq!(auth.segment(Dir::Resp, 36), None);
        auth.segment(Dir::Orig, 52);
        assert_eq!([52, 36].map(|len| auth.segment(Dir::Resp, len)), [None, Some(true)]);
    }
}
