//! notice_alarm: the notices that policy alarms on (Zeek's `Notice::ALARM_LOG`), with the columns of notice.

use std::sync::OnceLock;

use super::{Def, Key, notice};

static CELL: OnceLock<arrow_schema::SchemaRef> = OnceLock::new();

/// The stream's definition.
pub static DEF: Def = Def {
    name: "notice_alarm",
    doc: "Notices that policy alarms on; each is in notice too.",
    key: Key::Asset,
    version: 1,
    columns: notice::DEF.columns,
    cell: &CELL,
};
