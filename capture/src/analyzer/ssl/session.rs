//! What the log says of one connection: grows with what the record and handshake layers report, in
//! the order of the wire, until the row is written.
//!
//! Source: Zeek `base/protocols/ssl/main.zeek` and `files.zeek`.

use std::borrow::Cow;

use model::stream::ssl::Row;
use model::text::{CELL_BYTES_MAX, from_wire};
use sha1::{Digest as _, Sha1};

use super::messages::{CERTIFICATES_MAX, kind, letter};
use super::{cert, fingerprint, names};
use crate::analyzer::Cx;
use crate::files::About;
use crate::files::hash::hex;
use crate::files::x509::{self, Certificate};
use crate::known::Cert;

/// Letters in a history (Zeek's `max_ssl_history_length`).
const HISTORY_MAX: usize = 100;
/// Bytes in a history with the flips, which Zeek does not count: what one cell holds.
const HISTORY_BYTES_MAX: usize = CELL_BYTES_MAX;

/// The log row in the making, and what happened to it.
pub struct Session {
    /// Analyzer's name in weirds.
    source: &'static str,
    row: Option<Box<Info>>,
    /// The row is out.
    pub logged: bool,
    /// A ClientHello of a known version was seen.
    pub confirmed: bool,
    /// Something was not this protocol since the last [`Session::take_violated`].
    violated: bool,
    /// Nothing more is parsed.
    pub skip: bool,
}

#[derive(Default)]
struct Info {
    ts: i64,
    version: Option<u16>,
    cipher: Option<u32>,
    curve: Option<u16>,
    server_name: Option<Vec<u8>>,
    session_id: Option<SessionId>,
    resumed: bool,
    ticket_without_session: bool,
    client_key_exchange: bool,
    client_psk: bool,
    last_alert: Option<u16>,
    next_protocol: Option<Vec<u8>>,
    established: bool,
    retry: bool,
    history: String,
    client_prints: Option<fingerprint::Client>,
    ja3s: Option<String>,
    chains: Option<Box<Chains>>,
}

/// A session id as Zeek compares them: zeros up to 32 bytes; all zero when it is longer.
pub type SessionId = [u8; 32];

/// Pads a session id.
pub fn session_id(wire: &[u8]) -> SessionId {
    let mut id = [0; 32];
    if let Some(head) = id.get_mut(..wire.len()) {
        head.copy_from_slice(wire);
    }
    id
}

/// Certificates of both ends, once there is one.
#[derive(Default)]
struct Chains {
    server: Vec<String>,
    client: Vec<String>,
    /// The server's first, for the comparison with the name asked for.
    leaf: Option<Vec<u8>>,
}

impl Session {
    /// Nothing seen yet; `source` is the analyzer's name in weirds.
    pub fn new(source: &'static str) -> Session {
        Session { source, row: None, logged: false, confirmed: false, violated: false, skip: false }
    }

    /// Gives back the memory of a row that is out.
    pub fn release(&mut self) {
        self.row = None;
    }

    fn info(&mut self, cx: &Cx<'_>) -> &mut Info {
        self.row.get_or_insert_with(|| Box::new(Info { ts: cx.now, ..Info::default() }))
    }

    /// A weird in this analyzer's name.
    pub fn weird(&self, cx: &mut Cx<'_>, name: &'static str, addl: Option<&str>) {
        cx.weird(name, addl, Some(self.source));
    }

    /// The flow is this protocol.
    pub fn confirm(&mut self, cx: &mut Cx<'_>) {
        if !self.confirmed {
            self.confirmed = true;
            self.info(cx);
            cx.confirm();
        }
    }

    /// Something is not this protocol: what is known so far is logged.
    pub fn violation(&mut self, cx: &mut Cx<'_>) {
        self.violated = true;
        self.log(cx);
    }

    /// Whether there was a violation since the last call.
    pub fn take_violated(&mut self) -> bool {
        std::mem::take(&mut self.violated)
    }

    /// A ClientHello; `v2` if it has the form of SSL 2.0, which is no handshake message.
    pub fn client_hello(&mut self, cx: &mut Cx<'_>, version: u16, id: &SessionId, v2: bool) {
        if names::version::is_known(version) {
            self.confirm(cx);
        } else {
            self.violation(cx);
            self.skip = true;
        }
        let info = self.info(cx);
        if *id != [0; 32] {
            info.session_id = Some(*id);
            info.ticket_without_session = false;
        }
        if v2 {
            self.history(cx, true, 'c');
        }
    }

    /// A ServerHello.
    pub fn server_hello(
        &mut self,
        cx: &mut Cx<'_>,
        version: u16,
        cipher: u32,
        id: &SessionId,
        retry: bool,
    ) {
        if !names::version::is_known(version) {
            self.violation(cx);
            self.skip = true;
        }
        let info = self.info(cx);
        // A supported_versions extension came first, where there was one.
        let chosen = *info.version.get_or_insert(version);
        info.cipher = Some(cipher);
        info.retry |= retry;
        if info.session_id.as_ref() == Some(id) && !names::version::is_tls13(chosen) {
            info.resumed = true;
        }
        if version == names::version::SSLV2 {
            self.history(cx, false, 's');
        }
    }

