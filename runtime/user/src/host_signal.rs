//! Signals of the host: those that stop an access to the program's memory, and those that are for the program.
//!
//! One handler for all. A fault of an access of generated code or of [`crate::access`] goes on where that says. Any other signal is noted for the thread it
//! came to, which is asked to stop executing ([`Inbox`]); until it has taken the note the host blocks all others, so that the host's kernel keeps them in
//! order, and a system call that has not begun yet does not begin ([`syscall`]).
//!
//! Sources: signal(7), sigreturn(2), sigaction(2); System V ABI for x86-64.

use crate::access;
use emu_memory::Attention;
use std::arch::global_asm;
use std::cell::{Cell, UnsafeCell};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Once};

/// What [`syscall`] says if a signal came before the call began.
pub const ERESTART: i32 = 512;
/// What it says if a signal interrupted a call that may be made again (`ERESTARTSYS` of the kernel). One that may not ends with `EINTR`.
pub const EINTERRUPTED: i32 = 513;

global_asm!(
    ".pushsection .text.emu_user_syscall, \"ax\", @progbits",
    ".balign 16",
    // (notes, number, arguments)
    "emu_user_syscall:",
    "mov rcx, rdi",
    "mov rax, rsi",
    "mov rdi, [rdx]",
    "mov rsi, [rdx + 8]",
    "mov r10, [rdx + 24]",
    "mov r8, [rdx + 32]",
    "mov r9, [rdx + 40]",
    "mov rdx, [rdx + 16]",
    "emu_user_syscall_look:",
    "cmp dword ptr [rcx], 0",
    "jne emu_user_syscall_not_begun",
    "emu_user_syscall_at:",
    "syscall",
    "ret",
    "emu_user_syscall_not_begun:",
    "mov rax, -512",
    "ret",
    "emu_user_syscall_interrupted:",
    "mov rax, -513",
    "ret",
    // What a system call (getpid) leaves in `rcx`, which was 0.
    "emu_user_syscall_leaves:",
    "mov eax, 39",
    "xor ecx, ecx",
    "syscall",
    "mov rax, rcx",
    "ret",
    "emu_user_sigreturn:",
    "mov eax, 15",
    "syscall",
    ".popsection",
);

unsafe extern "sysv64" {
    fn emu_user_syscall(notes: *const AtomicU32, number: i64, arguments: *const u64) -> i64;
    fn emu_user_syscall_look();
    fn emu_user_syscall_at();
    fn emu_user_syscall_not_begun();
    fn emu_user_syscall_interrupted();
    fn emu_user_syscall_leaves() -> usize;
    fn emu_user_sigreturn();
}

/// A signal is noted.
const SIGNAL: u32 = 1;
/// The thread is asked to look around ([`kick`]).
const KICK: u32 = 2;

/// What has come for one thread of the program.
pub struct Inbox {
    /// [`SIGNAL`], [`KICK`].
    notes: AtomicU32,
    /// Written by the handler while there is no note, read by its thread while there is one.
    info: UnsafeCell<HostInfo>,
    /// The attention word of its vCPU.
    attention: Arc<AtomicU32>,
}

// SAFETY: `info` is touched by the thread the inbox is for and by its signal handler only, in turns that `notes` says.
unsafe impl Sync for Inbox {}

/// The host's `siginfo_t`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct HostInfo(pub [u8; 128]);

impl HostInfo {
    /// An `int` of it.
    pub fn int(&self, at: usize) -> i32 {
        self.0.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes)
    }

    /// A `long` of it.
    pub fn long(&self, at: usize) -> i64 {
        self.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_le_bytes)
    }
}

thread_local! {
    static CURRENT: Cell<*const Inbox> = const { Cell::new(null()) };
    /// The last signal that stopped an access of this thread.
    static REFUSED: Cell<i32> = const { Cell::new(0) };
}

impl Inbox {
    /// An empty one, with a new attention word.
    pub fn new() -> Inbox {
        Inbox { notes: AtomicU32::new(0), info: UnsafeCell::new(HostInfo([0; 128])), attention: Arc::default() }
    }

