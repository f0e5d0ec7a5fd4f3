//! General-purpose timers of the controller: they count down microseconds (UG585 15.3.4).

use emu_machine::device::{Cx, Nanos};
use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Timer {
    /// What it began with, or stands at.
    from: u32,
    /// When it began; `None`: it stands.
    since: Option<Nanos>,
}

impl Timer {
    /// Microseconds left.
    pub fn count(&self, now: Nanos) -> u32 {
        let passed = self.since.map_or(0, |since| now.0.saturating_sub(since.0) / 1000);
        self.from.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    /// The control register is written: to run or not, and perhaps from another count.
    pub fn control(&mut self, run: bool, load: Option<u32>, now: Nanos) {
        *self = Timer { from: load.unwrap_or_else(|| self.count(now)), since: run.then_some(now) };
    }

    /// When it reaches its end, one microsecond after 0.
    fn end(&self) -> Option<Nanos> {
        self.since.map(|since| Nanos(since.0.saturating_add((u64::from(self.from) + 1) * 1000)))
    }

    /// It has reached its end.
    pub fn expired(&self, now: Nanos) -> bool {
        self.end().is_some_and(|end| end <= now)
    }

    /// After the end: once more from this count, or it stands.
    pub fn again(&mut self, load: Option<u32>, now: Nanos) {
        *self = Timer { from: load.unwrap_or(0), since: load.and(self.end().map(|end| end.max(Nanos(now.0.saturating_sub(1000))))) };
    }

    pub fn arm(&self, timer: u32, cx: &mut Cx<'_>) {
        match self.end() {
            Some(end) => cx.arm(timer, end),
            None => cx.disarm(timer),
        }
    }
}
