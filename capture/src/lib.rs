//! The capture role: packets in, rows out.
//!
//! A packet's way through the files: [`source`] → [`engine`] → [`decode`], [`checksum`], [`fragment`]
//! → [`table`] and [`wheel`] (the flows and their timers) → [`tcp`] and its [`stream`]s → [`app`]
//! (which analyzers) → [`analyzer`], [`files`] → [`out`]. What [`tunnel`] finds inside begins at [`engine`] again.
//! [`worker`] runs an engine a thread, [`flush`] puts their rows in order, [`live`] keeps them while the bus does
//! not take them, [`role`] commits them.

pub mod analyzer;
pub mod app;
pub mod checksum;
pub mod config;
pub mod decode;
pub mod engine;
pub mod expected;
mod few;
pub mod files;
pub mod flow;
pub mod flush;
pub mod fragment;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod history;
pub mod host;
pub mod known;
pub mod live;
pub mod maker;
pub mod mime;
pub mod nets;
pub mod out;
pub mod outgoing;
pub mod ports;
pub mod position;
pub mod role;
pub mod services;
pub mod source;
pub mod stream;
pub mod table;
pub mod tally;
pub mod tcp;
pub mod trace;
pub mod tunnel;
pub mod weirds;
pub mod wheel;
pub mod worker;

pub use config::Config;
pub use role::Capture;
