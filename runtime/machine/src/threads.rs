//! vCPUs in real time: a host thread each, for as long as nothing else may touch them.
//!
//! The threads live from one stop of the world to the next: a reset, a debugger's stop, a pause, the end of the run and of a round end them all, each at a
//! poll of its vCPU's attention word, and only then is anything changed. The thread that started them serves timers and input meanwhile, and sleeps until the
//! next is due; who arms an earlier timer wakes it. A vCPU that sleeps, or is held, sleeps on the host.

use crate::bus::CpuBus;
use crate::cpu::CpuStop;
use crate::machine::{Core, lock};
use crate::run::{CpuSlot, Exit, Machine};
use emu_memory::Attention;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// A vCPU that woke and slept again with all its registers as they were woke in vain: it has looked at something that had not changed.
/// After so many times an event no longer wakes it at once: one that waits in a loop for something rare (a boot loader's pen) would be woken at every
/// unlocking of the others, which costs them more than it gains.
const MOST_VAIN: u32 = 64;
/// It then looks for events this often.
const DOZE: Duration = Duration::from_millis(1);

/// Ends the other threads when its own ends, for whatever reason.
struct EndsAll<'a>(&'a Core);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.end_threads();
        self.0.handle.wake();
    }
}

impl Machine {
    /// Runs all vCPUs for a time, or until there is a reason to stop; why the run is to end, if it is.
    pub(crate) fn run_threads(&mut self, time: Option<Duration>) -> Result<Option<Exit>, String> {
        if let Some(exit) = self.prepare(time)? {
            return Ok(Some(exit));
        }
        if self.is_held() {
            return Ok(None);
        }
        if let Some((cpu, stop)) = self.stops.pop_front() {
            return Ok(Some(Exit::Debug(cpu, stop)));
        }
        let core = &self.core;
        core.ending.store(false, Ordering::Release);
        // Whoever changed them since, or loaded them, need not have said so.
        core.attend_all(Attention::LINES);
        let stops = thread::scope(|scope| {
            let threads = self.cpus.iter_mut().enumerate().map(|(cpu, slot)| {
                let name = thread::Builder::new().name(core.cpus[cpu].name.clone());
                name.spawn_scoped(scope, move || slot.run(core, cpu))
            });
            let threads: Result<Vec<_>, _> = threads.collect();
            if threads.is_ok() {
                core.serve(time.map(|time| Instant::now() + time));
            }
            core.end_threads();
            let threads = threads.map_err(|e| format!("the host gives no thread for a CPU: {e}"))?;
            let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok::<_, String>(joined.collect::<Vec<_>>())
        })?;
        self.stops = stops.into_iter().enumerate().filter_map(|(cpu, stop)| Some((cpu, stop?))).collect();
        Ok(self.stops.pop_front().map(|(cpu, stop)| Exit::Debug(cpu, stop)))
    }
}

impl CpuSlot {
    /// Runs until the threads are to end; where the debugger is to hear of, if it is there.
    fn run(&mut self, core: &Core, cpu: usize) -> Option<CpuStop> {
        let _ends = EndsAll(core);
        let (mut vain, mut before) = (0u32, self.cpu.digest());
        loop {
            // Before it looks for the reason: one that comes later asks again.
            core.acknowledge(cpu, Attention::EXIT);
            if core.is_ending() {
                return None;
            }
            if !self.is_ready(core, cpu) {
                core.sleep(cpu, Attention::EXIT, None);
                continue;
            }
            if self.cpu.is_asleep() {
                let lines = Attention::LINES | Attention::EXIT;
                match self.cpu.wakes_on_event() {
                    true if vain >= MOST_VAIN => core.sleep(cpu, lines, Some(DOZE)),
                    true if core.linger(cpu, lines | Attention::EVENT) => {}
                    true => core.sleep(cpu, lines | Attention::EVENT, None),
                    false => core.sleep(cpu, lines, None),
                }
            }
            let (stop, _) = self.execute(&CpuBus::new(core, cpu, u64::MAX), false);
            match stop {
                CpuStop::Ran | CpuStop::Asleep => {}
                stop => return Some(stop),
            }
            let now = self.cpu.digest();
            vain = if now == before { vain.saturating_add(1) } else { 0 };
            before = now;
        }
    }
}

impl Core {
    fn end_threads(&self) {
        self.ending.store(true, Ordering::Release);
        self.attend_all(Attention::EXIT);
    }

    /// Serves timers and input until the vCPUs' threads are to end.
    fn serve(&self, until: Option<Instant>) {
        while !self.is_ending() {
            self.take_input();
            self.run_timers();
            let timer = lock(&self.timers).sleep_for().and_then(|at| self.clock.sleep_until(at));
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return;
            }
            self.handle.wait(timer.into_iter().chain(rest).min());
        }
    }
}
