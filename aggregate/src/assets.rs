//! Observations of assets waiting until nothing earlier can come: managers get them in order of time,
//! whichever worker saw what and whenever its rows arrived, so that the first is the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

/// Place in the order: when it was written, when it was seen, who wrote it, and its record and row.
type Place = (i64, i64, String, i64, usize);

/// Observations of one timeline of a lane.
#[derive(Debug, Default)]
pub struct Assets {
    by: BTreeMap<Place, Arc<RecordBatch>>,
    /// Held rows by their record.
    offsets: BTreeMap<i64, usize>,
}

/// One observation: a row of a batch.
pub type Picked = (Arc<RecordBatch>, usize);

impl Assets {
    /// An observation: `written` and `ts` are its times, `sensor` its writer, `from` its record and row.
    pub fn take(
        &mut self,
        (written, ts): (i64, i64),
        sensor: &str,
        from: (i64, usize),
        rows: Arc<RecordBatch>,
    ) {
        // There must be a time after it.
        let place = (written.min(i64::MAX - 1), ts, sensor.to_owned(), from.0, from.1);
        if self.by.insert(place, rows).is_none() {
            *self.offsets.entry(from.0).or_default() += 1;
        }
    }

    /// Takes out, in order, what was written before `time`.
    pub fn release(&mut self, time: i64) -> Vec<Picked> {
        let mut out = Vec::new();
        while let Some(first) = self.by.first_key_value()
            && first.0.0 < time
        {
            out.extend(self.pop());
        }
        out
    }

    /// Takes out the older half whatever the time; tells before which time nothing is left.
    pub fn force(&mut self) -> (i64, Vec<Picked>) {
        let keep = self.by.len() / 2;
        let last = self.by.keys().rev().nth(keep).map_or(i64::MIN, |place| place.0);
        // Rows of one time stay together.
        let until = last.saturating_add(1);
        (until, self.release(until))
    }

    fn pop(&mut self) -> Option<Picked> {
        let ((_, _, _, offset, row), rows) = self.by.pop_first()?;
        if let Some(count) = self.offsets.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                self.offsets.remove(&offset);
            }
        }
        Some((rows, row))
    }

    /// Observations held.
    pub fn weight(&self) -> usize {
        self.by.len()
    }

    /// The oldest record that a held observation came in.
    pub fn oldest(&self) -> Option<i64> {
        self.offsets.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use model::stream::known;

    use super::*;

    fn take(assets: &mut Assets, written: i64, sensor: &str, offset: i64, row: usize) {
        let rows = Arc::new(known::Batch::default().finish("x").0);
        assets.take((written, written), sensor, (offset, row), rows);
    }

    fn rows(picked: Vec<Picked>) -> Vec<usize> {
        picked.into_iter().map(|(_, row)| row).collect()
    }

    #[test]
    fn in_order_of_time_whatever_came_first() {
        let mut assets = Assets::default();
        take(&mut assets, 20, "a", 1, 3);
        take(&mut assets, 10, "b", 2, 2);
        take(&mut assets, 10, "a", 3, 1);
        take(&mut assets, 10, "a", 3, 0);
        take(&mut assets, 10, "a", 3, 0);
        assert_eq!((assets.weight(), assets.oldest()), (4, Some(1)));
        assert!(assets.release(10).is_empty(), "more of that time may come");
        assert_eq!(rows(assets.release(20)), [0, 1, 2]);
        assert_eq!(assets.oldest(), Some(1));
        assert_eq!(rows(assets.release(i64::MAX)), [3]);
        assert_eq!((assets.weight(), assets.oldest()), (0, None));
    }

    #[test]
    fn the_older_half_goes_early_and_all_at_the_end() {
        let mut assets = Assets::default();
        for (row, written) in [1, 2, 2, 9, i64::MAX].into_iter().enumerate() {
            take(&mut assets, written, "a", 5, row);
        }
        let (until, gone) = assets.force();
        assert_eq!((until, rows(gone)), (3, vec![0, 1, 2]));
        assert_eq!(rows(assets.release(i64::MAX)), [3, 4]);
        take(&mut assets, i64::MAX, "a", 5, 0);
        assert_eq!(rows(assets.force().1), [0], "half of one is one");
        assert!(assets.force().1.is_empty());
    }
}
