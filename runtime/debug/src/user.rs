//! The GDB server of a program (`emu run --gdb`): each thread of the program is one of GDB's.
//!
//! Source: Debugging with GDB, appendix E (remote protocol), and gdb/signals.def for its numbers of signals. All threads stop when one does. Breakpoints change
//! no memory; a watchpoint is reported after the access.
//!
//! Not modelled: as in [`crate::gdb`], and `vFile` (GDB is given the program and `set sysroot`), following of children and of executed programs.

use crate::gdb::{AnyArch, RegId, Registers, part, remove_watch, watch};
use emu_ir::gdb::{GdbDesc, number};
use emu_ir::interp::DebugPoints;
use emu_user::debug::{Debuggee, Event as Told, Resume};
use gdbstub::common::{Pid, Signal, Tid};
use gdbstub::conn::{Connection, ConnectionExt};
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};
use gdbstub::target::ext::auxv::*;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::*;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::*;
use gdbstub::target::ext::exec_file::*;
use gdbstub::target::ext::target_description_xml_override::*;
use gdbstub::target::{TargetError, TargetResult};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

/// How often the connection is looked at while the program runs.
const TURN: Duration = Duration::from_millis(5);

/// A program as `gdbstub` sees it.
pub struct Target {
    program: Arc<dyn Debuggee>,
    desc: &'static GdbDesc,
    xml: String,
    points: DebugPoints,
    resume: Resume,
    /// The thread that an action was given to last.
    acting: Option<i32>,
}

fn id(tid: Tid) -> i32 {
    i32::try_from(tid.get()).unwrap_or(0)
}

fn tid(id: i32) -> Tid {
    usize::try_from(id).ok().and_then(Tid::new).unwrap_or(Tid::MIN)
}

/// GDB's number of a signal of Linux.
fn signal(linux: u32) -> Signal {
    const KNOWN: [u8; 32] =
        [0, 1, 2, 3, 4, 5, 6, 10, 8, 9, 30, 11, 31, 13, 14, 15, 143, 20, 19, 17, 18, 21, 22, 16, 24, 25, 26, 27, 28, 23, 32, 12];
    Signal(match linux {
        0..32 => KNOWN[linux as usize],
        32 => 77,
        33..64 => (linux + 12) as u8,
        64 => 78,
        _ => 143,
    })
}

fn linux(signal_of_gdb: Signal) -> u32 {
    (1..=64).find(|n| signal(*n) == signal_of_gdb).unwrap_or(0)
}

impl Target {
    fn points_changed(&mut self) {
        self.program.set_points(&self.points);
    }

    fn reason(&self, thread: i32, told: Told) -> MultiThreadStopReason<u64> {
        let tid = tid(thread);
        match told {
            Told::Breakpoint => MultiThreadStopReason::SwBreak(tid),
            Told::Watchpoint(addr, write) => {
                let kind = match (write, self.points.watches.iter().any(|w| w.read && w.write)) {
                    (_, true) => WatchKind::ReadWrite,
                    (true, _) => WatchKind::Write,
                    (false, _) => WatchKind::Read,
                };
                MultiThreadStopReason::Watch { tid, kind, addr }
            }
            Told::Stepped => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
            Told::Signal(number) => MultiThreadStopReason::SignalWithThread { tid, signal: signal(number) },
            Told::Exited(status) => MultiThreadStopReason::Exited(status as u8),
            Told::Died(number) => MultiThreadStopReason::Terminated(signal(number)),
        }
    }
}

impl gdbstub::target::Target for Target {
    type Arch = AnyArch;
    type Error = String;

