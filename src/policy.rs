//! `weir policy`: check a document, push it to the cluster, show what is in force and where, forget nodes.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bus::clock::{Clock as _, System};
use bus::documents::{self, Ack, NOTICE_POLICY};
use bus::kafka::Kafka;
use bus::{Bus as _, Member, Outgoing, Step, topic};
use bytes::Bytes;
use manager::decide::Document;

use crate::cli::{PolicyAction, PolicyArgs};
use crate::config::{BadConfig, Config};
use crate::status;

/// Who was not heard of for so long is gone; those that are there say so every few seconds.
const HEARD_MS: i64 = 60_000;

/// Checks, pushes or shows.
pub fn policy(args: &PolicyArgs, config: &Config) -> anyhow::Result<()> {
    match &args.action {
        PolicyAction::Check { file } => check(file),
        PolicyAction::Push { file } => push(file, config),
        PolicyAction::Show => show(config),
        PolicyAction::Forget { name } => forget(name, config),
    }
}

/// A document and its bytes.
pub fn read(path: &Path) -> Result<(Arc<Document>, Bytes), BadConfig> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|e| BadConfig(format!("cannot read {name}: {e}")))?;
    let document = Document::parse(&bytes).map_err(|why| BadConfig(format!("{name}: {why}")))?;
    Ok((document, bytes.into()))
}

fn check(path: &Path) -> anyhow::Result<()> {
    let (document, _) = read(path)?;
    let policy = &document.policy;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: good, version {}: {} rules, {} allowed, {} types with an interval of their own",
        path.display(),
        policy.version,
        policy.rules.len(),
        policy.allow.len(),
        policy.type_suppression_intervals.len(),
    )?;
    let now_us = System.now_ms().saturating_mul(1_000);
    let untils = policy.allow.iter().chain(policy.rules.iter().map(|rule| &rule.matches));
    let over = untils.filter_map(|matches| matches.until).filter(|until| *until <= now_us).count();
    if over > 0 {
        writeln!(out, "{over} of them are over by now")?;
    }
    Ok(())
}

fn push(path: &Path, config: &Config) -> anyhow::Result<()> {
    let (document, bytes) = read(path)?;
    let kafka = Kafka::connect(config.kafka()?)?;
    let records = documents::push(&topic::POLICY, NOTICE_POLICY, &bytes, kafka.lanes());
    write(&kafka, config, records)?;
    let version = &document.policy.version;
    writeln!(std::io::stdout(), "pushed version {version}; `weir policy show` tells who runs it")?;
    Ok(())
}

fn write(kafka: &Kafka, config: &Config, out: Vec<Outgoing>) -> anyhow::Result<()> {
    let (group, node) = ("policy".to_owned(), config.node_name()?);
    let me = Member { group, node, topics: Vec::new(), state: None, home: Vec::new() };
    kafka.open(&me)?.commit(Step { out, ..Step::default() })?;
    Ok(())
}

/// The document on the topic, and who acknowledged one.
fn on_topic(kafka: &Kafka) -> anyhow::Result<(Option<Bytes>, Vec<Ack>)> {
    let (mut text, mut acks) = (None, Vec::new());
    kafka.documents(&topic::POLICY, &mut |key, value| {
        if key[..] == *NOTICE_POLICY.as_bytes() {
            text = Some(value);
        } else {
            acks.extend(Ack::of(&key, &value));
        }
    })?;
    acks.sort_by(|a, b| (&a.role, &a.node).cmp(&(&b.role, &b.node)));
    Ok((text, acks))
}

fn show(config: &Config) -> anyhow::Result<()> {
    let kafka = Kafka::connect(config.kafka()?)?;
    let (text, acks) = on_topic(&kafka)?;
    let now_ms = System.now_ms();
    let members = status::members(&kafka, now_ms.saturating_sub(HEARD_MS))?;
    let is_there = |ack: &Ack| status::is_running(&members, &ack.role, &ack.node, now_ms);
    let page = page(text.as_deref(), &acks, &is_there, now_ms);
    std::io::stdout().write_all(page.as_bytes()).context("cannot write to standard output")
}

