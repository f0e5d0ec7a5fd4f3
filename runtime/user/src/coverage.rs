//! Line coverage of a program as it is, through its debug information.
//!
//! Data path: the engines count instructions ([`emu_ir::interp::Coverage`]); at the end each address is found in the file that is mapped there, and what the
//! file's DWARF says of lines ([`lines`]) with what was counted becomes an lcov tracefile ([`text`]). A line's count is that of its most executed instruction.
//!
//! A process that a fork made, and a program that took another's place, writes to a file of its own: the name with the process's number behind it. Not
//! counted: libraries that are not mapped any more at the end, files without `.debug_line`, compressed sections.
//!
//! Sources: DWARF 5, section 6.2 (line numbers), by `gimli`; geninfo(1) for the format.

use crate::process::Mapping;
use crate::space::EXEC;
use emu_ir::interp::Coverage;
use gimli::{Dwarf, EndianSlice, RunTimeEndian};
use object::read::{Object, ObjectSection, ObjectSegment};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is counted, and where it is written.
#[derive(Debug)]
pub struct Report {
    pub(crate) counters: Arc<Coverage>,
    file: PathBuf,
    /// The process it was asked for.
    process: u32,
}

impl Report {
    /// For a file, which is there when the program has ended.
    pub fn new(file: &Path) -> Arc<Report> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        Arc::new(Report { counters: Coverage::new(), file, process: std::process::id() })
    }

    fn numbered(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".{}", std::process::id()));
        name.into()
    }

    /// Where this process writes.
    fn path(&self) -> PathBuf {
        if self.process == std::process::id() { self.file.clone() } else { self.numbered() }
    }

    /// Where a program writes that takes this one's place; `borrowed`: this one writes nothing.
    pub(crate) fn next(&self, borrowed: bool) -> PathBuf {
        let own = self.path();
        if borrowed || own == self.file {
            return self.numbered();
        }
        Report { counters: self.counters.clone(), file: own, process: 0 }.numbered()
    }

    /// Writes what was counted so far.
    pub(crate) fn write(&self, mappings: &[Mapping]) {
        let counts = self.counters.counts();
        let mut all: Files = BTreeMap::new();
        let code = || mappings.iter().filter(|m| m.permissions & EXEC != 0 && m.path.starts_with('/'));
        for path in code().map(|m| &m.path).collect::<BTreeSet<_>>() {
            let Ok(bytes) = std::fs::read(path) else { continue };
            let places: Vec<(u64, u64, u64)> = code().filter(|m| m.path == *path).map(|m| (m.start, m.end - m.start, m.offset)).collect();
            lines(&bytes, &places, &counts, &mut all);
        }
        let path = self.path();
        if let Err(e) = std::fs::write(&path, text(&all)) {
            eprintln!("emu: cannot write {}: {e}", path.display());
        }
    }
}

/// Source files, their lines that have code, and how often each was executed.
pub type Files = BTreeMap<String, BTreeMap<u64, u64>>;

/// The tracefile.
pub fn text(files: &Files) -> String {
    let mut out = String::from("TN:\n");
    for (name, lines) in files {
        _ = writeln!(out, "SF:{name}");
        lines.iter().for_each(|(line, count)| _ = writeln!(out, "DA:{line},{count}"));
        let hit = lines.values().filter(|count| **count > 0).count();
        _ = writeln!(out, "LF:{}\nLH:{hit}\nend_of_record", lines.len());
    }
    out
}

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// Adds the lines of an ELF file. `places`: where in memory so many bytes of it from an offset on are mapped; `counts`: by ascending address in memory. What
/// is wrong with the file's debug information is left out.
pub fn lines(bytes: &[u8], places: &[(u64, u64, u64)], counts: &[(u64, u64)], to: &mut Files) {
    let Ok(file) = object::File::parse(bytes) else { return };
    // From addresses in memory to those in the file's tables.
    let segments: Vec<(u64, u64, u64)> = file.segments().map(|s| (s.file_range().0, s.file_range().1, s.address())).collect();
    let mut counted = Vec::new();
    for (start, len, offset) in places {
        let first = counts.partition_point(|(pc, _)| pc < start);
        for (pc, count) in counts[first..].iter().take_while(|(pc, _)| pc - start < *len) {
            let at = offset.wrapping_add(pc - start);
            let segment = segments.iter().find(|(from, size, _)| at.wrapping_sub(*from) < *size);
            counted.extend(segment.map(|(from, _, address)| (address.wrapping_add(at - from), *count)));
        }
    }
    counted.sort_unstable();
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let section = |id: gimli::SectionId| -> Result<Slice<'_>, gimli::Error> {
        Ok(EndianSlice::new(file.section_by_name(id.name()).and_then(|s| s.data().ok()).unwrap_or(&[]), endian))
    };
    let Ok(dwarf) = Dwarf::load(section) else { return };
    let is_code = |at: u64| segments.iter().any(|(_, size, address)| at.wrapping_sub(*address) < *size);
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        if let Ok(unit) = dwarf.unit(header) {
            _ = unit_lines(&dwarf, &unit, &counted, &is_code, to);
        }
    }
}

