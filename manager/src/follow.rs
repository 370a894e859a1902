//! The policy document as it is pushed: taken whole or refused whole, and acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::documents::{Ack, Follower, Heard, NOTICE_POLICY};
use bus::{Lane, Outgoing, topic};
use bytes::Bytes;
use detect::policy::document::version;

use crate::config::{Config, Counters};
use crate::decide::Document;
use crate::lane::LaneState;

/// What was heard of the document.
#[derive(Debug)]
pub struct Following {
    follower: Follower<Arc<Document>>,
}

impl Following {
    /// Nothing yet.
    pub fn new() -> Following {
        Following { follower: Follower::new(NOTICE_POLICY, Document::parse, version) }
    }

    /// A session begins.
    pub fn forget(&mut self) {
        self.follower.forget();
    }

    /// The version in force: that of the lanes, where there are any.
    pub fn version(&self, lanes: &BTreeMap<Lane, LaneState>) -> String {
        let of_lane = lanes.values().next().map(|lane| lane.version().to_owned());
        of_lane.unwrap_or_else(|| self.follower.version())
    }

    /// The topic was read: all lanes decide by its document from here on, unless it is bad. Gives the
    /// acknowledgement, and the copy for those who begin while the newest is bad, if they are not there.
    pub fn hear(
        &mut self,
        documents: &[(Bytes, Bytes)],
        config: &Config,
        lanes: &mut BTreeMap<Lane, LaneState>,
        counters: &mut Counters,
        now_ms: i64,
    ) -> Vec<Outgoing> {
        let heard = self.follower.hear(documents);
        let (version, refused) = (self.follower.version(), self.follower.refused());
        match (heard, refused) {
            (Heard::Bad, Some(refused)) => {
                // Said once, however often it is read.
                counters.policy_refused += 1;
                let why = refused.why.as_str();
                let (refused, in_force) = (refused.version.as_str(), version);
                tracing::error!(
                    refused,
                    in_force,
                    "policy refused, the one before stays in force: {why}"
                );
            }
            (Heard::Other, _) => tracing::info!(version, "policy in force"),
            _ => {}
        }
        let document = match (self.follower.document(), refused) {
            (None, None) => config.policy.as_ref(),
            (document, _) => document,
        };
        for lane in lanes.values_mut() {
            // A lane that has one keeps it where nothing is known but a bad one.
            if document.is_some() || refused.is_none() || lane.version().is_empty() {
                lane.adopt(document);
            }
        }
        let ack = Ack {
            role: "manager".to_owned(),
            node: config.node.clone(),
            version: self.version(lanes),
            refused: refused.cloned(),
            since_ms: now_ms,
        };
        let kept = self.follower.kept(&topic::POLICY, documents, config.lanes);
        ack.record(&topic::POLICY, documents, config.lanes).into_iter().chain(kept).collect()
    }
}
