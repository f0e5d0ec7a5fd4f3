//! Core dumps: the memory and the registers of a program that dies, as an ELF file that debuggers read.
//!
//! Data path: [`dump`] gathers the other threads, asks the process what it has mapped, writes headers and notes, and behind them the pages that can be read;
//! pages of zeros become holes. The file is `PROGRAM.core.PID`, in the working directory or where `--core` says, and as long as `RLIMIT_CORE` allows.
//!
//! Sources: core(5); Linux fs/binfmt_elf.c, include/uapi/linux/elfcore.h; System V ABI, chapter 5.

use crate::elf::Kind;
use crate::host::{self, Errno};
use crate::host_signal;
use crate::machine::Machine;
use crate::process::{Mapping, Process};
use crate::space::{EXEC, READ, Space, WRITE};
use crate::thread::Thread;
use emu_memory::PAGE_SIZE;
use object::elf;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long other threads may take to stop.
const PATIENCE: Duration = Duration::from_millis(300);
const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// Why a program dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    /// The signal.
    pub number: u32,
    /// `si_code`
    pub code: i32,
    /// The `siginfo` as the program would have seen it.
    pub siginfo: [u8; 128],
}

/// True if a signal that nobody catches leaves a core dump.
pub(crate) const fn dumps(number: i32) -> bool {
    use libc::*;
    matches!(number, SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGSYS | SIGXCPU | SIGXFSZ)
}

/// Writes the core dump of a thread's process, if one is wanted, and says where it is.
pub(crate) fn dump<M: Machine>(t: &mut Thread<M>, death: &Death) {
    let process = t.process.clone();
    let limit = match &process.options.core {
        Some(_) => u64::MAX,
        None => host::getrlimit(libc::RLIMIT_CORE.into()).map_or(0, |l| l[0]),
    };
    if limit == 0 || !dumps(death.number as i32) {
        return;
    }
    // A child that borrows its parent's memory stops nobody: the others are its parent's.
    if !t.borrowed {
        if !process.gate.close() {
            // Somebody else dumps already, and then ends the process.
            process.gate.pass(t.tid, t.engine.registers_mut());
        }
        let others = || process.threads().iter().map(|peer| peer.tid).filter(|tid| *tid != t.tid).collect::<Vec<_>>();
        process.gate.gather(|| others().len(), || others().into_iter().for_each(host_signal::kick), PATIENCE);
    }
    let name = process.program.file_name().unwrap_or_default().as_bytes();
    let directory = process.options.core.clone().flatten().unwrap_or_else(|| PathBuf::from("."));
    let file = directory.join(std::ffi::OsStr::from_bytes(&[name, format!(".core.{}", std::process::id()).as_bytes()].concat()));
    match write(t, death, &file, limit) {
        Ok(()) => eprintln!("emu: core dumped to {}", file.display()),
        Err(e) => eprintln!("emu: cannot dump core to {}: {e}", file.display()),
    }
}

fn write<M: Machine>(t: &Thread<M>, death: &Death, path: &Path, limit: u64) -> io::Result<()> {
    let process = &t.process;
    let mappings = process.mappings();
    let mut notes = Notes { kind: M::KIND, bytes: Vec::new() };
    // The thread that dies comes first.
    let mut threads = vec![(t.tid, t.engine.state().to_vec())];
    threads.extend(process.gate.waiting().iter().filter(|(tid, _)| **tid != t.tid).map(|(tid, cells)| (*tid, cells.clone())));
    for (index, (tid, cells)) in threads.iter().enumerate() {
        notes.add("CORE", NT_PRSTATUS, &status::<M>(*tid, cells, death, t.signals.blocked));
        if index == 0 {
            notes.add("CORE", NT_PRPSINFO, &about(process));
            notes.add("CORE", NT_SIGINFO, &death.siginfo);
            notes.add("CORE", NT_AUXV, process.auxiliary());
            notes.add("CORE", NT_FILE, &files(M::KIND, &mappings));
        }
        M::core_notes(cells).iter().for_each(|(name, kind, bytes)| notes.add(name, *kind, bytes));
    }
    // Nobody else's to read, and never what a link points to.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let head = headers(M::KIND, notes.bytes.len() as u64, &mappings);
    let begin = [head.bytes.as_slice(), &notes.bytes].concat();
    file.write_all(&begin[..begin.len().min(limit.try_into().unwrap_or(usize::MAX))])?;
    let mut end = begin.len() as u64;
    for (mapping, offset) in mappings.iter().zip(&head.offsets) {
        end = (offset + readable(mapping)).min(limit).max(end);
        pages(&mut file, &process.space, mapping, *offset, limit)?;
    }
    file.set_len(end.min(limit))
}

/// How many bytes of a mapping are in the file.
fn readable(mapping: &Mapping) -> u64 {
    if mapping.permissions & (READ | WRITE | EXEC) == 0 { 0 } else { mapping.end - mapping.start }
}

