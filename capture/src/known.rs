//! Assets of the site: its hosts, their services and certificates, as workers observe them
//! (`policy/protocols/conn/known-hosts`, `known-services` and `policy/protocols/ssl/known-certs`).
//!
//! Which of them is news is the manager's to say, who remembers for the whole cluster. Here an
//! observation is only kept from being sent again and again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use model::id;
use model::stream::known;

use crate::config::{SECOND, SHARDS};
use crate::out::Out;

/// An asset that was sent is not sent again for so long. Short against the day that the manager
/// remembers it: what is seen just after that day may be a little late.
const REPEAT: i64 = 60 * SECOND;
/// Assets that a shard knows to have been sent; above it all of the shard's are forgotten, and sent again
/// where they are seen again. Some 100 bytes each: 13 MB.
const SENT_MAX: usize = 2048;
/// How long a service whose protocol was not recognised waits (`schedule 5min`).
const UNNAMED_WAIT: i64 = 300 * SECOND;
/// Such services of one shard; above it the oldest waits no longer. Some 64 bytes each: 17 MB.
const UNNAMED_MAX: usize = 4096;

/// A port of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// The host.
    pub host: IpAddr,
    /// The port.
    pub port: u16,
    /// Transport protocol, as Zeek names it.
    pub proto: &'static str,
}

/// What was seen of a certificate.
#[derive(Debug, Clone, Copy)]
pub struct Cert<'a> {
    /// Its SHA-1, in hexadecimal digits.
    pub sha1: &'a str,
    /// Who it is for.
    pub subject: &'a str,
    /// Who signed it.
    pub issuer: &'a str,
    /// Its serial number.
    pub serial: &'a str,
}

/// The flow that shows an asset, as far as rows are ordered by it: its virtual shard and place.
#[derive(Debug, Clone, Copy)]
pub struct By {
    /// Virtual shard.
    pub shard: u8,
    /// As in [`crate::flow::Meta::order`].
    pub order: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asset {
    Host(IpAddr),
    /// The names as in `service` of conn.
    Service(ServicePort, Vec<&'static str>),
    Cert(IpAddr, String),
}

impl Asset {
    fn log(&self) -> &'static str {
        match self {
            Asset::Host(_) => "known_hosts",
            Asset::Service(..) => "known_services",
            Asset::Cert(..) => "known_certs",
        }
    }

    fn host(&self) -> IpAddr {
        match self {
            Asset::Host(host) | Asset::Cert(host, _) => *host,
            Asset::Service(port, _) => port.host,
        }
    }

    /// What the manager remembers; a port's services are remembered with it.
    fn text(&self) -> String {
        match self {
            Asset::Host(host) => format!("host {host}"),
            Asset::Service(port, _) => {
                format!("service {} {}/{}", port.host, port.port, port.proto)
            }
            Asset::Cert(host, sha1) => format!("cert {host} {sha1}"),
        }
    }
}

/// A service that waits for its name.
#[derive(Debug)]
struct Unnamed {
    due: i64,
    ts: i64,
    port: ServicePort,
    order: u64,
}

#[derive(Debug, Default)]
struct Shard {
    sent: HashMap<Asset, i64>,
    /// In order of time, as all wait for equally long.
    unnamed: VecDeque<Unnamed>,
}

impl Shard {
    /// Whether an asset was not sent lately; then it counts as sent now. At one time it is sent as often as
    /// it is seen: which of flows that end at once ends first is not the same for any number of threads.
    fn is_due(&mut self, asset: &Asset, now: i64) -> bool {
        if self.sent.get(asset).is_some_and(|at| now > *at && now - at < REPEAT) {
            return false;
        }
        if self.sent.len() >= SENT_MAX {
            self.sent.clear();
        }
        self.sent.insert(asset.clone(), now);
        true
    }
}

/// What was seen lately, by virtual shard: that of one is the same for any number of threads.
#[derive(Debug)]
pub struct Known {
    shards: Vec<Shard>,
    /// When the first unnamed service has waited long enough.
    due: i64,
    /// The capture is over: nothing begins to wait any more.
    is_over: bool,
}

impl Default for Known {
    fn default() -> Known {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Known { shards, due: i64::MAX, is_over: false }
    }
}

/// Zeek's name of an analyzer, by its name in `service`; those of scripts are written as they are.
fn zeek_name(service: &str) -> String {
    if service.contains('-') { service.to_owned() } else { service.to_ascii_uppercase() }
}

impl Out {
    /// A local host took part in a handshake.
    pub fn host_seen(&mut self, by: By, host: IpAddr, now: i64) {
        let asset = Asset::Host(host);
        if self.is_asset_due(by, &asset, now) {
            self.asset_row(by.order, &asset, None, now, now);
        }
    }

