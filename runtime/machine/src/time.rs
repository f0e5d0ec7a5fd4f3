//! How guest time passes: with the host's clock, or with the instructions executed.

use crate::device::Nanos;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

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

/// The date, in seconds since 1970, at which a machine of which every run is to be the same begins: 2000-01-01.
pub(crate) const FIXED_DATE: u64 = 946_684_800;

/// Guest time does not stand still.
const RUNS: u64 = u64::MAX;

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    mode: TimeMode,
    started: Instant,
    /// Seconds since 1970 at guest time 0.
    date: u64,
    /// Real time: nanoseconds since `started` that did not pass for the guest, modulo 2^64; and the guest time at which it stands still, or [`RUNS`].
    lost: AtomicU64,
    frozen: AtomicU64,
    /// Virtual modes: guest time of the last jump, or 0.
    base: AtomicU64,
    /// Virtual modes: instructions executed since then, without the current turn's.
    count: AtomicU64,
}

impl Clock {
    pub fn new(mode: TimeMode) -> Clock {
        Clock {
            mode,
            started: Instant::now(),
            date: match mode {
                TimeMode::Deterministic(_) => FIXED_DATE,
                _ => SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            },
            lost: AtomicU64::new(0),
            frozen: AtomicU64::new(RUNS),
            base: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// True if guest time is the host's.
    pub fn is_realtime(&self) -> bool {
        self.mode == TimeMode::Realtime
    }

    /// Seconds since 1970 at guest time 0.
    pub fn date(&self) -> u64 {
        self.date
    }

    /// True if every run is the same.
    pub fn is_deterministic(&self) -> bool {
        matches!(self.mode, TimeMode::Deterministic(_))
    }

    /// Guest time between turns; virtual modes: also that of the last jump, and instructions since then.
    pub fn save(&self) -> (Nanos, Option<(Nanos, u64)>) {
        let counted = self.rate().map(|_| (Nanos(self.base.load(Relaxed)), self.count.load(Relaxed)));
        (self.now(0), counted)
    }

    /// Goes on from a saved time, of the same mode or another.
    pub fn load(&self, now: Nanos, counted: Option<(Nanos, u64)>) {
        if self.is_realtime() {
            match self.frozen.load(Relaxed) {
                RUNS => self.lost.store(self.host().wrapping_sub(now.0), Relaxed),
                _ => self.frozen.store(now.0.min(RUNS - 1), Relaxed),
            }
            return;
        }
        let (base, count) = counted.unwrap_or((now, 0));
        self.base.store(base.0, Relaxed);
        self.count.store(count, Relaxed);
        if self.now(0) != now {
            // Another rate.
            self.base.store(now.0, Relaxed);
            self.count.store(0, Relaxed);
        }
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
            None => match self.frozen.load(Relaxed) {
                RUNS => self.host().wrapping_sub(self.lost.load(Relaxed)),
                frozen => frozen,
            },
            Some(ips) => {
                let count = u128::from(self.count.load(Relaxed)) + u128::from(executed);
                let passed = count * 1_000_000_000 / u128::from(ips);
                self.base.load(Relaxed).saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
            }
        })
    }

    /// Nanoseconds of the host since the machine was made.
    fn host(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Real time stands still for the guest, until [`Clock::thaw`].
    pub fn freeze(&self) {
        self.frozen.store(self.now(0).0, Relaxed);
    }

    /// Real time goes on where it stood.
    pub fn thaw(&self) {
        let frozen = self.frozen.swap(RUNS, Relaxed);
        if frozen != RUNS {
            self.lost.store(self.host().wrapping_sub(frozen), Relaxed);
        }
    }

    /// Instructions from the beginning of the turn until `at`: the least number that makes it due.
    pub fn until(&self, at: Nanos) -> Option<u64> {
        let ips = self.rate()?;
        let gap = u128::from(at.0.saturating_sub(self.base.load(Relaxed)));
        let whole = (gap * u128::from(ips)).div_ceil(1_000_000_000);
        Some(u64::try_from(whole.saturating_sub(self.count.load(Relaxed).into())).unwrap_or(u64::MAX))
    }

    /// Ends a turn of `executed` instructions.
    pub fn pass(&self, executed: u64) {
        self.count.fetch_add(executed, Relaxed);
    }

    /// Goes straight to `at` (virtual modes).
    pub fn jump(&self, at: Nanos) {
        if self.rate().is_some() && at > self.now(0) {
            self.base.store(at.0, Relaxed);
            self.count.store(0, Relaxed);
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