    /// Fingerprints of the client, by its first hello: a second one answers to what the server asked for.
    pub fn client_prints(&mut self, cx: &Cx<'_>, make: impl FnOnce() -> fingerprint::Client) {
        if !self.logged {
            self.info(cx).client_prints.get_or_insert_with(make);
        }
    }

    /// Fingerprint of the server, likewise.
    pub fn server_print(&mut self, cx: &Cx<'_>, make: impl FnOnce() -> String) {
        if !self.logged {
            self.info(cx).ja3s.get_or_insert_with(make);
        }
    }

    /// An extension of a hello; called before the hello itself.
    pub fn extension(&mut self, cx: &mut Cx<'_>, client: bool, number: u16, empty: bool) {
        use super::hello::ext;
        let info = self.info(cx);
        match (client, number) {
            (true, ext::SESSION_TICKET) if !empty => info.ticket_without_session = true,
            (true, ext::PRE_SHARED_KEY) => info.client_psk = true,
            (false, ext::PRE_SHARED_KEY) if info.client_psk => info.resumed = true,
            _ => {}
        }
    }

    /// A server_name extension.
    pub fn server_names(&mut self, cx: &mut Cx<'_>, client: bool, hosts: &[&[u8]], odd: &[u8]) {
        for kind in odd {
            self.weird(cx, "ssl_ext_unknown_server_name_type", Some(&kind.to_string()));
        }
        let info = self.info(cx);
        let Some(first) = hosts.first().filter(|_| client) else { return };
        info.server_name = Some(first.iter().copied().take(CELL_BYTES_MAX).collect());
        if hosts.len() > 1 {
            let all = [&b"["[..], &hosts.join(&b", "[..]), b"]"].concat();
            cx.weird("SSL_many_server_names", Some(&from_wire(&all)), None);
        }
    }

    /// An ALPN extension with its first protocol.
    pub fn protocol(&mut self, cx: &mut Cx<'_>, client: bool, first: Option<&[u8]>) {
        let info = self.info(cx);
        if let (false, Some(name)) = (client, first) {
            info.next_protocol = Some(name.to_vec());
        }
    }

    /// The server's supported_versions.
    pub fn version(&mut self, cx: &Cx<'_>, version: u16) {
        self.info(cx).version = Some(version);
    }

    /// The curve or group the server chose.
    pub fn curve(&mut self, cx: &Cx<'_>, curve: u16) {
        self.info(cx).curve = Some(curve);
    }

    /// The roles of the ends turned out to be the other way round.
    pub fn flipped(&mut self, cx: &Cx<'_>) {
        let info = self.info(cx);
        if info.history.len() < HISTORY_BYTES_MAX {
            info.history.push('^');
        }
    }

    /// A whole handshake message, after what is in it.
    pub fn handshake_message(&mut self, cx: &mut Cx<'_>, client: bool, message: u8) {
        let info = self.info(cx);
        if client && message == kind::CLIENT_KEY_EXCHANGE {
            info.client_key_exchange = true;
        }
        let retry = message == kind::SERVER_HELLO && std::mem::take(&mut info.retry);
        self.history(cx, client, if retry { 'j' } else { letter(message) });
    }

    /// A ChangeCipherSpec.
    pub fn change_cipher_spec(&mut self, cx: &mut Cx<'_>, client: bool) {
        self.history(cx, client, 'i');
        let info = self.info(cx);
        if client && info.ticket_without_session && !info.client_key_exchange {
            info.resumed = true;
        }
    }

    /// An alert in the clear.
    pub fn alert(&mut self, cx: &mut Cx<'_>, client: bool, description: u16) {
        self.history(cx, client, 'l');
        self.info(cx).last_alert = Some(description);
    }

    /// A heartbeat in the clear.
    pub fn heartbeat(&mut self, cx: &mut Cx<'_>, client: bool) {
        self.history(cx, client, 'b');
    }

    /// Any record in the clear, after what is in it.
    pub fn plaintext(&mut self, cx: &mut Cx<'_>, application_data: bool) {
        let info = self.info(cx);
        if application_data && info.version.is_some() && !info.established {
            cx.weird("ssl_early_application_data", None, None);
        }
    }

    /// Both ends encrypt: the handshake is complete.
    pub fn established(&mut self, cx: &mut Cx<'_>) {
        self.info(cx).established = true;
        cx.tls_established = true;
        self.show_certificate(cx);
        self.log(cx);
    }

