//! The identity of a file input, by content: the same capture under another name is the same
//! source, another capture under the same name is not.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SourceError;

/// How much of a file's start is hashed, bytes.
const HEAD: u64 = 1 << 20;
/// How much of its end, bytes: tells a capture from the same one after more was written to it.
const TAIL: u64 = 64 << 10;
/// Hex digits kept. 64 bits tell apart all captures that one cluster will ever read.
const DIGITS: usize = 16;

/// Hashes size, start and end of each file, in the order given. Sixteen hex digits. Standard
/// input and pipes have none: reading them for it would use them up.
pub fn fingerprint(paths: &[PathBuf]) -> Result<String, SourceError> {
    let mut hash = Sha256::new();
    for path in paths {
        let name = || path.display().to_string();
        let about =
            std::fs::metadata(path).map_err(|error| SourceError::Open { name: name(), error })?;
        if !about.is_file() {
            return Err(SourceError::NotRegular { name: name() });
        }
        add(&mut hash, path, about.len()).map_err(|error| SourceError::Read {
            name: name(),
            offset: 0,
            error,
        })?;
    }
    let mut digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    Ok(digits)
}

fn add(hash: &mut Sha256, path: &Path, size: u64) -> io::Result<()> {
    hash.update(size.to_le_bytes());
    let mut file = File::open(path)?;
    let mut part = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut part)?;
    hash.update(&part);
    part.clear();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    file.take(TAIL).read_to_end(&mut part)?;
    hash.update(&part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_counts_and_names_do_not() {
        let dir = std::env::temp_dir().join(format!("weir-fingerprint-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (one, two, three) = (dir.join("one"), dir.join("two"), dir.join("three"));
        std::fs::write(&one, b"abc").unwrap();
        std::fs::write(&two, b"abc").unwrap();
        std::fs::write(&three, b"abd").unwrap();
        let of = |paths: &[&PathBuf]| {
            fingerprint(&paths.iter().map(|&path| path.clone()).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(of(&[&one]), of(&[&two]));
        assert_ne!(of(&[&one]), of(&[&three]));
        assert_ne!(of(&[&one, &three]), of(&[&three, &one]));
        assert_eq!(of(&[&one]).len(), DIGITS);
        assert!(matches!(
            fingerprint(std::slice::from_ref(&dir)),
            Err(SourceError::NotRegular { .. })
        ));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
