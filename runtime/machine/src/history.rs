//! Going back: snapshots in memory, and what came from outside since, lead to any instruction of the past.
//!
//! Data path: every now and then while a machine runs -> a [`Snapshot`] that shares what did not change -> [`Machine::reverse_step`],
//! [`Machine::reverse_continue`]: the last snapshot before, then on from there, with everything from outside as it was, to the very instruction. What devices send on the way
//! was sent before, and goes nowhere. Only where instructions are time.

use crate::cpu::CpuStop;
use crate::machine::lock;
use crate::record::Moment;
use crate::run::{Exit, Goal, Machine};
use crate::snapshot::{LoadError, Snapshot};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A snapshot is made when the run has taken so many times as long as making the last one did.
const COST: u32 = 10;
/// Not more often than this.
const LEAST: Duration = Duration::from_millis(200);
/// Steps that are looked at when one is to be undone: the next ones are known then.
const TRAIL: u64 = 64;
/// Bytes that all snapshots may take.
const ROOM: u64 = 512 << 20;

/// A snapshot of the past.
struct Saved {
    at: Moment,
    /// The next of what comes from outside.
    next: usize,
    snapshot: Snapshot,
}

/// What one CPU's registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Position {
    executed: u64,
    digest: u64,
}

/// The way to a position: from a snapshot until the CPU has executed so many instructions, then so many steps.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: Moment,
    executed: u64,
    steps: u32,
}

#[derive(Default)]
pub(crate) struct History {
    /// In order.
    saved: Vec<Saved>,
    /// Beyond this nothing has happened yet.
    furthest: Moment,
    last: Option<Instant>,
    cost: Duration,
    /// The CPU that was stepped back, where it is, and where it was before, last first.
    trail: Option<(usize, Position, Vec<(Way, Position)>)>,
}

/// Where going back came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Back {
    /// There.
    There,
    /// To what the debugger wanted to hear of, on this CPU.
    Hit(usize, CpuStop),
    /// To where the history begins.
    Begin,
}

fn failed(e: LoadError) -> String {
    e.to_string()
}

