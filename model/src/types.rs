//! Zeek's value types: what each is called in a log, how Arrow holds it, how a cell is appended.
//!
//! A column's type is written once, as a Rust type (`Option<Vector<Str>>`); this trait gives the
//! rest. Writers look at [`Kind`], which says the same at run time.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_schema::{DataType, Field, TimeUnit};

/// A Zeek type as a value, for code that walks columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microseconds since the epoch, UTC.
    Time,
    /// Seconds, as a double.
    Interval,
    /// Text.
    Str,
    /// A name out of a closed list, as text.
    Enum,
    /// An IPv4 or IPv6 address, as text.
    Addr,
    /// A transport port.
    Port,
    /// An unsigned number.
    Count,
    /// A signed number.
    Int,
    /// A truth value.
    Bool,
    /// A floating point number.
    Double,
    /// An unordered list.
    Set(&'static Kind),
    /// An ordered list.
    Vector(&'static Kind),
}

impl Kind {
    /// The name in a `#types` line, such as `set[string]`.
    pub fn zeek(self) -> String {
        match self {
            Kind::Time => "time".into(),
            Kind::Interval => "interval".into(),
            Kind::Str => "string".into(),
            Kind::Enum => "enum".into(),
            Kind::Addr => "addr".into(),
            Kind::Port => "port".into(),
            Kind::Count => "count".into(),
            Kind::Int => "int".into(),
            Kind::Bool => "bool".into(),
            Kind::Double => "double".into(),
            Kind::Set(of) => format!("set[{}]", of.zeek()),
            Kind::Vector(of) => format!("vector[{}]", of.zeek()),
        }
    }

    /// The Arrow type, which is also what Parquet and DuckDB see.
    pub fn arrow(self) -> DataType {
        match self {
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Interval | Kind::Double => DataType::Float64,
            Kind::Str | Kind::Enum | Kind::Addr => DataType::Utf8,
            Kind::Port => DataType::Int32,
            Kind::Count | Kind::Int => DataType::Int64,
            Kind::Bool => DataType::Boolean,
            Kind::Set(of) | Kind::Vector(of) => {
                DataType::List(Arc::new(Field::new("item", of.arrow(), true)))
            }
        }
    }

    /// The type's name in DuckDB.
    pub fn duckdb(self) -> String {
        match self {
            Kind::Time => "TIMESTAMP WITH TIME ZONE".into(),
            Kind::Interval | Kind::Double => "DOUBLE".into(),
            Kind::Str | Kind::Enum | Kind::Addr => "VARCHAR".into(),
            Kind::Port => "INTEGER".into(),
            Kind::Count | Kind::Int => "BIGINT".into(),
            Kind::Bool => "BOOLEAN".into(),
            Kind::Set(of) | Kind::Vector(of) => format!("{}[]", of.duckdb()),
        }
    }
}

/// What a column's Rust type knows: its kind, its builder, its borrowed cell.
pub trait ZeekType {
    /// One value, borrowed where it has a length.
    type Cell<'a>: Copy;
    /// The Arrow builder that collects the column.
    type Builder: ArrayBuilder;
    /// The same type as a value.
    const KIND: Kind;
    /// Whether a cell may be unset.
    const OPTIONAL: bool = false;

    /// An empty builder.
    fn builder() -> Self::Builder;
    /// Appends one cell.
    fn push(builder: &mut Self::Builder, cell: Self::Cell<'_>);
    /// Appends an unset cell.
    fn push_unset(builder: &mut Self::Builder);
    /// The cell that a row starts with: unset where that is possible, else empty or zero.
    fn unset() -> Self::Cell<'static>;
    /// Bytes of text and elements of lists that it holds: Arrow counts them in 31 bits.
    fn bytes(_builder: &Self::Builder) -> usize {
        0
    }
}

macro_rules! plain_type {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $cell:ty, $builder:ty, $unset:expr, $cast:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl ZeekType for $name {
            type Cell<'a> = $cell;
            type Builder = $builder;
            const KIND: Kind = $kind;
            fn builder() -> $builder {
                <$builder>::new()
            }
            fn push(builder: &mut $builder, cell: $cell) {
                builder.append_value($cast(cell));
            }
            fn push_unset(builder: &mut $builder) {
                builder.append_null();
            }
            fn unset() -> $cell {
                $unset
            }
        }
    };
}

plain_type!(/** Seconds; a cell is in microseconds. */
    Interval, Kind::Interval, i64, Float64Builder, 0, seconds);
plain_type!(/** A port number. */ Port, Kind::Port, u16, Int32Builder, 0, i32::from);
plain_type!(/** An unsigned number; above `i64::MAX` it is cut to that. */
    Count, Kind::Count, u64, Int64Builder, 0, |n| i64::try_from(n).unwrap_or(i64::MAX));
plain_type!(/** A signed number. */ Int, Kind::Int, i64, Int64Builder, 0, |n| n);
plain_type!(/** A truth value. */ Bool, Kind::Bool, bool, BooleanBuilder, false, |b| b);
plain_type!(/** A floating point number. */ Double, Kind::Double, f64, Float64Builder, 0.0, |d| d);

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl ZeekType for $name {
            type Cell<'a> = &'a str;
            type Builder = StringBuilder;
            const KIND: Kind = $kind;
            fn builder() -> StringBuilder {
                StringBuilder::new()
            }
            fn push(builder: &mut StringBuilder, cell: &str) {
                builder.append_value(cell);
            }
            fn push_unset(builder: &mut StringBuilder) {
                builder.append_null();
            }
            fn unset() -> &'static str {
                ""
            }
            fn bytes(builder: &StringBuilder) -> usize {
                builder.values_slice().len()
            }
        }
    };
}

