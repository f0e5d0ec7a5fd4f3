//! The GDB server: each CPU is a thread; the registers are those of the specification's `gdb` declarations.
//!
//! Source: Debugging with GDB, appendix E (remote protocol). Memory is read and written at the virtual addresses of the chosen CPU; devices
//! are accessed as the debugger, so reading a register may have the effects a device gives it. Breakpoints change no memory. A watchpoint is
//! reported after the access. While one CPU is stepped the others stand still. Monitor and control socket work meanwhile; a machine they hold does not
//! go on for a debugger either.
//!
//! Where instructions are time and every run is the same (`--time deterministic`), the debugger can go back as far as to where it connected: `reverse-stepi`,
//! `reverse-continue` ([`Machine::reverse_step`]); a step of one CPU is then its next instruction in the order of turns, in which the others go on. Who is in the past changes nothing there.
//!
//! Not modelled: extended mode (attach, run), tracepoints, file transfer.

use emu_ir::gdb::{GdbDesc, GdbReg, number};
use emu_ir::interp::{DebugPoints, Watch};
use emu_machine::cpu::CpuStop;
use emu_machine::history::Back;
use emu_machine::{Exit, Machine};
use gdbstub::arch::{Arch, Registers as ArchRegisters};
use gdbstub::common::{Signal, Tid};
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::*;
use gdbstub::target::ext::base::reverse_exec::*;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::*;
use gdbstub::target::ext::target_description_xml_override::*;
use gdbstub::target::ext::thread_extra_info::*;
use gdbstub::target::{TargetError, TargetResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::{Debug, Display};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::time::Duration;

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The debugger left; the machine goes on.
    Detached,
    /// The debugger ended the machine.
    Killed,
    /// The machine ended.
    Exited(Exit),
}

/// Any architecture of ours: registers are bytes in the order of the description.
#[derive(Debug)]
pub enum AnyArch {}

/// A register's number.
#[derive(Clone, Copy, Debug)]
pub struct RegId(pub(crate) usize);

impl gdbstub::arch::RegId for RegId {
    fn from_raw_id(id: usize) -> Option<(RegId, Option<NonZeroUsize>)> {
        Some((RegId(id), None))
    }
}

/// All registers, as the protocol sends them.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Registers(pub(crate) Vec<u8>);

impl ArchRegisters for Registers {
    type ProgramCounter = u64;
    fn pc(&self) -> u64 {
        0
    }
    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|b| write_byte(Some(*b)));
    }
    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

impl Arch for AnyArch {
    type Usize = u64;
    type Registers = Registers;
    type RegId = RegId;
    type BreakpointKind = usize;
}

/// A machine as `gdbstub` sees it.
pub struct Target<'m> {
    machine: &'m mut Machine,
    desc: &'static GdbDesc,
    xml: String,
    points: DebugPoints,
    /// The CPU to step; all run if there is none.
    step: Option<usize>,
    /// The way is back: a step of this CPU, or (`None`) to the last stop.
    back: Option<Option<usize>>,
    /// There is a history to go back in.
    history: bool,
    /// CPUs that stopped at a breakpoint and go over it when they run again.
    at_breakpoint: Vec<usize>,
    /// The machine's end, once it came.
    exit: Option<Exit>,
}

fn index(tid: Tid) -> usize {
    tid.get() - 1
}

fn tid(cpu: usize) -> Tid {
    Tid::MIN.saturating_add(cpu)
}

