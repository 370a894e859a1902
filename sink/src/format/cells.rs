//! A column of a batch, made concrete once, so that writers do not downcast at every cell.

use std::ops::Range;

use anyhow::{Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use model::types::Kind;

/// The cells of one column.
pub enum Cells<'a> {
    /// Microseconds since the epoch.
    Time(&'a TimestampMicrosecondArray),
    /// An interval in seconds.
    Interval(&'a Float64Array),
    /// A double.
    Double(&'a Float64Array),
    /// Strings, enums and addresses.
    Text(&'a StringArray),
    /// Ports.
    Port(&'a Int32Array),
    /// Counts and ints.
    Number(&'a Int64Array),
    /// Truth values.
    Bool(&'a BooleanArray),
    /// Sets and vectors, with the cells of their elements.
    List(&'a ListArray, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    /// A column by the type that the stream's definition gives it.
    pub fn of(name: &str, kind: Kind, array: &'a dyn Array) -> Result<Cells<'a>> {
        let cells = match kind {
            Kind::Time => array.as_primitive_opt::<TimestampMicrosecondType>().map(Cells::Time),
            Kind::Interval => array.as_primitive_opt::<Float64Type>().map(Cells::Interval),
            Kind::Double => array.as_primitive_opt::<Float64Type>().map(Cells::Double),
            Kind::Str | Kind::Enum | Kind::Addr => array.as_string_opt::<i32>().map(Cells::Text),
            Kind::Port => array.as_primitive_opt::<Int32Type>().map(Cells::Port),
            Kind::Count | Kind::Int => array.as_primitive_opt::<Int64Type>().map(Cells::Number),
            Kind::Bool => array.as_boolean_opt().map(Cells::Bool),
            Kind::Set(of) | Kind::Vector(of) => match array.as_list_opt::<i32>() {
                Some(list) => {
                    let elements = Cells::of(name, *of, list.values().as_ref())?;
                    Some(Cells::List(list, Box::new(elements)))
                }
                None => None,
            },
        };
        let Some(cells) = cells else {
            bail!("column `{name}` is {}, not {}", array.data_type(), kind.arrow());
        };
        Ok(cells)
    }

    /// Whether the cell is unset.
    #[inline]
    pub fn is_unset(&self, row: usize) -> bool {
        match self {
            Cells::Time(a) => a.is_null(row),
            Cells::Interval(a) | Cells::Double(a) => a.is_null(row),
            Cells::Text(a) => a.is_null(row),
            Cells::Port(a) => a.is_null(row),
            Cells::Number(a) => a.is_null(row),
            Cells::Bool(a) => a.is_null(row),
            Cells::List(a, _) => a.is_null(row),
        }
    }
}

/// Where the elements of a list's cell lie.
pub fn elements(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}
