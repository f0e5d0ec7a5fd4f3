//! `--trace`: a line for each instruction a program executes: thread, address, text, and the registers it changed.
//!
//! Data path: threads go on by single steps of their engines; each step is one write, so that lines of threads, and of children, are whole. What a system
//! call or a signal handler's entry changed is a line without an address.

use crate::guest::User;
use crate::host;
use crate::space::Space;
use emu_ir::guest::Isa;
use emu_ir::interp::{Engine, Stop};
use emu_memory::GuestBus;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::{Path, PathBuf};

/// Turns an instruction into text: address, block key, and bytes from there on.
pub type Disassembler = dyn Fn(u64, u64, &[u8]) -> String + Send + Sync;

/// Where lines go.
pub struct Trace {
    file: Option<(PathBuf, File)>,
    disassembler: Box<Disassembler>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("file", &self.file).finish_non_exhaustive()
    }
}

thread_local! {
    /// The thread's registers after its last step.
    static LAST: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Trace {
    /// Lines go to the end of a file, or to standard error.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(file: Option<&Path>, disassembler: Box<Disassembler>) -> io::Result<Trace> {
        let open = |path: &Path| -> io::Result<(PathBuf, File)> {
            let path = std::path::absolute(path)?;
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            let fd = host::reserve(file.into_raw_fd()).map_err(io::Error::from_raw_os_error)?;
            // SAFETY: the descriptor is ours alone, and out of the program's reach.
            Ok((path, unsafe { File::from_raw_fd(fd) }))
        };
        Ok(Trace { file: file.map(open).transpose()?, disassembler })
    }

    /// The file, if it is not standard error.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|(path, _)| path.clone())
    }

    /// Executes one instruction and says what it did.
    pub(crate) fn step<I: Isa>(&self, thread: i32, engine: &mut Engine<User<I>>, bus: &dyn GuestBus, space: &Space) -> Stop {
        let isa = engine.isa().clone();
        let (pc, before) = (engine.pc(), engine.state().to_vec());
        let key = isa.block_key(&before);
        let mut lines = String::new();
        LAST.with_borrow(|last| {
            if last.len() == before.len() && *last != before {
                _ = writeln!(lines, "{thread} --{}", changed(&*isa, last, &before));
            }
        });
        // As many bytes as there are, up to the longest instruction we have.
        let mut bytes = [0; 16];
        let len = (1..=bytes.len()).rev().find(|n| space.read(pc, &mut bytes[..*n]).is_ok()).unwrap_or(0);
        let text = (self.disassembler)(pc, key.0, &bytes[..len]);
        let stop = engine.step(bus);
        if engine.executed() > 0 {
            _ = writeln!(lines, "{thread} {pc:08x} {text}{}", changed(&*isa, &before, engine.state()));
        }
        LAST.with_borrow_mut(|last| {
            last.clear();
            last.extend_from_slice(engine.state());
        });
        // A trace that cannot be written is no reason to stop.
        _ = match &self.file {
            Some((_, file)) => (&mut &*file).write_all(lines.as_bytes()),
            None => io::stderr().write_all(lines.as_bytes()),
        };
        stop
    }
}

/// The registers that differ, but for the program counter.
fn changed<I: Isa>(isa: &I, before: &[u64], after: &[u64]) -> String {
    let (layout, pc) = (isa.layout(), isa.pc());
    let mut text = String::new();
    for r in isa.gdb().regs().filter(|r| !r.parts.iter().any(|p| p.slot == pc)) {
        let now = r.read(layout, after);
        if now != r.read(layout, before) {
            _ = write!(text, "{} {}={now:#x}", if text.is_empty() { "  ;" } else { "" }, r.name);
        }
    }
    text
}
