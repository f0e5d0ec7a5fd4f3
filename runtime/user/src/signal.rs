//! Signals of the program: dispositions, masks, frames on its stack, and the way back.
//!
//! The host's kernel queues and orders them: the host blocks what the program blocks, ignores what it ignores, and does by default what it does by
//! default. What has a handler is noted for the thread it comes to ([`crate::host_signal`]), which takes the note between two instructions and enters the
//! handler. A system call that a signal interrupted is made again behind the handler, or ends with `EINTR`, as the handler's flags say.
//!
//! Sources: signal(7), sigaction(2); Linux kernel/signal.c for `siginfo` (include/uapi/asm-generic/siginfo.h).

use crate::abi::Layout;
use crate::core_dump::{self, Death};
use crate::host_signal::{self, HostInfo, bit, set_mask};
use crate::machine::{Frame, Machine};
use crate::space::Fault;
use crate::syscall::{Cx, Item};
use crate::thread::Thread;
use crate::{host, host_signal::Action as HostAction};

/// `SIG_DFL`.
const DEFAULT: u64 = 0;
/// `SIG_IGN`.
const IGNORE: u64 = 1;
const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;

const SS_ONSTACK: u64 = 1;
const SS_DISABLE: u64 = 2;

/// `struct sigaction` of the kernel.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Action {
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: u64,
}

/// What a process does with each signal, by number.
#[derive(Clone, Debug)]
pub(crate) struct Actions([Action; 65]);

impl Actions {
    /// Those of a process that begins: what the host ignores is ignored.
    pub fn inherited() -> Actions {
        let mut actions = [Action::default(); 65];
        for (number, action) in (0..).zip(&mut actions).skip(1) {
            if host_signal::is_ignored(number) {
                action.handler = IGNORE;
            }
            // A kick as well: who spawned this process by the host's C library left that signal ignored.
            if core_dump::dumps(number) || number == host_signal::KICK_NUMBER {
                apply(number, *action);
            }
        }
        Actions(actions)
    }

    fn get(&self, number: u32) -> Action {
        self.0.get(number as usize).copied().unwrap_or_default()
    }

    /// The host made a thread: its C library may have taken an action.
    pub fn take_back(&self) {
        apply(host_signal::TAKEN, self.get(host_signal::TAKEN as u32));
    }

    /// A system call that a signal interrupts is to be made again.
    pub fn restarts(&self, number: u32) -> bool {
        let action = self.get(number);
        action.handler <= IGNORE || action.flags & SA_RESTART != 0
    }
}

/// Signals that cannot be caught or blocked.
const ALWAYS: u64 = bit(libc::SIGKILL) | bit(libc::SIGSTOP);
/// Those the host always tells us of, by a handler that is there from the beginning.
const NOTED: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);

fn apply(number: i32, action: Action) {
    if bit(number) & (ALWAYS | NOTED) == 0 {
        let host = match action.handler {
            _ if number == host_signal::KICK_NUMBER => HostAction::Note,
            // The host has no core of the program.
            DEFAULT if core_dump::dumps(number) => HostAction::Note,
            DEFAULT => HostAction::Default,
            IGNORE => HostAction::Ignore,
            _ => HostAction::Note,
        };
        let child = (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u64;
        host_signal::set_action_with(number, host, action.flags & child);
    }
}

/// What a thread does with signals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    /// What it blocks.
    pub blocked: u64,
    /// `sigaltstack`: base, size; size 0: none.
    pub alternate: (u64, u64),
}

impl Signals {
    fn is_on_alternate(&self, stack: u64) -> bool {
        let (base, size) = self.alternate;
        stack.wrapping_sub(base) < size
    }

    /// `stack_t` as the program at this stack pointer sees it: base, flags, size.
    fn described(&self, stack: u64) -> [u64; 3] {
        let (base, size) = self.alternate;
        let flags = if size == 0 {
            SS_DISABLE
        } else if self.is_on_alternate(stack) {
            SS_ONSTACK
        } else {
            0
        };
        [base, flags, size]
    }
}

