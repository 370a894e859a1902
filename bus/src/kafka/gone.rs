//! Members that are gone from a group. A transaction that one of them left open holds up all who read what it wrote,
//! and its lanes' next owner, until the broker's patience with it ends: 30 s, and up to 10 s more. So whoever is
//! still there ends it, by beginning as the one that is gone: when the group hands its lanes out anew, and while
//! somebody waits who would not hear of that.
//!
//! Names are all that takes: a member's name in the group is its transactional id. Who is taken for gone and is not
//! (it hung) has lost its lanes all the same; it is fenced, and begins anew as after any other loss. Where nobody
//! knows of a member (the group was without any when it went), or the group cannot be asked, there is the broker's patience.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;

use super::client;
use super::patience::Patience;
use super::{ASK_AGAIN, Shared, said};
use crate::{BusError, Member};

/// How long brokers may take to name a group's members. All are asked, so that one that is down costs all of it.
const LIST: Duration = Duration::from_secs(1);

/// How long it may take to end what those left that are gone. Lanes are waited for meanwhile, as without it.
const FENCE: Duration = Duration::from_secs(5);

/// Between two looks at groups during a wait.
const LOOK: Duration = Duration::from_secs(1);

/// The groups that sessions of a process are members of.
#[derive(Default)]
pub(super) struct Groups(Mutex<Vec<Weak<Mutex<Others>>>>);

impl Groups {
    fn add(&self, others: &Arc<Mutex<Others>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|others| others.strong_count() > 0);
        all.push(Arc::downgrade(others));
    }

    fn all(&self) -> Vec<Arc<Mutex<Others>>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }
}

/// A wait: for a transaction of somebody, while nobody hears that the group hands lanes out anew, or for the first
/// lanes, while others may still join or go.
pub(super) struct Vigil(Instant);

impl Vigil {
    pub(super) fn begin() -> Vigil {
        Vigil(Instant::now())
    }

    /// Ends what members of our groups left open that are gone, now and then.
    pub(super) fn look(&mut self, shared: &Shared) {
        if self.0.elapsed() < LOOK {
            return;
        }
        for others in shared.groups.all() {
            // Whoever holds it is at the same.
            if let Ok(mut others) = others.try_lock() {
                others.glance(shared);
            }
        }
        self.0 = Instant::now();
    }
}

/// The members of a member's group.
pub(super) struct Others {
    me: String,
    group: String,
    /// Those that were in it when it was last looked at.
    seen: BTreeSet<String>,
}

impl Others {
    /// Those that are in the group now.
    pub(super) fn now(shared: &Shared, me: &Member) -> Arc<Mutex<Others>> {
        let me_called = client::identity(&shared.config, me);
        let group = format!("{}.{}", shared.config.prefix, me.group);
        let mut others = Others { me: me_called, group, seen: BTreeSet::new() };
        others.seen = others.list(shared).unwrap_or_default();
        let others = Arc::new(Mutex::new(others));
        shared.groups.add(&others);
        others
    }

    /// Ends the transactions of those that were in the group and are no more. For the time when the group has just
    /// settled: nobody is between two memberships.
    pub(super) fn fence_gone(&mut self, shared: &Shared) {
        let mut patience = shared.patience(FENCE);
        if let Some(here) = self.look(shared, &mut patience) {
            self.fence(shared, here, &mut patience);
        }
    }

    /// The same by one look, for the time of a wait: whoever is in the group before us, and goes before we have our
    /// lanes, would not be known otherwise.
    fn glance(&mut self, shared: &Shared) {
        let Some(here) = self.list(shared) else { return };
        if here.contains(&self.me) {
            self.fence(shared, here, &mut shared.patience(FENCE));
        } else {
            self.seen.extend(here);
        }
    }

    fn fence(&mut self, shared: &Shared, here: BTreeSet<String>, patience: &mut Patience<'_>) {
        let gone: Vec<String> = self.seen.difference(&here).cloned().collect();
        // Who is to be fenced yet when this ends badly is fenced by others, or by the broker in the end.
        self.seen = here;
        for name in gone {
            if patience.is_over() {
                tracing::warn!(member = self.me, gone = name, "no time to end its transaction");
                continue;
            }
            let fenced = client::producer(&shared.config, &name).and_then(|producer| {
                let begun = patience.resume(|slice| producer.init_transactions(slice));
                begun.map_err(|e| BusError::Session(said(&e)))
            });
            match fenced {
                Ok(()) => tracing::info!(
                    member = self.me,
                    gone = name,
                    "gone from the group: what it left open is ended"
                ),
                Err(why) => tracing::warn!(
                    member = self.me,
                    gone = name,
                    "gone from the group; what it left open holds readers up until the broker ends it: {why}"
                ),
            }
        }
    }

    /// Its members, asked for again where the answer did not come or was of a broker that knows nothing of the group:
    /// who is not known to be here will not be missed.
    fn look(&self, shared: &Shared, patience: &mut Patience<'_>) -> Option<BTreeSet<String>> {
        loop {
            if let Some(here) = self.list(shared).filter(|here| here.contains(&self.me)) {
                return Some(here);
            }
            if patience.is_over() {
                tracing::warn!(
                    member = self.me,
                    "brokers do not say who is in its group: what somebody left open who is gone holds readers up until \
                     the broker ends it"
                );
                return None;
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// Its members by name. Whoever joins our group with another program is none of ours.
    fn list(&self, shared: &Shared) -> Option<BTreeSet<String>> {
        match self.ask(shared) {
            Ok(names) => Some(names),
            Err(error) => {
                tracing::debug!(member = self.me, "who is in the group is not known: {error}");
                None
            }
        }
    }

    fn ask(&self, shared: &Shared) -> Result<BTreeSet<String>, KafkaError> {
        let found = shared.stable.fetch_group_list(Some(&self.group), LIST)?;
        let members = found.groups().iter().flat_map(|group| group.members());
        let ours =
            |name: &&str| name.strip_prefix(&*self.group).is_some_and(|node| node.starts_with('.'));
        Ok(members.map(|member| member.client_id()).filter(ours).map(str::to_owned).collect())
    }
}
