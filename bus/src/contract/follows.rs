//! A role that follows documents hears of them while it runs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{DOCUMENTS, Fixture, IN, PATIENCE, reader, write};
use crate::clock::System;
use crate::drive::{Stop, Until, drive};
use crate::{Lane, Outgoing, Restored, Role, Session, Step, Topic, Wake};

/// A role is told of the documents that it follows when it has its lanes, and again soon after they changed;
/// of nothing else.
pub fn is_told_of_documents(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let put = |key: &'static str, text: &'static str| {
        let (key, text) = (Bytes::from(key), Bytes::from(text));
        write(&*fixture.bus, vec![Outgoing::document(DOCUMENTS, 2, key, Some(text))]);
    };
    put("a", "1");
    let (stop, told) = (Stop::new(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let mut role = Follower { told: &told };
        let me = reader("follows", "a", &[IN]);
        let (bus, stop) = (&*fixture.bus, &stop);
        let runs = scope.spawn(move || drive(bus, &me, &mut role, &System, stop, Until::Forever));
        for (key, text, want) in [("a", "2", "a=1"), ("b", "1", "a=2"), ("", "", "a=2 b=1")] {
            let until = Instant::now() + PATIENCE;
            while told.lock().unwrap_or_else(PoisonError::into_inner).last().map(String::as_str)
                != Some(want)
            {
                assert!(Instant::now() < until && !runs.is_finished(), "{want}: {told:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
            if !key.is_empty() {
                put(key, text);
            }
        }
        stop.request();
    });
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(told, ["a=1", "a=2", "a=2 b=1"], "each once");
}

/// A role that only follows documents.
struct Follower<'a> {
    told: &'a Mutex<Vec<String>>,
}

impl Role for Follower<'_> {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        Ok(())
    }

    fn restored(&mut self, _: Lane, _: Restored) -> anyhow::Result<()> {
        Ok(())
    }

    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        let Wake::Documents(topic, mut documents) = wake else { return Ok(None) };
        assert_eq!(topic, DOCUMENTS);
        documents.sort();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = documents.iter().map(|(key, value)| format!("{}={}", text(key), text(value)));
        let pairs = pairs.collect::<Vec<_>>().join(" ");
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(pairs);
        Ok(None)
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn follows(&self) -> Vec<Topic> {
        vec![DOCUMENTS]
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(50)
    }
}
