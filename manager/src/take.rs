//! Rows as they come in: checked against their stream, with what they ask for cut to what can be.

use arrow_array::RecordBatch;
use detect::rows;
use model::read::ColumnError;
use model::stream::Def;

/// The longest that a notice can ask to be held back, microseconds: a week. More is no suppression
/// but policy.
const SUPPRESS_FOR_MAX_US: i64 = 7 * 24 * 3_600_000_000;

/// The rows as rows of their stream.
///
/// # Errors
/// They are of another, or lack a column.
pub fn checked(
    want: &'static Def,
    def: &Def,
    batch: &RecordBatch,
) -> Result<RecordBatch, ColumnError> {
    if def.name != want.name {
        return Err(ColumnError { column: def.name.to_owned(), wanted: want.name });
    }
    rows::conform(want, batch)
}

/// How long a notice asks to hold back its like, microseconds, from its own column in seconds; 0 where it does
/// not say.
pub fn suppression(seconds: f64) -> i64 {
    if !seconds.is_finite() || seconds <= 0.0 {
        return 0;
    }
    // The cast saturates.
    ((seconds * 1e6) as i64).min(SUPPRESS_FOR_MAX_US)
}
