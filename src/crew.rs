//! Roles of one process, each in its thread: one that fails or panics is noticed by the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use anyhow::Context as _;

/// Runs `work` in a thread of this name. Where it fails or panics `failed` is called in that thread at
/// once: nobody may go on waiting for it.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    failed: impl FnOnce() + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<T>>> {
    let group = name.to_owned();
    let thread = Builder::new().name(group.clone()).spawn(move || {
        // What `work` held is gone with it, so that nobody sees it half done.
        let done = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(anyhow::anyhow!("{group} panicked")));
        if let Err(error) = &done {
            tracing::error!("{error:#}");
            failed();
        }
        done
    });
    thread.context("cannot start a thread")
}

/// What a thread of [`start`] made of its work.
pub fn join<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_fails_or_panics_is_told_of() {
        let run = |work: fn() -> anyhow::Result<u32>| {
            let (tell, told) = mpsc::channel();
            let thread = start("sink.tsv", work, move || tell.send(()).unwrap()).unwrap();
            (join(thread).map_err(|error| error.to_string()), told.recv().is_ok())
        };
        assert_eq!(run(|| Ok(7)), (Ok(7), false));
        assert_eq!(run(|| Err(anyhow::anyhow!("full"))), (Err("full".into()), true));
        let panicked = run(|| panic!("a bug"));
        assert_eq!(panicked, (Err("sink.tsv panicked".into()), true));
    }
}
