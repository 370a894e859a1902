//! raw_conn: conn on its way from capture to the aggregators, with the columns of [`half`] beside its own;
//! never logged. No column is written down twice: both definitions are put together here.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};

use super::{Column, Def, Key, conn, half};

/// Columns that every stream has, which [`half`] therefore has too.
const SHARED: usize = 2;
const OF_CONN: usize = conn::COLUMNS.len();
const ALL: usize = OF_CONN + half::COLUMNS.len() - SHARED;

static COLUMNS: [Column; ALL] = {
    let mut all = [conn::COLUMNS[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] =
            if at < OF_CONN { conn::COLUMNS[at] } else { half::COLUMNS[at - OF_CONN + SHARED] };
        at += 1;
    }
    all
};

static SCHEMA: OnceLock<arrow_schema::SchemaRef> = OnceLock::new();

/// The stream's definition.
pub static DEF: Def = Def {
    name: "raw_conn",
    doc: " Flows as one sensor saw them, with what joining them takes.",
    key: Key::Flow,
    // Raised with either.
    version: conn::DEF.version + half::DEF.version - 1,
    columns: &COLUMNS,
    cell: &SCHEMA,
};

/// Rows of conn with those of `half` beside them, which are as many.
///
/// # Errors
/// They are not as many.
pub fn beside(
    rows: &RecordBatch,
    halves: &RecordBatch,
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let more = halves.columns().iter().skip(SHARED).map(Arc::clone);
    let columns: Vec<ArrayRef> = rows.columns().iter().map(Arc::clone).chain(more).collect();
    RecordBatch::try_new(DEF.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Mark;

    #[test]
    fn conn_first_and_then_what_joining_takes() {
        let names: Vec<_> = DEF.columns.iter().map(|column| column.name).collect();
        assert!(names.starts_with(&["ts", "uid"]));
        assert!(names.ends_with(&["half.rests", "half.is_replaced"]));
        assert_eq!(names.iter().filter(|name| **name == "sensor").count(), 1);
        // Who does not know of rests counts flows wrong, and has to leave its rows to others.
        assert!(DEF.version > conn::DEF.version);
        let (mut rows, mut halves) = (conn::Batch::default(), half::Batch::default());
        rows.push(Mark::at(1, 0), conn::Row::unset());
        let half = half::Row { letters: Some("S"), times: Some(&[7]), ..half::Row::unset() };
        halves.push(Mark::at(1, 0), half);
        let both = beside(&rows.finish("n").0, &halves.finish("n").0).unwrap();
        assert_eq!(crate::read::text(&both, "half.letters").unwrap().value(0), "S");
        assert_eq!(both.schema(), DEF.schema());
    }
}
