//! Batches as they are changed on their way: conformed to their stream, cells replaced.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, new_null_array};
use model::read::ColumnError;
use model::stream::Def;

/// The batch with just the stream's columns, in its order. Optional columns that are missing (an older
/// writer) are unset; columns the stream does not know (a newer one) go.
///
/// # Errors
/// A column that must be set is missing, or one has another type.
pub fn conform(def: &'static Def, rows: &RecordBatch) -> Result<RecordBatch, ColumnError> {
    if rows.schema_ref() == &def.schema() {
        return Ok(rows.clone());
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(def.columns.len());
    for column in def.columns {
        let wrong = |wanted| ColumnError { column: column.name.to_owned(), wanted };
        let array = match rows.column_by_name(column.name) {
            Some(array) => array.clone(),
            None if column.optional => new_null_array(&column.kind.arrow(), rows.num_rows()),
            None => return Err(wrong("required")),
        };
        if array.data_type() != &column.kind.arrow() {
            return Err(wrong("well-typed"));
        }
        if !column.optional && array.null_count() > 0 {
            return Err(wrong("always set"));
        }
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(def.schema(), columns, &options)
        .map_err(|_| ColumnError { column: def.name.to_owned(), wanted: "consistent" })
}

/// The batch with one column replaced.
///
/// # Errors
/// There is no such column, or the array does not fit it.
pub fn replace(rows: RecordBatch, name: &str, array: ArrayRef) -> Result<RecordBatch, ColumnError> {
    let wrong = || ColumnError { column: name.to_owned(), wanted: "fitting" };
    let index = rows.schema_ref().index_of(name).map_err(|_| wrong())?;
    let schema = rows.schema();
    let mut columns = rows.columns().to_vec();
    columns[index] = array;
    RecordBatch::try_new(schema, columns).map_err(|_| wrong())
}

/// An interval column, seconds.
///
/// # Errors
/// There is none of that name.
pub fn seconds<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Float64Array, ColumnError> {
    rows.column_by_name(name)
        .and_then(|array| array.as_primitive_opt::<Float64Type>())
        .ok_or_else(|| ColumnError { column: name.to_owned(), wanted: "interval" })
}

/// A column of sets of text.
pub fn sets<'a>(cells: impl Iterator<Item = &'a BTreeSet<String>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for cell in cells {
        for text in cell {
            builder.values().append_value(text);
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, StringArray};
    use model::read;
    use model::stream::{Mark, notice};

    use super::*;

    fn one() -> RecordBatch {
        let mut batch = notice::Batch::default();
        batch.push(Mark::at(1, 0), notice::Row { note: "A::B", ..notice::Row::unset() });
        batch.finish("w1").0
    }

    #[test]
    fn an_older_writers_batch_is_filled_up() {
        let rows = one();
        let (at, _) = rows.schema_ref().column_with_name("identifier").unwrap();
        let older = rows.project(&(0..at).collect::<Vec<_>>()).unwrap();
        assert!(conform(&notice::DEF, &older).unwrap_err().to_string().contains("observers"));
        let mut keep: Vec<usize> = (0..rows.num_columns()).filter(|i| *i != at).collect();
        keep.reverse();
        let older = rows.project(&keep).unwrap();
        let full = conform(&notice::DEF, &older).unwrap();
        assert_eq!(full.schema(), notice::DEF.schema());
        assert!(read::text(&full, "identifier").unwrap().is_null(0));
    }

    #[test]
    fn a_column_is_replaced_by_its_like_only() {
        let rows = one();
        let cells = BTreeSet::from(["b".to_owned(), "a".to_owned()]);
        let rows = replace(rows, "observers", sets([&cells].into_iter())).unwrap();
        assert_eq!(read::texts(read::list(&rows, "observers").unwrap(), 0), ["a", "b"]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        assert!(replace(rows.clone(), "n", text.clone()).is_err());
        assert!(replace(rows, "nonsense", text).is_err());
    }
}
