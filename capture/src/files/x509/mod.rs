//! Certificates: what x509.log says of one. OpenSSL is what parses them for Zeek, so its leniency and its names
//! are the rule. Source: RFC 5280; Zeek `file_analysis/analyzer/x509`, `base/files/x509/main.zeek`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use model::stream::x509;
use model::text;
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::Tag;

use super::hash::hex;
use crate::analyzer::Cx;
pub use cache::Cache;
use der::Reader;
use key::Key;

mod cache;
mod der;
mod key;
pub mod known;
mod name;
mod oids;
mod time;

#[cfg(test)]
mod tests;

/// Cells of one list (Zeek's `X509::default_max_field_container_elements`).
const LIST_MAX: usize = 500;
/// Cells of all lists of a row (`X509::default_max_total_container_elements`).
const LISTS_MAX: usize = 1500;

/// A certificate.
#[derive(Debug)]
pub struct Certificate {
    /// SHA-256 of its DER, without what follows it, in lower-case hex.
    pub fingerprint: String,
    version: u64,
    /// Serial number, in hexadecimal digits as OpenSSL writes them.
    pub serial: String,
    /// Who it is for, as OpenSSL writes names (RFC 2253).
    pub subject: String,
    /// Who signed it, likewise.
    pub issuer: String,
    /// The last common name of the subject, as its bytes lie there.
    common_name: Option<Vec<u8>>,
    valid: [i64; 2],
    key: Key,
    signature: &'static str,
    san: Option<San>,
    /// There are alternative names, whether they could be read or not.
    has_san: bool,
    basic: Option<Basic>,
    weirds: Vec<(&'static str, Option<String>)>,
}

/// Alternative names.
#[derive(Debug, Default)]
struct San {
    dns: Vec<Vec<u8>>,
    uri: Vec<Vec<u8>>,
    email: Vec<Vec<u8>>,
    ip: Vec<IpAddr>,
    has_ip: bool,
}

/// Basic constraints.
#[derive(Debug, Clone, Copy)]
struct Basic {
    ca: bool,
    path_len: Option<u64>,
}

impl Certificate {
    /// The certificate that these bytes begin with.
    pub fn parse(bytes: &[u8]) -> Option<Certificate> {
        let mut reader = Reader(bytes);
        let outer = reader.any().filter(|outer| outer.is(Tag::Sequence))?;
        let mut fields = Reader(outer.data);
        let mut tbs = Reader(fields.expect(Tag::Sequence)?);
        let signature = Reader(fields.expect(Tag::Sequence)?).oid()?;
        fields.expect(Tag::BitString)?;
        if !fields.is_empty() {
            return None;
        }
        let version = match tbs.option(0) {
            Some(version) => number(Reader(version).integer()?),
            None => 0,
        };
        let (negative, serial) = tbs.integer()?;
        Reader(tbs.expect(Tag::Sequence)?).oid()?;
        let issuer = name::print(tbs.expect(Tag::Sequence)?)?;
        let mut validity = Reader(tbs.expect(Tag::Sequence)?);
        let times = [validity.any()?, validity.any()?];
        if !times.iter().all(|time| time.is(Tag::UtcTime) || time.is(Tag::GeneralizedTime)) {
            return None;
        }
        let subject = tbs.expect(Tag::Sequence)?;
        let (common_name, subject) = (name::common_name(subject), name::print(subject)?);
        let key = key::read(tbs.expect(Tag::Sequence)?)?;
        let _ids = (tbs.option(1), tbs.option(2));
        let extensions = tbs.option(3);
        if !tbs.is_empty() {
            return None;
        }
        let times = times.each_ref().map(time::read);
        let weirds = times.iter().filter_map(|(_, weird)| *weird).map(|name| (name, None));
        let mut certificate = Certificate {
            fingerprint: hex(&Sha256::digest(outer.whole)),
            version: version.wrapping_add(1),
            serial: serial_text(negative, &serial),
            subject,
            issuer,
            valid: times.map(|(time, _)| time),
            key,
            signature: oids::algorithm(&signature).unwrap_or(""),
            common_name: common_name.map(<[u8]>::to_vec),
            san: None,
            has_san: false,
            basic: None,
            weirds: weirds.collect(),
        };
        if let Some(extensions) = extensions {
            certificate.extensions(Reader(extensions).expect(Tag::Sequence)?)?;
        }
        Some(certificate)
    }

    fn extensions(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Reader(list);
        while !list.is_empty() {
            let mut extension = Reader(list.expect(Tag::Sequence)?);
            let oid = extension.oid()?;
            extension.optional(Tag::Boolean);
            let value = extension.expect(Tag::OctetString)?;
            match oid.as_str() {
                "2.5.29.17" => {
                    self.has_san = true;
                    match self.san(value) {
                        Some(san) => self.san = Some(san),
                        None => self.weirds.push(("x509_san_parse_error", None)),
                    }
                }
                "2.5.29.19" => match basic_constraints(value) {
                    Some(basic) => self.basic = Some(basic),
                    None => self.weirds.push(("x509_invalid_basic_constraint", None)),
                },
                _ => {}
            }
        }
        Some(())
    }

