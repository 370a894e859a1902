//! Signals: the first asks every role to commit what is done and end, the second ends at once.

use std::sync::mpsc::Sender;

use bus::drive::Stop;

/// Watches for SIGINT and SIGTERM in a thread of its own and raises the flag.
pub fn on_signal() -> anyhow::Result<Stop> {
    let stop = Stop::new();
    let told = stop.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        match runtime {
            Ok(runtime) => runtime.block_on(watch(&told, ready)),
            Err(error) => tracing::error!("cannot watch for signals: {error}"),
        }
    })?;
    // A signal that came before its handler would just kill. Where there can be none, waiting is over too.
    let _ = is_ready.recv();
    Ok(stop)
}

async fn watch(stop: &Stop, ready: Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        tracing::error!("cannot watch for signals");
        return;
    };
    let _ = ready.send(());
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.requested() {
            eprintln!(
                "weir: stopped at once; what was not committed is done again at the next start"
            );
            std::process::exit(1);
        }
        eprintln!("weir: stopping, once more to stop at once");
        stop.request();
    }
}
