//! Streams: one kind of log each, defined once. A file here holds one `stream!`, from which come the
//! Arrow schema, the TSV header, the JSON names, the Parquet schema, the DuckDB view and the
//! reference page. Adding a stream is one file and its two lines below.

use std::sync::{Arc, OnceLock};

use arrow_schema::{Field, Schema, SchemaRef};

use crate::types::Kind;

pub mod cluster_summary;
pub mod conn;
pub mod dnp3;
pub mod dns;
pub mod failed_auth;
pub mod files;
pub mod ftp;
pub mod half;
pub mod http;
pub mod known;
pub mod known_certs;
pub mod known_hosts;
pub mod known_services;
pub mod modbus;
pub mod notice;
pub mod notice_alarm;
pub mod notice_tally;
pub mod ntp;
pub mod partial;
pub mod raw_conn;
pub mod smb_files;
pub mod smb_mapping;
pub mod ssh;
pub mod ssl;
pub mod tunnel;
pub mod weird;
pub mod x509;

/// The streams that are logs, in the order that the reference page lists them.
pub static ALL: &[&Def] = &[
    &conn::DEF,
    &dns::DEF,
    &http::DEF,
    &ssl::DEF,
    &files::DEF,
    &x509::DEF,
    &tunnel::DEF,
    &ntp::DEF,
    &modbus::DEF,
    &dnp3::DEF,
    &ssh::DEF,
    &ftp::DEF,
    &smb_files::DEF,
    &smb_mapping::DEF,
    &known_hosts::DEF,
    &known_services::DEF,
    &known_certs::DEF,
    &weird::DEF,
    &notice::DEF,
    &notice_alarm::DEF,
    &notice_tally::DEF,
    &cluster_summary::DEF,
];

/// The streams that travel between roles and are not logged.
pub static INTERNAL: &[&Def] = &[&partial::DEF, &known::DEF, &failed_auth::DEF, &raw_conn::DEF];

/// The stream of this name, logged or internal.
pub fn find(name: &str) -> Option<&'static Def> {
    ALL.iter().chain(INTERNAL).copied().find(|def| def.name == name)
}

/// What places a row in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The flow's Community ID.
    Flow,
    /// The node that wrote it.
    Node,
    /// What the row is about: a notice's identifier, an entity, a host.
    Asset,
}

/// Who defines a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Zeek's base scripts.
    Zeek,
    /// A Zeek policy script that weir has on.
    Policy,
    /// weir itself; TSV leaves these out unless asked.
    Weir,
}

/// One column of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Zeek's name, with its dots.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be unset.
    pub optional: bool,
    /// Who defines it.
    pub origin: Origin,
    /// What it holds.
    pub doc: &'static str,
}

/// The definition of a stream.
#[derive(Debug)]
pub struct Def {
    /// Its name, which is also Zeek's path.
    pub name: &'static str,
    /// What a row is.
    pub doc: &'static str,
    /// What places its rows.
    pub key: Key,
    /// Goes up when a column's meaning or type changes; new columns at the end do not count.
    pub version: u32,
    /// All columns in order.
    pub columns: &'static [Column],
    #[doc(hidden)]
    pub cell: &'static OnceLock<SchemaRef>,
}

impl Def {
    /// The Arrow schema: flat names, Zeek's order.
    pub fn schema(&self) -> SchemaRef {
        self.cell
            .get_or_init(|| {
                let fields: Vec<Field> = self
                    .columns
                    .iter()
                    .map(|c| Field::new(c.name, c.kind.arrow(), c.optional))
                    .collect();
                Arc::new(Schema::new(fields))
            })
            .clone()
    }

