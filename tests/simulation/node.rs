//! A process of the cluster: a role in its loop, started again whenever it dies.

use bus::drive::{DriveError, Driver, Stop, Turn, Until};
use bus::sim::Sim;
use bus::{BusError, Member, Role};

use crate::mortal::{Killed, Mortal};

/// Which role, and which of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Produce(usize),
    Aggregate(usize),
    Manage(usize),
    Sink(usize),
}

/// A running process.
pub struct Process {
    driver: Driver,
    pub role: Mortal,
    pub stop: Stop,
}

/// What a turn came to.
pub enum Came {
    /// The next turn after so many milliseconds; whether the session was lost or not had.
    Next(i64, bool),
    /// It ended by itself.
    Ended,
    /// It died.
    Died,
    /// It failed, which it must not.
    Failed(String),
}

impl Process {
    pub fn new(me: &Member, role: Mortal) -> Process {
        let stop = Stop::new();
        Process { driver: Driver::new(me, &stop, Until::Forever), role, stop }
    }

    pub fn turn(&mut self, sim: &Sim) -> Came {
        match self.driver.turn(sim, &mut self.role, sim) {
            Ok(Turn::Again) => Came::Next(self.role.wait().as_millis() as i64, false),
            Ok(Turn::Wait(time)) => Came::Next(time.as_millis() as i64, true),
            Ok(Turn::Ended) => Came::Ended,
            Err(DriveError::Role { error, .. }) if error.is::<Killed>() => Came::Died,
            // It could not begin: whoever started it starts it again.
            Err(DriveError::Bus(BusError::Session(_))) => Came::Died,
            Err(error) => Came::Failed(error.to_string()),
        }
    }
}
