//! The machine's timers: one ordered queue in guest time.

use crate::device::Nanos;
use std::collections::{BTreeSet, HashMap};

/// Armed timers of all devices.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Nanos, usize, u32)>,
    at: HashMap<(usize, u32), Nanos>,
    /// Until when who serves them sleeps; `None`: until woken.
    slept_for: Option<Nanos>,
}

impl Timers {
    /// Arms a timer; true if it is due before who serves them looks again.
    pub fn arm(&mut self, device: usize, timer: u32, at: Nanos) -> bool {
        self.disarm(device, timer);
        self.at.insert((device, timer), at);
        self.order.insert((at, device, timer));
        let early = self.slept_for.is_none_or(|slept| at < slept);
        if early {
            self.slept_for = Some(at);
        }
        early
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

    /// All that are armed: device, timer, deadline, in the order in which they are due.
    pub fn armed(&self) -> Vec<(usize, u32, Nanos)> {
        self.order.iter().map(|(at, device, timer)| (*device, *timer, *at)).collect()
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Nanos> {
        self.order.first().map(|t| t.0)
    }

    /// The next deadline, until which the caller is going to sleep.
    pub fn sleep_for(&mut self) -> Option<Nanos> {
        self.slept_for = self.next();
        self.slept_for
    }

    /// A timer that is due.
    pub fn due(&self, now: Nanos) -> Option<(usize, u32)> {
        let &(at, device, timer) = self.order.first()?;
        (at <= now).then_some((device, timer))
    }

    /// Disarms a timer if it is due; true if it was.
    pub fn take(&mut self, device: usize, timer: u32, now: Nanos) -> bool {
        let due = self.at.get(&(device, timer)).is_some_and(|at| *at <= now);
        if due {
            self.disarm(device, timer);
        }
        due
    }
}
