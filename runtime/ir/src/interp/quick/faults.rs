//! Where generated code may be stopped by the host, whose page protection is the guest's, and where it goes on then.
//!
//! An access to memory that the host maps is one instruction. If the host refuses it, a signal handler asks [`recover`] and resumes at code out of line, which
//! leaves to the interpreter at the access's word: that does it again, the slow way, and says what is wrong with it. The handler is the process's own where it
//! has one ([`recover`]), or that of [`catch`].
//!
//! Sources: sigaction(2).

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::OnceLock;

/// Addresses of accesses, ascending, and of what is to be executed instead.
#[derive(Default)]
pub struct Faults(Vec<(usize, usize)>);

thread_local! {
    /// Those of the code this thread executes. A signal handler reads it, on the same thread.
    static CURRENT: Cell<*const Faults> = const { Cell::new(null()) };
    /// The address of the last access that the host refused this thread, or 0.
    static REFUSED: Cell<usize> = const { Cell::new(0) };
}

impl Faults {
    /// Adds those of a block at an address, which is above all others; offsets in it.
    pub fn add(&mut self, at: usize, faults: &[(usize, usize)]) {
        self.0.extend(faults.iter().map(|(access, instead)| (at + access, at + instead)));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As long as the result lives, faults of this thread are looked up here.
    pub fn watch(&self) -> Watching<'_> {
        Watching { before: CURRENT.replace(self), _faults: self }
    }
}

pub struct Watching<'a> {
    before: *const Faults,
    _faults: &'a Faults,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// Where a thread goes on that the host stopped at `pc`, its program counter, for an access at `address`; `None` if that is none of generated code. For signal handlers.
pub fn recover(pc: usize, address: usize) -> Option<usize> {
    let current = CURRENT.get();
    // SAFETY: `watch` put it there, and who borrowed it has not dropped it; nobody adds to it while code is executed.
    let faults = &unsafe { current.as_ref() }?.0;
    let found = faults.binary_search_by_key(&pc, |(access, _)| *access).ok()?;
    REFUSED.set(address);
    Some(faults[found].1)
}

/// The address at which the host refused this thread's generated code an access, if it did since the last call.
pub fn take_refused() -> Option<usize> {
    Some(REFUSED.replace(0)).filter(|address| *address != 0)
}

/// What was done at a fault before [`catch`].
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// From now on this process recovers from accesses that the host refuses. Whoever has a handler of its own that asks [`recover`] sets it after this.
pub fn catch() {
    BEFORE.get_or_init(|| {
        // SAFETY: zeros are a valid `sigaction`, which is filled in as sigaction(2) asks; the old one is written by the host.
        unsafe {
            let (mut new, mut old) = (MaybeUninit::<libc::sigaction>::zeroed().assume_init(), MaybeUninit::zeroed().assume_init());
            new.sa_sigaction = on_fault as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(libc::SIGSEGV, &raw const new, &raw mut old);
            old
        }
    });
}

extern "C" fn on_fault(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the host gives both; they are this handler's.
    let (address, context) = unsafe { ((*info).si_addr() as usize, &mut *context.cast::<libc::ucontext_t>()) };
    let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    match recover(*pc as usize, address) {
        Some(next) => *pc = next as i64,
        // Once more, for who was here before.
        None => {
            let before = BEFORE.get().map_or(null(), |before| &raw const *before);
            // SAFETY: what the host gave; or nothing is set, while `catch` has not come back.
            unsafe { libc::sigaction(number, before, std::ptr::null_mut()) };
        }
    }
}