    /// The stream's name in a topic: `-` for `_`.
    pub fn topic_name(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// When and in which place a row was completed. Rows of one batch are put in this order, which is the
/// same on every run and for any number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Packet time that completed the row, microseconds: `_write_ts`.
    pub write_ts: i64,
    /// Virtual shard and number of the flow in it.
    pub flow: u64,
    /// Rises with every row that one thread writes.
    pub seq: u64,
    /// The lane the row belongs to; not part of the order, as it follows from the flow.
    pub lane: u32,
}

impl Mark {
    /// A mark for a row with only a time: its place among others of that time is its order of arrival.
    pub fn at(write_ts: i64, lane: u32) -> Mark {
        Mark { write_ts, flow: 0, seq: 0, lane }
    }
}

/// Defines one stream in the module it is written in: `DEF`, `Row`, `Batch`.
///
/// `_write_ts` and `sensor` are given to every stream, before its own `weir` columns.
#[macro_export]
macro_rules! stream {
    (
        $(#[doc = $stream_doc:literal])*
        $name:literal, $key:ident, version $version:literal;
        zeek { $($(#[doc = $zdoc:literal])* $zf:ident $zn:literal : $zt:ty,)* }
        policy { $($(#[doc = $pdoc:literal])* $pf:ident $pn:literal : $pt:ty,)* }
        weir { $($(#[doc = $wdoc:literal])* $wf:ident $wn:literal : $wt:ty,)* }
    ) => {
        #[allow(unused_imports)]
        use $crate::types::*;
        use $crate::stream::{Column, Def, Key, Mark, Origin};

        static SCHEMA: std::sync::OnceLock<arrow_schema::SchemaRef> = std::sync::OnceLock::new();

        /// Its columns.
        pub(crate) const COLUMNS: &[Column] = &[
            $($crate::stream!(@column $zn, $zt, Zeek, $($zdoc)*),)*
            $($crate::stream!(@column $pn, $pt, Policy, $($pdoc)*),)*
            $crate::stream!(@column "_write_ts", Time, Weir, " Packet time that completed the row."),
            $crate::stream!(@column "sensor", Str, Weir, " Node that wrote the row."),
            $($crate::stream!(@column $wn, $wt, Weir, $($wdoc)*),)*
        ];

        /// The stream's definition.
        pub static DEF: Def = Def {
            name: $name,
            doc: concat!($($stream_doc),*),
            key: Key::$key,
            version: $version,
            columns: COLUMNS,
            cell: &SCHEMA,
        };

        /// One row, borrowed: fill what is known over `..Row::unset()`.
        #[derive(Clone, Copy)]
        pub struct Row<'a> {
            $($(#[doc = $zdoc])* pub $zf: <$zt as ZeekType>::Cell<'a>,)*
            $($(#[doc = $pdoc])* pub $pf: <$pt as ZeekType>::Cell<'a>,)*
            $($(#[doc = $wdoc])* pub $wf: <$wt as ZeekType>::Cell<'a>,)*
        }

        impl<'a> Row<'a> {
            /// A row with every cell unset, empty or zero.
            pub fn unset() -> Row<'a> {
                Row {
                    $($zf: <$zt as ZeekType>::unset(),)*
                    $($pf: <$pt as ZeekType>::unset(),)*
                    $($wf: <$wt as ZeekType>::unset(),)*
                }
            }
        }

        /// Rows being collected.
        pub struct Batch {
            $($zf: <$zt as ZeekType>::Builder,)*
            $($pf: <$pt as ZeekType>::Builder,)*
            $($wf: <$wt as ZeekType>::Builder,)*
            marks: Vec<Mark>,
        }

        impl Default for Batch {
            fn default() -> Batch {
                Batch {
                    $($zf: <$zt as ZeekType>::builder(),)*
                    $($pf: <$pt as ZeekType>::builder(),)*
                    $($wf: <$wt as ZeekType>::builder(),)*
                    marks: Vec::new(),
                }
            }
        }

        impl Batch {
            /// Appends a row.
            pub fn push(&mut self, mark: Mark, row: Row<'_>) {
                $(<$zt as ZeekType>::push(&mut self.$zf, row.$zf);)*
                $(<$pt as ZeekType>::push(&mut self.$pf, row.$pf);)*
                $(<$wt as ZeekType>::push(&mut self.$wf, row.$wf);)*
                self.marks.push(mark);
            }

            /// Rows collected so far.
            pub fn len(&self) -> usize {
                self.marks.len()
            }

            /// Whether there is none.
            pub fn is_empty(&self) -> bool {
                self.marks.is_empty()
            }

            /// Bytes of the longest column: Arrow counts them in 31 bits.
            pub fn bytes(&self) -> usize {
                let columns: &[usize] = &[
                    $(<$zt as ZeekType>::bytes(&self.$zf),)*
                    $(<$pt as ZeekType>::bytes(&self.$pf),)*
                    $(<$wt as ZeekType>::bytes(&self.$wf),)*
                ];
                columns.iter().copied().max().unwrap_or(0)
            }

            /// Takes the rows out, in the order they were pushed, with their marks.
            pub fn finish(&mut self, sensor: &str) -> (arrow_array::RecordBatch, Vec<Mark>) {
                use arrow_array::ArrayRef;
                use std::sync::Arc;
                let marks = std::mem::take(&mut self.marks);
                let write_ts = arrow_array::TimestampMicrosecondArray::from_iter_values(
                    marks.iter().map(|mark| mark.write_ts),
                )
                .with_timezone("UTC");
                let sensor = arrow_array::StringArray::from_iter_values(
                    std::iter::repeat_n(sensor, marks.len()),
                );
                let columns: Vec<ArrayRef> = vec![
                    $(Arc::new(self.$zf.finish()),)*
                    $(Arc::new(self.$pf.finish()),)*
                    Arc::new(write_ts),
                    Arc::new(sensor),
                    $(Arc::new(self.$wf.finish()),)*
                ];
                let batch = arrow_array::RecordBatch::try_new(DEF.schema(), columns)
                    .expect("the macro builds each column by its own type");
                (batch, marks)
            }
        }
    };
    (@column $name:literal, $ty:ty, $origin:ident, $($doc:literal)*) => {
        Column {
            name: $name,
            kind: <$ty as ZeekType>::KIND,
            optional: <$ty as ZeekType>::OPTIONAL,
            origin: Origin::$origin,
            doc: concat!($($doc),*),
        }
    };
}
