//! What the policy makes of notices, through the roles: actions, significance, suppression, and documents that
//! come while they run.

use bus::documents::{Ack, NOTICE_POLICY};
use bytes::Bytes;
use manager::decide::Document;
use model::stream::{notice_alarm, notice_tally};

use super::*;

fn notes(rows: &RecordBatch, row: usize) -> String {
    let text = |name: &str| read::text(rows, name).unwrap().value(row).to_owned();
    let observers = read::texts(read::list(rows, "observers").unwrap(), row).join(",");
    let actions = read::texts(read::list(rows, "actions").unwrap(), row).join("+");
    let at = (read::time(rows, "ts").unwrap().value(row) - BASE) / SECOND;
    let actions = actions.replace("Notice::ACTION_", "");
    format!("{} {} {actions} {observers} {at}", text("note"), text("identifier"))
}

impl Cluster {
    /// With a policy from the beginning.
    pub fn with_policy(sources: Option<usize>, text: &str) -> Cluster {
        let mut cluster = Cluster::new(sources);
        let policy = Some(Document::parse(text.as_bytes()).unwrap());
        let config = manager::Config { policy, ..manager::Config::new("m1", LANES) };
        cluster.manager = Run::new(Manager::new(config), manager::member("m1"), &cluster.fake);
        cluster
    }

    pub fn decided(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&notice::DEF), notes)
    }

    pub fn alarmed(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&notice_alarm::DEF), notes)
    }

    pub fn tallied(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&notice_tally::DEF), |rows, row| {
            let identifier = read::text(rows, "identifier").unwrap().value(row);
            let count = read::count(rows, "suppressed").unwrap().value(row);
            let workers = read::texts(read::list(rows, "workers").unwrap(), row).join(",");
            let last = (read::time(rows, "last_ts").unwrap().value(row) - BASE) / SECOND;
            format!("{identifier} {count} {workers} {last}")
        })
    }

    /// Whether nothing is kept but the document.
    fn is_forgotten(&self) -> bool {
        self.fake.state("manager").iter().all(|item| item.starts_with("\"policy\""))
    }

    /// A document is on the topic, and the manager hears of it. Gives what it acknowledged.
    pub fn push(&mut self, text: &'static str) -> Vec<String> {
        let documents = vec![(Bytes::from(NOTICE_POLICY), Bytes::from(text))];
        self.hear(documents)
    }

    /// The manager hears of these documents. Gives what it acknowledged.
    fn hear(&mut self, documents: Vec<(Bytes, Bytes)>) -> Vec<String> {
        let acks = |fake: &Fake| -> Vec<Ack> {
            let all = fake.documents(&topic::POLICY);
            all.into_iter().filter_map(|(key, value)| Ack::of(&key, &value)).collect()
        };
        let before = acks(&self.fake).len();
        let wake = Wake::Documents(topic::POLICY, documents);
        self.manager.wake(wake, &mut self.fake, self.now_ms);
        let new = acks(&self.fake).into_iter().skip(before);
        new.map(|ack| format!("{} {}", ack.version, ack.refused.is_some())).collect()
    }
}

fn sees(name: &str, timeline: Timeline, alarms: &[(i64, &str)]) -> Worker {
    let mut worker = Worker::new(name, timeline);
    worker.alarms = alarms.iter().map(|(at, identifier)| alarm(*at, identifier)).collect();
    worker
}

#[test]
fn actions_come_of_the_rules() {
    let mut cluster = Cluster::with_policy(
        Some(3),
        "ignored_types = ['Test::*']
         [[rule]]
         name = 'scans'
         note = 'Scan::Address_Scan'
         src = '10.0.0.66'
         action = 'alarm'",
    );
    let mut seen = scan(66, 40, 22);
    seen.extend(scan(67, 40, 22));
    seen.sort_by_key(|attempt| attempt.at);
    let mut all = workers(Timeline::File, &seen, |_, _| true);
    all[0].alarms = vec![alarm(3, "x"), alarm(4, "")];
    cluster.run(&all);
    let alarm = "Scan::Address_Scan 10.0.0.66 ALARM+LOG w0,w1,w2 12";
    assert_eq!(cluster.decided(), [alarm, "Scan::Address_Scan 10.0.0.67 LOG w0,w1,w2 12"]);
    assert_eq!(cluster.alarmed(), [alarm]);
    let counters = cluster.manager.role.counters();
    assert_eq!((counters.ignored, counters.alarms, counters.notice_out), (2, 1, 2));
}

