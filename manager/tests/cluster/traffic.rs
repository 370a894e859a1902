//! What workers of a test send: flows, notices and assets, chunk by chunk, with their progress.

use std::ops::Range;

use arrow_array::RecordBatch;
use bus::{Outgoing, Stamp, Timeline, Topic, topic};
use model::id;
use model::stream::{Mark, conn, failed_auth, http, known, notice, ssh};

pub const SECOND: i64 = 1_000_000;
/// Where the tests' time begins, in no way round.
pub const BASE: i64 = 1_700_000_011 * SECOND;

/// An attempt in vain.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub at: i64,
    pub scanner: [u8; 4],
    pub host: u8,
    pub port: u16,
}

/// A notice of a worker.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub at: i64,
    pub identifier: Option<String>,
}

/// A request of a client, to one server, with SQL in its target or without.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: i64,
    pub client: [u8; 4],
    pub injects: bool,
}

/// A login that failed, by SSH as a connection, by FTP as a reply.
#[derive(Clone, Debug)]
pub struct Login {
    pub at: i64,
    pub client: [u8; 4],
    pub server: u8,
    pub by_ssh: bool,
}

/// A worker sees an asset: a host, or a port where these protocols are spoken.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub at: i64,
    pub host: u8,
    pub services: Vec<&'static str>,
}

impl Sighting {
    fn asset(&self) -> String {
        let what = if self.services.is_empty() { "host" } else { "service" };
        format!("{what} 10.0.2.{}", self.host)
    }
}

/// A worker and what it sees, in order of time.
#[derive(Clone, Debug)]
pub struct Worker {
    pub name: String,
    pub timeline: Timeline,
    pub attempts: Vec<Attempt>,
    pub alarms: Vec<Alarm>,
    pub sightings: Vec<Sighting>,
    pub requests: Vec<Request>,
    pub logins: Vec<Login>,
    /// How often it commits, microseconds.
    pub every: i64,
}

/// How long an attempt waits before its row is written.
pub const TIMEOUT: i64 = 5 * SECOND;

impl Worker {
    pub fn new(name: &str, timeline: Timeline) -> Worker {
        let (attempts, alarms, sightings, requests, logins) = Default::default();
        let (name, every) = (name.into(), 4 * SECOND);
        Worker { name, timeline, attempts, alarms, sightings, requests, logins, every }
    }

    fn stamp(&self, time: i64, end: bool) -> Stamp {
        let source = format!("{}/in", self.name);
        Stamp { source, timeline: self.timeline, time, end }
    }

    /// All it sends, commit by commit: at first only where it begins, at last its end.
    pub fn commits(&self, lanes: u32) -> Vec<Vec<Outgoing>> {
        let written = |attempt: &Attempt| attempt.at + TIMEOUT;
        let last = self.attempts.iter().map(written);
        let last = last.chain(self.alarms.iter().map(|alarm| alarm.at));
        let last = last.chain(self.sightings.iter().map(|sighting| sighting.at));
        let last = last.chain(self.requests.iter().map(|request| request.at));
        let last = last.chain(self.logins.iter().map(|login| login.at));
        let last = last.max().unwrap_or(BASE);
        let mut commits = vec![self.progress(lanes, BASE - SECOND, false)];
        let mut from = BASE - SECOND;
        while from <= last {
            let to = from + self.every;
            let is_now = |at: i64| (from..to).contains(&at);
            let mut commit = Vec::new();
            for lane in 0..lanes {
                let flows = self.attempts.iter().filter(|a| is_now(written(a)));
                let flows = flows.filter(|a| u32::from(a.host) % lanes == lane);
                let alarms =
                    self.alarms.iter().filter(|a| is_now(a.at) && lane_of(a, lanes) == lane);
                let (flows, alarms) = (self.flows(flows), self.alarms(alarms));
                commit.push(self.record(topic::RAW_CONN, lane, &conn::DEF, flows, to));
                commit.push(self.record(topic::RAW_NOTICE, lane, &notice::DEF, alarms, to));
                let sightings = self.sightings.iter().filter(|s| is_now(s.at));
                let sightings =
                    self.sightings(sightings.filter(|s| lane_by(&s.asset(), lanes) == lane));
                commit.push(self.record(topic::RAW_KNOWN, lane, &known::DEF, sightings, to));
                let requests = self.requests.iter().enumerate().filter(|(_, r)| is_now(r.at));
                let requests = self.requests(requests.filter(|(n, _)| *n as u32 % lanes == lane));
                commit.push(self.record(Topic::log(&http::DEF), lane, &http::DEF, requests, to));
                commit.extend(self.logins(lane, lanes, from..to));
            }
            commits.push(commit);
            from = to;
        }
        // A live worker goes on for a while and sees nothing.
        let end = if self.timeline == Timeline::Live {
            self.progress(lanes, last + 600 * SECOND, false)
        } else {
            self.progress(lanes, i64::MAX, true)
        };
        commits.push(end);
        commits
    }