impl Target<'_> {
    fn register(&mut self, number: usize) -> Option<&'static GdbReg> {
        self.desc.regs().nth(number)
    }

    fn points_changed(&mut self) {
        self.machine.set_debug_points(&self.points);
    }

    /// Runs until something the debugger should hear of; `None`: not yet.
    fn go(&mut self) -> Result<Option<MultiThreadStopReason<u64>>, String> {
        if let Some(back) = self.back {
            return self.go_back(back).map(Some);
        }
        let exit = match self.step {
            _ if self.machine.is_held() => self.machine.round()?,
            Some(cpu) => {
                let exit = self.machine.step(cpu)?;
                if exit.is_none() {
                    return Ok(Some(MultiThreadStopReason::SignalWithThread { tid: tid(cpu), signal: Signal::SIGTRAP }));
                }
                exit
            }
            None => {
                for cpu in std::mem::take(&mut self.at_breakpoint) {
                    // Over the breakpoint, if the CPU still is at one.
                    let there = self.machine.cpu(cpu).is_some_and(|c| self.points.breakpoints.contains(&c.pc()));
                    if there && let Some(exit) = self.machine.step(cpu)? {
                        return Ok(Some(self.reason(exit)));
                    }
                }
                self.machine.round()?
            }
        };
        Ok(exit.map(|e| self.reason(e)))
    }

    fn go_back(&mut self, step: Option<usize>) -> Result<MultiThreadStopReason<u64>, String> {
        self.at_breakpoint.clear();
        let back = match step {
            Some(cpu) => self.machine.reverse_step(cpu)?,
            None => self.machine.reverse_continue()?,
        };
        let here = tid(step.unwrap_or(0));
        Ok(match back {
            Back::There => MultiThreadStopReason::SignalWithThread { tid: here, signal: Signal::SIGTRAP },
            Back::Hit(cpu, stop) => self.reason(Exit::Debug(cpu, stop)),
            Back::Begin => MultiThreadStopReason::ReplayLog { tid: Some(here), pos: ReplayLogPosition::Begin },
        })
    }

    fn reason(&mut self, exit: Exit) -> MultiThreadStopReason<u64> {
        match exit {
            Exit::Debug(cpu, CpuStop::Watchpoint(addr, write)) => {
                let kind = match (write, self.points.watches.iter().any(|w| w.read && w.write)) {
                    (_, true) => WatchKind::ReadWrite,
                    (true, _) => WatchKind::Write,
                    (false, _) => WatchKind::Read,
                };
                MultiThreadStopReason::Watch { tid: tid(cpu), kind, addr }
            }
            Exit::Debug(cpu, _) => {
                self.at_breakpoint.push(cpu);
                MultiThreadStopReason::SwBreak(tid(cpu))
            }
            Exit::Stopped(code) => {
                self.exit = Some(exit);
                MultiThreadStopReason::Exited(code as u8)
            }
            Exit::Reset => {
                self.exit = Some(exit);
                MultiThreadStopReason::Exited(0)
            }
            Exit::Reached => MultiThreadStopReason::ReplayLog { tid: Some(Tid::MIN), pos: ReplayLogPosition::End },
            Exit::Paused => MultiThreadStopReason::SignalWithThread { tid: Tid::MIN, signal: Signal::SIGINT },
        }
    }
}

impl gdbstub::target::Target for Target<'_> {
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
}

