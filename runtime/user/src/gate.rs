//! Where threads of a process wait while somebody looks at all of them: who writes a core dump, or a debugger.
//!
//! Data path: the gate closes, threads are kicked out of what they do ([`crate::host_signal::kick`]), and each leaves its registers here and waits. When the
//! gate opens, it takes them back, changed or not.

use crate::process::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The gate of a process.
#[derive(Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    /// The thread that may pass all the same, or 0.
    only: AtomicI32,
    /// Registers of those that wait, by thread.
    waiting: Mutex<BTreeMap<i32, Vec<u64>>>,
    changed: Condvar,
}

impl Gate {
    /// True while threads are to wait.
    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Closes it; false if it was closed.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, SeqCst)
    }

    /// Opens it.
    pub fn open(&self) {
        let _waiting = lock(&self.waiting);
        self.closed.store(false, SeqCst);
        self.changed.notify_all();
    }

    /// Of a child: nobody waits, nobody looks.
    pub fn reset(&self) {
        lock(&self.waiting).clear();
        self.only.store(0, SeqCst);
        self.closed.store(false, SeqCst);
    }

    /// One thread may pass though it is closed, or none.
    pub fn restrict(&self, only: Option<i32>) {
        let _waiting = lock(&self.waiting);
        self.only.store(only.unwrap_or(0), SeqCst);
        self.changed.notify_all();
    }

    fn stops(&self, thread: i32) -> bool {
        self.is_closed() && self.only.load(SeqCst) != thread
    }

    /// Waits until so many threads are here (`kick` asks them to come), at most so long.
    pub fn gather(&self, count: impl Fn() -> usize, kick: impl Fn(), limit: Duration) {
        let begun = Instant::now();
        let mut waiting = lock(&self.waiting);
        while waiting.len() < count() && begun.elapsed() < limit {
            kick();
            waiting = self.changed.wait_timeout(waiting, Duration::from_millis(2)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The registers of those that wait.
    pub fn waiting(&self) -> MutexGuard<'_, BTreeMap<i32, Vec<u64>>> {
        lock(&self.waiting)
    }

    /// A thread waits here as long as it is closed.
    pub fn pass(&self, thread: i32, cells: &mut [u64]) {
        let mut waiting = lock(&self.waiting);
        if !self.stops(thread) {
            return;
        }
        waiting.insert(thread, cells.to_vec());
        self.changed.notify_all();
        while self.stops(thread) {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(now) = waiting.remove(&thread) {
            cells.copy_from_slice(&now);
        }
    }
}
