//! Attempts in vain of one pane, by scanner: gathered once for all detectors that observe them, as numbers, and made into
//! their statistics when the pane is over. An attempt costs a look for its scanner and one for whom it tried, and no
//! memory but its number.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use detect::detector::attempts::HOUR_US;
use detect::detector::{Attempt, Facet, Facets};
use detect::stat::{Names, Sighting};
use detect::{Detector, Value};
use foldhash::fast::RandomState;

use crate::panes::{Entry, OBSERVERS_MAX};

/// Attempts of a scanner that are kept apart; of so many different ones the statistics are made early, which hold no more.
const TRIES_MAX: usize = 8_192;
/// Hosts that have a number at a time; of all attempts on so many the statistics are made early.
const VICTIMS_MAX: usize = 65_536;
/// The first look for attempts that are the same is at so many.
const ROOM: usize = 32;
/// Bytes of a host's name that are kept: an address has 45.
const HOST_BYTES_MAX: usize = 128;
/// What an attempt counts for the limits: it takes 16 bytes, and when its pane ends some 140 of the four statistics' text.
const TRY_WEIGHT: usize = 2;

/// What a scanner counts for besides: its statistics are four, however little it tried.
const SCANNER_WEIGHT: usize = 10;

/// An attempt of a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Try {
    victim: u32,
    port: u16,
    at: i64,
}

impl Try {
    /// Attempts alike in it are one.
    fn same(&self) -> (u32, u16, i64) {
        (self.victim, self.port, self.at.div_euclid(HOUR_US))
    }
}

/// A scanner.
#[derive(Debug)]
struct Scanner {
    tries: Vec<Try>,
    /// How many there may be before those that are the same are looked for.
    room: usize,
    first_ts: i64,
    last_ts: i64,
    observations: u64,
    /// Nodes that saw them, by number.
    observers: Vec<u32>,
    /// What was made of earlier ones, by rule.
    made: Vec<(&'static str, Value)>,
}

impl Scanner {
    fn new(at: i64) -> Scanner {
        Scanner {
            tries: Vec::new(),
            room: ROOM,
            first_ts: at,
            last_ts: at,
            observations: 0,
            observers: Vec::new(),
            made: Vec::new(),
        }
    }

    /// Of attempts that are the same the first stays.
    fn thin(&mut self) {
        self.tries.sort_unstable();
        self.tries.dedup_by_key(|tried| tried.same());
        self.room = (2 * self.tries.len()).max(ROOM);
    }

    fn weight(&self) -> usize {
        let made: usize = self.made.iter().map(|(_, value)| value.weight()).sum();
        TRY_WEIGHT * self.tries.len() + made
    }

    /// What is made of its attempts for a detector.
    fn value(&self, detector: &dyn Detector, facets: Facets, ranks: &Ranks) -> Option<Value> {
        let made = self.made.iter().find(|(rule, _)| *rule == detector.rule());
        let made = made.map(|(_, value)| value);
        if self.tries.is_empty() {
            return made.cloned();
        }
        let number = |facet, tried: &Try| ranks.number(facet, tried);
        let sighting = |tried: &Try| Sighting {
            key: number(facets.key, tried),
            member: number(facets.member, tried),
            at: tried.at,
        };
        let mut all = self.tries.iter().map(sighting).collect();
        let names = Named { facets, ranks };
        let mut value = detector.start().of_all(&mut all, self.last_ts, &names)?;
        if let Some(made) = made {
            // Both came of one detector.
            let _ = value.merge(made);
        }
        Some(value)
    }

