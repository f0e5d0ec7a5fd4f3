//! Signals a program raises itself, by call or by fault: dispositions, masks, frames on its stack, and the way back.
//!
//! Sources: signal(7), sigaction(2); Linux arch/arm/include/uapi/asm/sigcontext.h, arch/arm/include/asm/ucontext.h (layout of the frame).
//!
//! Not modelled: handlers for signals that other processes or timers send (those act as they do by default, or are ignored).

use crate::process::Process;
use crate::space::Fault;
use crate::{arm, host};

/// `SIG_DFL`.
const DEFAULT: u64 = 0;
/// `SIG_IGN`.
const IGNORE: u64 = 1;
const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;

/// `struct sigaction` of the kernel.
#[derive(Clone, Copy, Default, Debug)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// A signal to be delivered: number, code and address of its `siginfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info {
    pub number: u32,
    pub code: i32,
    pub address: u64,
}

/// What a process does with signals.
#[derive(Debug)]
pub(crate) struct Signals {
    actions: [Action; 65],
    blocked: u64,
    pending: Vec<Info>,
    /// `sigaltstack`: base, size; size 0: none.
    alternate: (u64, u64),
}

impl Default for Signals {
    fn default() -> Signals {
        Signals { actions: [Action::default(); 65], blocked: 0, pending: Vec::new(), alternate: (0, 0) }
    }
}

fn bit(number: u32) -> u64 {
    1 << (number - 1)
}

/// Signals that cannot be blocked.
const ALWAYS: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);

impl Signals {
    /// What a program keeps of its caller's when another takes its place: the mask, and what is ignored.
    pub fn inherited(&self) -> Signals {
        let mut new = Signals { blocked: self.blocked, ..Signals::default() };
        for (new, old) in new.actions.iter_mut().zip(&self.actions) {
            new.handler = if old.handler == IGNORE { IGNORE } else { DEFAULT };
        }
        new
    }
}

/// `rt_sigaction`.
pub(crate) fn action(p: &mut Process, number: u64, new: u64, old: u64) -> Result<Result<i64, host::Errno>, Fault> {
    if number == 0 || number > 64 || new != 0 && ALWAYS & bit(number as u32) != 0 {
        return Ok(Err(libc::EINVAL));
    }
    let now = p.signals.actions[number as usize];
    if old != 0 {
        let words = [now.handler, now.flags, now.restorer, now.mask, now.mask >> 32];
        let bytes: Vec<u8> = words.iter().flat_map(|w| (*w as u32).to_le_bytes()).collect();
        p.space.write(old, &bytes)?;
    }
    if new != 0 {
        let word = |n: u64| p.space.number(new + 4 * n, 4);
        let action = Action { handler: word(0)?, flags: word(1)?, restorer: word(2)?, mask: word(3)? | word(4)? << 32 };
        p.signals.actions[number as usize] = action;
        host::ignore(number as i32, action.handler == IGNORE);
    }
    Ok(Ok(0))
}

/// `rt_sigprocmask`.
pub(crate) fn mask(p: &mut Process, how: u64, new: u64, old: u64) -> Result<Result<i64, host::Errno>, Fault> {
    if old != 0 {
        p.space.write(old, &p.signals.blocked.to_le_bytes())?;
    }
    if new != 0 {
        let set = p.space.number(new, 8)?;
        let blocked = p.signals.blocked;
        p.signals.blocked = !ALWAYS
            & match how {
                0 => blocked | set,
                1 => blocked & !set,
                2 => set,
                _ => return Ok(Err(libc::EINVAL)),
            };
    }
    Ok(Ok(0))
}

/// `sigaltstack`.
pub(crate) fn alternate(p: &mut Process, new: u64, old: u64) -> Result<Result<i64, host::Errno>, Fault> {
    const DISABLE: u64 = 2;
    let (base, size) = p.signals.alternate;
    if old != 0 {
        let flags = if size == 0 { DISABLE } else { 0 };
        let bytes: Vec<u8> = [base, flags, size].iter().flat_map(|w| (*w as u32).to_le_bytes()).collect();
        p.space.write(old, &bytes)?;
    }
    if new != 0 {
        let word = |n: u64| p.space.number(new + 4 * n, 4);
        p.signals.alternate = if word(1)? & DISABLE != 0 { (0, 0) } else { (word(0)?, word(2)?) };
    }
    Ok(Ok(0))
}

/// A signal of the process to itself: it comes when it is not blocked.
pub(crate) fn send(p: &mut Process, info: Info) {
    if p.signals.actions[info.number as usize & 63].handler != IGNORE {
        p.signals.pending.push(info);
    }
}

/// A fault: it comes at once, or ends the process if it is blocked or ignored.
pub(crate) fn fault(p: &mut Process, info: Info) {
    let handler = p.signals.actions[info.number as usize].handler;
    if p.signals.blocked & bit(info.number) != 0 || handler <= IGNORE {
        let pc = p.engine.pc();
        eprintln!("emu: {}: signal {} at pc {pc:#x}, address {:#x}", p.program.display(), info.number, info.address);
        host::die(info.number as i32);
    }
    deliver(p, info);
}

/// Delivers what is pending and not blocked; called between two instructions.
pub(crate) fn deliver_pending(p: &mut Process) {
    while let Some(at) = p.signals.pending.iter().position(|i| p.signals.blocked & bit(i.number) == 0) {
        let info = p.signals.pending.remove(at);
        deliver(p, info);
    }
}

fn deliver(p: &mut Process, info: Info) {
    let action = p.signals.actions[info.number as usize];
    let harmless = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT].contains(&(info.number as i32));
    match action.handler {
        IGNORE => return,
        DEFAULT if harmless => return,
        DEFAULT => host::die(info.number as i32),
        _ => {}
    }
    let blocked = p.signals.blocked;
    let mut siginfo = [0; 128];
    for (at, value) in [(0, info.number), (8, info.code as u32), (12, info.address as u32)] {
        siginfo[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let with_info = action.flags & SA_SIGINFO != 0;
    let (base, size) = p.signals.alternate;
    let stack = arm::stack(p.engine.state());
    let on_it = (base..base + size).contains(&stack);
    let top = if action.flags & SA_ONSTACK != 0 && size != 0 && !on_it { base + size } else { stack };
    let back = if action.flags & SA_RESTORER != 0 { action.restorer } else { arm::SIGNAL_RETURN + if with_info { 8 } else { 0 } };
    let space = p.space.clone();
    if arm::enter_handler(p.engine.registers_mut(), &space, top, action.handler, back, &siginfo, with_info, blocked).is_err() {
        // No room for the frame.
        host::die(libc::SIGSEGV);
    }
    p.signals.blocked |= !ALWAYS & (action.mask | if action.flags & SA_NODEFER != 0 { 0 } else { bit(info.number) });
    if action.flags & SA_RESETHAND != 0 {
        p.signals.actions[info.number as usize].handler = DEFAULT;
    }
}

/// `rt_sigreturn`, or `sigreturn` of a handler without siginfo.
pub(crate) fn back(p: &mut Process, with_info: bool) {
    let space = p.space.clone();
    match arm::leave_handler(p.engine.registers_mut(), &space, with_info) {
        Ok(mask) => p.signals.blocked = mask & !ALWAYS,
        Err(_) => host::die(libc::SIGSEGV),
    }
}