    /// The attention word that is set when anything comes.
    pub fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }

    /// From now on signals of this host thread go here. It must live as long as the thread takes signals.
    pub fn attach(self: &Arc<Inbox>) {
        CURRENT.set(Arc::as_ptr(self));
    }

    /// This host thread takes no signals any more.
    pub fn detach() {
        set_mask(u64::MAX);
        CURRENT.set(null());
    }

    /// Takes what has come: a signal, or nothing but a kick. The host still blocks all signals if it was a signal.
    pub fn take(&self) -> Option<HostInfo> {
        let notes = self.notes.load(Ordering::Acquire);
        if notes == 0 {
            return None;
        }
        // SAFETY: the handler has written it, and writes nothing as long as all signals are blocked.
        let info = (notes & SIGNAL != 0).then(|| unsafe { *self.info.get() });
        self.notes.store(0, Ordering::Release);
        info
    }

    /// The number of the signal that is noted.
    pub fn peek(&self) -> Option<u32> {
        // SAFETY: as in `take`.
        (self.notes.load(Ordering::Acquire) & SIGNAL != 0).then(|| unsafe { (*self.info.get()).int(0) } as u32)
    }

    /// True if anything has come.
    pub fn is_noted(&self) -> bool {
        self.notes.load(Ordering::Acquire) != 0
    }
}

/// On this host `syscall` leaves the address behind it in `rcx`, as it does but where events are delivered by FRED.
static MARKS: AtomicBool = AtomicBool::new(false);

/// A number no program sends with a signal by accident: a kick.
const KICK_VALUE: i64 = 0x656d_7500_6b69_636b;
/// The signal of a kick, which the host always notes for us: what counts is the value. The C library of the host would take it for `pthread_cancel` only.
pub const KICK_NUMBER: i32 = 32;
/// The signal whose action the C library of the host takes when it makes its first thread (`setuid` and the like).
pub const TAKEN: i32 = 33;

/// Signals that the host never blocks, as they say that an access was refused.
const ACCESS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);

/// The bit of a signal in a mask.
pub const fn bit(number: i32) -> u64 {
    1 << ((number - 1) & 63)
}

extern "C" fn on_signal(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives both; they are this handler's.
    let (info, context) = unsafe { (*info.cast::<HostInfo>(), &mut *context.cast::<libc::ucontext_t>()) };
    let pc = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    let is_fault = bit(number) & ACCESS != 0 && info.int(8) > 0;
    if is_fault {
        match access::recover(pc).or_else(|| emu_ir::interp::recover(pc, info.long(16) as usize)) {
            Some(next) => {
                REFUSED.set(number);
                context.uc_mcontext.gregs[libc::REG_RIP as usize] = next as i64;
            }
            // A fault of the emulator's own: once more, without a handler.
            None => set_action(number, Action::Default),
        }
        return;
    }
    // An instruction of the emulator's own that cannot be executed would come back for ever. `SI_KERNEL` and above are no such thing.
    let own = [libc::SIGILL, libc::SIGFPE, libc::SIGTRAP].contains(&number) && (1..0x80).contains(&info.int(8));
    if own {
        set_action(number, Action::Default);
        return;
    }
    let current = CURRENT.get();
    // SAFETY: `attach` put it there, and its thread, which is this one, keeps it.
    let Some(inbox) = (unsafe { current.as_ref() }) else { return };
    // The host's handlers are of the kind that has calls made again: the kernel then goes back to the call's instruction, with what that left in `rcx`. On a
    // host where it leaves nothing there, a call that had only just not begun is as good as one that had.
    let (look, call) = (emu_user_syscall_look as *const () as usize, emu_user_syscall_at as *const () as usize);
    if (look..=call).contains(&pc) {
        let unmarked = context.uc_mcontext.gregs[libc::REG_RCX as usize] as usize == &raw const inbox.notes as usize;
        let begun = pc == call && !(unmarked && MARKS.load(Ordering::Relaxed));
        let next = if begun { emu_user_syscall_interrupted } else { emu_user_syscall_not_begun };
        context.uc_mcontext.gregs[libc::REG_RIP as usize] = next as *const () as i64;
    }
    if number == KICK_NUMBER && info.long(24) == KICK_VALUE {
        inbox.notes.fetch_or(KICK, Ordering::AcqRel);
    } else {
        // SAFETY: there is no note of a signal: it would have blocked this one.
        unsafe { *inbox.info.get() = info };
        inbox.notes.fetch_or(SIGNAL, Ordering::AcqRel);
        // SAFETY: the kernel's mask has 8 bytes, the first of the library's.
        unsafe { *(&raw mut context.uc_sigmask).cast::<u64>() = !ACCESS };
    }
    inbox.attention.fetch_or(Attention::EXIT, Ordering::Release);
}

