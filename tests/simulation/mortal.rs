//! A role whose process may die at any point of any call, as by `kill -9`: what it did to files until then
//! stays done, what it had in memory is gone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::sim::{Dice, Sim};
use bus::{Bus as _, Lane, Member, Position, Restored, Role, Session, Step, Topic, Wake};
use bytes::Bytes;

use crate::published::files;

/// What a process that was killed ends with.
#[derive(Debug, thiserror::Error)]
#[error("killed")]
pub struct Killed;

/// The dice of a run, shared by all that throws them.
pub type Shared = Arc<Mutex<Dice>>;

/// A role that may be killed.
pub struct Mortal {
    pub role: Box<dyn Role>,
    pub me: Member,
    pub sim: Sim,
    pub dice: Shared,
    /// How often, in a thousand calls.
    pub kill: u32,
    /// The folder that it renames files in.
    pub dir: Option<PathBuf>,
}

impl Mortal {
    fn dies(&self, when: &str) -> anyhow::Result<()> {
        if !self.dice.lock().unwrap().in_1000(self.kill) {
            return Ok(());
        }
        self.sim.note(|| format!("{}: killed {when}", self.me.name()));
        Err(Killed.into())
    }

    /// A call that renames files: it may be killed before, after, and between any two of them.
    fn renaming(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut dyn Role) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.dies(&format!("before {what}"))?;
        let dies_inside = self.dice.lock().unwrap().in_1000(self.kill);
        let before = match (&self.dir, dies_inside) {
            (Some(dir), true) => temps(dir),
            _ => BTreeMap::new(),
        };
        call(&mut *self.role)?;
        if dies_inside {
            self.take_back(&before);
            self.sim.note(|| format!("{}: killed inside {what}", self.me.name()));
            return Err(Killed.into());
        }
        self.dies(&format!("after {what}"))
    }

    /// It thinks for so long that its lanes are another's when it wakes up, or its name.
    fn is_replaced(&self) {
        if self.dice.lock().unwrap().in_1000(500) {
            self.sim.lapse(&self.me);
        } else {
            self.sim.note(|| format!("{}: another process of its name", self.me.name()));
            drop(self.sim.open(&self.me));
        }
    }

    /// Undoes some of the renames since, as if they had not been made yet.
    fn take_back(&self, before: &BTreeMap<u64, PathBuf>) {
        let Some(dir) = &self.dir else { return };
        for path in files(dir).into_iter().filter(|path| !is_temp(path)) {
            let Some(temp) = before.get(&fs::metadata(&path).unwrap().ino()) else { continue };
            if self.dice.lock().unwrap().in_1000(500) {
                continue;
            }
            fs::create_dir_all(temp.parent().unwrap()).unwrap();
            fs::rename(&path, temp).unwrap();
        }
    }
}

fn is_temp(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".tmp-"))
}

/// Temporary files by what stays the same when they are renamed.
fn temps(dir: &Path) -> BTreeMap<u64, PathBuf> {
    let temps = files(dir).into_iter().filter(|path| is_temp(path));
    temps.map(|path| (fs::metadata(&path).unwrap().ino(), path)).collect()
}

impl Role for Mortal {
    fn opened(&mut self, session: &mut dyn Session) -> anyhow::Result<()> {
        self.renaming("opened", |role| role.opened(session))
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> anyhow::Result<()> {
        self.dies("before restored")?;
        self.role.restored(lane, from)?;
        self.dies("after restored")
    }

    fn stood(&self, lane: Lane, state: &[(Bytes, Bytes)]) -> Vec<Position> {
        self.role.stood(lane, state)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> anyhow::Result<Option<Step>> {
        let step = self.role.on(wake, now_ms)?;
        if step.is_some() && self.dice.lock().unwrap().in_1000(self.kill) {
            self.is_replaced();
        }
        self.dies(if step.is_some() { "before its commit" } else { "after a wake" })?;
        Ok(step)
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        self.renaming("committed", |role| role.committed())
    }

    fn works_ahead(&self) -> bool {
        self.role.works_ahead()
    }

    fn follows(&self) -> Vec<Topic> {
        self.role.follows()
    }

    fn done(&self) -> bool {
        self.role.done()
    }

    fn owes(&self) -> bool {
        self.role.owes()
    }

    fn used(&self, position: &Position) -> i64 {
        self.role.used(position)
    }

    fn wait(&self) -> Duration {
        self.role.wait()
    }
}
