//! Roles that decide nothing by the policy still say which document they have, so that `weir policy show` and
//! `weir status` tell of the whole cluster. Managers, which decide by it, say so themselves.

use std::collections::BTreeMap;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Duration;

use bus::documents::{self, Ack, Follower, NOTICE_POLICY};
use bus::{Lane, Outgoing, Position, Restored, Role, Session, Step, Topic, Wake, topic};
use bytes::Bytes;
use detect::policy::document::version;
use manager::decide::Document;

/// A role, owned or lent, and what it has heard.
pub struct Acknowledges<R> {
    role: R,
    name: String,
    node: String,
    lanes: u32,
    following: Follower<Arc<Document>>,
    /// What was acknowledged in this session.
    ack: Option<Ack>,
    /// The step under way is not the role's: documents are heard, and the step for them is lasting, while no other is
    /// under way.
    is_ours: bool,
}

impl<R> Acknowledges<R>
where
    R: DerefMut,
    R::Target: Role,
{
    /// A role of this name on a node.
    pub fn new(role: R, name: &str, node: &str, lanes: u32) -> Acknowledges<R> {
        let (name, node) = (name.to_owned(), node.to_owned());
        let following = Follower::new(NOTICE_POLICY, Document::parse, version);
        Acknowledges { role, name, node, lanes, following, ack: None, is_ours: false }
    }

    fn hear(&mut self, documents: &[(Bytes, Bytes)], now_ms: i64) -> Option<Outgoing> {
        self.following.hear(documents);
        let ack = Ack {
            role: self.name.clone(),
            node: self.node.clone(),
            version: self.following.version(),
            refused: self.following.refused().cloned(),
            since_ms: now_ms,
        };
        let record = ack.record(&topic::POLICY, documents, self.lanes);
        self.ack = Some(ack);
        record
    }

    /// A role that has come to its end (a capture file is read) runs no version any more: what it acknowledged goes
    /// in its last step.
    fn take_back(&mut self, step: &mut Step) {
        if self.role.done()
            && let Some(ack) = self.ack.take()
        {
            step.out.push(ack.removal(&topic::POLICY, self.lanes));
        }
    }
}

impl<R> Role for Acknowledges<R>
where
    R: DerefMut + Send,
    R::Target: Role,
{
    fn opened(&mut self, session: &mut dyn Session) -> anyhow::Result<()> {
        (self.is_ours, self.ack) = (false, None);
        self.following.forget();
        self.role.opened(session)
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> anyhow::Result<()> {
        self.role.restored(lane, from)
    }

    fn stood(&self, lane: Lane, state: &[(Bytes, Bytes)]) -> Vec<Position> {
        self.role.stood(lane, state)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> anyhow::Result<Option<Step>> {
        let Wake::Documents(_, documents) = wake else {
            self.is_ours = false;
            let mut step = self.role.on(wake, now_ms)?;
            step.iter_mut().for_each(|step| self.take_back(step));
            return Ok(step);
        };
        self.is_ours = true;
        if self.role.done() {
            return Ok(None);
        }
        let ack = self.hear(&documents, now_ms);
        Ok(ack.map(|ack| Step { out: vec![ack], ..Step::default() }))
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        if self.is_ours { Ok(()) } else { self.role.committed() }
    }

    fn works_ahead(&self) -> bool {
        self.role.works_ahead()
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

    fn is_ahead(&self) -> bool {
        self.role.is_ahead()
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
        let mut facts = self.role.facts();
        documents::tell(&mut facts, &self.following.version());
        facts
    }

    fn wait(&self) -> Duration {
        self.role.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step at each call; counts those that it was told of.
    #[derive(Default)]
    struct Ahead {
        told: u32,
    }

    impl Role for Ahead {
        fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
            Ok(())
        }

        fn restored(&mut self, _: Lane, _: Restored) -> anyhow::Result<()> {
            Ok(())
        }

        fn on(&mut self, _: Wake, _: i64) -> anyhow::Result<Option<Step>> {
            Ok(Some(Step::default()))
        }

        fn committed(&mut self) -> anyhow::Result<()> {
            self.told += 1;
            Ok(())
        }

        fn works_ahead(&self) -> bool {
            true
        }
    }

    #[test]
    fn the_role_works_ahead_and_is_told_of_its_own_steps_alone() {
        let mut role = Ahead::default();
        let mut both = Acknowledges::new(&mut role, "ahead", "n1", 1);
        assert!(both.works_ahead());
        for _ in 0..2 {
            both.on(Wake::Idle, 0).unwrap();
            both.committed().unwrap();
            both.on(Wake::Documents(topic::POLICY, Vec::new()), 0).unwrap();
            both.committed().unwrap();
        }
        drop(both);
        assert_eq!(role.told, 2);
    }
}