#[test]
fn three_workers_make_an_alarm_of_what_was_logged() {
    let text = "[[rule]]\nname = 'three'\nwhen = { workers = 3, within = '10m' }\naction = 'alarm'";
    for timeline in [Timeline::File, Timeline::Live] {
        let mut cluster = Cluster::with_policy(Some(3), text);
        // They see it further apart than copies are waited for.
        cluster.run(&[
            sees("w0", timeline, &[(0, "x"), (0, "y"), (900, "y"), (3700, "z")]),
            sees("w1", timeline, &[(100, "x"), (200, "y")]),
            sees("w2", timeline, &[(300, "x"), (310, "x"), (800, "y")]),
        ]);
        let alarm = "Test::Alarm x ALARM+LOG w0,w1,w2 0";
        let want = ["Test::Alarm x ALARM+LOG w0,w1,w2 0", "Test::Alarm x LOG w0 0"];
        assert_eq!(cluster.decided()[..2], want, "{timeline:?}");
        assert_eq!(cluster.alarmed(), [alarm], "y was seen by two within ten minutes");
        if timeline == Timeline::File {
            assert_eq!(cluster.tallied(), ["x 2 w1,w2 310", "y 3 w0,w1,w2 900"]);
            assert!(cluster.is_forgotten());
        }
    }
}

#[test]
fn many_hosts_are_counted_over_all_lanes() {
    let text = "[[rule]]
        name = 'many'
        note = 'Scan::*'
        when = { hosts = 4, within = '10m' }
        action = 'alarm'
        [[rule]]
        name = 'alone'
        note = 'Scan::*'
        action = 'ignore'";
    for timeline in [Timeline::File, Timeline::Live] {
        for (scanners, want) in [(3, 0), (4, 1), (7, 1)] {
            let mut seen: Vec<Attempt> = (0..scanners).flat_map(|n| scan(60 + n, 30, 22)).collect();
            for attempt in &mut seen {
                attempt.at += i64::from(attempt.scanner[3] - 60) * 40 * SECOND;
            }
            seen.sort_by_key(|attempt| attempt.at);
            let mut cluster = Cluster::with_policy(Some(3), text);
            cluster.run(&workers(timeline, &seen, |n, a| usize::from(a.host) % 3 == n));
            // What the last step told the other lanes.
            cluster.catch_up();
            let found = cluster.decided();
            assert_eq!(found.len(), want, "{timeline:?} {scanners}: {found:?}");
            let tally = "Notice::Tally many ALARM+LOG w0,w1,w2 132";
            assert!(found.iter().all(|row| row == tally), "{found:?}");
            assert_eq!(cluster.alarmed(), found);
            assert_eq!(cluster.manager.role.counters().ignored, u64::from(scanners));
            assert!(timeline == Timeline::Live || cluster.is_forgotten());
        }
    }
}