    fn san(&mut self, value: &[u8]) -> Option<San> {
        let mut names = Reader(Reader(value).expect(Tag::Sequence)?);
        let mut san = San::default();
        while !names.is_empty() {
            let name = names.any()?;
            let list = [(1, &mut san.email), (2, &mut san.dns), (6, &mut san.uri)]
                .into_iter()
                .find(|(number, _)| name.is_context(*number));
            if let Some((_, list)) = list {
                list.push(name.data.to_vec());
            } else if name.is_context(7) {
                san.has_ip = true;
                let v4 = <[u8; 4]>::try_from(name.data).map(IpAddr::from);
                match v4.or_else(|_| <[u8; 16]>::try_from(name.data).map(IpAddr::from)) {
                    Ok(ip) => san.ip.push(ip),
                    Err(_) => {
                        let len = name.data.len().to_string();
                        self.weirds.push(("x509_san_ip_length", Some(len)));
                    }
                }
            }
        }
        Some(san)
    }

    /// Host names among the alternative names, where it has any of these.
    pub fn alternative_hosts(&self) -> Option<&[Vec<u8>]> {
        self.has_san.then(|| self.san.as_ref().map_or(&[][..], |san| &san.dns))
    }

    /// The last common name of the subject, as its bytes lie there.
    pub fn common_name(&self) -> Option<&[u8]> {
        self.common_name.as_deref()
    }

    fn write(&self, cx: &mut Cx<'_>, role: Role) {
        fn texts<'c>(
            list: Option<&'c Vec<Vec<u8>>>,
            left: &mut usize,
        ) -> Option<Vec<Cow<'c, str>>> {
            let list = list.filter(|list| !list.is_empty())?;
            let kept = list.len().min(LIST_MAX).min(*left);
            *left -= kept;
            Some(list.iter().take(kept).map(|name| text::from_wire(name)).collect())
        }
        let san = self.san.as_ref();
        let mut left = LISTS_MAX;
        let dns = texts(san.map(|san| &san.dns), &mut left);
        let uri = texts(san.map(|san| &san.uri), &mut left);
        let email = texts(san.map(|san| &san.email), &mut left);
        let ips = san.filter(|san| san.has_ip).map(|san| &san.ip[..san.ip.len().min(LIST_MAX)]);
        let (dns, uri, email) = (strs(&dns), strs(&uri), strs(&email));
        let mark = cx.mark();
        let row = x509::Row {
            ts: cx.now,
            fingerprint: &self.fingerprint,
            version: self.version,
            serial: &self.serial,
            subject: &self.subject,
            issuer: &self.issuer,
            not_valid_before: self.valid[0],
            not_valid_after: self.valid[1],
            key_alg: &self.key.algorithm,
            sig_alg: self.signature,
            key_type: self.key.kind,
            key_length: self.key.bits,
            exponent: self.key.exponent.as_deref(),
            curve: self.key.curve,
            san_dns: dns.as_deref(),
            san_uri: uri.as_deref(),
            san_email: email.as_deref(),
            san_ip: ips,
            ca: self.basic.map(|basic| basic.ca),
            path_len: self.basic.and_then(|basic| basic.path_len),
            host_cert: role.host,
            client_cert: role.client,
        };
        cx.out.certificate(mark, row);
    }
}

fn strs<'b>(list: &'b Option<Vec<Cow<'_, str>>>) -> Option<Vec<&'b str>> {
    list.as_ref().map(|list| list.iter().map(|name| &**name).collect())
}

/// In what role a certificate was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// It came first, as that of an end.
    pub host: bool,
    /// The client sent it.
    pub client: bool,
}

/// A certificate that a protocol carried: writes its row, and gives it where it is one.
/// `parts` tell it from the flow's other files. Certificates are files to Zeek, but not in files.log.
pub fn seen(cx: &mut Cx<'_>, der: &[u8], role: Role, parts: &[&[u8]]) -> Option<Arc<Certificate>> {
    let Some(certificate) = cx.files.certificates.parse(der) else {
        let fuid = cx.fuid(parts);
        cx.weird_of_file(&fuid, "x509_cert_parse_error", None, None);
        return None;
    };
    for (name, addl) in &certificate.weirds {
        let fuid = cx.fuid(parts);
        cx.weird_of_file(&fuid, name, addl.as_deref(), None);
    }
    certificate.write(cx, role);
    Some(certificate)
}

fn basic_constraints(value: &[u8]) -> Option<Basic> {
    let mut fields = Reader(Reader(value).expect(Tag::Sequence)?);
    let ca = match fields.optional(Tag::Boolean) {
        Some(&[ca]) => ca != 0,
        Some(_) => return None,
        None => false,
    };
    let path_len = if fields.is_empty() { None } else { Some(number(fields.integer()?)) };
    fields.is_empty().then_some(Basic { ca, path_len })
}

/// A number as C has it: what is too large is -1.
fn number((negative, magnitude): (bool, Vec<u8>)) -> u64 {
    if magnitude.len() > 8 {
        return u64::MAX;
    }
    let value = magnitude.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if negative { value.wrapping_neg() } else { value }
}

/// A serial number as OpenSSL prints it: in hex, broken into lines when it is long.
fn serial_text(negative: bool, magnitude: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = if negative { "-".to_owned() } else { String::new() };
    for (i, byte) in magnitude.iter().enumerate() {
        if i > 0 && i % 35 == 0 {
            text.push_str("\\\n");
        }
        let _ = write!(text, "{byte:02X}");
    }
    text.truncate(SERIAL_BYTES_MAX);
    text
}

/// Bytes of a serial number that Zeek reads.
const SERIAL_BYTES_MAX: usize = 2048;
