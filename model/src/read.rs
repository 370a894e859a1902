//! Typed access to the columns of a batch that came off the bus: a wrong or missing column is an
//! error that names it, never a panic.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

/// A batch does not hold the column that its stream promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnError {
    /// The column's name.
    pub column: String,
    /// What was wanted of it.
    pub wanted: &'static str,
}

impl std::fmt::Display for ColumnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} column `{}` in the batch", self.wanted, self.column)
    }
}

impl std::error::Error for ColumnError {}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $array:ty, $wanted:literal, $cast:expr) => {
        $(#[$doc])*
        pub fn $name<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a $array, ColumnError> {
            batch
                .column_by_name(name)
                .and_then($cast)
                .ok_or_else(|| ColumnError { column: name.to_owned(), wanted: $wanted })
        }
    };
}

getter!(/** A text, enum or address column. */ text, StringArray, "text",
    |array| array.as_string_opt::<i32>());
getter!(/** A time column, microseconds. */ time, TimestampMicrosecondArray, "time",
    |array| array.as_primitive_opt::<TimestampMicrosecondType>());
getter!(/** A count or int column. */ count, Int64Array, "count",
    |array| array.as_primitive_opt::<Int64Type>());
getter!(/** A port column. */ port, Int32Array, "port",
    |array| array.as_primitive_opt::<Int32Type>());
getter!(/** A truth column. */ bool, BooleanArray, "bool", |array| array.as_boolean_opt());
getter!(/** A set or vector column. */ list, ListArray, "list", |array| array.as_list_opt::<i32>());

/// The texts in one cell of a list column; none where it is unset.
pub fn texts(list: &ListArray, row: usize) -> Vec<String> {
    each_text(list, row).map(str::to_owned).collect()
}

/// The same, one after another.
pub fn each_text(list: &ListArray, row: usize) -> impl Iterator<Item = &str> {
    let values = list.values().as_string_opt::<i32>();
    let ends = list.value_offsets().get(row..).and_then(|from| from.first_chunk::<2>());
    let [from, to] = ends.copied().filter(|_| !list.is_null(row)).unwrap_or_default();
    let text = move |i: i32| {
        let (values, i) = (values?, usize::try_from(i).ok()?);
        (!values.is_null(i)).then(|| values.value(i))
    };
    (from..to).filter_map(text)
}