impl MultiThreadBase for Target<'_> {
    fn read_registers(&mut self, regs: &mut Registers, tid: Tid) -> TargetResult<(), Self> {
        let desc = self.desc;
        let cpu = self.machine.cpu(index(tid)).ok_or(TargetError::NonFatal)?;
        // What `g` holds ends with the features that GDB itself defines; the rest is asked for singly.
        let all = desc.features.iter().filter(|f| f.name.starts_with("org.gnu.")).flat_map(|f| f.regs);
        regs.0 = all.flat_map(|r| r.bytes(cpu.debug_register(r), cpu.big_endian())).collect();
        Ok(())
    }

    fn write_registers(&mut self, regs: &Registers, tid: Tid) -> TargetResult<(), Self> {
        let desc = self.desc;
        let big = self.machine.cpu(index(tid)).ok_or(TargetError::NonFatal)?.big_endian();
        let mut rest = regs.0.as_slice();
        for (n, r) in desc.regs().enumerate() {
            let Some((value, after)) = rest.split_at_checked(r.bits as usize / 8) else { break };
            if !self.machine.set_debug_register(index(tid), n, number(value, big)) {
                return Err(TargetError::NonFatal);
            }
            rest = after;
        }
        Ok(())
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        match self.machine.debug_read(index(tid), start, data) {
            0 if !data.is_empty() => Err(TargetError::NonFatal),
            n => Ok(n),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        if self.machine.debug_write(index(tid), start, data) { Ok(()) } else { Err(TargetError::NonFatal) }
    }

    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), String> {
        (0..self.machine.cpu_names().len()).for_each(|cpu| register(tid(cpu)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Target<'_> {
    fn read_register(&mut self, tid: Tid, RegId(id): RegId, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let r = self.register(id).ok_or(TargetError::NonFatal)?;
        let cpu = self.machine.cpu(index(tid)).ok_or(TargetError::NonFatal)?;
        let value = r.bytes(cpu.debug_register(r), cpu.big_endian());
        buffer.get_mut(..value.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, RegId(id): RegId, value: &[u8]) -> TargetResult<(), Self> {
        let _ = self.register(id).filter(|r| value.len() == r.bits as usize / 8).ok_or(TargetError::NonFatal)?;
        let cpu = self.machine.cpu(index(tid)).ok_or(TargetError::NonFatal)?;
        let value = number(value, cpu.big_endian());
        if self.machine.set_debug_register(index(tid), id, value) { Ok(()) } else { Err(TargetError::NonFatal) }
    }
}

impl MultiThreadResume for Target<'_> {
    fn resume(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn clear_resume_actions(&mut self) -> Result<(), String> {
        (self.step, self.back) = (None, None);
        Ok(())
    }
    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> Result<(), String> {
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        if self.history { Some(self) } else { None }
    }
    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        if self.history { Some(self) } else { None }
    }
    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for Target<'_> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), String> {
        // A step is always of one CPU alone; who continues one continues all, as the CPUs wait for one another.
        Ok(())
    }
}

impl MultiThreadSingleStep for Target<'_> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), String> {
        self.step = Some(index(tid));
        Ok(())
    }
}

impl ReverseStep<Tid> for Target<'_> {
    fn reverse_step(&mut self, tid: Tid) -> Result<(), String> {
        self.back = Some(Some(index(tid)));
        Ok(())
    }
}

impl ReverseCont<Tid> for Target<'_> {
    fn reverse_cont(&mut self) -> Result<(), String> {
        self.back = Some(None);
        Ok(())
    }
}

impl ThreadExtraInfo for Target<'_> {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, String> {
        let names = self.machine.cpu_names();
        let name = names.get(index(tid)).copied().unwrap_or("");
        let n = name.len().min(buffer.len());
        buffer[..n].copy_from_slice(&name.as_bytes()[..n]);
        Ok(n)
    }
}

impl Breakpoints for Target<'_> {
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

impl SwBreakpoint for Target<'_> {
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

impl HwBreakpoint for Target<'_> {
    fn add_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(addr, kind)
    }
    fn remove_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(addr, kind)
    }
}

pub(crate) fn watch(start: u64, len: u64, kind: WatchKind) -> Watch {
    Watch { start, len, read: !matches!(kind, WatchKind::Write), write: !matches!(kind, WatchKind::Read) }
}

/// Takes one watched range away; false: there is none such.
pub(crate) fn remove_watch(points: &mut DebugPoints, wanted: &Watch) -> bool {
    let found = points.watches.iter().position(|w| w == wanted);
    found.map(|at| points.watches.remove(at)).is_some()
}

/// Copies the part of a whole that GDB asks for; how much it is.
pub(crate) fn part(whole: &[u8], offset: u64, length: usize, buffer: &mut [u8]) -> usize {
    let rest = whole.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
    let n = rest.len().min(length).min(buffer.len());
    buffer[..n].copy_from_slice(&rest[..n]);
    n
}

impl HwWatchpoint for Target<'_> {
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

impl TargetDescriptionXmlOverride for Target<'_> {
    fn target_description_xml(&self, annex: &[u8], offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        Ok(part(self.xml.as_bytes(), offset, length, buffer))
    }
}

