//! What differs between the Linux ports of instruction sets, beside the tables of system calls: registers, frames of signal handlers, the layout of the
//! address space.

use crate::abi::Abi;
use crate::elf::Kind;
use crate::space::{Fault, Space};
use emu_ir::guest::{Exception, Isa};

/// A port of Linux to an instruction set.
pub trait Machine: Sized + Send + Sync + 'static {
    /// The instruction set.
    type Isa: Isa + Send + Sync;
    /// What its executables are.
    const KIND: Kind;
    /// Its system calls.
    fn abi() -> &'static Abi;

    /// The CPU model if none is asked for.
    const MODEL: &'static str;
    /// `AT_PLATFORM`.
    const PLATFORM: &'static str;
    /// `AT_HWCAP` and `AT_HWCAP2`.
    const HWCAP: [u64; 2];
    /// The end of what a process may map.
    const TASK_SIZE: u64;
    /// Where the stack ends.
    const STACK_TOP: u64;
    /// Where mappings grow down from.
    const MAP_TOP: u64;
    /// The kernel's `struct sigaction` has a restorer, behind its flags.
    const RESTORER: bool;

    /// The instruction set of a CPU model.
    ///
    /// # Errors
    /// There is no such model.
    fn isa(model: &str) -> Result<Self::Isa, String>;

    /// Maps what the kernel maps into every process. False: there is no room.
    fn map_helpers(space: &Space) -> bool;

    /// A process's registers at its start.
    fn start(cells: &mut [u64], entry: u64, stack: u64);

    /// True if an exception of this number, raised with these registers, is a system call.
    fn is_call(exception: u16, cells: &[u64]) -> bool;

    /// What an exception of the instruction set comes to. The registers are as it was raised; behind this they are as the program knows them, and a system
    /// call is made again if it goes on at them.
    fn event(exception: Exception, cells: &mut [u64], space: &Space) -> Event;

    /// What [`Machine::event`] does with the registers for a system call.
    fn begin_call(_cells: &mut [u64]) {}

    /// The system call the process is at, or has raised the exception for: number and arguments.
    fn call(cells: &[u64]) -> (u32, [u64; 6]);

    /// The arguments of `clone`, whose order differs.
    fn clone_arguments(arguments: [u64; 6]) -> CloneArguments;

    /// Goes on behind the system call with a result (negative: an error number).
    fn finish(cells: &mut [u64], result: i64);

    /// The stack pointer.
    fn stack(cells: &[u64]) -> u64;

    /// Sets the stack pointer.
    fn set_stack(cells: &mut [u64], value: u64);

    /// Sets the thread's register.
    fn set_tls(cells: &mut [u64], value: u64);

    /// Begins a signal handler.
    ///
    /// # Errors
    /// The stack has no room.
    fn enter_handler(cells: &mut [u64], space: &Space, frame: &Frame) -> Result<(), Fault>;

    /// Ends a signal handler, one that took a `siginfo` or not: the registers of the frame at the stack pointer.
    ///
    /// # Errors
    /// There is no frame.
    fn leave_handler(cells: &mut [u64], space: &Space, with_info: bool) -> Result<Left, Fault>;

    /// `uid_t` of core dumps has 16 bits (`__kernel_uid_t`).
    const CORE_SHORT_IDS: bool;

    /// The general registers of a core dump (`elf_gregset_t`), in order; each has the size of an address.
    fn core_registers(cells: &[u64]) -> Vec<u64>;

    /// Other notes of a core dump that a thread's registers are in: name, type, contents.
    fn core_notes(cells: &[u64]) -> Vec<(&'static str, u32, Vec<u8>)>;
}

/// What a process did that is for its kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A system call.
    Call,
    /// A signal of its own: number, `si_code`, address.
    Fault(u32, i32, u64),
    /// Something that the kernel does in its place: it is done, and the program goes on.
    Done,
}

/// What a handler is entered with.
pub struct Frame {
    /// Its address.
    pub handler: u64,
    /// The frame lies below.
    pub top: u64,
    /// Where it returns to, if the program says so.
    pub restorer: Option<u64>,
    /// The guest's `siginfo`, and if the handler takes one.
    pub siginfo: [u8; 128],
    /// The handler takes three arguments.
    pub with_info: bool,
    /// The signal's number.
    pub number: u32,
    /// What was blocked before.
    pub mask: u64,
    /// `uc_stack`: base, flags, size.
    pub stack: [u64; 3],
}

/// What a frame said.
pub struct Left {
    /// What is to be blocked.
    pub mask: u64,
    /// `uc_stack`: base, flags, size.
    pub stack: [u64; 3],
}

/// The arguments of `clone`.
#[derive(Clone, Copy, Debug)]
pub struct CloneArguments {
    /// `CLONE_*`, and the signal for the parent.
    pub flags: u64,
    /// The new stack pointer; 0: the old one.
    pub stack: u64,
    /// Where the parent finds the number.
    pub parent: u64,
    /// Where the child finds the number.
    pub child: u64,
    /// The thread's register.
    pub tls: u64,
}
