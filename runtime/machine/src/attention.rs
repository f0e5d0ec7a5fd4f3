//! How vCPUs are asked for their attention, sleep, and wait for one another.
//!
//! Whoever wants something of a vCPU sets bits of its attention word by [`Core::attend`], which wakes it; the vCPU polls the word at block boundaries
//! and takes the bits by `acknowledge`. What must have happened everywhere before an instruction completes (broadcast TLB maintenance, another CPU
//! stopped or reset) waits in [`Core::wait_for_others`] until every other vCPU has taken the bit or *stands still*: it does not execute guest code, and
//! polls before it does so again. A vCPU that waits stands still itself, so two may wait for each other.
//!
//! No wake-up is lost: a sleeper says that it sleeps, then looks at the word; who wakes sets the word, then looks for sleepers; all sequentially
//! consistent. So it is between those that stand still and those that wait for it.

use crate::lines::OutputLine;
use crate::machine::{Core, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a vCPU that waits for an event waits awake.
const LINGER: Duration = Duration::from_micros(20);

/// The shared part of a CPU's slot.
#[derive(Debug, Default)]
pub(crate) struct CpuShared {
    pub name: String,
    pub bus: usize,
    pub attention: Arc<AtomicU32>,
    /// Input lines of its instruction set: bit, and number of the input.
    pub inputs: Vec<(u32, usize)>,
    /// The inputs that hold it in reset, and that stop its clock, by number.
    pub reset: Option<usize>,
    pub stop: Option<usize>,
    /// Output lines, by port and index; those without wires are not here.
    pub outputs: BTreeMap<(usize, u32), OutputLine>,
    /// Where it is: the last pc it published, and the instructions before it in its current turn (0 between turns).
    pub pc: AtomicU64,
    pub executed: AtomicU64,
    /// Executes guest code; false: stands still.
    running: AtomicBool,
    /// The bits it sleeps for; 0: awake.
    asleep: AtomicU32,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl CpuShared {
    pub fn new(name: &str, bus: usize) -> CpuShared {
        CpuShared { name: name.into(), bus, ..CpuShared::default() }
    }
}

/// Where vCPUs wait for others to stand still or to take bits of their attention words.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// How many wait.
    count: AtomicU32,
    lock: Mutex<()>,
    passed: Condvar,
}

fn wait<'a>(condvar: &Condvar, guard: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
    condvar.wait(guard).unwrap_or_else(|e| e.into_inner())
}

/// A vCPU that executes guest code, until this is dropped.
pub(crate) struct Running<'a>(&'a Core, usize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stands_still(self.1);
    }
}

impl Core {
    /// Asks a vCPU for its attention, and wakes it if it sleeps for that.
    pub fn attend(&self, cpu: usize, bits: u32) {
        let Some(c) = self.cpus.get(cpu) else { return };
        c.attention.fetch_or(bits, SeqCst);
        if c.asleep.load(SeqCst) & bits != 0 {
            // It holds the lock from saying so until it really sleeps.
            drop(lock(&c.sleep));
            c.wake.notify_one();
        }
    }

    /// Asks all vCPUs.
    pub fn attend_all(&self, bits: u32) {
        (0..self.cpus.len()).for_each(|cpu| self.attend(cpu, bits));
    }

    /// Asks all vCPUs but one.
    pub fn attend_others(&self, me: usize, bits: u32) {
        (0..self.cpus.len()).filter(|cpu| *cpu != me).for_each(|cpu| self.attend(cpu, bits));
    }

    /// Waits awake for one of these bits, a moment; true: it is there. To put a thread to sleep and to wake it costs more than what most locks are held for.
    pub fn linger(&self, cpu: usize, bits: u32) -> bool {
        let attention = &self.cpus[cpu].attention;
        let begun = Instant::now();
        while begun.elapsed() < LINGER {
            for _ in 0..64 {
                if attention.load(SeqCst) & bits != 0 {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }

    /// Sleeps on the host until one of these bits is in the vCPU's attention word, or for a time.
    pub fn sleep(&self, cpu: usize, bits: u32, time: Option<Duration>) {
        let c = &self.cpus[cpu];
        let mut guard = lock(&c.sleep);
        c.asleep.store(bits, SeqCst);
        while c.attention.load(SeqCst) & bits == 0 {
            let Some(time) = time else {
                guard = wait(&c.wake, guard);
                continue;
            };
            let (_guard, _) = c.wake.wait_timeout(guard, time).unwrap_or_else(|e| e.into_inner());
            break;
        }
        c.asleep.store(0, SeqCst);
    }

    /// A vCPU takes bits of its attention word.
    pub fn acknowledge(&self, cpu: usize, bits: u32) {
        self.cpus[cpu].attention.fetch_and(!bits, SeqCst);
        self.somebody_passed();
    }

    /// The vCPU begins to execute guest code; it polls its attention word before the first instruction.
    pub fn running(&self, cpu: usize) -> Running<'_> {
        self.runs(cpu);
        Running(self, cpu)
    }

    fn runs(&self, cpu: usize) {
        self.cpus[cpu].running.store(true, SeqCst);
        // The poll may be relaxed.
        fence(SeqCst);
    }

    fn stands_still(&self, cpu: usize) {
        self.cpus[cpu].running.store(false, SeqCst);
        self.somebody_passed();
    }

    fn somebody_passed(&self) {
        if self.waiting.count.load(SeqCst) > 0 {
            drop(lock(&self.waiting.lock));
            self.waiting.passed.notify_all();
        }
    }

    /// Waits, within an instruction of vCPU `me`, until no other vCPU has one of these bits in its attention word and executes guest code.
    pub fn wait_for_others(&self, me: usize, bits: u32) {
        let pending =
            || self.cpus.iter().enumerate().any(|(i, c)| i != me && c.running.load(SeqCst) && c.attention.load(SeqCst) & bits != 0);
        if !pending() {
            return;
        }
        // Others need not wait for this one meanwhile. It polls when its instruction has ended.
        self.stands_still(me);
        self.waiting.count.fetch_add(1, SeqCst);
        let mut guard = lock(&self.waiting.lock);
        while pending() {
            guard = wait(&self.waiting.passed, guard);
        }
        drop(guard);
        self.waiting.count.fetch_sub(1, SeqCst);
        self.runs(me);
    }
}
