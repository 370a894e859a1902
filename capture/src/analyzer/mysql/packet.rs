//! What MySQL's packets are made of, and which one is expected next.
//!
//! Every parser says `None` for what is malformed. Source: Zeek's `mysql-protocol.pac`.

use crate::analyzer::wire::Reader;

/// Capabilities of client and server.
mod capability {
    pub const CONNECT_WITH_DB: u32 = 0x8;
    pub const SSL: u32 = 0x800;
    pub const PLUGIN_AUTH: u32 = 0x8_0000;
    pub const CONNECT_ATTRS: u32 = 0x10_0000;
    pub const DEPRECATE_EOF: u32 = 0x100_0000;
    pub const ZSTD_COMPRESSION: u32 = 0x400_0000;
    pub const QUERY_ATTRIBUTES: u32 = 0x800_0000;
}

/// Commands that change what is expected.
mod command {
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0a;
    pub const CHANGE_USER: u8 = 0x11;
}

/// First bytes of a server's answers.
mod answer {
    pub const OK: u8 = 0x00;
    pub const MORE_AUTH: u8 = 0x01;
    /// Also a change of the way to authenticate, while that is under way.
    pub const EOF: u8 = 0xfe;
    pub const ERROR: u8 = 0xff;
}

/// A packet that is longer than this, with its head, is no EOF.
const EOF_LEN_MAX: usize = 13;

/// What the server sends next once commands are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expect {
    Nothing,
    #[default]
    Status,
    Definition,
    DefinitionOrEof,
    Columns,
    EofThenRows,
    Rows,
    Rest,
}

/// Where a connection stands.
#[derive(Debug, Default)]
pub struct Session {
    /// Of a half: the server has greeted.
    pub has_greeting: bool,
    /// The client has answered the greeting.
    pub has_handshake: bool,
    /// The client has asked for TLS: what follows is that.
    pub is_tls: bool,
    version: u8,
    last_number: u8,
    /// Authentication is over.
    serves: bool,
    expects_auth: bool,
    expect: Expect,
    columns: u32,
    columns_left: u32,
    capabilities: u32,
    server_attributes: bool,
}

impl Session {
    fn client_has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    fn served(&mut self) {
        self.serves = true;
        self.expects_auth = false;
    }

    /// A packet of the server, with its head.
    pub fn server(&mut self, unit: &[u8]) -> Option<()> {
        let mut r = Reader::new(unit);
        r.skip(3)?;
        let number = r.u8()?;
        let is_first = number == 0 && self.last_number != 255;
        self.last_number = number;
        match (self.serves, is_first) {
            (true, _) => self.response(&mut r, unit.len()),
            (false, true) => self.greeting(&mut r),
            (false, false) => match r.u8()? {
                answer::OK => self.ok(&mut r),
                answer::MORE_AUTH => Some(()),
                answer::EOF => {
                    r.text0()?;
                    self.expects_auth = true;
                    self.expect = Expect::Status;
                    Some(())
                }
                answer::ERROR => self.error(&mut r),
                _ => None,
            },
        }
    }

    fn greeting(&mut self, r: &mut Reader<'_>) -> Option<()> {
        let version = r.u8()?;
        match version {
            10 => {
                r.text0()?;
                r.skip(4 + 8 + 1 + 2 + 1 + 2)?;
                let flags = u32::from(r.le16()?) << 16;
                let auth = r.u8()?;
                if !matches!(auth, 0 | 21..) {
                    return None;
                }
                r.skip(10)?;
                r.skip(if auth > 21 { usize::from(auth) - 8 } else { 13 })?;
                if flags & capability::PLUGIN_AUTH != 0 {
                    r.text0()?;
                }
                self.server_attributes = flags & capability::QUERY_ATTRIBUTES != 0;
            }
            9 => {
                r.text0()?;
                r.skip(4)?;
                r.text0()?;
            }
            _ => self.error(r)?,
        }
        self.version = version;
        Some(())
    }

    fn ok(&mut self, r: &mut Reader<'_>) -> Option<()> {
        number(r)?;
        self.served();
        Some(())
    }

    fn error(&mut self, r: &mut Reader<'_>) -> Option<()> {
        r.skip(2 + 6)?;
        self.served();
        Some(())
    }

