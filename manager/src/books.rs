//! What a manager counts of its own for the books ([`bus::books`]).

use bus::books::Counts;

use crate::config::Counters;

/// What was told of counters that only grow; steps of a session that was lost are told again by those that do
/// their work again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally(Counters);

impl Tally {
    /// What was counted until now is not told.
    pub fn forget(&mut self, now: &Counters) {
        self.0 = *now;
    }

    /// What the counters have grown by since the last step.
    pub fn grown(&mut self, now: &Counters, counts: &mut Counts) {
        let was = std::mem::replace(&mut self.0, *now);
        let known = |counters: &Counters| counters.asset_in.saturating_sub(counters.asset_out);
        let kept = |counters: &Counters| counters.suppressed.saturating_add(counters.ignored);
        for (name, now, was) in [
            ("found.notice", now.found, was.found),
            ("held_back.notice", kept(now), kept(&was)),
            ("held_back.known", known(now), known(&was)),
            ("early", now.early, was.early),
            ("unknown.partial", now.unknown, was.unknown),
            ("significance_lost", now.significance_lost, was.significance_lost),
            ("suppressions_lost", now.suppressions_lost, was.suppressions_lost),
            ("assets_forgotten", now.assets_forgotten, was.assets_forgotten),
            ("policy_refused", now.policy_refused, was.policy_refused),
            ("records_gone", now.records_gone, was.records_gone),
        ] {
            counts.add(name, i64::try_from(now.saturating_sub(was)).unwrap_or(i64::MAX));
        }
    }
}
