//! However the traffic of an attacker is split over workers, lanes and commits: the notices are the same.

use super::traffic::{Login, Request, injection};
use super::*;

/// What an attacker does.
#[derive(Debug, Clone, Copy)]
enum Attack {
    Addresses,
    Ports,
    Pairs,
    Slowly,
    Injections,
    Guesses,
    Passwords,
}

/// Attempts of an attack, with times that begin a little after the tests' own.
fn attempts(attack: Attack, shift: i64) -> Vec<Attempt> {
    let scanner = match attack {
        Attack::Pairs | Attack::Slowly => [93, 184, 216, 66],
        _ => [10, 0, 0, 66],
    };
    let (count, every) = match attack {
        Attack::Addresses => (30, 9 * SECOND),
        Attack::Ports => (18, 15 * SECOND),
        Attack::Pairs => (30, 25 * SECOND),
        Attack::Slowly => (60, 600 * SECOND),
        Attack::Injections | Attack::Guesses | Attack::Passwords => (0, 0),
    };
    (0..count)
        .map(|n| {
            let host = if matches!(attack, Attack::Ports) { 7 } else { n as u8 };
            let port = if matches!(attack, Attack::Addresses) { 22 } else { 1000 + n as u16 };
            Attempt { at: BASE + shift + n * every, scanner, host, port }
        })
        .collect()
}

fn requests(attack: Attack, shift: i64) -> Vec<Request> {
    let mut all = match attack {
        Attack::Injections => injection(77, 60),
        _ => Vec::new(),
    };
    for request in &mut all {
        request.at = BASE + shift + (request.at - BASE) * 20;
    }
    all
}

/// Failed logins of an attack, on three servers in turn.
fn logins(attack: Attack, shift: i64) -> Vec<Login> {
    let (count, every, by_ssh) = match attack {
        Attack::Guesses => (36, 45 * SECOND, true),
        Attack::Passwords => (24, 40 * SECOND, false),
        _ => (0, 0, false),
    };
    (0..count)
        .map(|n| {
            let (client, server) = ([10, 0, 0, 66], n as u8 % 3);
            Login { at: BASE + shift + n * every, client, server, by_ssh }
        })
        .collect()
}

/// Type, message, what is added to it, and time of the notices when each event is seen by the worker that `who` says.
fn noticed(attack: Attack, shift: i64, who: &[usize]) -> Vec<String> {
    let mut all: Vec<Worker> = (0..3)
        .map(|n| {
            let mut worker = Worker::new(&format!("w{n}"), Timeline::File);
            // They commit at different times, and no more often than the test can bear.
            worker.every = (17 + 13 * n) * SECOND;
            worker
        })
        .collect();
    let of = |n: usize| who[n % who.len()];
    for (n, attempt) in attempts(attack, shift).into_iter().enumerate() {
        all[of(n)].attempts.push(attempt);
    }
    for (n, request) in requests(attack, shift).into_iter().enumerate() {
        all[of(n)].requests.push(request);
    }
    for (n, login) in logins(attack, shift).into_iter().enumerate() {
        all[of(n)].logins.push(login);
    }
    let mut cluster = Cluster::new(Some(3));
    cluster.run(&all);
    assert_eq!(cluster.aggregate.role.counters().late, 0);
    cluster.fake.rows(&Topic::log(&notice::DEF), |rows, row| {
        let text = |name: &str| read::text(rows, name).unwrap().value(row).to_owned();
        let ts = read::time(rows, "ts").unwrap().value(row) - BASE;
        let ended = read::time(rows, "_write_ts").unwrap().value(row) - BASE;
        // Which request stands for all follows from the uids, and those from the worker.
        format!("{} [{}] [{}] {ts} {ended}", text("note"), text("msg"), text("sub"))
    })
}

const ATTACKS: [Attack; 7] = [
    Attack::Addresses,
    Attack::Ports,
    Attack::Pairs,
    Attack::Slowly,
    Attack::Injections,
    Attack::Guesses,
    Attack::Passwords,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_over_three_workers_gives_the_same_notices(
        shift in 0..30 * SECOND,
        who in proptest::collection::vec(0usize..3, 1..40),
    ) {
        for attack in ATTACKS {
            let whole = noticed(attack, shift, &[0]);
            let kinds = if matches!(attack, Attack::Injections) { 2 } else { 1 };
            prop_assert_eq!(whole.len(), kinds, "{:?}: {:?}", attack, whole);
            prop_assert_eq!(noticed(attack, shift, &who), whole);
        }
    }
}