#[test]
fn a_document_comes_while_it_runs_and_stays() {
    let alarming = "[[rule]]\nname = 'all'\naction = 'alarm'\nsuppress_for = '0'";
    let ignoring = "ignored_types = ['Test::Alarm']";
    let mut cluster = Cluster::new(None);
    let one = |cluster: &mut Cluster, at| {
        cluster.run(&[sees("w0", Timeline::Live, &[(at, "x")])]);
        (cluster.decided().len(), cluster.alarmed().len())
    };
    assert_eq!(one(&mut cluster, 0), (1, 0));
    let version = Document::parse(alarming.as_bytes()).unwrap().policy.version.clone();
    assert_eq!(cluster.push(alarming), [format!("{version} false")]);
    assert_eq!(one(&mut cluster, 1000), (2, 1), "an alarm is not held back by a row");
    // A bad one is refused whole, and who dies forgets neither: the newest that was good is the lane's.
    assert_eq!(cluster.push("ignored_types = ['Test::Alarm']\nx = 1"), [format!("{version} true")]);
    assert_eq!(cluster.manager.role.counters().policy_refused, 1);
    cluster.manager.restart(&cluster.fake);
    assert_eq!(one(&mut cluster, 5000), (3, 2));
    let config = manager::Config::new("m2", LANES);
    cluster.manager = Run::new(Manager::new(config), manager::member("m2"), &cluster.fake);
    assert_eq!(one(&mut cluster, 9000), (4, 3), "nor does one that takes over");
    assert_eq!(cluster.push("no = [").len(), 1);
    assert_eq!(one(&mut cluster, 12_000), (5, 4));
    cluster.push(ignoring);
    assert_eq!(one(&mut cluster, 16_000), (5, 4));
    assert_eq!(cluster.push(ignoring).len(), 1, "another topic that lost it is told again");
}

#[test]
fn an_allowance_ends_by_the_time_of_the_notice() {
    // 1 700 000 011 is 2023-11-14T22:13:31Z.
    let text = "[[allow]]\nnote = 'Test::Alarm'\nuntil = 2023-11-14T22:15:00Z";
    let mut cluster = Cluster::with_policy(Some(1), text);
    cluster.run(&[sees("w0", Timeline::File, &[(0, "x"), (80, "x"), (89, "x"), (99, "x")])]);
    // What was ignored holds nothing back.
    assert_eq!(cluster.decided(), ["Test::Alarm x LOG w0 89"]);
}

/// A copy that comes when its notice is out is no notice: it counts up, and is told of.
#[test]
fn a_copy_that_comes_too_late_only_counts() {
    for (policy, want) in [
        ("", &["Test::Alarm x LOG w0,w1 0"][..]),
        ("not_suppressed_types = ['*']", &["Test::Alarm x LOG w0,w1 0"]),
        ("ignored_types = ['*']", &[]),
        (
            "[[rule]]\nname = 'three'\nwhen = { workers = 3 }\naction = 'alarm'",
            &["Test::Alarm x ALARM+LOG w0,w1,w2 0", "Test::Alarm x LOG w0,w1 0"],
        ),
    ] {
        let mut cluster = Cluster::with_policy(None, policy);
        let silent = sees("w2", Timeline::Live, &[(2, "x")]).commits(LANES);
        cluster.put(silent[0].clone());
        let others = [(0, "w0"), (1, "w1")].map(|(at, w)| sees(w, Timeline::Live, &[(at, "x")]));
        for worker in &others {
            worker.commits(LANES)[..2].iter().for_each(|commit| cluster.put(commit.clone()));
        }
        cluster.catch_up();
        assert_eq!(cluster.decided(), [""; 0], "held for the silent one");
        cluster.now_ms += 31_000;
        others.iter().for_each(|w| cluster.put(w.progress(LANES, BASE + 8 * SECOND, false)));
        cluster.catch_up();
        silent[1..].iter().for_each(|commit| cluster.put(commit.clone()));
        cluster.catch_up();
        assert_eq!(cluster.decided(), want, "{policy}");
        cluster.aggregate.restart(&cluster.fake);
        cluster.catch_up();
        cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
        let is_told = want.len() == 1 && policy.is_empty();
        assert_eq!(cluster.tallied(), ["x 1 w2 2"][usize::from(!is_told)..], "{policy}");
        assert_eq!(cluster.decided(), want, "{policy}");
    }
}

