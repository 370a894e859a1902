//! The protocols of a flow, in the order in which they were confirmed (Zeek's `c$service`).

use crate::few;

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
            few::push(&mut self.names, name);
            self.confirmations += 1;
        }
    }

    /// The flow is also called this, which no analyzer said: known services do not hear of it before the next
    /// that one does.
    pub fn name(&mut self, name: &'static str) {
        if !self.names.contains(&name) {
            self.names.push(name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_confirmation() {
        let mut services = Services::default();
        services.add("ftp");
        services.name("gridftp");
        assert_eq!((services.names(), services.confirmations()), (&["ftp", "gridftp"][..], 1));
        services.add("gridftp");
        assert_eq!(services.confirmations(), 1);
    }
}