type Outcome = Result<Result<i64, host::Errno>, Fault>;

/// `rt_sigaction`.
pub(crate) fn action<M: Machine>(t: &Thread<M>, number: u64, new: u64, old: u64) -> Outcome {
    if number == 0 || number > 64 || new != 0 && ALWAYS & bit(number as i32) != 0 {
        return Ok(Err(libc::EINVAL));
    }
    let space = t.space();
    let wanted = match new {
        0 => None,
        at => {
            let word = |n: u64| t.word(at + 4 * n);
            let flags = word(1)?;
            let restorer = if M::RESTORER && flags & SA_RESTORER != 0 { word(2)? } else { 0 };
            let mask = if M::RESTORER { 3 } else { 2 };
            Some(Action { handler: word(0)?, flags, restorer, mask: word(mask)? | word(mask + 1)? << 32 })
        }
    };
    let mut actions = t.process.actions();
    let now = actions.get(number as u32);
    if let Some(action) = wanted {
        actions.0[number as usize] = action;
        apply(number as i32, action);
    }
    drop(actions);
    if old != 0 {
        let restorer: &[u64] = if M::RESTORER { &[now.restorer] } else { &[] };
        let words = [&[now.handler, now.flags], restorer, &[now.mask, now.mask >> 32]].concat();
        space.write(old, &t.words(&words))?;
    }
    Ok(Ok(0))
}

/// `rt_sigprocmask`.
pub(crate) fn mask<M: Machine>(t: &mut Thread<M>, how: u64, new: u64, old: u64) -> Outcome {
    let before = t.signals.blocked;
    if new != 0 {
        let set = t.mask_at(new)?;
        t.signals.blocked = !ALWAYS
            & match how {
                0 => before | set,
                1 => before & !set,
                2 => set,
                _ => return Ok(Err(libc::EINVAL)),
            };
    }
    if old != 0 {
        t.space().write(old, &t.words(&[before, before >> 32]))?;
    }
    set_mask(t.signals.blocked);
    Ok(Ok(0))
}

/// `sigaltstack`.
pub(crate) fn alternate<M: Machine>(t: &mut Thread<M>, new: u64, old: u64) -> Outcome {
    let stack = M::stack(t.engine.state());
    let now = t.signals.described(stack);
    if new != 0 {
        if t.signals.is_on_alternate(stack) {
            return Ok(Err(libc::EPERM));
        }
        let (base, flags, size) = (t.word(new)?, t.word(new + 4)?, t.word(new + 8)?);
        match flags {
            SS_DISABLE => t.signals.alternate = (0, 0),
            0 | SS_ONSTACK if size < 2048 => return Ok(Err(libc::ENOMEM)),
            0 | SS_ONSTACK => t.signals.alternate = (base, size),
            _ => return Ok(Err(libc::EINVAL)),
        }
    }
    if old != 0 {
        t.space().write(old, &t.words(&now))?;
    }
    Ok(Ok(0))
}

/// A signal that the host noted: enters its handler. The host blocks all signals until this is done.
pub(crate) fn deliver<M: Machine>(t: &mut Thread<M>, info: &HostInfo) {
    let number = info.int(0) as u32;
    if !t.lets_pass(number) {
        set_mask(t.signals.blocked);
        return;
    }
    let action = t.process.actions().get(number);
    match action.handler {
        IGNORE => {}
        // Its handler went away meanwhile, or it is one that the host always notes.
        DEFAULT => {
            if bit(number as i32) & NOTED != 0 || core_dump::dumps(number as i32) {
                t.die(&Death { number, code: info.int(8), siginfo: guest_info::<M>(info) }, 0);
            }
            host::raise(number as i32);
        }
        _ => return enter(t, number, action, guest_info::<M>(info)),
    }
    set_mask(t.signals.blocked);
}