    /// A local server's own certificate, if it showed one that is well-formed. Those of others are not
    /// hashed for nothing.
    fn show_certificate(&self, cx: &mut Cx<'_>) {
        if !cx.is_server_local() {
            return;
        }
        let info = self.row.as_deref().filter(|_| !self.logged);
        let leaf = info.and_then(|info| info.chains.as_deref()?.leaf.as_deref());
        let Some(leaf) = leaf else { return };
        let Some(cert) = cx.files.certificates.parse(leaf) else { return };
        let Certificate { subject, issuer, serial, .. } = &*cert;
        cx.certificate_shown(Cert { sha1: &hex(&Sha1::digest(leaf)), subject, issuer, serial });
    }

    fn history(&mut self, cx: &mut Cx<'_>, client: bool, letter: char) {
        let info = self.info(cx);
        // Zeek compares for equality, so a flip at the limit lets the history grow on.
        if info.history.len() == HISTORY_MAX || info.history.len() >= HISTORY_BYTES_MAX {
            return;
        }
        info.history.push(if client { letter.to_ascii_uppercase() } else { letter });
        if info.history.len() == HISTORY_MAX {
            cx.weird("SSL_max_ssl_history_length_reached", None, None);
        }
    }

    /// The certificates of one message. Before anything else was seen of the connection they belong
    /// to no row, as in Zeek, where the file is there before the handshake message.
    pub fn certificates(&mut self, cx: &mut Cx<'_>, client: bool, chain: &[&[u8]]) {
        for (place, der) in chain.iter().enumerate() {
            if der.is_empty() {
                self.weird(cx, "zero_length_certificate", None);
                continue;
            }
            let role = x509::Role { host: place == 0, client };
            let parts = [&[u8::from(client)][..], &place.to_be_bytes()];
            let certificate = x509::seen(cx, der, role, &parts);
            let Some(info) = self.row.as_deref_mut() else { continue };
            if self.logged {
                continue;
            }
            let chains = info.chains.get_or_insert_default();
            if !client && chains.leaf.is_none() {
                chains.leaf = Some(der.to_vec());
            }
            let list = if client { &mut chains.client } else { &mut chains.server };
            if list.len() < CERTIFICATES_MAX {
                list.extend(certificate.map(|certificate| certificate.fingerprint.clone()));
            }
        }
    }

    /// A stapled OCSP response.
    pub fn ocsp(&mut self, cx: &mut Cx<'_>, response: &[u8]) {
        let fuid = cx.fuid(&[b"ocsp"]);
        let mime = Some("application/ocsp-response");
        let file = cx.file_begin(&fuid, About { source: self.source, mime, ..About::default() });
        cx.file_data(file, response);
        cx.file_end(file);
    }

    /// Writes the row, once, if there is anything to say.
    pub fn log(&mut self, cx: &mut Cx<'_>) {
        let Some(info) = self.row.as_deref_mut().filter(|_| !self.logged) else { return };
        self.logged = true;
        write(cx, info);
    }
}

fn write(cx: &mut Cx<'_>, info: &Info) {
    let version = info.version.map(names::version_name);
    let cipher = info.cipher.map(names::cipher);
    let curve = info.curve.map(names::curve);
    let alert = info.last_alert.map(names::alert);
    let server_name: Option<Cow<'_, str>> = info.server_name.as_deref().map(from_wire);
    let protocol = info.next_protocol.as_deref().map(from_wire);
    let chains = info.chains.as_deref();
    let server: Option<Vec<&str>> =
        chains.map(|chains| chains.server.iter().map(String::as_str).collect());
    let client: Option<Vec<&str>> =
        chains.map(|chains| chains.client.iter().map(String::as_str).collect());
    let sni_matches_cert = sni_matches(cx, info);
    let (mark, ids) = (cx.mark(), cx.ids);
    cx.out.ssl.push(
        mark,
        Row {
            ts: info.ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            version: version.as_deref(),
            cipher: cipher.as_deref(),
            curve: curve.as_deref(),
            server_name: server_name.as_deref(),
            resumed: info.resumed,
            last_alert: alert.as_deref(),
            next_protocol: protocol.as_deref(),
            established: info.established,
            ssl_history: &info.history,
            cert_chain_fps: server.as_deref(),
            client_cert_chain_fps: client.as_deref(),
            sni_matches_cert,
            community_id: &ids.community_id,
            ja3: info.client_prints.as_ref().map(|prints| prints.ja3.as_str()),
            ja3s: info.ja3s.as_deref(),
            ja4: info.client_prints.as_ref().map(|prints| prints.ja4.as_str()),
        },
    );
}

/// Whether the server's first certificate is for the name asked for; unset where there is none of
/// the two, or it is no certificate.
fn sni_matches(cx: &mut Cx<'_>, info: &Info) -> Option<bool> {
    let leaf = info.chains.as_deref()?.leaf.as_deref()?;
    let host = info.server_name.as_deref()?;
    Some(cert::is_for(&*cx.files.certificates.parse(leaf)?, host))
}