    /// A port of a local host answered, and this is spoken there.
    pub fn service_seen(&mut self, by: By, port: ServicePort, services: &[&'static str], now: i64) {
        let asset = Asset::Service(port, services.to_vec());
        if self.is_asset_due(by, &asset, now) {
            self.asset_row(by.order, &asset, None, now, now);
        }
    }

    /// A port of a local host answered, and nobody knows in what language: that is said a while later.
    pub fn unnamed_service_seen(&mut self, by: By, port: ServicePort, now: i64) {
        let asset = Asset::Service(port, Vec::new());
        if self.assets.is_over || !self.is_asset_due(by, &asset, now) {
            return;
        }
        let due = now.saturating_add(UNNAMED_WAIT);
        self.assets.due = self.assets.due.min(due);
        let Some(shard) = self.assets.shards.get_mut(usize::from(by.shard)) else { return };
        shard.unnamed.push_back(Unnamed { due, ts: now, port, order: by.order });
        let excess = shard.unnamed.len() > UNNAMED_MAX;
        if let Some(oldest) = shard.unnamed.pop_front_if(|_| excess) {
            self.services_hurried += 1;
            self.unnamed_row(&oldest, now);
        }
    }

    /// A local server showed a certificate.
    pub fn cert_seen(&mut self, by: By, port: ServicePort, cert: Cert<'_>, now: i64) {
        let asset = Asset::Cert(port.host, cert.sha1.to_owned());
        if self.is_asset_due(by, &asset, now) {
            self.asset_row(by.order, &asset, Some((port.port, cert)), now, now);
        }
    }

    /// The latest packet time has come to `now`: services have waited for their name for long enough.
    #[inline]
    pub fn expire_unnamed(&mut self, now: i64) {
        if now >= self.assets.due {
            self.release_unnamed(now, now);
        }
    }

    /// The capture is over: nothing waits any longer. As in Zeek what is found without a name from now on,
    /// as the flows end, had no time to be named, and is not told of.
    pub fn finish_unnamed(&mut self, now: i64) {
        self.assets.is_over = true;
        self.release_unnamed(i64::MAX, now);
    }

    fn release_unnamed(&mut self, until: i64, now: i64) {
        for shard in 0..self.assets.shards.len() {
            while let Some(shard) = self.assets.shards.get_mut(shard)
                && let Some(unnamed) = shard.unnamed.pop_front_if(|first| first.due <= until)
            {
                self.unnamed_row(&unnamed, unnamed.due.min(now));
            }
        }
        let firsts = self.assets.shards.iter().filter_map(|shard| shard.unnamed.front());
        self.assets.due = firsts.map(|first| first.due).min().unwrap_or(i64::MAX);
    }

    fn unnamed_row(&mut self, unnamed: &Unnamed, write_ts: i64) {
        let asset = Asset::Service(unnamed.port, Vec::new());
        self.asset_row(unnamed.order, &asset, None, unnamed.ts, write_ts);
    }

    fn is_asset_due(&mut self, by: By, asset: &Asset, now: i64) -> bool {
        let shard = self.assets.shards.get_mut(usize::from(by.shard));
        shard.is_some_and(|shard| shard.is_due(asset, now))
    }

    fn asset_row(
        &mut self,
        order: u64,
        asset: &Asset,
        cert: Option<(u16, Cert<'_>)>,
        ts: i64,
        write_ts: i64,
    ) {
        let text = asset.text();
        let lane = id::partition(text.as_bytes(), self.lanes);
        let mark = self.mark(write_ts, order, lane);
        let mut row = known::Row {
            ts,
            log: asset.log(),
            asset: &text,
            host: asset.host(),
            ..known::Row::unset()
        };
        let mut names: Vec<String> = Vec::new();
        if let Asset::Service(port, services) = asset {
            (row.port_num, row.port_proto) = (Some(port.port), Some(port.proto));
            names = services.iter().map(|name| zeek_name(name)).collect();
            if names.is_empty() {
                names.push(String::new());
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        row.service = &names;
        if let Some((port, cert)) = cert {
            row.port_num = Some(port);
            row.subject = Some(cert.subject);
            row.issuer_subject = Some(cert.issuer);
            row.serial = Some(cert.serial);
        }
        self.known.push(mark, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: By = By { shard: 3, order: 3 << 56 | 1 };

    fn port(port: u16) -> ServicePort {
        ServicePort { host: [10, 0, 0, 1].into(), port, proto: "tcp" }
    }

    /// Row by row when it was written, when it was seen, what, and what is spoken there.
    fn rows(out: &mut Out) -> Vec<(i64, i64, String, String)> {
        let (batch, marks) = out.known.finish("n");
        let asset = model::read::text(&batch, "asset").expect("a column");
        let services = model::read::list(&batch, "service").expect("a column");
        let ts = model::read::time(&batch, "ts").expect("a column");
        let told = |row: usize| {
            let services = model::read::texts(services, row).join("+");
            (marks[row].write_ts, ts.value(row), asset.value(row).to_owned(), services)
        };
        (0..batch.num_rows()).map(told).collect()
    }

    #[test]
    fn an_asset_is_sent_once_a_minute() {
        let mut out = Out::new(1);
        for at in [0, 0, 1, REPEAT - 1, REPEAT] {
            out.host_seen(BY, [10, 0, 0, 1].into(), at);
        }
        out.service_seen(BY, port(80), &["http"], 5);
        out.service_seen(BY, port(80), &["http"], 6);
        out.service_seen(BY, port(80), &["http", "ftp-data"], 7);
        let row = |at, asset: &str, services: &str| (at, at, asset.to_owned(), services.to_owned());
        let service = "service 10.0.0.1 80/tcp";
        let want = [
            row(0, "host 10.0.0.1", ""),
            row(0, "host 10.0.0.1", ""),
            row(REPEAT, "host 10.0.0.1", ""),
            row(5, service, "HTTP"),
            row(7, service, "HTTP+ftp-data"),
        ];
        assert_eq!(rows(&mut out), want);
    }

    #[test]
    fn one_without_a_name_waits_and_the_end_of_the_capture_ends_that() {
        let mut out = Out::new(1);
        out.unnamed_service_seen(BY, port(99), 0);
        out.unnamed_service_seen(BY, port(98), 10);
        out.expire_unnamed(UNNAMED_WAIT - 1);
        assert!(rows(&mut out).is_empty());
        out.expire_unnamed(UNNAMED_WAIT + 1);
        let row =
            |written, ts, n: u16| (written, ts, format!("service 10.0.0.1 {n}/tcp"), String::new());
        assert_eq!(rows(&mut out), [row(UNNAMED_WAIT, 0, 99)]);
        out.finish_unnamed(500);
        assert_eq!(rows(&mut out), [row(500, 10, 98)]);
        out.unnamed_service_seen(BY, port(97), 501);
        assert_eq!(out.assets.due, i64::MAX);
    }

    #[test]
    fn what_is_too_much_is_forgotten_or_hurried() {
        let mut out = Out::new(1);
        for n in 0..=UNNAMED_MAX {
            let host = std::net::Ipv4Addr::from(n as u32).into();
            out.unnamed_service_seen(BY, ServicePort { host, ..port(1) }, n as i64);
        }
        assert_eq!(rows(&mut out).len(), 1);
        assert_eq!(out.services_hurried, 1);
        let shard = &out.assets.shards[3];
        assert!(shard.unnamed.len() == UNNAMED_MAX && shard.sent.len() <= SENT_MAX);
    }

    #[test]
    fn a_certificate_comes_with_its_port() {
        let mut out = Out::new(1);
        let cert = Cert { sha1: "ab", subject: "CN=a", issuer: "CN=b", serial: "01" };
        out.cert_seen(BY, port(443), cert, 7);
        let (batch, _) = out.known.finish("n");
        let text = |name: &str| model::read::text(&batch, name).expect("a column").value(0);
        assert_eq!(
            [text("log"), text("asset"), text("subject"), text("issuer_subject"), text("serial")],
            ["known_certs", "cert 10.0.0.1 ab", "CN=a", "CN=b", "01"]
        );
        assert_eq!(model::read::port(&batch, "port_num").expect("a column").value(0), 443);
    }
}
