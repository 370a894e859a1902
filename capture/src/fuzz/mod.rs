//! Fuzz targets: each takes any bytes and must come back, without a panic and in bounded time and room.
//!
//! They are plain functions. `fuzz/` shows them to libFuzzer; the test beside them runs the kept inputs of
//! `fuzz/corpus/` and changes of these. A new analyzer is in the target `others` until a family takes it.

mod capture;
mod parsers;
mod talk;
#[cfg(test)]
mod tests;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All targets.
#[rustfmt::skip]
pub static TARGETS: &[Target] = &[
    Target { name: "decode", run: parsers::decode },
    Target { name: "dns", run: |data| talk::play(data, &["dns"]) },
    Target { name: "engine", run: capture::engine },
    Target { name: "files", run: parsers::files },
    Target { name: "fragments", run: parsers::fragments },
    Target { name: "http", run: |data| talk::play(data, &["http", "websocket"]) },
    Target { name: "industry", run: |data| talk::play(data, talk::INDUSTRY) },
    Target { name: "mail", run: |data| talk::play(data, talk::MAIL) },
    Target { name: "mime", run: parsers::mime },
    Target { name: "others", run: |data| talk::play(data, &[]) },
    Target { name: "source", run: parsers::source },
    Target { name: "ssl", run: |data| talk::play(data, &["dtls", "ssl"]) },
    Target { name: "text", run: |data| talk::play(data, talk::TEXT) },
    Target { name: "tunnels", run: capture::tunnels },
    Target { name: "windows", run: |data| talk::play(data, talk::WINDOWS) },
    Target { name: "x509", run: parsers::x509 },
];

/// Runs a target; for the shims of `fuzz/`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
