//! How flows go by their letters.

use super::*;

/// Letters a second apart, lower case for the second end.
fn told(letters: &str) -> Told {
    let event = |(n, c): (usize, char)| {
        let end = usize::from(c.is_ascii_lowercase());
        let letter = c.to_ascii_uppercase() as u8;
        let mark = Mark { at: n as i64 * SECOND, letter, end: None, ack: None };
        Event { mark, end, to_orig: false, piece: end }
    };
    let events: Vec<Event> = letters.chars().enumerate().map(event).collect();
    Told::new(events[0].end, false, Vec::new()).hear_all(events.iter())
}

fn states(letters: &str) -> (State, State, String) {
    let told = told(letters);
    let [orig, resp] = [told.ends[told.orig].state, told.ends[1 - told.orig].state];
    (orig, resp, String::from_utf8(told.history).unwrap())
}

#[test]
fn how_flows_go() {
    use State::{Closed, Established, Inactive, Partial, Reset, SynAckSent, SynSent};
    for (letters, orig, resp, history) in [
        ("ShADadFf", Closed, Closed, "ShADadFf"),
        ("ShADadFfR", Closed, Closed, "ShADadFfR"),
        ("ShADdFr", Closed, Reset, "ShADdFr"),
        ("Sr", SynSent, Reset, "Sr"),
        ("ShR", Reset, Established, "ShR"),
        ("Sa", SynSent, Inactive, "Sa"),
        ("DdA", Partial, Partial, "DdA"),
        ("ha", Inactive, SynAckSent, "^ha"),
        ("hA", Partial, SynAckSent, "^hA"),
        ("hS", Established, Established, "Hs^"),
        ("ShFaW", Closed, Established, "ShFaW"),
        ("ShFw", Closed, Established, "ShF"),
    ] {
        assert_eq!(states(letters), (orig, resp, history.to_owned()), "{letters}");
    }
}

#[test]
fn an_ignored_packet_begins_nothing() {
    assert!(!told("CScha").is_partial);
    assert!(told("CAcd").is_partial);
}

#[test]
fn a_stream_that_begins_again_writes_nothing() {
    assert_eq!(states("ShhADad").2, "ShADad");
    assert_eq!(states("ShArh").2, "ShArh");
    let fin = |at, number| Event {
        mark: Mark { at, letter: b'F', end: Some(number), ack: None },
        end: 1,
        to_orig: false,
        piece: 1,
    };
    let told = told("ShA").hear_all([fin(9, 5), fin(10, 5), fin(11, 6)].iter());
    assert_eq!(told.history, b"ShAff");
}

#[test]
fn time_never_goes_back() {
    let mut told = told("ShADad");
    told.hear(&Event {
        mark: Mark { at: 0, letter: b'F', end: None, ack: None },
        end: 0,
        to_orig: false,
        piece: 0,
    });
    assert_eq!(told.delete_at.or(told.closed_at), None);
    assert_eq!(told.now, 5 * SECOND);
}

#[test]
fn tunnels_that_change_too_often_are_given_up_on() {
    let plain = |n: i64| {
        let (end, mark) = (n as usize % 2, Mark { at: n, letter: b'-', end: None, ack: None });
        Event { mark, end, to_orig: false, piece: end }
    };
    let events: Vec<Event> = (0..9).map(plain).collect();
    let told = |count| {
        let told = Told::new(0, false, Vec::new()).in_two_tunnels(0);
        told.hear_all(events[..count].iter())
    };
    assert_eq!((told(6).history, told(6).given_up_at), (Vec::new(), i64::MAX));
    assert_eq!((told(9).history, told(9).given_up_at), (b"X".to_vec(), 6));
    let mut asked = Told::new(0, false, Vec::new());
    asked.change_tunnels(7);
    assert_eq!((asked.history, asked.given_up_at), (b"X".to_vec(), i64::MAX));
}

#[test]
fn how_long_a_flow_lives() {
    let until = |letters: &str| told(letters).lives_until(100 * SECOND, [50_000, 80]) / SECOND;
    assert_eq!(until("S"), 5);
    assert_eq!(until("Sh"), 400);
    assert_eq!(until("ShAFf"), 9);
    assert_eq!(until("ShAr"), 8);
    assert_eq!(told("Sh").lives_until(0, [50_000, 22]), INTERACTIVE_US);
    assert_eq!(told("ShAFf").closed_at, Some(4 * SECOND));
    assert_eq!(told("ShAF").closed_at, None);
}

#[test]
fn gaps_are_told_of_less_and_less() {
    let mut told = told("ShADad");
    (0..12).for_each(|_| told.gap(0, 100));
    assert_eq!(told.missed_bytes, 1200);
    assert_eq!(told.history.iter().filter(|letter| **letter == b'G').count(), 2);
    let mut partial = self::told("Dd");
    partial.gap(0, 100);
    assert_eq!((partial.missed_bytes, &*partial.history), (0, &b"Dd"[..]));
}
