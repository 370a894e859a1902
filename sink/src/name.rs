//! Names of files. A rotated name carries the node that wrote it and a counter, so that it is never
//! taken twice; an unrotated one is just the stream's.

use model::stream::Def;

use crate::format::{Format, Layout};
use crate::time::Civil;

/// Times that the rows of one rotated file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First microsecond.
    pub start: i64,
    /// First microsecond after.
    pub end: i64,
}

impl Interval {
    /// The interval of this length that holds a time; aligned to the epoch.
    pub fn of(time: i64, length: i64) -> Interval {
        let start = time.div_euclid(length).saturating_mul(length);
        Interval { start, end: start.saturating_add(length) }
    }
}

/// The name of a rotated file, relative to the folder.
pub fn rotated(
    format: &dyn Format,
    def: &Def,
    interval: Interval,
    node: &str,
    counter: u64,
) -> String {
    let (stream, extension) = (def.name, format.extension());
    let (start, end) = (Civil::from_us(interval.start), Civil::from_us(interval.end));
    let date = start.date();
    match format.layout() {
        Layout::Hive => format!(
            "{stream}/date={date}/hour={:02}/{stream}-{}-{node}-{counter}.{extension}",
            start.hour,
            start.compact(),
        ),
        Layout::Days => {
            let (from, to) = (start.clock(), end.clock());
            format!("{date}/{stream}.{from}-{to}-{node}-{counter}.{extension}")
        }
    }
}

/// The name of an unrotated file. Only the first of a run has the bare name: a run that goes on after
/// it was drained adds to its files and replaces none.
pub fn unrotated(format: &dyn Format, def: &Def, nth: u64) -> String {
    match nth {
        0 | 1 => format!("{}.{}", def.name, format.extension()),
        nth => format!("{}-{nth}.{}", def.name, format.extension()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{json::Json, parquet::Parquet, tsv::Tsv};
    use model::stream::conn;

    #[test]
    fn names_are_those_of_the_design() {
        let hour = Interval::of(1_795_488_529_000_000, 3_600_000_000);
        assert_eq!(
            rotated(&Parquet, &conn::DEF, hour, "s1", 7),
            "conn/date=2026-11-24/hour=02/conn-20261124T020000Z-s1-7.parquet"
        );
        assert_eq!(
            rotated(&Tsv, &conn::DEF, hour, "s1", 7),
            "2026-11-24/conn.02:00:00-03:00:00-s1-7.log"
        );
        assert_eq!(unrotated(&Json, &conn::DEF, 1), "conn.json");
        assert_eq!(unrotated(&Json, &conn::DEF, 2), "conn-2.json");
    }

    #[test]
    fn intervals_hold_their_times() {
        for time in [i64::MIN, -1, 0, 1, 59, 60, i64::MAX] {
            let interval = Interval::of(time, 60);
            assert!(interval.start <= time.max(i64::MIN + 60), "{time}");
            assert!(time < interval.end || time >= i64::MAX - 60, "{time}");
        }
        assert_eq!(Interval::of(-1, 60), Interval { start: -60, end: 0 });
    }
}