text_type!(/** Text; see [`crate::text`] for bytes that are none. */ Str, Kind::Str);
text_type!(/** A name out of a closed list. */ Enum, Kind::Enum);

/// A moment: microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Time;

impl ZeekType for Time {
    type Cell<'a> = i64;
    type Builder = TimestampMicrosecondBuilder;
    const KIND: Kind = Kind::Time;
    fn builder() -> Self::Builder {
        TimestampMicrosecondBuilder::new().with_timezone("UTC")
    }
    fn push(builder: &mut Self::Builder, cell: i64) {
        builder.append_value(cell);
    }
    fn push_unset(builder: &mut Self::Builder) {
        builder.append_null();
    }
    fn unset() -> i64 {
        0
    }
}

/// An address, kept as text.
#[derive(Debug, Clone, Copy)]
pub struct Addr;

impl ZeekType for Addr {
    type Cell<'a> = IpAddr;
    type Builder = StringBuilder;
    const KIND: Kind = Kind::Addr;
    fn builder() -> StringBuilder {
        StringBuilder::new()
    }
    fn push(builder: &mut StringBuilder, cell: IpAddr) {
        match cell {
            IpAddr::V4(v4) => push_ipv4(builder, v4.octets()),
            // Writing into a StringBuilder cannot fail.
            IpAddr::V6(v6) => {
                let _ = write!(builder, "{v6}");
            }
        }
        builder.append_value("");
    }
    fn push_unset(builder: &mut StringBuilder) {
        builder.append_null();
    }
    fn unset() -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
}

/// Writes dotted decimal without the formatting machinery: every row has two addresses.
fn push_ipv4(builder: &mut StringBuilder, octets: [u8; 4]) {
    let mut text = [0u8; 15];
    let mut at = 0;
    for (i, octet) in octets.into_iter().enumerate() {
        if i > 0 {
            text[at] = b'.';
            at += 1;
        }
        if octet >= 100 {
            text[at] = b'0' + octet / 100;
            at += 1;
        }
        if octet >= 10 {
            text[at] = b'0' + octet / 10 % 10;
            at += 1;
        }
        text[at] = b'0' + octet % 10;
        at += 1;
    }
    let _ = builder.write_str(std::str::from_utf8(&text[..at]).unwrap_or_default());
}

impl<T: ZeekType> ZeekType for Option<T> {
    type Cell<'a> = Option<T::Cell<'a>>;
    type Builder = T::Builder;
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;
    fn builder() -> T::Builder {
        T::builder()
    }
    fn push(builder: &mut T::Builder, cell: Option<T::Cell<'_>>) {
        match cell {
            Some(cell) => T::push(builder, cell),
            None => T::push_unset(builder),
        }
    }
    fn push_unset(builder: &mut T::Builder) {
        T::push_unset(builder);
    }
    fn unset() -> Option<T::Cell<'static>> {
        None
    }
    fn bytes(builder: &T::Builder) -> usize {
        T::bytes(builder)
    }
}

macro_rules! list_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<T>(std::marker::PhantomData<T>);
        impl<T> ZeekType for $name<T>
        where
            T: ZeekType + 'static,
            for<'a> T::Cell<'a>: 'a,
        {
            type Cell<'a> = &'a [T::Cell<'a>];
            type Builder = ListBuilder<T::Builder>;
            const KIND: Kind = Kind::$name(&T::KIND);
            fn builder() -> Self::Builder {
                ListBuilder::new(T::builder())
            }
            fn push(builder: &mut Self::Builder, cells: &[T::Cell<'_>]) {
                for cell in cells {
                    T::push(builder.values(), *cell);
                }
                builder.append(true);
            }
            fn push_unset(builder: &mut Self::Builder) {
                builder.append(false);
            }
            fn unset() -> &'static [T::Cell<'static>] {
                &[]
            }
            fn bytes(builder: &Self::Builder) -> usize {
                T::bytes(builder.values_ref()) + builder.values_ref().len()
            }
        }
    };
}

list_type!(/** An unordered list. */ Set);
list_type!(/** An ordered list. */ Vector);

/// Microseconds as Zeek's seconds.
pub fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
