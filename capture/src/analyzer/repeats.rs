//! Which weirds of one flow are told: the first of a name, and later ones as far as Zeek's sampling lets them through.

use crate::config::SECOND;

/// Different weirds one flow may raise: the rest are counted only, so that one flow cannot flood the log.
pub const FLOW_WEIRDS_MAX: usize = 32;
/// How many of a name pass before they are sampled (`Weird::sampling_threshold`).
const SAMPLING_THRESHOLD: u32 = 25;
/// Which of those after that pass (`Weird::sampling_rate`).
const SAMPLING_RATE: u32 = 1000;
/// How long they are sampled (`Weird::sampling_duration`).
const SAMPLING: i64 = 600 * SECOND;
/// One is not told again so soon: the log holds it back for ten minutes anyway (see [`crate::weirds`]), and bursts
/// are not worth the rows.
const SOON: i64 = SECOND;

/// What was told of a name.
#[derive(Debug)]
struct Told {
    name: &'static str,
    count: u32,
    sampled_since: i64,
    at: i64,
}

/// The weirds of one flow.
#[derive(Debug, Default)]
pub struct Repeats(Vec<Told>);

impl Repeats {
    /// Whether any was raised.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, each once, in the order that they came first.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|told| told.name).collect()
    }

    /// Whether one that is raised now is to be told.
    pub fn permit(&mut self, name: &'static str, now: i64) -> bool {
        let Some(told) = self.0.iter_mut().find(|told| told.name == name) else {
            let has_room = self.0.len() < FLOW_WEIRDS_MAX;
            if has_room {
                self.0.push(Told { name, count: 1, sampled_since: 0, at: now });
            }
            return has_room;
        };
        if !told.sample(now) || now.saturating_sub(told.at) < SOON {
            return false;
        }
        told.at = now;
        true
    }
}

impl Told {
    /// Counts one more, as Zeek's `PermitWeird` does.
    fn sample(&mut self, now: i64) -> bool {
        self.count = self.count.saturating_add(1);
        if self.count <= SAMPLING_THRESHOLD {
            return true;
        }
        if self.count == SAMPLING_THRESHOLD + 1 {
            self.sampled_since = now;
        } else if now > self.sampled_since.saturating_add(SAMPLING) {
            self.count = 1;
            return true;
        }
        (self.count - SAMPLING_THRESHOLD).is_multiple_of(SAMPLING_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_again_but_not_at_once() {
        let mut repeats = Repeats::default();
        let times = [0, 1, SOON - 1, SOON, SOON + 1, 700 * SECOND];
        let told = times.map(|at| repeats.permit("a", at));
        assert_eq!(told, [true, false, false, true, false, true]);
        assert!(repeats.permit("b", 0));
        assert_eq!(repeats.names(), ["a", "b"]);
    }

    #[test]
    fn many_are_sampled_and_begin_anew() {
        let mut repeats = Repeats::default();
        let told = (0..3000).filter(|n| repeats.permit("a", n * SECOND / 10)).count();
        // One of the first ten, two each of the next; then the thousandth and the two thousandth.
        assert_eq!(told, 3 + 2);
        // Ten minutes after the 26th.
        assert!(!repeats.permit("a", 602 * SECOND));
        assert!(repeats.permit("a", 603 * SECOND));
    }

    #[test]
    fn names_are_bounded() {
        let mut repeats = Repeats::default();
        let names: Vec<&'static str> = (0..40).map(|n| &*format!("{n}").leak()).collect();
        assert_eq!(names.iter().filter(|name| repeats.permit(name, 0)).count(), FLOW_WEIRDS_MAX);
    }
}
