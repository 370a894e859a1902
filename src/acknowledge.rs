//! Roles that decide nothing by the policy still say which document they have, so that `weir policy show`
//! tells of the whole cluster. Managers, which decide by it, say so themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::documents::{Ack, NOTICE_POLICY, Refused};
use bus::{Lane, Outgoing, Position, Restored, Role, Session, Step, Topic, Wake, topic};
use bytes::Bytes;
use detect::policy::document::version;
use manager::decide::Document;

/// A role and what it has heard.
pub struct Acknowledges {
    role: Box<dyn Role>,
    name: String,
    node: String,
    lanes: u32,
    /// Version of the last document that was good.
    version: String,
    /// The step under way is not the role's.
    is_ours: bool,
}

impl Acknowledges {
    /// A role of this name on a node.
    pub fn new(role: Box<dyn Role>, name: &str, node: &str, lanes: u32) -> Acknowledges {
        let (name, node, version) = (name.to_owned(), node.to_owned(), String::new());
        Acknowledges { role, name, node, lanes, version, is_ours: false }
    }

    fn hear(&mut self, documents: &[(Bytes, Bytes)], now_ms: i64) -> Option<Outgoing> {
        let found = documents.iter().find(|(key, _)| key[..] == *NOTICE_POLICY.as_bytes());
        let mut refused = None;
        match found.map(|(_, bytes)| (version(bytes), Document::parse(bytes))) {
            None => self.version.clear(),
            Some((version, Ok(_))) => self.version = version,
            Some((version, Err(why))) => refused = Some(Refused { version, why }),
        }
        let (role, node, version) = (self.name.clone(), self.node.clone(), self.version.clone());
        let ack = Ack { role, node, version, refused, since_ms: now_ms };
        ack.record(&topic::POLICY, documents, self.lanes)
    }
}

impl Role for Acknowledges {
    fn opened(&mut self, session: &mut dyn Session) -> anyhow::Result<()> {
        self.is_ours = false;
        self.role.opened(session)
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> anyhow::Result<()> {
        self.role.restored(lane, from)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> anyhow::Result<Option<Step>> {
        let Wake::Documents(_, documents) = wake else {
            self.is_ours = false;
            return self.role.on(wake, now_ms);
        };
        self.is_ours = true;
        let ack = self.hear(&documents, now_ms);
        Ok(ack.map(|ack| Step { out: vec![ack], ..Step::default() }))
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        if self.is_ours { Ok(()) } else { self.role.committed() }
    }

    fn follows(&self) -> Vec<Topic> {
        vec![topic::POLICY]
    }

    fn done(&self) -> bool {
        self.role.done()
    }

    fn owes(&self) -> bool {
        self.role.owes()
    }

    fn ready(&mut self, now_ms: i64) -> bool {
        self.role.ready(now_ms)
    }

    fn backlog(&self) -> bool {
        self.role.backlog()
    }

    fn used(&self, position: &Position) -> i64 {
        self.role.used(position)
    }

    fn facts(&self) -> BTreeMap<String, String> {
        self.role.facts()
    }

    fn wait(&self) -> Duration {
        self.role.wait()
    }
}
