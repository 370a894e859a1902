//! The vocabulary of weir: streams and their columns, identifiers, `conn_state`. No I/O, no clock.
//!
//! - [`types`]: Zeek's value types and what each means in Arrow.
//! - [`stream`]: every stream, one file each, and what a definition gives ([`stream::Def`]).
//! - [`id`]: flows, uids, Community ID, and the partition of a key.
//! - [`conn_state`]: endpoint states and the summary Zeek makes of them.
//! - [`text`]: bytes from the wire as text.
//! - [`read`]: typed access to the columns of a batch.
//! - [`schema`]: the definitions as reference page, SQL views and JSON.

pub mod conn_state;
pub mod id;
pub mod read;
pub mod schema;
pub mod stream;
pub mod text;
pub mod types;
