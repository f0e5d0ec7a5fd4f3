//! Loads an ELF executable, and its interpreter if it names one, into a process.
//!
//! Sources: System V ABI, chapter 5 (program loading); Linux Documentation/arch/arm/process.

use crate::space::{EXEC, READ, Space, WRITE};
use emu_memory::PAGE_SIZE;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

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
    Some(Kind { machine: if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) }, wide, little })
}

/// Loads a 32-bit executable or shared object; one that may be anywhere is put at the highest free place below `top`.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn load(space: &Space, bytes: &[u8], top: u64) -> Result<Loaded, String> {
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
    let page = |at: u64| at & !(PAGE_SIZE - 1);
    let base = if kind == elf::ET_DYN {
        let place = space.find(PAGE_SIZE, top, end - page(start)).ok_or("it does not fit into the address space")?;
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
    for s in segments {
        let data = s.data(endian, bytes).map_err(|()| "a segment lies outside the file: it is cut short")?;
        match s.p_type(endian) {
            elf::PT_INTERP => loaded.interpreter = Some(data.strip_suffix(b"\0").unwrap_or(data).to_vec()),
            elf::PT_LOAD if s.p_memsz(endian) > 0 => {
                let at = moved(s.p_vaddr(endian));
                let memory = u64::from(s.p_memsz(endian));
                if data.len() as u64 > memory {
                    return Err("a segment is larger in the file than in memory".into());
                }
                let flags = s.p_flags(endian);
                let bit = |flag: elf::ProgramFlags, permission: u8| if flags.0 & flag.0 != 0 { permission } else { 0 };
                let permissions = bit(elf::PF_R, READ) | bit(elf::PF_W, WRITE) | bit(elf::PF_X, EXEC);
                let (first, len) = (page(at), at - page(at) + memory);
                // Segments may share a page: what is there already stays, with both permissions.
                let mut place = first;
                while place < first + len {
                    let old = space.page(place);
                    let done = if old == 0 { space.map(place, 1, permissions) } else { space.protect(place, 1, old | permissions) };
                    if !done {
                        return Err(format!("its segment at {at:#x} does not fit into the address space"));
                    }
                    place += PAGE_SIZE;
                }
                space.put(at, data).map_err(|f| f.to_string())?;
                let (offset, table) = (u64::from(s.p_offset(endian)), u64::from(header.e_phoff(endian)));
                if table >= offset && table < offset + data.len() as u64 {
                    loaded.headers = at + (table - offset);
                }
            }
            _ => {}
        }
    }
    Ok(loaded)
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
        let loaded = load(&space, &program(), 1 << 24).unwrap();
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
        let loaded = load(&space, &file, 1 << 24).unwrap();
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
            _ = load(&space, &file, 1 << 24);
        }
    }
}