/// A fault: it comes at once, or ends the process if it is blocked or ignored.
pub(crate) fn fault<M: Machine>(t: &mut Thread<M>, number: u32, code: i32, address: u64) {
    if !t.lets_pass(number) {
        return;
    }
    let action = t.process.actions().get(number);
    let siginfo = fault_info::<M>(number, code, address);
    if t.signals.blocked & bit(number as i32) != 0 || action.handler <= IGNORE {
        t.die(&Death { number, code, siginfo }, address);
    }
    enter(t, number, action, siginfo);
}

/// The `siginfo` of a fault.
fn fault_info<M: Machine>(number: u32, code: i32, address: u64) -> [u8; 128] {
    let mut siginfo = [0; 128];
    for (at, value) in [(0, number), (8, code as u32), (12, address as u32)] {
        siginfo[at..at + 4].copy_from_slice(&M::KIND.u32_bytes(value));
    }
    siginfo
}

/// Ends the process: there is no stack at this address.
fn no_stack<M: Machine>(t: &mut Thread<M>, address: u64) -> ! {
    let number = libc::SIGSEGV as u32;
    t.die(&Death { number, code: 1, siginfo: fault_info::<M>(number, 1, address) }, address)
}

fn enter<M: Machine>(t: &mut Thread<M>, number: u32, action: Action, siginfo: [u8; 128]) {
    let stack = M::stack(t.engine.state());
    let (base, size) = t.signals.alternate;
    let switch = action.flags & SA_ONSTACK != 0 && size != 0 && !t.signals.is_on_alternate(stack);
    let frame = Frame {
        handler: action.handler,
        top: if switch { base + size } else { stack },
        restorer: (M::RESTORER && action.flags & SA_RESTORER != 0).then_some(action.restorer),
        siginfo,
        with_info: action.flags & SA_SIGINFO != 0,
        number,
        mask: t.signals.blocked,
        stack: t.signals.described(stack),
    };
    let space = t.space().clone();
    // Whatever the monitor held is lost.
    t.engine.set_sleep(None, false);
    if M::enter_handler(t.engine.registers_mut(), &space, &frame).is_err() {
        // No room for the frame.
        no_stack(t, frame.top);
    }
    if action.flags & SA_RESETHAND != 0 {
        let mut actions = t.process.actions();
        actions.0[number as usize].handler = DEFAULT;
        apply(number as i32, actions.get(number));
    }
    t.signals.blocked |= !ALWAYS & (action.mask | if action.flags & SA_NODEFER != 0 { 0 } else { bit(number as i32) });
    set_mask(t.signals.blocked);
}

/// `rt_sigreturn`, or `sigreturn` of a handler without siginfo.
pub(crate) fn back<M: Machine>(t: &mut Thread<M>, with_info: bool) {
    let space = t.space().clone();
    let stack = M::stack(t.engine.state());
    match M::leave_handler(t.engine.registers_mut(), &space, with_info) {
        Ok(left) => {
            t.signals.blocked = left.mask & !ALWAYS;
            let [base, flags, size] = left.stack;
            if with_info {
                t.signals.alternate = if flags & SS_DISABLE != 0 { (0, 0) } else { (base, size) };
            }
            set_mask(t.signals.blocked);
        }
        Err(_) => no_stack(t, stack),
    }
}