    /// Makes statistics of what it has.
    fn make(&mut self, detectors: &[Box<dyn Detector>], ranks: &Ranks) {
        if self.tries.is_empty() {
            return;
        }
        let value = |(detector, facets): (&dyn Detector, Facets)| {
            Some((detector.rule(), self.value(detector, facets, ranks)?))
        };
        self.made = observing(detectors).filter_map(value).collect();
        self.tries.clear();
        self.room = ROOM;
    }
}

/// Detectors that observe attempts.
fn observing(
    detectors: &[Box<dyn Detector>],
) -> impl Iterator<Item = (&dyn Detector, Facets)> + Clone {
    detectors.iter().filter_map(|detector| Some((&**detector, detector.facets()?)))
}

/// Attempts of one pane.
#[derive(Debug, Default)]
pub struct Tries {
    scanners: HashMap<Box<str>, Scanner, RandomState>,
    victims: HashMap<Arc<str>, u32, RandomState>,
    /// Victims by their numbers.
    names: Vec<Arc<str>>,
    nodes: Nodes,
    weight: usize,
}

/// Nodes by their numbers.
#[derive(Debug, Default)]
struct Nodes {
    names: Vec<Box<str>>,
    /// The one that was looked for last: the rows of a record are of one.
    last: usize,
}

impl Tries {
    /// An attempt, which `observers` saw.
    pub fn observe<'a>(
        &mut self,
        tried: &Attempt<'_>,
        observers: impl Iterator<Item = &'a str>,
        detectors: &[Box<dyn Detector>],
    ) {
        if self.names.len() >= VICTIMS_MAX {
            self.make_all(detectors);
        }
        let victim = self.victim(tried.victim);
        let name = detect::cut(tried.scanner, HOST_BYTES_MAX);
        let scanner = match self.scanners.get_mut(name) {
            Some(scanner) => scanner,
            None => {
                self.weight += SCANNER_WEIGHT;
                self.scanners.entry(name.into()).or_insert(Scanner::new(tried.at))
            }
        };
        scanner.first_ts = scanner.first_ts.min(tried.at);
        scanner.last_ts = scanner.last_ts.max(tried.at);
        scanner.observations = scanner.observations.saturating_add(1);
        for observer in observers {
            let Some(node) = self.nodes.number(observer) else { continue };
            if !scanner.observers.contains(&node) {
                scanner.observers.push(node);
            }
        }
        scanner.tries.push(Try { victim, port: tried.port, at: tried.at });
        self.weight += TRY_WEIGHT;
        if scanner.tries.len() < scanner.room {
            return;
        }
        let before = scanner.weight();
        scanner.thin();
        if scanner.tries.len() >= TRIES_MAX {
            let ranks = Ranks::of(&self.names, &scanner.tries);
            scanner.make(detectors, &ranks);
        }
        self.weight = (self.weight + scanner.weight()).saturating_sub(before);
    }

    fn victim(&mut self, name: &str) -> u32 {
        let name = detect::cut(name, HOST_BYTES_MAX);
        if let Some(number) = self.victims.get(name) {
            return *number;
        }
        let (number, name): (u32, Arc<str>) = (self.names.len() as u32, name.into());
        self.names.push(Arc::clone(&name));
        self.victims.insert(name, number);
        self.weight += 1;
        number
    }

    /// Makes statistics of all attempts: hosts get new numbers.
    fn make_all(&mut self, detectors: &[Box<dyn Detector>]) {
        let ranks = Ranks::of_all(&self.names);
        for scanner in self.scanners.values_mut() {
            scanner.thin();
            scanner.make(detectors, &ranks);
        }
        self.victims.clear();
        self.names.clear();
        self.weight = self.scanners.values().map(|scanner| SCANNER_WEIGHT + scanner.weight()).sum();
    }

    /// What is held, as limits count.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The pane is over: ready to tell what came of it.
    pub fn close(self) -> Closed {
        let Tries { scanners, names, nodes, .. } = self;
        let mut scanners: Vec<(Box<str>, Scanner)> = scanners.into_iter().collect();
        scanners.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let scanners = scanners
            .into_iter()
            .map(|(name, mut scanner)| {
                scanner.thin();
                (name, nodes.named(&scanner.observers), scanner)
            })
            .collect();
        Closed { scanners, ranks: Ranks::of_all(&names) }
    }
}

impl Nodes {
    /// The number of a node; `None` if it is one too many.
    fn number(&mut self, name: &str) -> Option<u32> {
        if self.names.get(self.last).is_some_and(|node| **node == *name) {
            return Some(self.last as u32);
        }
        self.last = match self.names.iter().position(|node| **node == *name) {
            Some(at) => at,
            None if self.names.len() >= OBSERVERS_MAX => return None,
            None => {
                self.names.push(name.into());
                self.names.len() - 1
            }
        };
        Some(self.last as u32)
    }

    fn named(&self, numbers: &[u32]) -> BTreeSet<String> {
        let names = numbers.iter().filter_map(|number| self.names.get(*number as usize));
        names.map(|name| name.to_string()).collect()
    }
}

