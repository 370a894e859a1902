//! The policy that simulated managers decide by. It is pushed again and again in other words, so that what it
//! says does not depend on when each of them takes it, and so are documents that are bad.

use bus::documents::{Ack, NOTICE_POLICY};
use bus::sim::Sim;
use bus::{Payload, topic};
use detect::policy::document::version;

/// Something of each kind of rule that the traffic has cases for. Its time begins at 22:13:31.
pub const GOOD: &str = "
[[allow]]
note = 'Test::Alarm'
until = 2023-11-14T22:13:36Z

[[rule]]
name = 'two scanners'
note = 'Scan::*'
when = { hosts = 2, within = '10m' }
action = 'alarm'

[[rule]]
name = 'that one'
src = '10.0.0.67'
action = 'alarm'
suppress_for = '5m'

[[rule]]
name = 'three workers'
note = 'Test::*'
when = { workers = 3 }
action = 'alarm'
";

/// One that nobody may take.
pub const BAD: &str = "bad = [ 'it would ignore everything' ]\nignored_types = ['*']\n";

/// Every manager has acknowledged the good document pushed `when`, and refused the bad one where it came after.
pub fn check_acks(sim: &Sim, managers: usize, when: &str, is_bad: bool) -> Result<(), String> {
    let versions = [GOOD, BAD].map(|text| version(format!("{text}# {when}\n").as_bytes()));
    let mut acks = std::collections::BTreeMap::new();
    for record in sim.records(&topic::POLICY) {
        let (Some(key), Payload::Bytes(value)) = (record.key, record.payload) else { continue };
        if [NOTICE_POLICY, "good/notice"].iter().any(|name| key[..] == *name.as_bytes()) {
            continue;
        }
        let ack = Ack::of(&key, &value).ok_or_else(|| format!("{key:?} is no acknowledgement"))?;
        acks.insert(ack.node.clone(), ack);
    }
    for node in (0..managers).map(|n| format!("m{n}")) {
        let ack = acks.get(&node).ok_or_else(|| format!("{node} acknowledged nothing"))?;
        let refused = ack.refused.as_ref().map(|refused| refused.version.clone());
        if ack.version != versions[0] || refused != is_bad.then(|| versions[1].clone()) {
            return Err(format!("{ack:?}, with {versions:?} pushed"));
        }
    }
    Ok(())
}
