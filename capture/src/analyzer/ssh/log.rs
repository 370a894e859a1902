//! What ssh.log says of a flow (Zeek `base/protocols/ssh/main.zeek`): one row, when a login worked or the
//! flow is over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::stream::ssh;
use model::text;
use sha2::{Digest, Sha256};

use super::super::{Cx, Dir};
use super::Version;
use super::kex::Algorithms;

/// Characters of a fingerprint: Zeek's buffer for base64 is as long as the hash is in binary.
const FINGERPRINT_CHARS: usize = 32;

/// With these the lengths of packets say nothing (`SSH::compression_algorithms`).
const COMPRESSED: [&str; 2] = ["zlib", "zlib@openssh.com"];

/// The row on its way.
#[derive(Debug, Default)]
pub struct Record {
    /// When it began; none before the first banner.
    ts: Option<i64>,
    banners: [Option<Vec<u8>>; 2],
    version: Option<u64>,
    success: Option<bool>,
    attempts: u64,
    algorithms: Option<Box<Algorithms>>,
    fingerprint: Option<String>,
    logged: bool,
}

impl Record {
    /// An end's banner; `version` is what both speak, as far as that is known now.
    pub fn banner(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8], version: Option<Version>) {
        /// Up to the minor version that banners have.
        const MAJOR: usize = 4;
        self.begin(cx);
        let line = line.get(..text::CELL_BYTES_MAX).unwrap_or(line);
        self.banners[dir.index()] = Some(line.to_vec());
        self.version = version.map(|version| if version == Version::One { 1 } else { 2 });
        let [Some(client), Some(server)] = &self.banners else { return };
        let weird = if client.len() <= MAJOR || server.len() <= MAJOR {
            "SSH_cannot_determine_version"
        } else if version.is_none() && [client, server].iter().all(|b| Version::of(b).is_some()) {
            "SSH_version_mismatch"
        } else {
            return;
        };
        let addl = format!("{} vs {}", text::from_wire(server), text::from_wire(client));
        cx.weird(weird, Some(&addl), None);
    }

    /// The flow is SSH, even if no banner said so.
    pub fn begin(&mut self, cx: &Cx<'_>) {
        self.ts.get_or_insert(cx.now);
    }

    /// Both ends have said what they offer.
    pub fn agreed(&mut self, algorithms: Algorithms) {
        self.algorithms = Some(Box::new(algorithms));
    }

    /// The server has shown its key.
    pub fn host_key(&mut self, key: &[u8]) {
        let mut print = STANDARD.encode(Sha256::digest(key));
        print.truncate(FINGERPRINT_CHARS);
        self.fingerprint = Some(format!("SHA256:{print}"));
    }

    /// Somebody has tried to log in.
    pub fn attempt(&mut self, cx: &mut Cx<'_>, worked: bool) {
        let compression = self.algorithms.as_ref().map(|found| found.compression.as_str());
        let is_compressed = compression.is_some_and(|name| COMPRESSED.contains(&name));
        if self.success != Some(true) && !is_compressed {
            self.success = Some(worked);
            self.attempts += 1;
        }
        if worked {
            self.write(cx);
        }
    }

    /// Writes the row, once.
    pub fn write(&mut self, cx: &mut Cx<'_>) {
        let Some(ts) = self.ts.filter(|_| !self.logged) else { return };
        self.logged = true;
        let ids = cx.ids.clone();
        let is_local = |ip| cx.local_nets.contains(ip);
        let direction = match [is_local(ids.tuple.orig_h), is_local(ids.tuple.resp_h)] {
            [true, false] => Some("OUTBOUND"),
            [false, true] => Some("INBOUND"),
            _ => None,
        };
        let [client, server] = self.banners.each_ref().map(|banner| {
            let banner = banner.as_deref();
            banner.map(text::from_wire)
        });
        let found = self.algorithms.as_deref();
        let row = ssh::Row {
            ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            version: self.version,
            auth_success: self.success,
            auth_attempts: self.attempts,
            direction,
            client: client.as_deref(),
            server: server.as_deref(),
            cipher_alg: found.map(|found| found.cipher.as_str()),
            mac_alg: found.map(|found| found.mac.as_str()),
            compression_alg: found.map(|found| found.compression.as_str()),
            kex_alg: found.map(|found| found.kex.as_str()),
            host_key_alg: found.map(|found| found.host_key.as_str()),
            host_key_fingerprint: self.fingerprint.as_deref(),
            community_id: &ids.community_id,
        };
        let mark = cx.mark();
        cx.out.ssh.push(mark, row);
    }
}