fn unit_lines(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &gimli::Unit<Slice<'_>>,
    counted: &[(u64, u64)],
    is_code: &dyn Fn(u64) -> bool,
    to: &mut Files,
) -> Result<(), gimli::Error> {
    let Some(program) = unit.line_program.clone() else { return Ok(()) };
    let mut names: BTreeMap<u64, Option<String>> = BTreeMap::new();
    let mut rows = program.rows();
    // A row holds up to the next: address, file, line.
    let mut last: Option<(u64, u64, u64)> = None;
    while let Some((header, row)) = rows.next_row()? {
        if let Some((at, file, line)) = last.take()
            && is_code(at)
            && let Some(name) = names.entry(file).or_insert_with(|| name(dwarf, unit, header, file))
        {
            let end = row.address().max(at.saturating_add(1));
            let first = counted.partition_point(|(pc, _)| *pc < at);
            let inside = counted[first..].iter().take_while(|(pc, _)| *pc < end);
            let most = inside.map(|(_, count)| *count).max().unwrap_or(0);
            if !to.contains_key(name.as_str()) {
                to.insert(name.clone(), BTreeMap::new());
            }
            if let Some(count) = to.get_mut(name.as_str()).map(|lines| lines.entry(line).or_insert(0)) {
                *count = most.max(*count);
            }
        }
        if !row.end_sequence() {
            last = row.line().map(|line| (row.address(), row.file_index(), line.get()));
        }
    }
    Ok(())
}

/// The path of a file of a unit; `None`: it has none that could be written down.
fn name(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &gimli::Unit<Slice<'_>>,
    header: &gimli::LineProgramHeader<Slice<'_>>,
    file: u64,
) -> Option<String> {
    let entry = header.file(file)?;
    let string = |value| dwarf.attr_string(unit, value).ok().map(|s| s.to_string_lossy().into_owned());
    // What is absolute takes the place of what is before.
    let mut path = PathBuf::from(unit.comp_dir.map_or_else(String::new, |d| d.to_string_lossy().into_owned()));
    if let Some(directory) = entry.directory(header) {
        path.push(string(directory)?);
    }
    path.push(string(entry.path_name())?);
    let text = path.to_string_lossy().into_owned();
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tracefile_has_records_and_sums() {
        let files = Files::from([("/a.c".to_string(), BTreeMap::from([(3, 7), (5, 0)]))]);
        assert_eq!(text(&files), "TN:\nSF:/a.c\nDA:3,7\nDA:5,0\nLF:2\nLH:1\nend_of_record\n");
    }

    /// `int twice(int x) { return 2 * x; }` and a `_start` that calls it three times and then loops, one statement a line from line 1 on, by GCC 12
    /// (`-g -O0 -marm -nostdlib -static`), at 0x10074.
    const PROGRAM: &[u8] = include_bytes!("../tests/data/lines.elf");

    #[test]
    fn lines_have_the_counts_of_their_instructions() {
        let mut files = Files::new();
        // Loaded 0x1000 higher than it was linked. Line 3 is at 0x10084, the second half of line 7's loop at 0x100bc.
        let counts = [(0x11084, 2), (0x11088, 3), (0x110a8, 1), (0x110bc, 4), (0x20000, 9)];
        lines(PROGRAM, &[(0x11000, 0x1000, 0)], &counts, &mut files);
        let expected = BTreeMap::from([(2, 0), (3, 3), (4, 0), (6, 0), (7, 4), (8, 0), (9, 0)]);
        assert_eq!(files, Files::from([("/src/tiny.c".to_string(), expected)]));
    }

    proptest! {
        #[test]
        fn broken_files_never_panic(changes in proptest::collection::vec((0..PROGRAM.len(), any::<u8>()), 0..8), cut in 0..PROGRAM.len()) {
            let mut bytes = PROGRAM.to_vec();
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            let counts = [(0x1000, 1), (0x10084, 3), (u64::MAX - 1, 2)];
            let places = [(0x1000, u64::MAX - 0x1000, u64::MAX - 3), (0x10000, 0x1000, 0)];
            lines(&bytes, &places, &counts, &mut Files::new());
            lines(&bytes[..cut], &places, &counts, &mut Files::new());
        }
    }
}