    /// What answers a command; `len` is that of the whole packet.
    fn response(&mut self, r: &mut Reader<'_>, len: usize) -> Option<()> {
        match self.expect {
            Expect::Nothing | Expect::Rest => Some(()),
            Expect::Status => match r.u8()? {
                answer::OK => self.ok(r),
                answer::EOF => r.skip(4),
                answer::ERROR => self.error(r),
                _ => Some(()),
            },
            Expect::Columns => match r.u8()? {
                answer::OK => self.ok(r),
                answer::ERROR => self.error(r),
                first => {
                    self.columns = number_after(r, first)? as u32;
                    self.columns_left = self.columns;
                    self.expect = Expect::Definition;
                    Some(())
                }
            },
            Expect::Definition => {
                let first = r.u8()?;
                definition(r, first)?;
                self.columns_left = self.columns_left.wrapping_sub(1);
                let more = self.columns_left > 0;
                self.expect = if more { Expect::Definition } else { Expect::EofThenRows };
                Some(())
            }
            Expect::DefinitionOrEof => match r.u8()? {
                answer::EOF => self.eof_or_ok(r, len),
                first => definition(r, first),
            },
            Expect::EofThenRows if self.client_has(capability::DEPRECATE_EOF) => self.row(r, len),
            Expect::EofThenRows => {
                r.skip(1 + 4)?;
                self.served();
                self.expect = Expect::Rows;
                Some(())
            }
            Expect::Rows => self.row(r, len),
        }
    }

    fn row(&mut self, r: &mut Reader<'_>, len: usize) -> Option<()> {
        let first = r.u8()?;
        if first == answer::EOF {
            self.eof_or_ok(r, len)?;
            self.expect = Expect::Nothing;
            return Some(());
        }
        text_after(r, first)?;
        // Each takes a byte at least, so that a count without sense ends with the packet.
        for _ in 0..self.columns.wrapping_sub(1) {
            text(r)?;
        }
        self.expect = Expect::Rows;
        Some(())
    }

    fn eof_or_ok(&mut self, r: &mut Reader<'_>, len: usize) -> Option<()> {
        if self.client_has(capability::DEPRECATE_EOF) || len > EOF_LEN_MAX {
            self.ok(r)
        } else {
            r.skip(4)
        }
    }

    /// A packet of the client, with its head.
    pub fn client(&mut self, unit: &[u8]) -> Option<()> {
        let mut r = Reader::new(unit);
        r.skip(4)?;
        match (self.serves, self.expects_auth) {
            (true, _) => self.command(&mut r),
            (false, true) => Some(()),
            (false, false) => self.answer(&mut r),
        }
    }

    /// The client's first packet where the greeting was seen elsewhere: servers of today greet in version 10.
    pub fn answer_of_half(&mut self, unit: &[u8]) -> Option<()> {
        self.version = 10;
        self.client(unit)
    }

    /// The answer to the greeting.
    fn answer(&mut self, r: &mut Reader<'_>) -> Option<()> {
        match self.version {
            10 => {
                let flags = r.le32()?;
                r.skip(4 + 1 + 23)?;
                if flags & capability::SSL != 0 {
                    self.is_tls = true;
                } else {
                    credentials(r, flags)?;
                    self.expects_auth |= flags & capability::PLUGIN_AUTH != 0;
                }
                self.capabilities = flags;
            }
            9 => {
                let flags = r.le16()?;
                r.skip(3)?;
                r.text0()?;
                r.text0()?;
                if u32::from(flags) & capability::CONNECT_WITH_DB != 0 {
                    r.text0()?;
                }
            }
            _ => return None,
        }
        self.has_handshake = true;
        Some(())
    }

    fn command(&mut self, r: &mut Reader<'_>) -> Option<()> {
        let command = r.u8()?;
        match command {
            command::QUERY
                if self.client_has(capability::QUERY_ATTRIBUTES) && self.server_attributes =>
            {
                attributes(r)?;
            }
            command::CHANGE_USER => self.change_user(r)?,
            _ => {}
        }
        self.expect = match command {
            0x00..=0x02 | 0x05..=0x08 | 0x0b..=0x10 | 0x1d | 0x1f => Expect::Status,
            command::QUERY | command::PROCESS_INFO => Expect::Columns,
            command::FIELD_LIST => Expect::DefinitionOrEof,
            command::STATISTICS => Expect::Rest,
            command::CHANGE_USER => {
                self.serves = false;
                return Some(());
            }
            _ => Expect::Nothing,
        };
        Some(())
    }

