//! How guest time passes: with the host's clock, or with the instructions executed.

use crate::device::Nanos;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How guest time passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeMode {
    /// The host's monotonic clock; an idle machine sleeps.
    #[default]
    Realtime,
    /// Instructions / rate (per second); an idle machine jumps to its next timer.
    Virtual(u64),
    /// As virtual, with fixed slices: the same run every time.
    Deterministic(u64),
}

/// Instructions per second of guest time when nothing else is said.
pub const DEFAULT_IPS: u64 = 100_000_000;

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    mode: TimeMode,
    started: Instant,
    /// Virtual modes: guest time at the beginning of the current turn.
    base: Cell<u64>,
}

impl Clock {
    pub fn new(mode: TimeMode) -> Clock {
        Clock { mode, started: Instant::now(), base: Cell::new(0) }
    }

    pub fn mode(&self) -> TimeMode {
        self.mode
    }

    fn rate(&self) -> Option<u64> {
        match self.mode {
            TimeMode::Realtime => None,
            TimeMode::Virtual(ips) | TimeMode::Deterministic(ips) => Some(ips.max(1)),
        }
    }

    /// Guest time `executed` instructions into the current turn.
    pub fn now(&self, executed: u64) -> Nanos {
        Nanos(match self.rate() {
            None => u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Some(ips) => self.base.get().saturating_add((u128::from(executed) * 1_000_000_000 / u128::from(ips)) as u64),
        })
    }

    /// Instructions from the beginning of the turn until `at`: the least number that makes it due.
    pub fn until(&self, at: Nanos) -> Option<u64> {
        let ips = self.rate()?;
        let gap = u128::from(at.0.saturating_sub(self.base.get()));
        Some(u64::try_from((gap * u128::from(ips)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX))
    }

    /// Ends a turn of `executed` instructions.
    pub fn pass(&self, executed: u64) {
        if self.rate().is_some() {
            self.base.set(self.now(executed).0);
        }
    }

    /// Goes straight to `at` (virtual modes).
    pub fn jump(&self, at: Nanos) {
        if self.rate().is_some() && at.0 > self.base.get() {
            self.base.set(at.0);
        }
    }

    /// How long the host may sleep until `at`; `None`: guest time does not pass by itself.
    pub fn sleep_until(&self, at: Nanos) -> Option<Duration> {
        match self.mode {
            TimeMode::Realtime => Some(Duration::from_nanos(at.0.saturating_sub(self.now(0).0))),
            _ => None,
        }
    }
}
