//! The machine's timers: one ordered queue in guest time.

use crate::device::Nanos;
use std::collections::{BTreeSet, HashMap};

/// Armed timers of all devices.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Nanos, usize, u32)>,
    at: HashMap<(usize, u32), Nanos>,
}

impl Timers {
    pub fn arm(&mut self, device: usize, timer: u32, at: Nanos) {
        self.disarm(device, timer);
        self.at.insert((device, timer), at);
        self.order.insert((at, device, timer));
    }

    pub fn disarm(&mut self, device: usize, timer: u32) {
        if let Some(at) = self.at.remove(&(device, timer)) {
            self.order.remove(&(at, device, timer));
        }
    }

    pub fn disarm_all(&mut self) {
        self.order.clear();
        self.at.clear();
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Nanos> {
        self.order.first().map(|t| t.0)
    }

    /// Takes a timer that is due.
    pub fn due(&mut self, now: Nanos) -> Option<(usize, u32)> {
        let &(at, device, timer) = self.order.first()?;
        if at > now {
            return None;
        }
        self.disarm(device, timer);
        Some((device, timer))
    }
}