    fn record(
        &self,
        topic: Topic,
        lane: u32,
        def: &'static model::stream::Def,
        rows: RecordBatch,
        to: i64,
    ) -> Outgoing {
        let stamp = self.stamp(to, false);
        if rows.num_rows() == 0 {
            return Outgoing::punctuation(topic, lane, stamp);
        }
        Outgoing::rows(topic, lane, def, rows).stamped(stamp)
    }

    /// Only how far it is.
    pub fn progress(&self, lanes: u32, time: i64, end: bool) -> Vec<Outgoing> {
        let stamp = self.stamp(time, end);
        aggregate::sources::inputs(false)
            .iter()
            .flat_map(|input| (0..lanes).map(move |lane| (input.topic(), lane)))
            .map(|(topic, lane)| Outgoing::punctuation(topic, lane, stamp.clone()))
            .collect()
    }

    fn flows<'a>(&self, attempts: impl Iterator<Item = &'a Attempt>) -> RecordBatch {
        let mut batch = conn::Batch::default();
        for attempt in attempts {
            let uid = format!("C{}-{}-{}", attempt.scanner[3], attempt.port, attempt.host);
            let row = conn::Row {
                ts: attempt.at,
                uid: &uid,
                orig_h: attempt.scanner.into(),
                orig_p: 40_000,
                resp_h: [10, 0, 1, attempt.host].into(),
                resp_p: attempt.port,
                proto: "tcp",
                conn_state: Some("S0"),
                history: Some("S"),
                orig_pkts: Some(1),
                orig_ip_bytes: Some(40 + u64::from(attempt.host)),
                observers: &[&self.name],
                ..conn::Row::unset()
            };
            batch.push(Mark::at(attempt.at + TIMEOUT, 0), row);
        }
        batch.finish(&self.name).0
    }

    fn sightings<'a>(&self, sightings: impl Iterator<Item = &'a Sighting>) -> RecordBatch {
        let mut batch = known::Batch::default();
        for sighting in sightings {
            let is_host = sighting.services.is_empty();
            let row = known::Row {
                ts: sighting.at,
                log: if is_host { "known_hosts" } else { "known_services" },
                asset: &sighting.asset(),
                host: [10, 0, 2, sighting.host].into(),
                port_num: (!is_host).then_some(80),
                port_proto: (!is_host).then_some("tcp"),
                service: &sighting.services,
                ..known::Row::unset()
            };
            batch.push(Mark::at(sighting.at, 0), row);
        }
        batch.finish(&self.name).0
    }

    /// Each in a flow of its own.
    fn requests<'a>(&self, requests: impl Iterator<Item = (usize, &'a Request)>) -> RecordBatch {
        let mut batch = http::Batch::default();
        for (n, request) in requests {
            let uid = format!("C{}-{n}", self.name);
            let row = http::Row {
                ts: request.at,
                uid: &uid,
                orig_h: request.client.into(),
                resp_h: [10, 0, 1, 80].into(),
                tags: if request.injects { &["HTTP::URI_SQLI"] } else { &[] },
                ..http::Row::unset()
            };
            batch.push(Mark::at(request.at, 0), row);
        }
        batch.finish(&self.name).0
    }

    /// Logins that failed in this time, on one lane: rows of ssh and of failed_auth.
    fn logins(&self, lane: u32, lanes: u32, time: Range<i64>) -> [Outgoing; 2] {
        let (mut connections, mut replies) = (ssh::Batch::default(), failed_auth::Batch::default());
        let on_lane = self.logins.iter().skip(lane as usize).step_by(lanes as usize);
        for login in on_lane.filter(|login| time.contains(&login.at)) {
            let (ts, mark) = (login.at, Mark::at(login.at, 0));
            let (orig_h, resp_h) = (login.client.into(), [10, 0, 1, login.server].into());
            if login.by_ssh {
                let (auth_success, client, server) = (Some(false), Some("a"), Some("b"));
                let unset = ssh::Row::unset();
                let row = ssh::Row { ts, orig_h, resp_h, auth_success, client, server, ..unset };
                connections.push(mark, row);
            } else {
                let (service, unset) = ("ftp", failed_auth::Row::unset());
                replies.push(mark, failed_auth::Row { ts, orig_h, resp_h, service, ..unset });
            }
        }
        let record =
            |def, rows: RecordBatch| self.record(Topic::log(def), lane, def, rows, time.end);
        [
            record(&ssh::DEF, connections.finish(&self.name).0),
            record(&failed_auth::DEF, replies.finish(&self.name).0),
        ]
    }

    fn alarms<'a>(&self, alarms: impl Iterator<Item = &'a Alarm>) -> RecordBatch {
        let mut batch = notice::Batch::default();
        for alarm in alarms {
            let row = notice::Row {
                ts: Some(alarm.at),
                note: "Test::Alarm",
                msg: Some("alarm"),
                identifier: alarm.identifier.as_deref(),
                ..notice::Row::unset()
            };
            batch.push(Mark::at(alarm.at, 0), row);
        }
        batch.finish(&self.name).0
    }
}

