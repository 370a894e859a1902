//! A producer that sends what it was given, commit by commit, each once: capture as the other roles see it,
//! without packets.

use std::sync::Arc;

use bus::{Change, Lane, Member, Outgoing, Restored, Role, Session, Step, Wake};
use bytes::Bytes;

/// The role.
pub struct Script {
    node: String,
    home: Lane,
    commits: Arc<Vec<Vec<Outgoing>>>,
    next: usize,
    /// How many it made last.
    made: usize,
}

impl Script {
    pub fn new(me: &Member, commits: Arc<Vec<Vec<Outgoing>>>) -> Script {
        let (node, home) = (me.node.clone(), me.home[0]);
        Script { node, home, commits, next: 0, made: 0 }
    }
}

impl Role for Script {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        (self.next, self.made) = (0, 0);
        Ok(())
    }

    fn restored(&mut self, _: Lane, from: Restored) -> anyhow::Result<()> {
        let kept = from.state.iter().find(|(key, _)| key[..] == *self.node.as_bytes());
        if let Some((_, value)) = kept {
            self.next = String::from_utf8_lossy(value).parse()?;
        }
        Ok(())
    }

    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        if !matches!(wake, Wake::Idle) {
            return Ok(None);
        }
        let Some(out) = self.commits.get(self.next) else { return Ok(None) };
        self.made = self.next + 1;
        let value = Some(Bytes::from(self.made.to_string()));
        let key = Bytes::from(self.node.clone());
        let change = Change { lane: self.home, key, value };
        Ok(Some(Step { out: out.clone(), state: vec![change], ..Step::default() }))
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        self.next = self.made;
        Ok(())
    }

    fn done(&self) -> bool {
        self.next >= self.commits.len()
    }

    fn wait(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
