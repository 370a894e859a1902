//! Flows that another flow has announced, such as FTP's data connections (Zeek's scheduled analyzers).
//!
//! A flow that is expected is looked for in the table of its own virtual shard, and an analyzer puts what
//! it expects into that of the flow that announced it, so that the answer does not depend on the
//! number of threads. A flow announced between two other hosts is found only if they share a shard. What such
//! a flow carries is told back to the one that announced it the same way.

use std::collections::HashMap;
use std::net::IpAddr;

/// How long a flow is waited for, microseconds (five minutes in Zeek's `base/protocols/ftp/main.zeek`).
const WAIT: i64 = 300 * 1_000_000;

/// Flows that a virtual shard waits for; Zeek's `FTP::max_expected_data_channels`, 100000, by 64 shards.
const EXPECTED_MAX: usize = 1562;

/// A flow that is expected: originator, responder, responder's port; its originator's port may be any.
pub type Ends = (IpAddr, IpAddr, u16);

/// What is expected of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A data connection of FTP.
    FtpData,
    /// A file that DCC offered.
    IrcData,
}

/// A flow that is waited for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    what: What,
    /// Up to which moment.
    until: i64,
    /// The flow that announced it, by its number in the shard ([`crate::analyzer::FlowIds::order`]).
    owner: u64,
}

/// What a flow was told of a file in a flow that it announced: the file's id and type.
type File = (Option<String>, Option<&'static str>);

/// What one virtual shard waits for.
#[derive(Debug, Default)]
pub struct Expected {
    flows: HashMap<Ends, Wait>,
    /// By the number of the flow that announced others, until it ends.
    files: HashMap<u64, File>,
    /// No flow is given up before this, so that a full table is not gone through for every one that comes.
    sweep_at: i64,
}

impl Expected {
    /// A flow between these ends is to come, the flow `owner` said. Beyond the limit it is forgotten at once.
    pub fn add(&mut self, ends: Ends, what: What, now: i64, owner: u64) {
        if self.flows.len() >= EXPECTED_MAX && now >= self.sweep_at {
            self.flows.retain(|_, wait| wait.until > now);
            self.sweep_at = self.flows.values().map(|wait| wait.until).min().unwrap_or(now);
        }
        if self.flows.len() < EXPECTED_MAX || self.flows.contains_key(&ends) {
            self.flows.insert(ends, Wait { what, until: now.saturating_add(WAIT), owner });
        }
        // Only FTP asks for what its flows carried, and says when it is through.
        if what == What::FtpData && self.files.len() < EXPECTED_MAX {
            self.files.entry(owner).or_default();
        }
    }

    /// What was expected of a flow that begins now, if it was. It stays so for the next one.
    pub fn has(&self, ends: Ends, now: i64) -> Option<What> {
        if self.flows.is_empty() {
            return None;
        }
        self.flows.get(&ends).filter(|wait| wait.until > now).map(|wait| wait.what)
    }

    /// The flow that announced this one.
    pub fn owner(&self, ends: Ends) -> Option<u64> {
        self.flows.get(&ends).map(|wait| wait.owner)
    }

    /// A flow that `owner` announced carries this file.
    pub fn file_of(&mut self, owner: u64, fuid: &str) {
        if let Some(file) = self.files.get_mut(&owner) {
            file.0 = Some(fuid.to_owned());
        }
    }

    /// A flow that `owner` announced carries a file of this type.
    pub fn type_of(&mut self, owner: u64, mime: &'static str) {
        if let Some(file) = self.files.get_mut(&owner) {
            file.1 = Some(mime);
        }
    }

    /// Id and type of the file that `owner` was told of since it was last asked.
    pub fn take_file(&mut self, owner: u64) -> (Option<String>, Option<&'static str>) {
        self.files.get_mut(&owner).map(std::mem::take).unwrap_or_default()
    }

    /// The flow `owner` has ended: nothing is told to it any more.
    pub fn forget(&mut self, owner: u64) {
        self.files.remove(&owner);
    }

    /// The flow has ended.
    pub fn remove(&mut self, ends: Ends) {
        self.flows.remove(&ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(port: u16) -> Ends {
        (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), port)
    }

    #[test]
    fn for_five_minutes_or_until_it_has_ended() {
        let mut expected = Expected::default();
        expected.add(ends(1), What::FtpData, 0, 0);
        expected.add(ends(2), What::FtpData, 0, 0);
        assert!(expected.has(ends(1), WAIT - 1).is_some());
        assert!(expected.has(ends(1), WAIT).is_none());
        assert!(expected.has(ends(3), 0).is_none());
        expected.remove(ends(2));
        assert!(expected.has(ends(2), 0).is_none());
    }

    #[test]
    fn a_full_table_is_gone_through_when_one_is_due() {
        let mut expected = Expected::default();
        for port in 0..EXPECTED_MAX as u16 {
            expected.add(ends(port), What::FtpData, i64::from(port), 0);
        }
        expected.add(ends(60_000), What::FtpData, EXPECTED_MAX as i64, 0);
        assert_eq!(expected.sweep_at, WAIT);
        expected.add(ends(60_000), What::FtpData, WAIT + 9, 0);
        assert!(expected.has(ends(60_000), WAIT + 10).is_some());
        assert_eq!((expected.flows.len(), expected.sweep_at), (EXPECTED_MAX - 9, WAIT + 10));
    }

    #[test]
    fn files_are_told_to_whom_announced_them() {
        let mut expected = Expected::default();
        expected.add(ends(1), What::FtpData, 0, 7);
        assert_eq!((expected.owner(ends(1)), expected.owner(ends(2))), (Some(7), None));
        expected.file_of(7, "F1");
        expected.type_of(7, "text/plain");
        expected.file_of(8, "F2");
        assert_eq!(expected.take_file(7), (Some("F1".to_owned()), Some("text/plain")));
        assert_eq!(expected.take_file(7), (None, None));
        assert_eq!(expected.take_file(8), (None, None));
        expected.forget(7);
        expected.file_of(7, "F3");
        assert_eq!(expected.take_file(7), (None, None));
    }

    #[test]
    fn offers_of_irc_take_no_slot_of_ftps_files() {
        let mut expected = Expected::default();
        for owner in 0..=EXPECTED_MAX as u64 {
            expected.add(ends(1), What::IrcData, 0, owner);
        }
        expected.add(ends(2), What::FtpData, 0, 9_999);
        expected.file_of(9_999, "F1");
        assert_eq!(expected.take_file(9_999), (Some("F1".to_owned()), None));
    }

    #[test]
    fn no_more_than_the_limit() {
        let mut expected = Expected::default();
        for port in 0..2000 {
            expected.add(ends(port), What::FtpData, 0, u64::from(port));
        }
        assert_eq!((expected.flows.len(), expected.files.len()), (EXPECTED_MAX, EXPECTED_MAX));
        assert!(expected.has(ends(1999), 1).is_none());
        expected.add(ends(1999), What::FtpData, WAIT, 0);
        assert_eq!(expected.flows.len(), 1);
        assert!(expected.has(ends(1999), WAIT + 1).is_some());
    }
}
