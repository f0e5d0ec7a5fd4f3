//! Loads an ELF executable, and its interpreter if it names one, into a process.
//!
//! Sources: System V ABI, chapter 5 (program loading); Linux Documentation/arch/arm/process.

use crate::space::{EXEC, READ, Source, Space, WRITE};
use emu_memory::PAGE_SIZE;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader};
use std::os::fd::BorrowedFd;

/// What an executable is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// `e_machine`.
    pub machine: u16,
    /// 64-bit class.
    pub wide: bool,
    /// Little-endian data.
    pub little: bool,
}

impl Kind {
    /// The bytes of a number.
    pub fn u32_bytes(&self, value: u32) -> [u8; 4] {
        if self.little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    /// The number of these bytes.
    pub fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let order = if self.little { "little" } else { "big" };
        write!(f, "ELF machine {} of {} bits, {order}-endian", self.machine, if self.wide { 64 } else { 32 })
    }
}

/// `e_machine` of MicroBlaze before it was given a number.
const EM_MICROBLAZE_OLD: u16 = 0xbaab;

/// A loaded object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Where it begins to run.
    pub entry: u64,
    /// What was added to its addresses, modulo 2^64: it may be placed below where it was linked.
    pub base: u64,
    /// Where its program headers are in memory; 0 if they are in no segment.
    pub headers: u64,
    /// Size and number of them.
    pub header_size: u64,
    /// Number of them.
    pub header_count: u64,
    /// The end of its highest segment.
    pub end: u64,
    /// The path of its interpreter.
    pub interpreter: Option<Vec<u8>>,
}

/// What `bytes` is an executable for; `None` if it is no ELF file.
pub fn kind(bytes: &[u8]) -> Option<Kind> {
    if !bytes.starts_with(&elf::ELFMAG) || bytes.len() < 20 {
        return None;
    }
    let (wide, little) = (bytes[4] == elf::ELFCLASS64.0, bytes[5] == elf::ELFDATA2LSB.0);
    let machine = [bytes[18], bytes[19]];
    let machine = match if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) } {
        EM_MICROBLAZE_OLD => elf::EM_MICROBLAZE.0,
        other => other,
    };
    Some(Kind { machine, wide, little })
}

/// Loads a 32-bit executable or shared object from its bytes; one that may be anywhere is put at `low` if that is free, else at the
/// highest free place below `top`. What can be is mapped from `file`, if that is given.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn load<'a>(
    space: &Space,
    bytes: impl ReadRef<'a>,
    file: Option<BorrowedFd<'_>>,
    low: Option<u64>,
    top: u64,
) -> Result<Loaded, String> {
    let text = |e: object::read::Error| e.to_string();
    let header = elf::FileHeader32::<object::Endianness>::parse(bytes).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    let kind = header.e_type(endian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        return Err("it is no executable: link it".into());
    }
    let segments = header.program_headers(endian, bytes).map_err(text)?;
    let loads = || segments.iter().filter(|s| s.p_type(endian) == elf::PT_LOAD && s.p_memsz(endian) > 0);
    let start = loads().map(|s| u64::from(s.p_vaddr(endian))).min().ok_or("it has nothing to load")?;
    let end = loads().map(|s| u64::from(s.p_vaddr(endian)) + u64::from(s.p_memsz(endian))).max().unwrap_or(start);
    let base = if kind == elf::ET_DYN {
        let size = end - page(start);
        let low = low.filter(|low| low + size <= top && space.is_free(*low, size));
        let place = low.or_else(|| space.find(PAGE_SIZE, top, size)).ok_or("it does not fit into the address space")?;
        place.wrapping_sub(page(start))
    } else {
        0
    };
    let moved = |at: u32| base.wrapping_add(u64::from(at));
    let mut loaded = Loaded {
        entry: moved(header.e_entry(endian)),
        base,
        headers: 0,
        header_size: size_of::<elf::ProgramHeader32<object::Endianness>>() as u64,
        header_count: segments.len() as u64,
        end: base.wrapping_add(end),
        interpreter: None,
    };
    let size = bytes.len().map_err(|()| "its size is not known")?;
    for s in segments {
        let (offset, len) = (u64::from(s.p_offset(endian)), u64::from(s.p_filesz(endian)));
        match s.p_type(endian) {
            elf::PT_INTERP => {
                let data = s.data(endian, bytes).map_err(|()| CUT)?;
                loaded.interpreter = Some(data.strip_suffix(b"\0").unwrap_or(data).to_vec());
            }
            elf::PT_LOAD if s.p_memsz(endian) > 0 => {
                if offset + len > size {
                    return Err(CUT.into());
                }
                let bit = |flag: elf::ProgramFlags, permission: u8| if s.p_flags(endian).0 & flag.0 != 0 { permission } else { 0 };
                let permissions = bit(elf::PF_R, READ) | bit(elf::PF_W, WRITE) | bit(elf::PF_X, EXEC);
                let at = moved(s.p_vaddr(endian));
                let segment = Segment { at, memory: s.p_memsz(endian).into(), offset, len, permissions };
                segment.load(space, bytes, file)?;
                let table = u64::from(header.e_phoff(endian));
                if table >= offset && table < offset + len {
                    loaded.headers = at + (table - offset);
                }
            }
            _ => {}
        }
    }
    Ok(loaded)
}