    fn change_user(&self, r: &mut Reader<'_>) -> Option<()> {
        r.text0()?;
        r.vec8()?;
        r.text0()?;
        r.skip(2)?;
        if self.client_has(capability::PLUGIN_AUTH) {
            r.text0()?;
        }
        if self.client_has(capability::CONNECT_ATTRS) {
            connection_attributes(r)?;
        }
        Some(())
    }
}

fn credentials(r: &mut Reader<'_>, flags: u32) -> Option<()> {
    r.text0()?;
    text(r)?;
    if flags & capability::CONNECT_WITH_DB != 0 {
        r.text0()?;
    }
    if flags & capability::PLUGIN_AUTH != 0 {
        // It may be missing.
        r.text0().unwrap_or_default();
    }
    if flags & capability::CONNECT_ATTRS != 0 {
        connection_attributes(r)?;
    }
    if flags & capability::ZSTD_COMPRESSION != 0 {
        r.skip(1)?;
    }
    Some(())
}

fn connection_attributes(r: &mut Reader<'_>) -> Option<()> {
    let mut all = Reader::new(r.vec8()?);
    while !all.is_empty() {
        text(&mut all)?;
        text(&mut all)?;
    }
    Some(())
}

/// Attributes of a query: how many, which of them have no value, types and names, values.
fn attributes(r: &mut Reader<'_>) -> Option<()> {
    let count = usize::try_from(number(r)?).ok()?;
    number(r)?;
    if count == 0 {
        return Some(());
    }
    let nulls = r.take(count.div_ceil(8))?;
    if r.u8()? != 1 {
        return None;
    }
    // The count is no more than eight times the bytes of the packet.
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(r.u8()?);
        r.skip(1)?;
        text(r)?;
    }
    for (i, kind) in kinds.iter().enumerate() {
        if nulls.get(i / 8)? >> (i % 8) & 1 == 0 {
            value(r, *kind)?;
        }
    }
    Some(())
}

/// A value in the binary protocol, by its type.
fn value(r: &mut Reader<'_>, kind: u8) -> Option<()> {
    match kind {
        0x00 => number(r).map(|_| ()),
        0x01 => r.skip(1),
        0x02 | 0x0d => r.skip(2),
        0x03 | 0x04 | 0x09 => r.skip(4),
        0x05 | 0x08 => r.skip(8),
        0x06 => Some(()),
        0x07 | 0x0a | 0x0c | 0x11 => match r.vec8()?.len() {
            0 | 4 | 7 | 11 => Some(()),
            _ => None,
        },
        0x0b => match r.vec8()? {
            [] => Some(()),
            [0 | 1, rest @ ..] if matches!(rest.len(), 7 | 11) => Some(()),
            _ => None,
        },
        0x0f | 0x10 | 0xf5.. => text(r).map(|_| ()),
        _ => None,
    }
}

/// The definition of a column, after its first byte.
fn definition(r: &mut Reader<'_>, first: u8) -> Option<()> {
    text_after(r, first)?;
    for _ in 0..5 {
        text(r)?;
    }
    number(r)?;
    r.skip(2 + 4 + 1 + 2 + 1 + 2)
}

/// A number in one to nine bytes.
fn number(r: &mut Reader<'_>) -> Option<i32> {
    let first = r.u8()?;
    number_after(r, first)
}

/// The same after its first byte. Zeek keeps 32 bits of it, with a sign.
fn number_after(r: &mut Reader<'_>, first: u8) -> Option<i32> {
    Some(match first {
        0xfb | 0xff => 0,
        0xfc => r.le16()?.into(),
        0xfd => {
            let [a, b, c] = *r.take(3)?.first_chunk::<3>()?;
            i32::from_le_bytes([a, b, c, 0])
        }
        0xfe => r.le64()? as i32,
        small => small.into(),
    })
}

/// Bytes behind such a number.
fn text<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let first = r.u8()?;
    text_after(r, first)
}

fn text_after<'a>(r: &mut Reader<'a>, first: u8) -> Option<&'a [u8]> {
    let len = number_after(r, first)?;
    r.take(usize::try_from(len).ok()?)
}
