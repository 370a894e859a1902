//! Hashes of files: which are wanted, and their states (Zeek's `file_analysis/analyzer/hash`).

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Which hashes are made of every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// MD5.
    pub md5: bool,
    /// SHA-1.
    pub sha1: bool,
    /// SHA-256.
    pub sha256: bool,
}

impl Hashes {
    /// All there are.
    pub const ALL: Hashes = Hashes { md5: true, sha1: true, sha256: true };
    /// None.
    pub const NONE: Hashes = Hashes { md5: false, sha1: false, sha256: false };

    /// By name: `md5`, `sha1`, `sha256`, or `none` by itself. The error is the name that is none.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Result<Hashes, String> {
        let mut hashes = Hashes::NONE;
        for name in names {
            match name.as_ref() {
                "md5" => hashes.md5 = true,
                "sha1" => hashes.sha1 = true,
                "sha256" => hashes.sha256 = true,
                "none" if names.len() == 1 => {}
                other => return Err(other.to_owned()),
            }
        }
        Ok(hashes)
    }

    /// Names of their analyzers in files.log.
    pub fn analyzers(self) -> impl Iterator<Item = &'static str> {
        [(self.md5, "MD5"), (self.sha1, "SHA1"), (self.sha256, "SHA256")]
            .into_iter()
            .filter_map(|(wanted, name)| wanted.then_some(name))
    }
}

/// Their states for one file.
#[derive(Debug, Clone, Default)]
pub struct Hashers {
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
}

/// In lower-case hex, those that were wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// MD5.
    pub md5: Option<String>,
    /// SHA-1.
    pub sha1: Option<String>,
    /// SHA-256.
    pub sha256: Option<String>,
}

impl Hashers {
    /// Makes them as new.
    pub fn reset(&mut self) {
        *self = Hashers::default();
    }

    /// The next bytes.
    pub fn update(&mut self, wanted: Hashes, data: &[u8]) {
        if wanted.md5 {
            self.md5.update(data);
        }
        if wanted.sha1 {
            self.sha1.update(data);
        }
        if wanted.sha256 {
            self.sha256.update(data);
        }
    }

    /// What has come out.
    pub fn finish(&mut self, wanted: Hashes) -> Digests {
        Digests {
            md5: wanted.md5.then(|| hex(&self.md5.finalize_reset())),
            sha1: wanted.sha1.then(|| hex(&self.sha1.finalize_reset())),
            sha256: wanted.sha256.then(|| hex(&self.sha256.finalize_reset())),
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// The same, behind other text. Digit by digit: `write!` takes ten times as long, and a handshake has a dozen
/// hashes.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 0xf)]);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Hashes::named(&["md5", "sha1", "sha256"]), Ok(Hashes::ALL));
        assert_eq!(Hashes::named(&["none"]), Ok(Hashes::NONE));
        assert_eq!(Hashes::named::<&str>(&[]), Ok(Hashes::NONE));
        assert_eq!(Hashes::named(&["md5", "none"]), Err("none".to_owned()));
        assert_eq!(Hashes::named(&["crc32"]), Err("crc32".to_owned()));
        let some = Hashes { sha1: false, ..Hashes::ALL };
        assert_eq!(some.analyzers().collect::<Vec<_>>(), ["MD5", "SHA256"]);
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let mut hashers = Hashers::default();
        hashers.update(Hashes::ALL, b"a");
        hashers.update(Hashes::ALL, b"bc");
        let all = hashers.finish(Hashes::ALL);
        assert_eq!(all.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(all.sha1.as_deref(), Some("a9993e364706816aba3e25717850c26c9cd0d89d"));
        assert_eq!(
            all.sha256.as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
        assert_eq!(hashers.finish(Hashes::NONE), Digests::default());
    }
}