impl Machine {
    /// Keeps what is needed to go back from now on; false if runs differ in this time mode.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn keep_history(&mut self) -> Result<bool, String> {
        if !self.core.clock.is_deterministic() {
            return Ok(false);
        }
        if self.history.is_none() {
            lock(&self.journal).get_or_insert_default().kept = true;
            self.history = Some(Box::default());
            self.save_here()?;
        }
        Ok(true)
    }

    /// Forgets it.
    pub fn forget_history(&mut self) {
        // Who is in the past stays there, and goes on from there anew.
        self.history = None;
        self.core.muted.store(false, Ordering::Relaxed);
        let mut journal = lock(&self.journal);
        if let Some(j) = journal.as_deref_mut().filter(|j| !j.fixed) {
            j.kept = false;
            j.records.clear();
            j.next = 0;
        }
    }

    /// Makes a snapshot now.
    fn save_here(&mut self) -> Result<(), String> {
        let (at, started) = (self.moment(), Instant::now());
        let Some(mut history) = self.history.take() else { return Ok(()) };
        let index = history.saved.partition_point(|s| s.at < at);
        if history.saved.get(index).is_none_or(|s| s.at != at) {
            let before = index.checked_sub(1).and_then(|n| history.saved.get(n)).map(|s| &s.snapshot);
            let snapshot = self.save_after(before, false);
            let next = lock(&self.journal).as_ref().map_or(0, |j| j.next);
            match snapshot {
                Ok(snapshot) => history.saved.insert(index, Saved { at, next, snapshot }),
                Err(e) => {
                    self.history = Some(history);
                    return Err(e);
                }
            }
            history.thin();
        }
        (history.cost, history.last) = (started.elapsed(), Some(Instant::now()));
        self.history = Some(history);
        Ok(())
    }

    /// Makes a snapshot if it is time to.
    pub(crate) fn remember(&mut self) -> Result<(), String> {
        let changed = lock(&self.journal).as_deref_mut().is_some_and(|j| std::mem::take(&mut j.changed));
        let at = self.moment();
        let Some(history) = self.history.as_deref_mut() else { return Ok(()) };
        if changed {
            // Another future than the one that was.
            history.saved.retain(|s| s.at <= at);
            history.furthest = at;
            history.trail = None;
            self.core.muted.store(false, Ordering::Relaxed);
        }
        let new = history.saved.last().is_none_or(|s| s.at.executed < at.executed);
        if new && history.last.is_none_or(|last| last.elapsed() >= LEAST.max(history.cost * COST)) {
            self.save_here()?;
        }
        Ok(())
    }

    /// Instructions that may be executed next, of at most `most`, before something is to happen that happened there; `None`: the end of a replay.
    pub(crate) fn before_past(&mut self, most: u64) -> Option<u64> {
        if lock(&self.journal).is_none() {
            return Some(most);
        }
        self.replay();
        if self.replay_ended() {
            return None;
        }
        let executed = self.moment().executed;
        let furthest = self.history.as_ref().map_or(0, |h| h.furthest.executed);
        if self.core.muted.load(Ordering::Relaxed) && executed >= furthest {
            self.core.muted.store(false, Ordering::Relaxed);
        }
        let muted = self.core.muted.load(Ordering::Relaxed).then_some(furthest);
        let until = lock(&self.journal).as_ref().and_then(|j| j.until()).into_iter().chain(muted);
        // What is to happen here happens in a later round: nobody executes anything before that.
        Some(until.filter(|until| *until > executed).map(|until| until - executed).fold(most, u64::min))
    }

    fn position(&self, cpu: usize) -> Position {
        self.cpus.get(cpu).map_or(Position { executed: 0, digest: 0 }, |c| Position { executed: c.executed, digest: c.cpu.digest() })
    }

    /// Goes to a snapshot of the past.
    fn go_back(&mut self, index: usize) -> Result<(), String> {
        let here = self.moment();
        let Some(mut history) = self.history.take() else { return Err("there is no history".into()) };
        history.furthest = history.furthest.max(here);
        let loaded = match history.saved.get(index) {
            Some(saved) => self.load_snapshot(&saved.snapshot).map_err(failed).map(|()| saved.next),
            None => Err("the history does not reach back so far".into()),
        };
        let muted = self.moment().executed < history.furthest.executed;
        self.history = Some(history);
        let next = loaded?;
        self.core.muted.store(muted, Ordering::Relaxed);
        if let Some(journal) = lock(&self.journal).as_deref_mut() {
            journal.next = next;
            if journal.is_replaying() {
                journal.result = None;
            }
        }
        Ok(())
    }

    /// Goes forward to a place in the past, whatever the debugger wants to hear of.
    fn go_on(&mut self, goal: Goal) -> Result<(), String> {
        loop {
            match self.round_until(goal)? {
                None => {}
                Some(Exit::Reached) => return Ok(()),
                Some(Exit::Debug(cpu, CpuStop::Breakpoint)) => _ = self.step(cpu)?,
                Some(Exit::Debug(..)) => {}
                Some(other) => return Err(format!("the way back ended early: {other:?}")),
            }
        }
    }

    fn go(&mut self, cpu: usize, way: Way) -> Result<(), String> {
        let saved = self.history.as_ref().map_or(&[][..], |h| &h.saved);
        let index = saved.iter().position(|s| s.at == way.from);
        // It may have been left out since.
        let index = index.or_else(|| saved.iter().rposition(|s| s.snapshot.executed(cpu) < way.executed));
        self.go_back(index.unwrap_or(usize::MAX))?;
        self.go_on(Goal::Cpu(cpu, way.executed))?;
        (0..way.steps).try_for_each(|_| self.step(cpu).map(|_| ()))
    }

    /// Undoes the last step of a CPU: an instruction, or an interrupt that it took; and what others have done since.
    ///
    /// # Errors
    /// There is no history, or it cannot be had again.
    pub fn reverse_step(&mut self, cpu: usize) -> Result<Back, String> {
        let here = self.position(cpu);
        let trail =
            self.history.as_mut().and_then(|h| h.trail.take()).filter(|(c, at, before)| *c == cpu && *at == here && !before.is_empty());
        let mut before = match trail {
            Some((_, _, before)) => before,
            None => self.trail(cpu)?,
        };
        let Some((way, position)) = before.pop() else {
            self.go_back(0)?;
            return Ok(Back::Begin);
        };
        self.go(cpu, way)?;
        if self.position(cpu) != position {
            return Err(format!("the past is not as it was: {:?}, not {position:?}, by {way:?}", self.position(cpu)));
        }
        if let Some(history) = self.history.as_deref_mut() {
            history.trail = Some((cpu, position, before));
        }
        Ok(Back::There)
    }

    /// The last positions of a CPU before the one where it is.
    fn trail(&mut self, cpu: usize) -> Result<Vec<(Way, Position)>, String> {
        let (here, at) = (self.position(cpu), self.moment());
        let candidates = self.history.as_ref().map_or(0, |h| h.saved.partition_point(|s| s.at <= at));
        for index in (0..candidates).rev() {
            let Some((from, start)) = self.history.as_ref().and_then(|h| h.saved.get(index)).map(|s| (s.at, s.snapshot.executed(cpu)))
            else {
                break;
            };
            if start > here.executed || start == here.executed && index > 0 {
                continue;
            }
            self.go_back(index)?;
            let executed = here.executed.saturating_sub(TRAIL).max(start);
            self.go_on(Goal::Cpu(cpu, executed))?;
            let mut way = Way { from, executed, steps: 0 };
            if executed - start > 100 * TRAIL {
                // Near, for the next times.
                self.save_here()?;
                way.from = self.moment();
            }
            let mut before = Vec::new();
            loop {
                let position = self.position(cpu);
                if position == here {
                    return Ok(before);
                }
                if position.executed > here.executed || self.moment().executed > at.executed {
                    return Err(format!("the past is not as it was: {position:?} at {:?}, not {here:?} at {at:?}", self.moment()));
                }
                before.push((way, position));
                self.step(cpu)?;
                // Steps in which nothing is executed are interrupts that are taken.
                let executed = self.position(cpu).executed;
                (way.executed, way.steps) = if executed == way.executed { (executed, way.steps + 1) } else { (executed, 0) };
            }
        }
        Ok(Vec::new())
    }

    /// Goes back to the last place before this one that the debugger wants to hear of.
    ///
    /// # Errors
    /// There is no history, or it cannot be had again.
    pub fn reverse_continue(&mut self) -> Result<Back, String> {
        let mut end = self.moment().executed;
        let count = self.history.as_ref().map_or(0, |h| h.saved.partition_point(|s| s.at.executed < end));
        for index in (0..count).rev() {
            self.go_back(index)?;
            let start = self.moment().executed;
            let hits = self.hits(end, None)?;
            if let Some((n, cpu, executed, stop)) = hits {
                self.go_back(index)?;
                match stop {
                    // Before the access, as the debugger undoes it.
                    CpuStop::Watchpoint(..) => self.go_on(Goal::Cpu(cpu, executed - 1))?,
                    _ => _ = self.hits(end, Some(n))?,
                }
                return Ok(Back::Hit(cpu, stop));
            }
            end = start;
        }
        self.go_back(0)?;
        Ok(Back::Begin)
    }

    /// Goes forward until all CPUs have executed so many instructions, or to hit number `to`; the number of hits on the way, and the last: CPU, instructions it had executed, what it was.
    fn hits(&mut self, end: u64, to: Option<u64>) -> Result<Option<(u64, usize, u64, CpuStop)>, String> {
        let mut last = None;
        let mut count = 0;
        loop {
            match self.round_until(Goal::Total(end))? {
                None => {}
                Some(Exit::Reached) => return Ok(last),
                Some(Exit::Debug(cpu, stop)) => {
                    let executed = self.position(cpu).executed;
                    // A watched access that is the last instruction has just been heard of.
                    if stop == CpuStop::Breakpoint || self.moment().executed < end {
                        count += 1;
                        last = Some((count, cpu, executed, stop));
                    }
                    if to == Some(count) {
                        return Ok(last);
                    }
                    if stop == CpuStop::Breakpoint {
                        self.step(cpu)?;
                    }
                }
                Some(other) => return Err(format!("the way back ended early: {other:?}")),
            }
        }
    }
}

impl History {
    /// Leaves some snapshots out if they take too much: every other one of the older half, but for the first.
    fn thin(&mut self) {
        loop {
            let mut known = HashSet::new();
            let taken: u64 = self.saved.iter().map(|s| s.snapshot.new_bytes(&mut known)).sum();
            if taken <= ROOM || self.saved.len() < 4 {
                return;
            }
            let half = self.saved.len() / 2;
            let mut index = 0;
            self.saved.retain(|_| {
                index += 1;
                index > half || index % 2 == 1
            });
        }
    }
}
