//! What each kind of rule does, and what is said of documents that are wrong.

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;

fn parse(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

fn notice<'a>(note: &'a str, src: &str, dst: &str, workers: &'a [&'a str]) -> Notice<'a> {
    let (src, dst) = (src.parse().ok(), dst.parse().ok());
    Notice { ts: 100 * SECOND, note, src, dst, workers, suppress_for_us: 0 }
}

fn action(policy: &Policy, notice: &Notice<'_>) -> Action {
    policy.decide(notice, &mut |_| false).action
}

#[test]
fn without_a_document_all_is_logged_for_an_hour() {
    let policy = Policy::default();
    let scan = notice("Scan::Address_Scan", "10.0.0.1", "", &["w1"]);
    let verdict = policy.decide(&scan, &mut |_| false);
    assert_eq!((verdict.action, verdict.suppress_for_us), (Action::Log, 3_600 * SECOND));
    assert_eq!(parse("").version.len(), 12);
    assert_eq!(parse(""), Policy { version: parse("").version, ..policy });
}

#[test]
fn zeeks_types_and_intervals() {
    let policy = parse(
        "default_suppression_interval = '2h'
         ignored_types = ['Weird::*']
         alarmed_types = ['SSH::Password_Guessing']
         not_suppressed_types = ['SSL::*']
         [type_suppression_intervals]
         'SSL::*' = '1d'
         'SSL::Weak_Key' = '5m'",
    );
    let of = |note: &str, own: i64| {
        let seen = Notice { suppress_for_us: own, ..notice(note, "", "", &[]) };
        let verdict = policy.decide(&seen, &mut |_| false);
        (verdict.action, verdict.suppress_for_us / SECOND)
    };
    assert_eq!(of("Weird::Activity", 0), (Action::Ignore, 7_200));
    assert_eq!(of("SSH::Password_Guessing", 0), (Action::Alarm, 7_200));
    assert_eq!(
        of("SSH::Login", 9 * SECOND),
        (Action::Log, 9),
        "what its author says is no default"
    );
    // As in Zeek the interval of a type is set last.
    assert_eq!(of("SSL::Other", 9 * SECOND), (Action::Log, 86_400));
    assert_eq!(of("SSL::Weak_Key", 0), (Action::Log, 300), "the exact name first");
    assert_eq!(parse("not_suppressed_types = ['A::B']").type_suppression_us("A::B"), Some(0));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = parse(
        "alarmed_types = ['Scan::*']
         [[rule]]
         name = 'ours'
         note = 'Scan::*'
         src = ['10.1.0.0/16', 'fd00::/8']
         action = 'ignore'
         [[rule]]
         name = 'servers'
         note = ['Scan::Port_Scan', 'Scan::Address_Scan']
         dst = '10.2.0.0/24'
         action = 'alarm'
         suppress_for = '0'
         [[rule]]
         name = 'lab'
         net = '192.0.2.0/24'
         workers = ['lab-*', 'w9']
         action = 'log'",
    );
    let scan = |src, dst, workers: &'static [&'static str]| {
        let seen = notice("Scan::Address_Scan", src, dst, workers);
        let verdict = policy.decide(&seen, &mut |_| false);
        (
            verdict.action,
            verdict.rule.map_or("", |rule| rule.name.as_str()),
            verdict.suppress_for_us,
        )
    };
    const HOUR: i64 = 3_600 * SECOND;
    assert_eq!(scan("10.1.2.3", "10.2.0.1", &[]), (Action::Ignore, "ours", HOUR));
    assert_eq!(scan("fd00::1", "", &[]), (Action::Ignore, "ours", HOUR));
    assert_eq!(scan("10.9.0.1", "10.2.0.1", &[]), (Action::Alarm, "servers", 0));
    assert_eq!(scan("192.0.2.1", "", &["w1", "lab-3"]), (Action::Log, "lab", HOUR));
    assert_eq!(scan("1.1.1.1", "192.0.2.1", &["w9"]), (Action::Log, "lab", HOUR));
    assert_eq!(scan("192.0.2.1", "", &["w1"]), (Action::Alarm, "", HOUR), "no rule: by its type");
    assert_eq!(
        scan("", "", &["w1"]),
        (Action::Alarm, "", HOUR),
        "an address that is not there is in no net"
    );
}

#[test]
fn what_is_allowed_is_allowed_until_then() {
    let policy = parse(
        "[[allow]]
         src = '10.1.0.9'
         until = 1970-01-01T00:01:40Z
         why = 'the auditors'
         [[allow]]
         note = 'A::B'
         [[rule]]
         name = 'all'
         action = 'alarm'",
    );
    let seen = |ts| Notice { ts, ..notice("Scan::X", "10.1.0.9", "", &[]) };
    assert_eq!(action(&policy, &seen(100 * SECOND - 1)), Action::Ignore);
    assert_eq!(action(&policy, &seen(100 * SECOND)), Action::Alarm, "its own time decides");
    assert_eq!(action(&policy, &notice("A::B", "1.1.1.1", "", &[])), Action::Ignore);
}

