//! What is held and remembered is bounded, and what goes for that is counted.

use model::stream::conn;

use super::piece::Half;
use super::*;
use crate::config::SECOND;

/// What a sensor wrote as this record at a time; of a flow of UDP seen one way.
fn half(offset: i64, written: i64) -> Piece {
    Piece {
        rows: Arc::new(conn::Batch::default().finish("x").0),
        row: 0,
        origin: 0,
        offset,
        stamped: written,
        written,
        first: written,
        last: written,
        sensor: "x".into(),
        tap: "x".into(),
        is_orig_low: true,
        is_tcp: false,
        asks: false,
        ports: [1, 2],
        packets: 1,
        ip_bytes: 40,
        is_cut: [false; 2],
        is_replaced: false,
        half: Some(Box::new(Half { is_orig: true, ..Half::default() })),
        starts: [None; 2],
    }
}

/// The same of a flow of TCP seen whole, which began with these numbers.
fn whole(offset: i64, written: i64, tap: &str, starts: [u32; 2]) -> Piece {
    let starts = starts.map(Some);
    Piece { is_tcp: true, tap: tap.into(), half: None, starts, ..half(offset, written) }
}

/// Rules for two taps of one site.
fn two_taps() -> (Config, Taps) {
    let taps = ["x", "y"].map(str::to_owned);
    (Config::new("a", 1), Taps::from([(String::new(), taps.into())]))
}

#[test]
fn too_many_pieces_of_a_tuple_leave_as_they_are() {
    let (config, taps) = two_taps();
    let mut join = Join::new(0);
    let count = PIECES_MAX as i64 + 3;
    for n in 0..count {
        join.take("tuple".into(), half(n, n * SECOND), 0);
    }
    let left = join.release(count * SECOND, &config, &taps);
    let offsets: Vec<i64> = left.iter().map(|flow| flow.pieces[0].offset).collect();
    assert_eq!((offsets, join.hurried), (vec![0, 1, 2], 3));
    assert_eq!((join.weight(), join.oldest()), (PIECES_MAX, Some(3)));
    // A lane that holds too much lets the older half go.
    assert_eq!((join.force().len(), join.hurried), (PIECES_MAX, 3 + PIECES_MAX as u64));
    assert_eq!((join.weight(), join.oldest()), (0, None));
}

#[test]
fn what_left_is_remembered_for_a_while_and_within_bounds() {
    let mut left = Left::at_most(2);
    let key: Key = "tuple".into();
    let is_known = |left: &Left, tap, starts| left.has(&key, &whole(9, 8, tap, starts));
    for (n, starts) in [[1, 1], [2, 2], [3, 3]].into_iter().enumerate() {
        left.remember(&key, &whole(n as i64, n as i64, "x", starts), 100);
    }
    assert_eq!((left.forgotten, left.open.oldest()), (1, Some(1)), "the oldest went");
    assert!(!is_known(&left, "y", [1, 1]) && is_known(&left, "y", [2, 2]));
    assert!(!is_known(&left, "x", [2, 2]), "two of one tap are two flows");
    assert!(!is_known(&left, "y", [2, 3]), "nor is one with other numbers the same");
    let kept = |left: &mut Left| -> Vec<(i64, bool)> {
        left.open.changes().into_iter().map(|(offset, rows)| (offset, rows.is_some())).collect()
    };
    assert_eq!(kept(&mut left), [(0, false), (1, true), (2, true)]);
    left.expire(101);
    assert!(!is_known(&left, "y", [2, 2]) && is_known(&left, "y", [3, 3]));
    left.expire(102);
    assert_eq!(kept(&mut left), [(1, false), (2, false)]);
    assert_eq!((left.open.oldest(), left.forgotten), (None, 1));
}