fn pages(file: &mut File, space: &Space, mapping: &Mapping, offset: u64, limit: u64) -> io::Result<()> {
    let mut page = [0; PAGE_SIZE as usize];
    for at in (mapping.start..mapping.start + readable(mapping)).step_by(page.len()) {
        let place = offset + (at - mapping.start);
        if place + PAGE_SIZE > limit {
            break;
        }
        // Beyond the end of a file there is nothing.
        if space.read(at, &mut page).is_ok() && page.iter().any(|b| *b != 0) {
            file.seek(SeekFrom::Start(place))?;
            file.write_all(&page)?;
        }
    }
    Ok(())
}

// ---- headers

/// Numbers in the program's byte order.
struct Words {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Words {
    fn new(kind: Kind) -> Words {
        Words { kind, bytes: Vec::new() }
    }

    fn half(&mut self, value: u16) {
        self.bytes.extend(if self.kind.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend(self.kind.u32_bytes(value));
    }

    /// As wide as an address.
    fn long(&mut self, value: u64) {
        match (self.kind.wide, self.kind.little) {
            (true, true) => self.bytes.extend(value.to_le_bytes()),
            (true, false) => self.bytes.extend(value.to_be_bytes()),
            _ => self.word(value as u32),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Zeros up to a multiple.
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

struct Notes {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Notes {
    fn add(&mut self, name: &str, kind: u32, contents: &[u8]) {
        let mut w = Words { kind: self.kind, bytes: std::mem::take(&mut self.bytes) };
        w.word(name.len() as u32 + 1);
        w.word(contents.len() as u32);
        w.word(kind);
        w.put(name.as_bytes());
        w.put(&[0]);
        w.align(4);
        w.put(contents);
        w.align(4);
        self.bytes = w.bytes;
    }
}

struct Headers {
    bytes: Vec<u8>,
    /// Where the contents of each mapping are in the file.
    offsets: Vec<u64>,
}

fn headers(kind: Kind, notes: u64, mappings: &[Mapping]) -> Headers {
    let (head, entry, section) = if kind.wide { (64, 56, 64) } else { (52, 32, 40) };
    // What is more than the field holds is in the only section's header.
    let count = mappings.len() as u64 + 1;
    let many = count >= 0xffff;
    let table = head + entry * count;
    let note_at = table + if many { section } else { 0 };
    let mut w = Words::new(kind);
    w.put(&elf::ELFMAG);
    w.put(&[1 + u8::from(kind.wide), 2 - u8::from(kind.little), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    w.half(elf::ET_CORE.0);
    w.half(kind.machine);
    w.word(1);
    w.long(0);
    w.long(head);
    w.long(if many { table } else { 0 });
    w.word(0);
    w.half(head as u16);
    w.half(entry as u16);
    w.half(count.min(0xffff) as u16);
    w.half(section as u16);
    w.half(many.into());
    w.half(0);
    let mut segment = |ty: u32, flags: u32, [offset, at, file, memory, align]: [u64; 5]| {
        w.word(ty);
        if kind.wide {
            w.word(flags);
        }
        [offset, at, 0, file, memory].iter().for_each(|n| w.long(*n));
        if !kind.wide {
            w.word(flags);
        }
        w.long(align);
    };
    segment(elf::PT_NOTE.0, 0, [note_at, 0, notes, 0, 4]);
    let mut offset = (note_at + notes).next_multiple_of(PAGE_SIZE);
    let mut offsets = Vec::new();
    for m in mappings {
        let flag = |permission: u8, flag: elf::ProgramFlags| if m.permissions & permission != 0 { flag.0 } else { 0 };
        let flags = flag(READ, elf::PF_R) | flag(WRITE, elf::PF_W) | flag(EXEC, elf::PF_X);
        segment(elf::PT_LOAD.0, flags, [offset, m.start, readable(m), m.end - m.start, PAGE_SIZE]);
        offsets.push(offset);
        offset += readable(m);
    }
    if many {
        // sh_info is the number of segments.
        w.word(0);
        w.word(0);
        (0..3).for_each(|_| w.long(0));
        w.long(1);
        w.word(0);
        w.word(count as u32);
        w.long(0);
        w.long(0);
    }
    Headers { bytes: w.bytes, offsets }
}

// ---- notes

fn id(call: fn() -> Result<i64, Errno>) -> u32 {
    call().unwrap_or(0) as u32
}

/// `struct elf_prstatus`
fn status<M: Machine>(tid: i32, cells: &[u64], death: &Death, blocked: u64) -> Vec<u8> {
    let mut w = Words::new(M::KIND);
    w.word(death.number);
    w.word(death.code as u32);
    w.word(0);
    w.half(death.number as u16);
    w.half(0);
    w.long(0);
    w.long(blocked);
    [tid as u32, id(host::getppid), id(|| host::getpgid(0)), id(|| host::getsid(0))].iter().for_each(|n| w.word(*n));
    // Times: seconds and microseconds, four of them.
    (0..8).for_each(|_| w.long(0));
    M::core_registers(cells).iter().for_each(|r| w.long(*r));
    // There is a note of the floating-point registers, or none.
    w.word(0);
    w.align(if M::KIND.wide { 8 } else { 4 });
    w.bytes
}

/// `struct elf_prpsinfo`
fn about<M: Machine>(process: &Process<M>) -> Vec<u8> {
    let mut w = Words::new(M::KIND);
    w.put(b"\0R\0\0");
    w.align(if M::KIND.wide { 8 } else { 4 });
    w.long(0);
    for owner in [id(host::getuid), id(host::getgid)] {
        if M::CORE_SHORT_IDS { w.half(owner as u16) } else { w.word(owner) }
    }
    [std::process::id(), id(host::getppid), id(|| host::getpgid(0)), id(|| host::getsid(0))].iter().for_each(|n| w.word(*n));
    let mut text = |bytes: &[u8], size: usize| {
        let mut field = bytes[..bytes.len().min(size - 1)].to_vec();
        field.resize(size, 0);
        w.put(&field);
    };
    text(process.program.file_name().unwrap_or_default().as_bytes(), 16);
    text(&process.arguments.join(&b' '), 80);
    w.bytes
}

/// What `NT_FILE` says: address range, place in the file, and name of each mapped file.
fn files(kind: Kind, mappings: &[Mapping]) -> Vec<u8> {
    let mapped = || mappings.iter().filter(|m| m.path.starts_with('/'));
    let mut w = Words::new(kind);
    w.long(mapped().count() as u64);
    w.long(PAGE_SIZE);
    mapped().flat_map(|m| [m.start, m.end, m.offset / PAGE_SIZE]).for_each(|n| w.long(n));
    for m in mapped() {
        w.put(m.path.as_bytes());
        w.put(&[0]);
    }
    w.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::elf::{FileHeader, ProgramHeader};

    const ARM: Kind = Kind { machine: 40, wide: false, little: true };
    const OTHER: Kind = Kind { machine: 189, wide: false, little: false };

    fn mapping(start: u64, end: u64, permissions: u8) -> Mapping {
        Mapping { start, end, permissions, shared: false, offset: 0x3000, device: "00:00 0".into(), path: "/lib/x".into() }
    }

    #[test]
    fn headers_say_where_notes_and_pages_are() {
        for kind in [ARM, OTHER] {
            let head = headers(kind, 100, &[mapping(0x1000, 0x3000, READ), mapping(0x8000, 0x9000, 0), mapping(0x9000, 0xa000, WRITE)]);
            let mut file = head.bytes.clone();
            assert_eq!((head.bytes.len(), head.offsets), (52 + 4 * 32, vec![0x1000, 0x3000, 0x3000]));
            file.resize(0x4000, 0);
            let parsed = elf::FileHeader32::<object::Endianness>::parse(file.as_slice()).unwrap();
            let endian = parsed.endian().unwrap();
            let all = parsed.program_headers(endian, file.as_slice()).unwrap();
            let facts: Vec<_> = all.iter().map(|s| (s.p_type(endian), s.p_vaddr(endian), s.p_filesz(endian), s.p_memsz(endian))).collect();
            assert_eq!((parsed.e_type(endian), parsed.e_machine(endian).0), (elf::ET_CORE, kind.machine));
            assert_eq!(
                facts,
                [
                    (elf::PT_NOTE, 0, 100, 0),
                    (elf::PT_LOAD, 0x1000, 0x2000, 0x2000),
                    (elf::PT_LOAD, 0x8000, 0, 0x1000),
                    (elf::PT_LOAD, 0x9000, 0x1000, 0x1000)
                ]
            );
        }
    }

    #[test]
    fn many_segments_are_counted_in_a_section() {
        let all: Vec<Mapping> = (0..0x10000).map(|n| mapping(n << 13, (n << 13) + 0x1000, READ)).collect();
        let file = headers(ARM, 0, &all).bytes;
        let parsed = elf::FileHeader32::<object::Endianness>::parse(file.as_slice()).unwrap();
        let endian = parsed.endian().unwrap();
        assert_eq!(parsed.program_headers(endian, file.as_slice()).unwrap().len(), 0x10001);
    }

    #[test]
    fn files_are_listed_in_the_byte_order_of_the_program() {
        let bytes = files(OTHER, &[mapping(0x1000, 0x3000, READ)]);
        assert_eq!(bytes, b"\0\0\0\x01\0\0\x10\0\0\0\x10\0\0\0\x30\0\0\0\0\x03/lib/x\0");
    }
}
