//! The protocols of a flow, in the order in which they were confirmed (Zeek's `c$service`).

/// Names, as `service` has them.
#[derive(Debug, Default)]
pub struct Services {
    names: Vec<&'static str>,
    /// Names that were ever added.
    confirmations: u32,
}

impl Services {
    /// The flow is this protocol.
    pub fn add(&mut self, name: &'static str) {
        if !self.names.contains(&name) {
            self.names.push(name);
            self.confirmations += 1;
        }
    }

    /// The flow is not this protocol after all.
    pub fn remove(&mut self, name: &str) {
        self.names.retain(|known| *known != name);
    }

    /// Those that it is.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// How often one was added, whether or not it still is there.
    pub fn confirmations(&self) -> u32 {
        self.confirmations
    }
}