    fn base_ops(&mut self) -> BaseOps<'_, AnyArch, String> {
        BaseOps::MultiThread(self)
    }
    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
    fn support_auxv(&mut self) -> Option<AuxvOps<'_, Self>> {
        Some(self)
    }
    fn support_exec_file(&mut self) -> Option<ExecFileOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Target {
    fn read_registers(&mut self, regs: &mut Registers, tid: Tid) -> TargetResult<(), Self> {
        // What `g` holds ends with the features that GDB itself defines; the rest is asked for singly.
        let all = self.desc.features.iter().filter(|f| f.name.starts_with("org.gnu.")).flat_map(|f| f.regs);
        let big = self.program.big_endian();
        regs.0.clear();
        for r in all {
            let value = self.program.register(id(tid), r).ok_or(TargetError::NonFatal)?;
            regs.0.extend(r.bytes(value, big));
        }
        Ok(())
    }

    fn write_registers(&mut self, regs: &Registers, tid: Tid) -> TargetResult<(), Self> {
        let mut rest = regs.0.as_slice();
        for r in self.desc.regs() {
            let Some((value, after)) = rest.split_at_checked(r.bits as usize / 8) else { break };
            if !self.program.set_register(id(tid), r, number(value, self.program.big_endian())) {
                return Err(TargetError::NonFatal);
            }
            rest = after;
        }
        Ok(())
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], _: Tid) -> TargetResult<usize, Self> {
        match self.program.read(start, data) {
            0 if !data.is_empty() => Err(TargetError::NonFatal),
            n => Ok(n),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], _: Tid) -> TargetResult<(), Self> {
        if self.program.write(start, data) { Ok(()) } else { Err(TargetError::NonFatal) }
    }

    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), String> {
        self.program.threads().into_iter().for_each(|thread| register(tid(thread)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Target {
    fn read_register(&mut self, tid: Tid, RegId(register): RegId, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let r = self.desc.regs().nth(register).ok_or(TargetError::NonFatal)?;
        let value = self.program.register(id(tid), r).ok_or(TargetError::NonFatal)?;
        let bytes = r.bytes(value, self.program.big_endian());
        buffer.get_mut(..bytes.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_register(&mut self, tid: Tid, RegId(register): RegId, value: &[u8]) -> TargetResult<(), Self> {
        let r = self.desc.regs().nth(register).filter(|r| value.len() == r.bits as usize / 8).ok_or(TargetError::NonFatal)?;
        let done = self.program.set_register(id(tid), r, number(value, self.program.big_endian()));
        if done { Ok(()) } else { Err(TargetError::NonFatal) }
    }
}

impl MultiThreadResume for Target {
    fn resume(&mut self) -> Result<(), String> {
        self.program.resume(std::mem::take(&mut self.resume));
        Ok(())
    }
    fn clear_resume_actions(&mut self) -> Result<(), String> {
        (self.resume, self.acting) = (Resume::default(), None);
        Ok(())
    }
    fn set_resume_action_continue(&mut self, tid: Tid, signal: Option<Signal>) -> Result<(), String> {
        self.acting = Some(id(tid));
        if let Some(signal) = signal {
            self.resume.signals.insert(id(tid), linux(signal));
        }
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for Target {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), String> {
        self.resume.only = self.acting;
        Ok(())
    }
}

impl MultiThreadSingleStep for Target {
    fn set_resume_action_step(&mut self, tid: Tid, signal: Option<Signal>) -> Result<(), String> {
        self.set_resume_action_continue(tid, signal)?;
        self.resume.steps.insert(id(tid));
        Ok(())
    }
}

impl Breakpoints for Target {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Target {
    fn add_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.points.breakpoints.insert(addr);
        self.points_changed();
        Ok(true)
    }
    fn remove_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        let was = self.points.breakpoints.remove(&addr);
        self.points_changed();
        Ok(was)
    }
}

impl HwBreakpoint for Target {
    fn add_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(addr, kind)
    }
    fn remove_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(addr, kind)
    }
}

impl HwWatchpoint for Target {
    fn add_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        self.points.watches.push(watch(addr, len, kind));
        self.points_changed();
        Ok(true)
    }
    fn remove_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let found = remove_watch(&mut self.points, &watch(addr, len, kind));
        if found {
            self.points_changed();
        }
        Ok(found)
    }
}

impl TargetDescriptionXmlOverride for Target {
    fn target_description_xml(&self, annex: &[u8], offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        Ok(part(self.xml.as_bytes(), offset, length, buffer))
    }
}

impl Auxv for Target {
    fn get_auxv(&self, offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        Ok(part(&self.program.auxiliary(), offset, length, buffer))
    }
}

impl ExecFile for Target {
    fn get_exec_file(&self, _: Option<Pid>, offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        Ok(part(self.program.file().as_os_str().as_bytes(), offset, length, buffer))
    }
}

/// Waits for what threads tell, and looks at the connection meanwhile.
struct EventLoop<C>(std::marker::PhantomData<C>);

impl<C: ConnectionExt> BlockingEventLoop for EventLoop<C> {
    type Target = Target;
    type Connection = C;
    type StopReason = MultiThreadStopReason<u64>;

    #[allow(clippy::type_complexity)] // the trait's
    fn wait_for_stop_reason(
        target: &mut Target,
        conn: &mut C,
    ) -> Result<Event<Self::StopReason>, WaitForStopReasonError<String, <C as Connection>::Error>> {
        loop {
            if let Some((thread, told)) = target.program.event(TURN) {
                if !matches!(told, Told::Exited(_) | Told::Died(_)) {
                    target.program.stop();
                }
                return Ok(Event::TargetStopped(target.reason(thread, told)));
            }
            if conn.peek().map_err(WaitForStopReasonError::Connection)?.is_some() {
                let byte = conn.read().map_err(WaitForStopReasonError::Connection)?;
                return Ok(Event::IncomingData(byte));
            }
        }
    }

    fn on_interrupt(target: &mut Target) -> Result<Option<Self::StopReason>, String> {
        target.program.stop();
        let thread = target.program.threads().first().copied().unwrap_or(1);
        Ok(Some(MultiThreadStopReason::SignalWithThread { tid: tid(thread), signal: Signal::SIGINT }))
    }
}

/// Serves one debugger on a connection: the program stands still until it is told to go. When the debugger leaves, it goes on; what ends it may have ended.
///
/// # Errors
/// The connection's, in words; also a debugger that does not speak the protocol.
pub fn serve<C: ConnectionExt>(program: &Arc<dyn Debuggee>, conn: C) -> Result<(), String>
where
    C::Error: std::fmt::Debug + std::fmt::Display,
{
    let desc = program.description();
    program.stop();
    let points = DebugPoints::default();
    let mut target = Target { program: program.clone(), desc, xml: desc.xml(), points, resume: Resume::default(), acting: None };
    let result = GdbStub::new(conn).run_blocking::<EventLoop<C>>(&mut target);
    if matches!(result, Ok(DisconnectReason::Kill)) {
        program.kill();
    }
    program.leave();
    result.map(|_| ()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_other_numbers_in_gdb() {
        assert_eq!([signal(7), signal(10), signal(11), signal(34)], [Signal(10), Signal(30), Signal::SIGSEGV, Signal(46)]);
        assert!((1..=64).filter(|n| *n != 16).all(|n| linux(signal(n)) == n));
    }
}
