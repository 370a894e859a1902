//! The protocols of a flow, in the order in which they were confirmed (Zeek's `c$service`).

use crate::few;

/// One of them.
#[derive(Debug, Clone, Copy)]
struct Known {
    name: &'static str,
    /// When it was confirmed, microseconds.
    at: i64,
    /// It is not this protocol after all.
    is_out: bool,
}

/// Names, as `service` has them.
#[derive(Debug, Default)]
pub struct Services {
    known: Vec<Known>,
    /// Names that were ever added.
    confirmations: u32,
}

impl Services {
    /// The flow is this protocol.
    pub fn add(&mut self, name: &'static str, at: i64) {
        if !self.has(name) {
            self.push(name, at);
            self.confirmations += 1;
        }
    }

    /// The flow is also called this, which no analyzer said: known services do not hear of it before the next
    /// that one does.
    pub fn name(&mut self, name: &'static str, at: i64) {
        if !self.has(name) {
            self.push(name, at);
        }
    }

    fn has(&self, name: &str) -> bool {
        self.known.iter().any(|known| known.name == name && !known.is_out)
    }

    fn push(&mut self, name: &'static str, at: i64) {
        self.known.retain(|known| known.name != name);
        few::push(&mut self.known, Known { name, at, is_out: false });
    }

    /// The flow is not this protocol after all.
    pub fn remove(&mut self, name: &str) {
        self.known.iter_mut().filter(|known| known.name == name).for_each(|it| it.is_out = true);
    }

    /// Those that it is.
    pub fn names(&self) -> Vec<&'static str> {
        self.told().map(|(name, _)| name).collect()
    }

    /// Those that it is, and when each was confirmed.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.known.iter().filter(|known| !known.is_out).map(|known| (known.name, known.at))
    }

    /// Those that it was taken for and is not, and when it was.
    pub fn removed(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.known.iter().filter(|known| known.is_out).map(|known| (known.name, known.at))
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
        services.add("ftp", 1);
        services.name("gridftp", 2);
        assert_eq!((services.names(), services.confirmations()), (vec!["ftp", "gridftp"], 1));
        services.add("gridftp", 3);
        assert_eq!(services.confirmations(), 1);
    }

    #[test]
    fn what_is_removed_may_come_back() {
        let mut services = Services::default();
        services.add("http", 1);
        services.add("ftp", 2);
        services.remove("http");
        assert!(services.told().eq([("ftp", 2)]) && services.removed().eq([("http", 1)]));
        services.add("http", 3);
        assert!(services.told().eq([("ftp", 2), ("http", 3)]));
        assert_eq!((services.removed().count(), services.confirmations()), (0, 3));
    }
}