fn lane_of(alarm: &Alarm, lanes: u32) -> u32 {
    alarm.identifier.as_ref().map_or(0, |identifier| lane_by(identifier, lanes))
}

fn lane_by(key: &str, lanes: u32) -> u32 {
    id::partition(key.as_bytes(), lanes)
}

/// A scan of `hosts` hosts on one port, one every half second.
pub fn scan(last: u8, hosts: u8, port: u16) -> Vec<Attempt> {
    (0..hosts)
        .map(|host| Attempt {
            at: BASE + i64::from(host) * SECOND / 2,
            scanner: [10, 0, 0, last],
            host,
            port,
        })
        .collect()
}

pub fn sighting(seconds: i64, host: u8, services: &[&'static str]) -> Sighting {
    Sighting { at: BASE + seconds * SECOND, host, services: services.to_vec() }
}

/// So many requests with SQL, one every 200 ms, and as many without.
pub fn injection(last: u8, requests: i64) -> Vec<Request> {
    (0..2 * requests)
        .map(|n| Request {
            at: BASE + n * SECOND / 10,
            client: [10, 0, 0, last],
            injects: n % 2 == 0,
        })
        .collect()
}

pub fn alarm(seconds: i64, identifier: &str) -> Alarm {
    let identifier = (!identifier.is_empty()).then(|| identifier.to_owned());
    Alarm { at: BASE + seconds * SECOND, identifier }
}

/// Three workers with two scanners, some noise, notices and assets; each sees a part, some parts overlap.
/// Short enough that some hundred events bring them to their end and beyond.
pub fn busy(timeline: Timeline) -> Vec<Worker> {
    let mut seen = scan(66, 40, 22);
    seen.extend(scan(67, 30, 80));
    seen.extend(scan(68, 20, 443));
    for attempt in seen.iter_mut().filter(|attempt| attempt.scanner[3] == 67) {
        attempt.at += i64::from(attempt.host) * SECOND;
    }
    seen.sort_by_key(|attempt| (attempt.at, attempt.scanner));
    (0..3).map(|n| busy_worker(timeline, n, &seen)).collect()
}

fn busy_worker(timeline: Timeline, n: u8, seen: &[Attempt]) -> Worker {
    let mut worker = Worker::new(&format!("w{n}"), timeline);
    worker.attempts = seen.iter().filter(|attempt| attempt.host % 4 >= n).cloned().collect();
    let n = i64::from(n);
    for (host, services) in [(1, &[][..]), (2, &[]), (3, &["HTTP"]), (3, &["HTTP", "SSL"])] {
        // Each is seen first by another one, and again and again.
        let more = services.len() as i64;
        let first = (i64::from(host) + n + more) % 3 + more;
        worker.sightings.extend((0..20).step_by(4).map(|at| sighting(at + first, host, services)));
    }
    worker.sightings.sort_by_key(|sighting| sighting.at);
    worker.every = (6 + n) * SECOND;
    for (identifier, step) in [("x", 2), ("y", 3), ("z", 4), ("u", 7)] {
        worker.alarms.extend((0..20).step_by(step).map(|at| alarm(at + n, identifier)));
    }
    // Of one attacker each sees a third; a second stays below the threshold.
    let mut asked = injection(77, 60);
    asked.extend(injection(78, 8));
    asked.sort_by_key(|request| (request.at, request.client));
    let third = |(at, _): &(usize, Request)| (*at as i64 / 4) % 3 == n;
    worker.requests = asked.into_iter().enumerate().filter(third).map(|(_, asked)| asked).collect();
    worker.alarms.push(alarm(20, ""));
    worker.alarms.sort_by_key(|alarm| alarm.at);
    worker
}
