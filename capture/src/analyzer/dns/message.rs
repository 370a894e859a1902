//! One DNS message, section by section, as Zeek's `DNS_Interpreter` walks it. What it finds is told
//! to a [`Handler`] in the order in which Zeek raises its events; nothing is kept between messages.
//!
//! Authority and additional sections are not read: Zeek skips both by default
//! (`dns_skip_all_auth`, `dns_skip_all_addl`), so OPT and TSIG in their usual place are not seen.

use std::fmt;

use super::rr;
use super::wire::{Cursor, Header, NAME_BYTES_MAX, Name, NameRules, Weirds, plain};

/// Questions from which a message is taken for something else (Zeek's `dns_max_queries`).
pub const QUESTIONS_MAX: u16 = 25;

/// A section of records that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answers to a query.
    Answer,
    /// What must hold for an update (RFC 2136 section 2.4).
    Prerequisite,
    /// What an update changes (RFC 2136 section 2.5).
    Update,
}

/// A record as the log shows it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// Where it stood.
    pub section: Section,
    /// The name it is about.
    pub owner: &'a [u8],
    /// How long it may be cached, seconds.
    pub ttl: u32,
    /// What it says; empty if there is nothing to show.
    pub text: &'a [u8],
}

/// What is to be done with the parts of a message.
pub trait Handler: Weirds {
    /// The header: the message begins.
    fn message(&mut self, header: &Header);
    /// A question in a query.
    fn request(&mut self, header: &Header, name: &[u8], qtype: u16, qclass: u16);
    /// A question in a reply that has no records at all.
    fn rejected(&mut self);
    /// A record.
    fn reply(&mut self, header: &Header, reply: Reply<'_>);
    /// The message is over, whole or not.
    fn end(&mut self, header: &Header);
    /// It is DNS.
    fn confirm(&mut self);
    /// It is not.
    fn violation(&mut self);
}

/// What a message is read by, apart from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Whether the responder's port is that of the NetBIOS name service.
    pub netbios_server: bool,
    /// Whether it came in a datagram.
    pub datagram: bool,
}

/// Reads one message. `text` is a buffer for the text of records, kept to be used again.
pub fn parse(
    message: &[u8],
    header: &Header,
    setting: Setting,
    text: &mut Vec<u8>,
    on: &mut dyn Handler,
) {
    on.message(header);
    if header.questions > QUESTIONS_MAX {
        on.violation();
        plain(on, "DNS_Conn_count_too_large");
        return on.end(header);
    }
    let mut parser = Parser {
        cursor: Cursor::after_header(message),
        header,
        setting,
        on,
        section: Section::Answer,
        zone_class: 0,
        owner: Name::new(),
        name: Name::new(),
        rtype: 0,
        class: 0,
        ttl: 0,
        text,
    };
    let outcome =
        if header.dynamic_update() { parser.update() } else { parser.question_and_answers() };
    match outcome {
        Outcome::Whole => parser.on.confirm(),
        Outcome::Cut => {}
        Outcome::NoUpdate => return,
    }
    parser.on.end(header);
}

/// How far a message could be read.
enum Outcome {
    /// To the end of what is read of it.
    Whole,
    /// Up to something that does not parse.
    Cut,
    /// An update whose zone is none: Zeek forgets the message there.
    NoUpdate,
}

impl Outcome {
    fn of(whole: bool) -> Outcome {
        if whole { Outcome::Whole } else { Outcome::Cut }
    }
}

/// The reading of one message. The methods for record data are in `rr`, `dnssec` and `svcb`.
pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) header: &'a Header,
    pub(super) setting: Setting,
    pub(super) on: &'a mut dyn Handler,
    pub(super) section: Section,
    zone_class: u16,
    /// Name, type, class and lifetime of the record being read.
    pub(super) owner: Name,
    pub(super) rtype: u16,
    class: u16,
    ttl: u32,
    /// A name in its data.
    pub(super) name: Name,
    /// Its text.
    pub(super) text: &'a mut Vec<u8>,
}