/// A connection that can be waited for while other things are done.
pub trait Ready {
    /// Returns when there is something to read, or after this time.
    fn ready(&mut self, most: Duration);
}

impl<C: AsFd> Ready for C {
    fn ready(&mut self, most: Duration) {
        // An error is one of the read that follows.
        let time = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
        _ = poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&time));
    }
}

/// How long the debugger is waited for before others have their turn.
const TURN: Duration = Duration::from_millis(10);

/// Why a session failed.
enum Failed {
    /// The machine cannot go on.
    Machine(String),
    /// The connection, or what came over it.
    Connection(String),
}

impl<E: Debug + Display> From<GdbStubError<String, E>> for Failed {
    fn from(e: GdbStubError<String, E>) -> Failed {
        let text = e.to_string();
        if e.is_target_error() { Failed::Machine(e.into_target_error().unwrap_or(text)) } else { Failed::Connection(text) }
    }
}

/// Speaks with the debugger until it leaves. The machine runs in rounds between looks at the connection; while it stands still, it does what others ask of
/// it. `None`: it ended meanwhile.
fn speak<C: ConnectionExt + Ready>(conn: C, target: &mut Target<'_>) -> Result<Option<DisconnectReason>, Failed>
where
    C::Error: Debug + Display,
{
    let broken = |e: C::Error| Failed::Connection(e.to_string());
    let mut gdb = GdbStub::new(conn).run_state_machine(target)?;
    loop {
        gdb = match gdb {
            GdbStubStateMachine::Idle(mut gdb) => {
                while gdb.borrow_conn().peek().map_err(broken)?.is_none() {
                    target.machine.serve_tasks(Some(Duration::ZERO));
                    if let Some(code) = target.machine.ended() {
                        target.exit = Some(Exit::Stopped(code));
                        return Ok(None);
                    }
                    gdb.borrow_conn().ready(TURN);
                }
                let byte = gdb.borrow_conn().read().map_err(broken)?;
                gdb.incoming_data(target, byte)?
            }
            GdbStubStateMachine::Running(mut gdb) => {
                if gdb.borrow_conn().peek().map_err(broken)?.is_some() {
                    let byte = gdb.borrow_conn().read().map_err(broken)?;
                    gdb.incoming_data(target, byte)?
                } else {
                    match target.go().map_err(Failed::Machine)? {
                        Some(reason) => gdb.report_stop(target, reason)?,
                        None => gdb.into(),
                    }
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(gdb) => {
                let reason = MultiThreadStopReason::SignalWithThread { tid: Tid::MIN, signal: Signal::SIGINT };
                gdb.interrupt_handled(target, Some(reason))?
            }
            GdbStubStateMachine::Disconnected(gdb) => return Ok(Some(gdb.get_reason())),
        };
    }
}

/// Serves one debugger on a connection; the machine stands still until it is told to go. Breakpoints go when the debugger does.
///
/// # Errors
/// The connection's or the machine's, in words; also a debugger that does not speak the protocol.
pub fn serve<C: ConnectionExt + Ready>(machine: &mut Machine, conn: C) -> Result<End, String>
where
    C::Error: Debug + Display,
{
    let desc = machine.cpu(0).map_or(&GdbDesc::NONE, |c| c.debug_registers());
    let history = machine.keep_history()?;
    let points = DebugPoints::default();
    let mut target =
        Target { machine, desc, xml: desc.xml(), points, step: None, back: None, history, at_breakpoint: Vec::new(), exit: None };
    let result = speak(conn, &mut target);
    let exit = target.exit;
    target.machine.set_debug_points(&DebugPoints::default());
    target.machine.forget_history();
    match (result, exit) {
        (_, Some(exit)) => Ok(End::Exited(exit)),
        (Ok(Some(DisconnectReason::Kill)), _) => Ok(End::Killed),
        (Ok(_), _) => Ok(End::Detached),
        (Err(Failed::Machine(e)), _) => Err(e),
        (Err(Failed::Connection(e)), _) => {
            eprintln!("the debugger's connection ended: {e}");
            Ok(End::Detached)
        }
    }
}