/// A bad document is refused whole and the one before stays, for whoever begins while it is the newest as well.
#[test]
fn a_manager_that_begins_while_the_newest_is_bad_takes_the_last_good_one() {
    let (good, bad) = ("ignored_types = ['Scan::*']\n", "ignored_types = ['*'\n");
    let (of_good, of_bad) = (Bytes::from(good), Bytes::from(bad));
    let version = detect::policy::document::version(good.as_bytes());
    // One that takes it keeps it for others.
    let mut first = Cluster::new(Some(3));
    assert_eq!(first.push(good), [format!("{version} false")]);
    let on_topic = first.fake.documents(&topic::POLICY);
    let kept: Vec<_> = on_topic.iter().filter(|(key, _)| key.starts_with(b"good/")).collect();
    assert_eq!(kept, [&(Bytes::from("good/notice"), of_good.clone())]);
    // Another, with no state at all.
    let mut other = Cluster::new(Some(3));
    let documents = vec![(Bytes::from(NOTICE_POLICY), of_bad), kept[0].clone()];
    assert_eq!(other.hear(documents.clone()), [format!("{version} true")]);
    assert_eq!(other.manager.role.facts()["policy"], version);
    other.run(&workers(Timeline::File, &scan(66, 40, 22), |_, _| true));
    assert_eq!((other.decided().len(), other.manager.role.counters().ignored), (0, 1));
    // A lane that knows an older one takes it as well.
    let mut third = Cluster::new(Some(3));
    third.push("ignored_types = ['Test::*']\n");
    third.manager.restart(&third.fake);
    third.hear(documents);
    assert_eq!(third.manager.role.facts()["policy"], version);
    let said = third.hear(vec![(Bytes::from(NOTICE_POLICY), Bytes::from("x = "))]);
    assert_eq!(said, [format!("{version} true")], "nothing better is known");
}

/// Nor is a late copy of a notice whose workers are enough one, where nothing is held back.
#[test]
fn late_copies_of_what_workers_agreed_on_are_no_notices() {
    let text = "not_suppressed_types = ['*']
        [[rule]]
        name = 'two'
        when = { workers = 2 }
        action = 'alarm'";
    let mut cluster = Cluster::with_policy(Some(3), text);
    let copy = |at, worker| {
        let mut all =
            sees(worker, Timeline::Live, &[(at, "x")]).commits(LANES).into_iter().flatten();
        let found = all.find_map(|out| match out.payload {
            Payload::Rows(def, rows) if def.name == "notice" => Some((out.lane, rows)),
            _ => None,
        });
        let (lane, rows) = found.unwrap();
        let none = std::sync::Arc::new(arrow_array::Int64Array::from(vec![0i64]));
        let rows = detect::rows::replace(rows, "n", none).unwrap();
        let observers = [std::collections::BTreeSet::from([worker.to_owned()])];
        let observers = detect::rows::sets(observers.iter());
        let rows = detect::rows::replace(rows, "observers", observers).unwrap();
        Outgoing::rows(topic::NOTICE, lane, &notice::DEF, rows)
    };
    for (at, worker) in [(0, "w0"), (1, "w1"), (2, "w2"), (3, "w1")] {
        cluster.fake.put(copy(at, worker));
    }
    cluster.manager.catch_up(&mut cluster.fake, 0);
    assert_eq!(cluster.decided(), ["Test::Alarm x ALARM+LOG w0,w1 0"]);
    assert_eq!(cluster.manager.role.counters().suppressed, 3);
}

/// What a lane counts by a document that another manager has not heard of yet waits there until it has.
#[test]
fn counts_for_a_rule_that_comes_later_are_kept() {
    let text = "[[rule]]\nname = 'many'\nwhen = { hosts = 4, within = '10m' }\naction = 'alarm'";
    let mut seen: Vec<Attempt> = (0..4).flat_map(|n| scan(60 + n, 30, 22)).collect();
    seen.sort_by_key(|attempt| attempt.at);
    let workers = workers(Timeline::Live, &seen, |n, a| usize::from(a.host) % 3 == n);
    let mut first = Cluster::with_policy(Some(3), text);
    first.run(&workers);
    first.catch_up();
    let tallies = |cluster: &Cluster| {
        let is_one = |row: &String| row.starts_with("Notice::Tally");
        cluster.decided().into_iter().filter(is_one).collect::<Vec<_>>()
    };
    assert_eq!(tallies(&first).len(), 1);
    // What its lanes told each other, to lanes of a manager without the rule.
    let mut other = Cluster::new(Some(3));
    for out in first.fake.outgoing(&topic::PARTIAL) {
        let is_count = out.stamp.as_ref().is_some_and(|stamp| stamp.source.starts_with("manager/"));
        if is_count {
            other.fake.put(out);
        }
    }
    other.manager.catch_up(&mut other.fake, 0);
    assert!(other.decided().is_empty());
    other.manager.restart(&other.fake);
    other.push(text);
    assert_eq!(tallies(&other), tallies(&first));
}

