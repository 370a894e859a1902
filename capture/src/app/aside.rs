//! What one direction alone says of a flow's protocol, told apart from what the flow's own analyzers make of it.
//!
//! Those work as in a process that is alone, whatever another sensor may see. A second set judges the same payload
//! as that of a half, for the aggregators, and its rows are nobody's. It is dropped with the first packet of the other
//! direction. Over UDP, where that may well come after payload, it begins only when there is more than a little of it or
//! the flow ends: a flow that is whole costs a copy of its first bytes at most.

use super::App;
use crate::analyzer::{Dir, Kind, Transport};
use crate::flow::Meta;
use crate::host::Shared;

/// Bytes and pieces that are kept before anybody looks at them: more than a question, and nearly all of what a
/// client says before it is answered.
const BYTES_MAX: usize = 2048;
const PIECES_MAX: usize = 16;

/// What analyzers are told.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Payload of this length; whether the flow's beginning was not seen.
    Data(usize, bool),
    /// So many bytes were not seen.
    Gap(u64),
    /// The direction is complete.
    End,
    /// A packet with RST was seen.
    Reset,
}

/// The same with its time, microseconds, and direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) now: i64,
    pub(super) dir: Dir,
    pub(super) transport: Transport,
    pub(super) what: What,
}

/// A flow of which one direction has been seen so far.
#[derive(Default)]
pub(super) struct Aside {
    /// What was told that nobody has looked at, and its bytes.
    told: Vec<Told>,
    bytes: Vec<u8>,
    /// Another flow announced this one, as what, and when it began.
    announced: Option<(&'static str, &'static Kind, i64)>,
    /// The analyzers, once they have begun.
    app: Option<Box<App>>,
}

impl Aside {
    /// Another flow announced this one.
    pub(super) fn expect(&mut self, name: &'static str, kind: &'static Kind, now: i64) {
        self.announced = Some((name, kind, now));
    }

    /// A new flow takes the place of this one, and is what was announced as well.
    pub(super) fn reused(&mut self) {
        if let Some(app) = &mut self.app {
            app.reused();
        }
    }

    /// The roles changed sides.
    pub(super) fn flip(&mut self) {
        self.told.iter_mut().for_each(|told| told.dir = told.dir.other());
        if let Some(app) = &mut self.app {
            app.flip();
        }
    }

    /// Whether payload is of use.
    pub(super) fn wants_payload(&self) -> bool {
        self.app.as_ref().is_none_or(|app| app.wants_payload())
    }

    /// What was judged so far.
    pub(super) fn app(&self) -> Option<&App> {
        self.app.as_deref()
    }

    /// The next thing, which is looked at now or later.
    pub(super) fn tell(&mut self, meta: &Meta, shared: &mut Shared, told: Told, data: &[u8]) {
        // A stream that has payload was answered, mostly elsewhere: no answer will come here.
        let may_be_answered = told.transport == Transport::Udp;
        let is_little = self.bytes.len() + data.len() <= BYTES_MAX && self.told.len() < PIECES_MAX;
        if self.app.is_none() && is_little && may_be_answered {
            self.told.push(told);
            self.bytes.extend_from_slice(data);
            return;
        }
        self.begun(meta, shared).hear(meta, shared.aside(), told, data);
    }

    /// The flow is over: looks at all that was kept.
    pub(super) fn finish(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        self.begun(meta, shared).finish(meta, shared.aside(), now);
    }

    /// The analyzers, who are told what was kept.
    fn begun(&mut self, meta: &Meta, shared: &mut Shared) -> &mut App {
        let app = self.app.get_or_insert_with(|| {
            let mut app = Box::new(App { is_half: true, ..App::default() });
            if let Some((name, kind, now)) = self.announced {
                app.expect(name, kind, now);
            }
            app
        });
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        for told in std::mem::take(&mut self.told) {
            let len = if let What::Data(len, _) = told.what { len } else { 0 };
            let (data, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            app.hear(meta, shared.aside(), told, data);
        }
        app
    }
}