fn forget(name: &str, config: &Config) -> anyhow::Result<()> {
    let kafka = Kafka::connect(config.kafka()?)?;
    let (_, acks) = on_topic(&kafka)?;
    let of_node = acks.iter().filter(|ack| ack.node == name);
    let gone: Vec<Outgoing> =
        of_node.map(|ack| ack.removal(&topic::POLICY, kafka.lanes())).collect();
    anyhow::ensure!(!gone.is_empty(), "no node `{name}` is known: `weir policy show` lists them");
    write(&kafka, config, gone)
}

/// The document with what is known of it before it, as comments: the page is a document itself. A node that says nothing
/// any more (a capture that could not take back what it acknowledged) is listed, and not counted.
fn page(text: Option<&[u8]>, acks: &[Ack], is_there: &dyn Fn(&Ack) -> bool, now_ms: i64) -> String {
    let mut lines = Vec::new();
    let version = text.map_or_else(String::new, detect::policy::document::version);
    match text {
        None => lines.push("# no policy was pushed: every notice is logged".to_owned()),
        Some(_) => {
            let there: Vec<&Ack> = acks.iter().filter(|ack| is_there(ack)).collect();
            let by = there.iter().filter(|ack| ack.version == version).count();
            lines.push(format!("# version {version}: {by} of {} roles have it", there.len()));
        }
    }
    if let Some(Err(why)) = text.map(Document::parse) {
        lines.push(format!("# it is bad and nobody takes it: {why}"));
    }
    for ack in acks {
        let runs = if ack.version.is_empty() { "none" } else { &ack.version };
        let seconds = now_ms.saturating_sub(ack.since_ms).max(0) / 1_000;
        let mut line = format!("# {} on node {}: {runs}, said {seconds} s ago", ack.role, ack.node);
        if let Some(refused) = &ack.refused {
            line.push_str(&format!("; refused {}: {}", refused.version, refused.why));
        }
        if !is_there(ack) {
            line.push_str("; gone");
        }
        // Whatever a document made its reader say stays a comment.
        lines.push(line.replace(char::is_control, " "));
    }
    let text = text.map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned());
    let mut page = lines.join("\n");
    page.push('\n');
    page.push_str(&text);
    if !page.ends_with('\n') {
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use bus::documents::Refused;

    use super::*;

    fn ack(node: &str, version: &str, refused: Option<&str>) -> Ack {
        let refused = refused.map(|why| Refused { version: "77".into(), why: why.into() });
        let (role, version) = ("manager".to_owned(), version.to_owned());
        Ack { role, node: node.into(), version, refused, since_ms: 1_000 }
    }

    #[test]
    fn the_page_says_who_runs_what_and_is_a_document() {
        let text = "ignored_types = ['A::B']";
        let version = detect::policy::document::version(text.as_bytes());
        let acks = [
            ack("m1", &version, None),
            ack("m2", "0", Some("line 3\nx = 1")),
            ack("m3", &version, None),
        ];
        let page = page(Some(text.as_bytes()), &acks, &|ack| ack.node != "m3", 6_500);
        let want = format!(
            "# version {version}: 1 of 2 roles have it\n\
             # manager on node m1: {version}, said 5 s ago\n\
             # manager on node m2: 0, said 5 s ago; refused 77: line 3 x = 1\n\
             # manager on node m3: {version}, said 5 s ago; gone\n{text}\n"
        );
        assert_eq!(page, want);
        assert!(Document::parse(page.as_bytes()).is_ok());
    }

    #[test]
    fn without_a_document_and_with_a_bad_one() {
        let page = |text, acks: &[Ack]| page(text, acks, &|_| true, 0);
        let none = page(None, &[ack("m1", "", None)]);
        assert!(none.contains("no policy was pushed") && none.contains("m1: none"), "{none}");
        assert!(page(Some(b"a = "), &[]).contains("nobody takes it: line 1"));
        assert!(page(Some(b"\xff"), &[]).contains("nobody takes it"));
    }
}