/// Whoever takes a lane over where a round of files has just ended tells of the next one as of any other.
#[test]
fn who_takes_over_between_rounds_says_how_far_it_is() {
    let text = "[[rule]]\nname = 'many'\nwhen = { hosts = 4, within = '10m' }\naction = 'alarm'";
    let mut seen: Vec<Attempt> = (0..7).flat_map(|n| scan(60 + n, 30, 22)).collect();
    for attempt in &mut seen {
        attempt.at += i64::from(attempt.scanner[3] - 60) * 400 * SECOND;
    }
    seen.sort_by_key(|attempt| attempt.at);
    let mut workers = workers(Timeline::File, &seen, |n, a| usize::from(a.host) % 3 == n);
    let mut cluster = Cluster::with_policy(Some(3), text);
    let told = |cluster: &Cluster| {
        let mut told: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for stamp in cluster.fake.outgoing(&topic::PARTIAL).into_iter().filter_map(|out| out.stamp)
        {
            if stamp.source.starts_with("manager/") && stamp.time != i64::MIN {
                *told.entry((stamp.source, stamp.time)).or_default() += 1;
            }
        }
        told
    };
    // A worker says on all inputs how far it is, not only where it sent rows.
    let every = 60 * SECOND;
    workers.iter_mut().for_each(|worker| worker.every = every);
    let run = |cluster: &mut Cluster| {
        let all: Vec<_> = workers.iter().map(|worker| worker.commits(LANES)).collect();
        let count = all.iter().map(Vec::len).max().unwrap();
        for at in 0..count {
            for (worker, commits) in workers.iter().zip(&all) {
                let Some(commit) = commits.get(at) else { continue };
                cluster.put(commit.clone());
                if at + 1 < commits.len() {
                    let time = BASE - SECOND + at as i64 * every;
                    cluster.put(worker.progress(LANES, time, false));
                }
            }
            cluster.now_ms += 100;
            cluster.catch_up();
        }
    };
    run(&mut cluster);
    // The ends are told, and not read back.
    cluster.manager.restart(&cluster.fake);
    cluster.catch_up();
    let first = told(&cluster);
    assert!(first.len() >= 9, "some of each lane: {first:?}");
    run(&mut cluster);
    cluster.catch_up();
    let mut second = told(&cluster);
    second.retain(|of, count| first.get(of) != Some(count));
    let times = |told: &BTreeMap<(String, i64), usize>| told.keys().cloned().collect::<Vec<_>>();
    assert_eq!(times(&second), times(&first));
}

/// What was held back is written when its span ends, not when the last of it happened.
#[test]
fn what_was_held_back_is_written_at_the_end_of_its_span() {
    let mut cluster = Cluster::new(Some(1));
    let mut worker = sees("w0", Timeline::Live, &[(0, "x"), (50, "x"), (3700, "x"), (3800, "x")]);
    worker.every = 600 * SECOND;
    cluster.run(&[worker]);
    let written = |cluster: &Cluster| {
        cluster.fake.rows(&Topic::log(&notice_tally::DEF), |rows, row| {
            let time = |name| (read::time(rows, name).unwrap().value(row) - BASE) / SECOND;
            format!("{} {}", time("last_ts"), time("_write_ts"))
        })
    };
    assert_eq!(written(&cluster), ["50 3600"]);
    cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
    assert_eq!(written(&cluster), ["3800 3800", "50 3600"], "drained, no end has come");
}