impl Parser<'_> {
    fn question_and_answers(&mut self) -> Outcome {
        let header = self.header;
        Outcome::of(
            (0..header.questions).all(|_| self.question())
                && self.records(Section::Answer, header.answers),
        )
    }

    /// RFC 2136 section 2: a zone, what must hold, what changes.
    fn update(&mut self) -> Outcome {
        let header = self.header;
        if header.questions != 1 {
            self.weird("DNS_DU_invalid_zone_count", format_args!("{}", header.questions));
            return Outcome::Cut;
        }
        if !self.record_head() {
            return Outcome::Cut;
        }
        if self.rtype != rr::SOA {
            self.plain("DNS_DU_incorrect_zone_type");
            return Outcome::NoUpdate;
        }
        self.zone_class = self.class;
        Outcome::of(
            self.records(Section::Prerequisite, header.answers)
                && self.records(Section::Update, header.authority),
        )
    }

    fn question(&mut self) -> bool {
        self.read_owner();
        if self.cursor.left() < 4 {
            self.plain("DNS_truncated_quest_too_short");
            return false;
        }
        let (qtype, qclass) = (self.cursor.short(), self.cursor.short());
        let header = self.header;
        if !header.reply() {
            self.on.request(header, self.owner.bytes(), qtype, qclass);
        } else if header.answers == 0 && header.authority == 0 && header.additional == 0 {
            self.on.rejected();
        }
        true
    }

    fn records(&mut self, section: Section, count: u16) -> bool {
        self.section = section;
        (0..count).all(|_| self.record())
    }

    /// Name, type and class.
    fn record_head(&mut self) -> bool {
        self.read_owner();
        if self.cursor.left() < 4 {
            self.plain("DNS_truncated_ans_too_short");
            return false;
        }
        self.rtype = self.cursor.short();
        self.class = self.cursor.short();
        true
    }

    /// One record. Whether the next can be read.
    fn record(&mut self) -> bool {
        if !self.record_head() {
            return false;
        }
        self.ttl = self.cursor.long();
        let length = usize::from(self.cursor.short());
        if length > self.cursor.left() {
            self.plain("DNS_truncated_RR_rdlength_lt_len");
            return false;
        }
        if self.header.dynamic_update() && self.update_record(length) {
            return true;
        }
        if length == 0 && self.cursor.left() > 0 {
            if self.header.dynamic_update() {
                return true;
            }
            self.plain("DNS_zero_rdlength");
            return false;
        }
        self.text.clear();
        self.data(length)
    }

    /// What RFC 2136 sections 2.4 and 2.5 make of a record. Whether that was all of it: as in Zeek,
    /// the data of such a record is not skipped.
    fn update_record(&mut self, length: usize) -> bool {
        match self.section {
            Section::Answer => false,
            Section::Prerequisite => {
                self.prerequisite(length);
                true
            }
            Section::Update if self.class == rr::ANY && self.ttl == 0 && length == 0 => {
                self.deletion();
                true
            }
            Section::Update => {
                let known =
                    (self.class == rr::NONE && self.ttl == 0) || self.class == self.zone_class;
                if !known {
                    self.plain("DNS_dynamic_update_invalid_update");
                }
                !known
            }
        }
    }

    fn prerequisite(&mut self, length: usize) {
        if self.ttl != 0 {
            // Zeek prints it as a signed number.
            let ttl = self.ttl.cast_signed();
            return self.weird("DNS_dynamic_update_prereq_nonzero_ttl", format_args!("{ttl}"));
        }
        let about_names = matches!(self.class, rr::ANY | rr::NONE) && length == 0;
        if !about_names && self.class != self.zone_class {
            return self.plain("DNS_dynamic_update_invalid_prereq");
        }
        let qtype = super::names::qtype(self.rtype);
        let owner = self.owner.bytes();
        self.text.clear();
        self.text.extend_from_slice(b"pre: ");
        match (self.class, self.rtype) {
            (rr::NONE, rr::ANY) => self.text.extend_from_slice(b"NameNotInUse "),
            (rr::ANY, rr::ANY) => self.text.extend_from_slice(b"NameInUse "),
            (rr::NONE, _) => add(self.text, format_args!("NoRRSet {qtype} ")),
            _ => add(self.text, format_args!("RRSetExists {qtype} ")),
        }
        self.text.extend_from_slice(owner);
        self.reply();
    }

    fn deletion(&mut self) {
        self.text.clear();
        if self.rtype == rr::ANY {
            self.text.extend_from_slice(b"del: RRSet * ");
            self.text.extend_from_slice(self.owner.bytes());
        } else {
            add(self.text, format_args!("del: RRSet {}", super::names::qtype(self.rtype)));
        }
        self.reply();
    }

    /// Tells of the record, with the text made of it.
    pub(super) fn reply(&mut self) {
        let reply = Reply {
            section: self.section,
            owner: self.owner.bytes(),
            ttl: self.ttl,
            text: self.text,
        };
        self.on.reply(self.header, reply);
    }

    fn rules(&self, lower: bool) -> NameRules {
        NameRules { room: NAME_BYTES_MAX, lower, long_labels: self.setting.netbios_server }
    }

    fn read_owner(&mut self) {
        let rules = self.rules(true);
        self.owner.read(&mut self.cursor, rules, self.on);
    }

    /// Reads a name out of record data.
    pub(super) fn read_name(&mut self, lower: bool) {
        let rules = self.rules(lower);
        self.name.read(&mut self.cursor, rules, self.on);
    }

    /// Reads the longer name that a TSIG record has.
    pub(super) fn read_tsig_name(&mut self) {
        let rules = NameRules { room: super::wire::TSIG_NAME_BYTES_MAX, ..self.rules(true) };
        self.name.read(&mut self.cursor, rules, self.on);
    }

    pub(super) fn weird(&mut self, name: &'static str, addl: fmt::Arguments<'_>) {
        self.on.weird(name, addl);
    }

    pub(super) fn plain(&mut self, name: &'static str) {
        plain(self.on, name);
    }
}

/// Appends text to bytes, which cannot fail.
pub(super) fn add(text: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = text.write_fmt(what);
}
