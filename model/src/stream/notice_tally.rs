//! notice_tally: how often a notice was held back after it was logged. Zeek has the type `Notice::Tally` for it and
//! nothing that writes it; in a log of its own it leaves notice.log as Zeek's.

use crate::stream;

stream! {
    /// Notices that were held back, counted when their suppression is over.
    "notice_tally", Asset, version 1;
    zeek {
        /// When the notice that was logged happened.
        ts "ts": Time,
        /// Type of the notice.
        note "note": Enum,
        /// What makes two notices of the type the same.
        identifier "identifier": Str,
        /// How many were held back since it was logged, or since the row before for the same `ts`.
        suppressed "suppressed": Count,
        /// When the last of them happened.
        last_ts "last_ts": Time,
        /// When the suppression ends.
        until "until": Time,
        /// Workers that saw them.
        workers "workers": Set<Str>,
    }
    policy {}
    weir {}
}
