//! Certificates that were read lately. Servers show the same ones, and those of the same authorities, again and
//! again; to read one costs as much as some hundred packets.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Certificate;

/// Certificates that are kept; above it all are forgotten, and read again where they come again.
pub(super) const KEPT_MAX: usize = 1024;
/// Longest one that is kept, bytes. With what was read of it one takes at most some four times as much: 16 MB.
pub(super) const LEN_MAX: usize = 4096;

/// By their bytes, under a hash with a random key.
#[derive(Debug, Default)]
pub struct Cache {
    read: HashMap<Box<[u8]>, Arc<Certificate>, RandomState>,
}

impl Cache {
    /// As [`Certificate::parse`]: whether it was read before makes no difference but in time.
    pub fn parse(&mut self, bytes: &[u8]) -> Option<Arc<Certificate>> {
        if let Some(known) = self.read.get(bytes) {
            return Some(known.clone());
        }
        let certificate = Arc::new(Certificate::parse(bytes)?);
        if bytes.len() <= LEN_MAX {
            if self.read.len() >= KEPT_MAX {
                self.read.clear();
            }
            self.read.insert(bytes.into(), certificate.clone());
        }
        Some(certificate)
    }

    /// Certificates kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.read.len()
    }
}