/// Attempts of a pane that is over.
#[derive(Debug)]
pub struct Closed {
    /// In the order of their names, with the nodes that saw them.
    scanners: Vec<(Box<str>, BTreeSet<String>, Scanner)>,
    ranks: Ranks,
}

impl Closed {
    /// What a detector that observes attempts sees of each scanner, in their order.
    pub fn entries<'a>(
        &'a self,
        detector: &'a dyn Detector,
        facets: Facets,
    ) -> impl Iterator<Item = (String, Entry)> + 'a {
        self.scanners.iter().filter_map(move |(name, observers, scanner)| {
            let entry = Entry {
                value: scanner.value(detector, facets, &self.ranks)?,
                first_ts: scanner.first_ts,
                last_ts: scanner.last_ts,
                observations: scanner.observations,
                observers: observers.clone(),
            };
            Some((name.to_string(), entry))
        })
    }
}

/// Hosts in the order of their names.
#[derive(Debug, Default)]
struct Ranks {
    /// Place of each host that counts, by its number.
    rank: Vec<u32>,
    names: Vec<Arc<str>>,
}

/// Bits of a port in its number, which has the order of the ports' texts.
const PORT_BITS: u32 = 33;
/// Bits of the port itself in that.
const PORT_OWN_BITS: u32 = 16;

impl Ranks {
    fn of_all(names: &[Arc<str>]) -> Ranks {
        Ranks::put(names, (0..names.len() as u32).collect())
    }

    /// Of those that attempts are on, which are in the order of their numbers.
    fn of(names: &[Arc<str>], tries: &[Try]) -> Ranks {
        let mut hosts: Vec<u32> = tries.iter().map(|tried| tried.victim).collect();
        hosts.dedup();
        Ranks::put(names, hosts)
    }

    fn put(names: &[Arc<str>], mut hosts: Vec<u32>) -> Ranks {
        let name = |host: &u32| names.get(*host as usize);
        hosts.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
        let mut rank = vec![0; names.len()];
        for (place, host) in (0..).zip(&hosts) {
            if let Some(rank) = rank.get_mut(*host as usize) {
                *rank = place;
            }
        }
        Ranks { rank, names: hosts.iter().filter_map(name).cloned().collect() }
    }

    /// What an attempt is as a number, in the order of its texts.
    fn number(&self, facet: Facet, tried: &Try) -> u64 {
        let victim = || u64::from(self.rank.get(tried.victim as usize).copied().unwrap_or(0));
        match facet {
            Facet::None => 0,
            Facet::Victim => victim(),
            Facet::Port => port_number(tried.port),
            Facet::Pair => victim() << PORT_BITS | port_number(tried.port),
            Facet::Hour => tried.at.div_euclid(HOUR_US) as u64 ^ (1 << 63),
        }
    }

    /// The text of such a number.
    fn text(&self, facet: Facet, number: u64) -> String {
        let victim = |rank: u64| self.names.get(rank as usize).map_or("", |name| name);
        let port = (number & ((1 << PORT_OWN_BITS) - 1)) as u16;
        match facet {
            Facet::None | Facet::Port => facet.text("", port, 0),
            Facet::Victim => facet.text(victim(number), 0, 0),
            Facet::Pair => facet.text(victim(number >> PORT_BITS), port, 0),
            Facet::Hour => ((number ^ (1 << 63)) as i64).to_string(),
        }
    }
}

/// A port so that `22` comes before `3`: as though all had five digits, the shorter first.
fn port_number(port: u16) -> u64 {
    let missing = match port {
        0..=9 => 4,
        10..=99 => 3,
        100..=999 => 2,
        1000..=9999 => 1,
        _ => 0,
    };
    (u64::from(port) * 10_u64.pow(missing)) << PORT_OWN_BITS | u64::from(port)
}

/// What the numbers of a detector's sightings stand for.
struct Named<'a> {
    facets: Facets,
    ranks: &'a Ranks,
}

impl Names for Named<'_> {
    fn key(&self, number: u64) -> String {
        self.ranks.text(self.facets.key, number)
    }

    fn member(&self, number: u64) -> String {
        self.ranks.text(self.facets.member, number)
    }
}

#[cfg(test)]
mod tests;