/// What the host does with a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// What it does by default.
    Default,
    /// Nothing.
    Ignore,
    /// It notes it for the program.
    Note,
}

/// The kernel's `struct sigaction`.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Sets what the host does with a signal; `child`: `SA_NOCLDSTOP` and `SA_NOCLDWAIT`. The C library would keep two of them for itself, so its function is not used.
pub fn set_action_with(number: i32, action: Action, child: u64) {
    const SA_RESTORER: u64 = 0x0400_0000;
    let handler = match action {
        Action::Default => libc::SIG_DFL,
        Action::Ignore => libc::SIG_IGN,
        Action::Note => on_signal as *const () as usize,
    };
    let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER | child;
    let new = KernelAction { handler, flags, restorer: emu_user_sigreturn as *const () as usize, mask: !ACCESS };
    // SAFETY: the structure is the kernel's, and the handler and its way back are of the kind that the flags say.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, &raw const new, 0, 8) };
}

/// The same without flags.
pub fn set_action(number: i32, action: Action) {
    set_action_with(number, action, 0);
}

/// `SIGPIPE` was ignored when this process began; Rust's runtime ignores it always.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

extern "C" fn record() {
    PIPE_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
}

/// Called before Rust's runtime begins.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = record;

/// Gives `SIGPIPE` back the action it had when this process began.
pub fn restore_pipe() {
    if !PIPE_IGNORED.load(Ordering::Relaxed) {
        set_action(libc::SIGPIPE, Action::Default);
    }
}

/// True if the host ignores a signal.
pub fn is_ignored(number: i32) -> bool {
    let mut old = KernelAction::default();
    // SAFETY: one structure is written.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, 0, &raw mut old, 8) };
    old.handler == libc::SIG_IGN
}

/// From now on refused accesses come back as errors.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: it calls for the process's number.
        MARKS.store(unsafe { emu_user_syscall_leaves() } != 0, Ordering::Relaxed);
        [libc::SIGSEGV, libc::SIGBUS].into_iter().for_each(|number| set_action(number, Action::Note));
    });
}

/// True if the last access that this thread was refused lies beyond the end of a mapped file.
pub fn was_bus_error() -> bool {
    REFUSED.get() == libc::SIGBUS
}

/// Sets which signals the host blocks for this thread; gives what it blocked before.
pub fn set_mask(mask: u64) -> u64 {
    let (new, mut old) = (mask & !ACCESS, 0u64);
    // SAFETY: masks of 8 bytes, read and written.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const new, &raw mut old, 8) };
    old
}

/// Asks a thread of this process to look around, also out of a system call.
pub fn kick(thread: i32) {
    let mut info = HostInfo([0; 128]);
    let mut put = |at: usize, bytes: &[u8]| info.0[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &KICK_NUMBER.to_le_bytes());
    put(8, &libc::SI_QUEUE.to_le_bytes());
    put(24, &KICK_VALUE.to_le_bytes());
    // SAFETY: one structure is read.
    unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, libc::getpid(), thread, KICK_NUMBER, &raw const info) };
}

/// A system call of the host for the program, with numbers and addresses of the program's memory or of the caller's buffers: `Err` has the error number, or [`ERESTART`] if a signal for this thread was noted before it began.
///
/// # Safety
/// As of the call itself: what it does with its arguments is sound (addresses are the program's, or of buffers that are the caller's).
pub unsafe fn syscall(number: i64, arguments: [u64; 6]) -> Result<i64, i32> {
    static NOTHING: AtomicU32 = AtomicU32::new(0);
    let current = CURRENT.get();
    // SAFETY: as in the handler.
    let notes = unsafe { current.as_ref() }.map_or(&NOTHING, |inbox| &inbox.notes);
    // SAFETY: the caller's promise; six numbers are read.
    let result = unsafe { emu_user_syscall(notes, number, arguments.as_ptr()) };
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result) }
}
