//! A process of the cluster: a role in its loop, started again whenever it dies.

use bus::clock::Clock;
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
    clock: Skewed,
    pub role: Mortal,
    pub stop: Stop,
}

/// A wall clock that is wrong.
struct Skewed {
    sim: Sim,
    by_ms: i64,
}

impl Clock for Skewed {
    fn now_ms(&self) -> i64 {
        self.sim.now_ms() + self.by_ms
    }

    fn steady_ms(&self) -> i64 {
        self.sim.steady_ms()
    }
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
        let driver = Driver::new(me, &stop, Until::Forever);
        Process { driver, clock: Skewed { sim: role.sim.clone(), by_ms: 0 }, role, stop }
    }

    /// The node's clock is wrong by so much from now on.
    pub fn jump(&mut self, by_ms: i64) {
        self.clock.by_ms = by_ms;
    }

    pub fn turn(&mut self, sim: &Sim) -> Came {
        match self.driver.turn(sim, &mut self.role, &self.clock) {
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
