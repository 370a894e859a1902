//! What is known of one file or one share of a connection (Zeek's `SMB::FileInfo`, `SMB::TreeInfo`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use model::text;

use crate::files::FileRef;

/// What was done to a file last, as logs have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read,
    Write,
    Open,
    Close,
    Delete,
    Rename,
    Attributes,
    /// The same in a share of pipes: none of it is logged.
    Pipe,
    PrintOpen,
    PrintClose,
    /// Reads and writes of a printer.
    Print,
}

impl Action {
    /// Its name, where it is logged (Zeek's `SMB::logged_file_actions`).
    pub fn logged(self) -> Option<&'static str> {
        Some(match self {
            Action::Open => "SMB::FILE_OPEN",
            Action::Rename => "SMB::FILE_RENAME",
            Action::Delete => "SMB::FILE_DELETE",
            Action::PrintOpen => "SMB::PRINT_OPEN",
            Action::PrintClose => "SMB::PRINT_CLOSE",
            _ => return None,
        })
    }

    /// What it is in a share of this kind.
    pub fn within(self, share: &str) -> Action {
        match (share, self) {
            ("PIPE", _) => Action::Pipe,
            ("PRINT", Action::Open) => Action::PrintOpen,
            ("PRINT", Action::Close) => Action::PrintClose,
            ("PRINT", _) => Action::Print,
            _ => self,
        }
    }
}

/// Times of a file in units of 100 ns since 1601.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub created: u64,
    pub accessed: u64,
    pub modified: u64,
    pub changed: u64,
}

/// From 1601 to 1970, seconds.
const EPOCH: f64 = 11_644_473_600.0;

/// A time of the wire in microseconds since 1970. Zeek has it as a floating number of seconds since 1601 on
/// the way, which leaves about two microseconds of precision.
pub fn time(wire: u64) -> i64 {
    /// Parts of a second that hold such a number without a further loss.
    const PARTS: f64 = (1u64 << 30) as f64;
    let seconds = wire as f64 / 10_000_000.0 - EPOCH;
    let parts = (seconds * PARTS) as i128;
    ((parts * 1_000_000 + (1 << 29)) >> 30) as i64
}

/// A file.
#[derive(Debug, Default)]
pub struct File {
    /// When it was first named.
    pub ts: i64,
    pub action: Option<Action>,
    pub path: Option<String>,
    pub name: Option<String>,
    pub prev_name: Option<String>,
    pub size: u64,
    pub times: Option<Times>,
    /// Its id in files.log, once bytes of it began a file.
    pub fuid: Option<String>,
    /// The file that its bytes went to, and the id that belongs to all that is known of it now.
    pub open: FileRef,
    pub handle: Option<String>,
}

impl File {
    /// Says what is known of it anew: its bytes may belong to another file now.
    pub fn change(&mut self) {
        self.handle = None;
        self.open = FileRef::default();
    }
}

/// A share.
#[derive(Debug, Default, Clone)]
pub struct Tree {
    pub ts: i64,
    pub path: Option<String>,
    pub service: Option<String>,
    pub native: Option<String>,
    /// Its kind, `DISK` unless another is known.
    pub share: Option<Cow<'static, str>>,
}

impl Tree {
    /// Its kind.
    pub fn share(&self) -> &str {
        self.share.as_deref().unwrap_or("DISK")
    }
}

/// Files or shares by a number of their own: requests and ids point to them.
#[derive(Debug)]
pub struct Pool<T> {
    items: BTreeMap<u32, T>,
    next: u32,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { items: BTreeMap::new(), next: 0 }
    }
}

impl<T> Pool<T> {
    /// Takes one in.
    pub fn add(&mut self, item: T) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.items.insert(self.next, item);
        self.next
    }

    pub fn get(&self, at: u32) -> Option<&T> {
        self.items.get(&at)
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(&at)
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Forgets those that nothing points to.
    pub fn keep(&mut self, used: &BTreeSet<u32>) {
        self.items.retain(|at, _| used.contains(at));
    }
}

/// A text of the wire as logs have it: UTF-16 up to its end, or bytes.
pub fn name(bytes: &[u8], is_wide: bool) -> String {
    if !is_wide {
        return text::from_wire(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned();
    }
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    let units = units.take(text::CELL_BYTES_MAX);
    let chars: Result<String, _> = char::decode_utf16(units).collect();
    match chars {
        Ok(chars) => text::from_wire(chars.as_bytes()).into_owned(),
        // Zeek leaves what is no UTF-16 as it is.
        Err(_) => text::from_wire(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(name(b"a\0b\0\0\0c\0", true), "ab");
        assert_eq!(name(b"a\0b", true), "a");
        assert_eq!(name(b"\\x\0", false), "\\x");
        assert_eq!(name(b"\x00\xd8A\0", true), "\0\\xd8A\0");
    }

    #[test]
    fn times() {
        assert_eq!(time(116_444_736_000_000_000), 0);
        // As Zeek logged it: 1465811553.457747, of a number that says …746.
        assert_eq!(time(116_444_736_000_000_000 + 14_658_115_534_577_464), 1_465_811_553_457_747);
        assert_eq!(time(0), -11_644_473_600_000_000);
        assert_eq!(time(u64::MAX), 1_833_029_933_770_955_078);
    }
}