/// The `siginfo` of the host as a guest of 32 bits has it.
pub(crate) fn guest_info<M: Machine>(host: &HostInfo) -> [u8; 128] {
    let (number, code) = (host.int(0), host.int(8));
    let mut out = [0; 128];
    let mut put = |at: usize, value: i64| out[at..at + 4].copy_from_slice(&M::KIND.u32_bytes(value as u32));
    put(0, number.into());
    put(4, host.int(4).into());
    put(8, code.into());
    let child = number == libc::SIGCHLD && code > 0;
    let members: &[(usize, usize)] = match code {
        // pid, uid, status, user and system time.
        _ if child => &[(12, 16), (16, 20), (20, 24), (24, 32), (28, 40)],
        // band, fd
        _ if number == libc::SIGIO && code > 0 => &[(12, 16), (16, 24)],
        // Timer, overrun, value.
        libc::SI_TIMER => &[(12, 16), (16, 20), (20, 24)],
        // pid, uid, value
        _ if code <= 0 => &[(12, 16), (16, 20), (20, 24)],
        // address
        _ => &[(12, 16)],
    };
    for (at, from) in members {
        put(*at, host.long(*from));
    }
    out
}

/// `rt_sigpending`.
pub(crate) fn pending<M: Machine>(t: &Thread<M>, to: u64) -> Outcome {
    let mut set = 0u64;
    let done = host::syscall(libc::SYS_rt_sigpending, [&raw mut set as u64, 8, 0, 0, 0, 0]);
    t.space().write(to, &t.words(&[set, set >> 32]))?;
    Ok(done)
}

/// Waits for a signal that is not in the mask: always `EINTR`.
pub(crate) fn suspend<M: Machine>(t: &Thread<M>, mask: u64) -> Result<i64, host::Errno> {
    let mask = mask & !(ALWAYS | NOTED);
    let result = host::syscall(libc::SYS_rt_sigsuspend, [&raw const mask as u64, 8, 0, 0, 0, 0]);
    // Only asked to look around: it is made again.
    if t.inbox.peek().is_none() { Err(host_signal::ERESTART) } else { result.or(Err(libc::EINTR)) }
}

/// `rt_sigtimedwait`.
pub(crate) fn wait<M: Machine>(t: &Thread<M>, a: [u64; 6], time: &'static Layout, cx: &Cx<'_>) -> Result<i64, host::Errno> {
    let set = t.mask_at(a[0])?;
    let mut info = HostInfo([0; 128]);
    let limit = if a[2] == 0 { None } else { Some(Item::read(cx, time, a[2], 1)?) };
    let until = limit.as_ref().map_or(0, Item::address);
    let number = host::syscall(libc::SYS_rt_sigtimedwait, [&raw const set as u64, &raw mut info as u64, until, 8, 0, 0])?;
    if a[1] != 0 {
        t.space().write(a[1], &guest_info::<M>(&info))?;
    }
    Ok(number)
}

/// A `siginfo` of the guest's, as the host has it: what `rt_sigqueueinfo` may send.
pub(crate) fn host_info<M: Machine>(t: &Thread<M>, at: u64) -> Result<HostInfo, Fault> {
    let mut info = HostInfo([0; 128]);
    // Number, errno, code; process, user, value.
    for (from, to) in [(0, 0), (4, 4), (8, 8), (12, 16), (16, 20), (20, 24)] {
        info.0[to..to + 4].copy_from_slice(&(t.word(at + from)? as u32).to_le_bytes());
    }
    Ok(info)
}

/// `timer_create`.
pub(crate) fn timer<M: Machine>(t: &Thread<M>, a: [u64; 6]) -> Result<i64, host::Errno> {
    // `struct sigevent`: value, number, how, thread.
    let mut event = [0u32; 16];
    if a[1] != 0 {
        for (n, place) in [(0, 0), (1, 2), (2, 3), (3, 4)] {
            event[place] = t.word(a[1] + 4 * n)? as u32;
        }
    }
    let given = if a[1] == 0 { 0 } else { event.as_ptr() as u64 };
    let mut id = 0i32;
    // A negative clock is that of a process or thread.
    let clock = i64::from(a[0] as u32 as i32) as u64;
    let result = host::syscall(libc::SYS_timer_create, [clock, given, &raw mut id as u64, 0, 0, 0])?;
    t.space().write(a[2], &t.words(&[id as u64]))?;
    Ok(result)
}
