//! The policy document as it is pushed: taken whole or refused whole, and acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::documents::{Ack, NOTICE_POLICY, Refused};
use bus::{Lane, Outgoing, topic};
use bytes::Bytes;
use detect::policy::document::version;

use crate::config::{Config, Counters};
use crate::decide::Document;
use crate::lane::LaneState;

/// What was heard of the document.
#[derive(Debug, Default)]
pub struct Following {
    /// The last one that was good.
    document: Option<Arc<Document>>,
    /// The one that is not, and since when it is known.
    refused: Option<Refused>,
    /// What was read last; `None` for nothing yet.
    last: Option<Option<Bytes>>,
}

impl Following {
    /// A session begins.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The topic was read: all lanes decide by its document from here on, unless it is bad. Gives the
    /// acknowledgement, if it is not there.
    pub fn hear(
        &mut self,
        documents: &[(Bytes, Bytes)],
        config: &Config,
        lanes: &mut BTreeMap<Lane, LaneState>,
        counters: &mut Counters,
        now_ms: i64,
    ) -> Option<Outgoing> {
        let found = documents.iter().find(|(key, _)| key[..] == *NOTICE_POLICY.as_bytes());
        let found = found.map(|(_, bytes)| bytes.clone());
        if self.last.as_ref() != Some(&found) {
            self.take(found.as_deref(), config, counters);
            self.last = Some(found);
        }
        for lane in lanes.values_mut() {
            // A lane that has one keeps it while the newest is bad: whoever had it before may have known more.
            if self.refused.is_none() || lane.version().is_empty() {
                lane.adopt(self.document.as_ref());
            }
        }
        let in_force = match (lanes.values().next(), &self.document) {
            (Some(lane), _) => lane.version().to_owned(),
            (None, Some(document)) => document.policy.version.clone(),
            (None, None) => String::new(),
        };
        let ack = Ack {
            role: "manager".to_owned(),
            node: config.node.clone(),
            version: in_force,
            refused: self.refused.clone(),
            since_ms: now_ms,
        };
        ack.record(&topic::POLICY, documents, config.lanes)
    }

    fn take(&mut self, found: Option<&[u8]>, config: &Config, counters: &mut Counters) {
        let read = match found {
            None => Ok(config.policy.clone()),
            Some(bytes) => Document::parse(bytes).map(Some),
        };
        let version = found.map_or_else(String::new, version);
        match read {
            Ok(document) => {
                if self.document != document {
                    tracing::info!(version, "policy in force");
                }
                (self.document, self.refused) = (document, None);
            }
            Err(why) => {
                // Said once, however often it is read.
                let refused = Some(Refused { version, why });
                if self.refused != refused {
                    counters.policy_refused += 1;
                    let why = refused.as_ref().map_or("", |refused| refused.why.as_str());
                    tracing::error!("policy refused, the one before stays in force: {why}");
                }
                self.refused = refused;
            }
        }
    }
}