#[test]
fn significance_is_a_condition() {
    let policy = parse(
        "[[rule]]
         name = 'many'
         note = 'SSL::*'
         when = { hosts = 20, within = '10m', of = 'dst' }
         action = 'alarm'
         [[rule]]
         name = 'three'
         when = { workers = 3 }
         action = 'alarm'
         [[rule]]
         name = 'else'
         action = 'ignore'",
    );
    let seen = notice("SSL::Weak_Key", "", "10.0.0.1", &["w1"]);
    let mut asked = Vec::new();
    let verdict = policy.decide(&seen, &mut |rule| {
        asked.push(rule.name.clone());
        false
    });
    assert_eq!(asked, ["three"]);
    let counts: Vec<&str> = verdict.counts.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!((verdict.action, counts), (Action::Ignore, vec!["many"]));
    let verdict = policy.decide(&seen, &mut |_| true);
    assert_eq!(verdict.rule.map(|rule| rule.name.as_str()), Some("three"));
    let hour = 3_600 * SECOND;
    assert_eq!(policy.rules[1].when, When::Workers { least: 3, within_us: hour });
    let of = Side::Dst;
    assert_eq!(policy.rules[0].when, When::Hosts { least: 20, within_us: 600 * SECOND, of });
}

#[test]
fn what_is_wrong_is_named_by_line_and_key() {
    for (text, line, key, said) in [
        (
            "\n[[rule]]\nname = 'x'\nsrc = ['10.0.0.0/8',\n  '10.0.0.0/99']\naction = 'log'",
            5,
            "rule.src",
            "10.0.0.0/99",
        ),
        ("ignored_type = []", 1, "", "ignored_type"),
        ("ignored_types = ['Scan']", 1, "ignored_types", "Module::Name"),
        ("[[rule]]\nname = 'x'\naction = 'page'", 3, "rule.action", "`page`"),
        ("[[rule]]\nname = 'x'\naction = 'log'\nsuppress_for = '1x'", 4, "rule.suppress_for", "1x"),
        ("[[rule]]\nname = 'x'", 1, "rule", "action"),
        ("[[rule]]\naction = 'log'", 1, "rule", "name"),
        ("[[rule]]\nname = 'x'\naction = 'log'\ncolour = 1", 4, "rule", "colour"),
        (
            "[[rule]]\nname = 'x'\nnote = 'A::B'\naction = 'log'\n[[rule]]\nname = 'x'\naction = 'log'",
            6,
            "rule.name",
            "two rules `x`",
        ),
        (
            "[[rule]]\nname = 'x'\naction = 'log'\n[[rule]]\nname = 'y'\naction = 'log'",
            4,
            "rule",
            "never matches",
        ),
        ("[[rule]]\nname = 'x'\nwhen = { hosts = 20 }\naction = 'log'", 3, "rule.when", "within"),
        (
            "[[rule]]\nname = 'x'\nwhen = { hosts = 1, within = '1m' }\naction = 'log'",
            3,
            "rule.when",
            "from 2",
        ),
        (
            "[[rule]]\nname = 'x'\nwhen = { workers = 3, within = '2d' }\naction = 'log'",
            3,
            "rule.when",
            "a day",
        ),
        (
            "[[rule]]\nname = 'x'\nwhen = { hosts = 9, within = '1m' }\naction = 'ignore'",
            4,
            "rule.action",
            "its own",
        ),
        ("[[allow]]\nwhy = 'x'", 1, "allow", "everything"),
        ("[[allow]]\nnote = []", 2, "allow.note", "empty list"),
        ("[[allow]]\nnote = 'A::B'\nuntil = 2026-01-01", 3, "allow.until", "zone"),
        ("[[allow]]\nnote = 'A::B'\nuntil = 'soon'", 3, "allow.until", "soon"),
        (
            "[type_suppression_intervals]\nScan = '1h'",
            2,
            "type_suppression_intervals.Scan",
            "Module::Name",
        ),
        (
            "[type_suppression_intervals]\n'A::B' = '400d'",
            2,
            "type_suppression_intervals.A::B",
            "a year",
        ),
        ("rule = 3", 1, "rule", "integer"),
        ("[[rule]\n", 1, "", "]"),
        ("a = 1\na = 2", 2, "", "duplicate"),
    ] {
        let wrong = Policy::parse(text).expect_err(text);
        assert!(wrong.what.contains(said), "{text}\n{wrong:?}");
        assert_eq!((wrong.line, wrong.key.as_str()), (line, key), "{text}\n{wrong:?}");
    }
    let long = "#".repeat(DOCUMENT_BYTES_MAX + 1);
    assert!(Policy::parse(&long).unwrap_err().to_string().contains("bytes"));
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC*|([a-z_]+ = ['\\[{0-9a-z}\\]]{0,9}\n|\\[\\[?(rule|allow)\\]\\]?\n){0,9}") {
        drop(Policy::parse(&text));
    }
}
