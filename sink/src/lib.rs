//! The sink: every log row on the bus, once, in a file.
//!
//! - [`mod@format`]: the file formats, one file each: Zeek's TSV, Parquet, JSON lines.
//! - [`Sink`]: the role. One instance writes one format and has its own group and position.
//! - [`Config`], [`check_dir`]: where files go and when they are closed.
//! - [`entry`]: what `weir.files` says of each file.
//!
//! Rows go to files under temporary names. A step closes and fsyncs files, and commits their entries
//! together with the positions behind their rows; only then are they renamed to where people look.
//! A crash before the commit leaves nothing but temporary files, which the next start deletes; a crash
//! after it leaves committed files, which the next start renames.

mod config;
pub mod entry;
pub mod format;
mod full;
mod name;
mod output;
mod place;
mod role;
mod split;
mod summary;
mod time;

pub use config::{Columns, Config, check_dir};
pub use role::{Sink, member};
pub use summary::{FileSum, Summary};
