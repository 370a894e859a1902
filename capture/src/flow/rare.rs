//! What few flows have: behind one pointer, so that all others are smaller.

use super::Meta;
use crate::trace::Trace;
use crate::tunnel::Around;

/// What few flows have; a flow without it has zeros and nothing.
#[derive(Debug, Default)]
pub struct Rare {
    /// Flows before it with the same tuple and first time.
    pub repeat: u32,
    /// Rows of conn that it has had while it lasted.
    pub interims: u32,
    /// Bytes in content gaps.
    pub missed_bytes: u64,
    /// The tunnels around it.
    pub around: Option<Box<Around>>,
    /// What joining it with its other half takes, while one direction alone was seen of it.
    pub trace: Option<Box<Trace>>,
}

impl Rare {
    /// For a flow that begins.
    pub fn new(repeat: u32, around: Option<Box<Around>>) -> Option<Box<Rare>> {
        let is_rare = repeat > 0 || around.is_some();
        is_rare.then(|| Box::new(Rare { repeat, around, ..Rare::default() }))
    }
}

impl Meta {
    /// Flows before it with the same tuple and first time.
    pub fn repeat(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.repeat)
    }

    /// Rows of conn that it has had while it lasted.
    pub fn interims(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.interims)
    }

    /// Bytes in content gaps.
    pub fn missed_bytes(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.missed_bytes)
    }

    /// The tunnels around it.
    pub fn around(&self) -> Option<&Around> {
        self.rare.as_ref()?.around.as_deref()
    }

    /// What joining it takes.
    pub fn trace(&self) -> Option<&Trace> {
        self.rare.as_ref()?.trace.as_deref()
    }

    /// The same, to add to.
    pub fn trace_mut(&mut self) -> Option<&mut Trace> {
        self.rare.as_mut()?.trace.as_deref_mut()
    }

    /// What few flows have, which it has from now on.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}