const CUT: &str = "a segment lies outside the file: it is cut short";

fn page(at: u64) -> u64 {
    at & !(PAGE_SIZE - 1)
}

/// What is to be at an address: so many bytes of the file, then zeros.
struct Segment {
    at: u64,
    memory: u64,
    offset: u64,
    len: u64,
    permissions: u8,
}

impl Segment {
    fn load<'a>(&self, space: &Space, bytes: impl ReadRef<'a>, file: Option<BorrowedFd<'_>>) -> Result<(), String> {
        let Segment { at, memory, offset, len, permissions } = *self;
        if len > memory {
            return Err("a segment is larger in the file than in memory".into());
        }
        let no_room = || format!("its segment at {at:#x} does not fit into the address space");
        let (first, end) = (page(at), at.checked_add(memory).ok_or_else(no_room)?);
        let whole = (at + len).next_multiple_of(PAGE_SIZE) - first;
        let as_in_file = len > 0 && at % PAGE_SIZE == offset % PAGE_SIZE && space.is_free(first, end - first);
        if let Some(file) = file.filter(|_| as_in_file) {
            let source = Source::File { file, offset: page(offset), shared: false };
            space.map(first, whole, permissions, source).map_err(|e| format!("{}: {e}", no_room()))?;
            let rest = end.saturating_sub(first + whole);
            if rest > 0 && !space.map_zeros(first + whole, rest, permissions) {
                return Err(no_room());
            }
            // What follows the segment's end in its last page is zero too: loaders allocate there.
            let tail = vec![0; if memory > len { first + whole - (at + len) } else { 0 } as usize];
            return space.put(at + len, &tail).map_err(|f| f.to_string());
        }
        // Segments may share a page: what is there already stays, with both permissions.
        let mut place = first;
        while place < end {
            let old = space.page(place);
            let alike = (place..end).step_by(PAGE_SIZE as usize).take_while(|at| space.page(*at) == old).count() as u64;
            let run = alike * PAGE_SIZE;
            let done = match old {
                0 => space.map_zeros(place, run, permissions),
                _ => space.protect(place, run, old & (READ | WRITE | EXEC) | permissions).is_ok(),
            };
            if !done {
                return Err(no_room());
            }
            place += run;
        }
        let data = bytes.read_bytes_at(offset, len).map_err(|()| CUT)?;
        space.put(at, data).map_err(|f| f.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One segment of code at 0x10000.
    fn program() -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 40, 0, 1, 0, 0, 0];
        for word in [0x10054u32, 52, 0, 0x0500_0400] {
            file.extend(word.to_le_bytes());
        }
        for half in [52u16, 32, 1, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for word in [1u32, 0, 0x10000, 0x10000, 0x58, 0x2000, 5, 0x1000] {
            file.extend(word.to_le_bytes());
        }
        file.extend([1, 2, 3, 4]);
        file
    }

    #[test]
    fn a_segment_is_where_it_should_be() {
        let space = Space::new(1 << 24).unwrap();
        let loaded = load(&space, program().as_slice(), None, None, 1 << 24).unwrap();
        assert_eq!((loaded.entry, loaded.headers, loaded.header_count, loaded.end), (0x10054, 0x10034, 1, 0x12000));
        assert_eq!(space.number(0x10054, 4), Ok(0x0403_0201));
        assert_eq!((space.page(0x11000) & 7, space.page(0x12000)), (READ | EXEC, 0));
    }

    #[test]
    fn what_may_be_anywhere_is_placed_below_where_it_was_linked() {
        let mut file = program();
        file[16] = 3; // ET_DYN
        file[63] = 0xff; // p_vaddr
        file[27] = 0xff; // e_entry
        let space = Space::new(1 << 24).unwrap();
        let loaded = load(&space, file.as_slice(), None, None, 1 << 24).unwrap();
        assert_eq!((loaded.entry, loaded.end), (0xff_e054, 1 << 24));
        assert_eq!(space.number(loaded.entry, 4), Ok(0x0403_0201));
    }

    proptest! {
        #[test]
        fn broken_files_are_refused_or_loaded_but_never_panic(at in 0usize..88, byte: u8, cut in 0usize..90) {
            let mut file = program();
            file[at] = byte;
            file.truncate(cut.max(1));
            let space = Space::new(1 << 24).unwrap();
            _ = kind(&file);
            _ = load(&space, file.as_slice(), None, None, 1 << 24);
        }
    }
}
