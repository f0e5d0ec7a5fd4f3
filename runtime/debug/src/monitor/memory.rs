//! Memory: dumps, single accesses, copies to files. Virtual addresses are those of the session's CPU, and values are in its byte order.

use super::{Args, Session};
use emu_machine::Machine;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;

/// Bytes a dump shows at most.
const MOST_BYTES: u64 = 1 << 20;
/// Bytes of an instruction at most, and of a string that is looked for its end.
const LONGEST_INSN: usize = 16;
const LONGEST_STRING: usize = 4096;

/// Where addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// As this CPU sees it now.
    Virtual(usize),
    /// The bus of this CPU.
    Physical(usize),
}

impl Space {
    fn cpu(self) -> usize {
        let (Space::Virtual(cpu) | Space::Physical(cpu)) = self;
        cpu
    }

    /// Reads up to where nothing is; how many bytes.
    fn read(self, machine: &mut Machine, at: u64, buffer: &mut [u8]) -> usize {
        match self {
            Space::Virtual(cpu) => machine.debug_read(cpu, at, buffer),
            Space::Physical(cpu) => machine.cpu_bus(cpu).map_or(0, |bus| machine.debug_read_physical(bus, at, buffer)),
        }
    }

    /// Bus and physical address, for a single access.
    fn place(self, machine: &mut Machine, at: u64) -> Option<(usize, u64)> {
        match self {
            Space::Virtual(cpu) => machine.debug_translate(cpu, at),
            Space::Physical(cpu) => Some((machine.cpu_bus(cpu)?, at)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    count: u64,
    kind: char,
    /// Bytes of a value.
    size: u8,
}

fn size(letter: char) -> Option<u8> {
    Some(match letter {
        'b' => 1,
        'h' => 2,
        'w' => 4,
        'g' => 8,
        _ => return None,
    })
}

impl Format {
    fn parse(text: &str) -> Result<Format, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count = if digits == 0 { 1 } else { text[..digits].parse().map_err(|_| "that is too much at once".to_string())? };
        let (mut kind, mut bytes) = ('x', None);
        for letter in text[digits..].chars() {
            match size(letter) {
                Some(size) => bytes = Some(size),
                None if "xduocis".contains(letter) => kind = letter,
                None => return Err(format!("`{letter}` is no format: x d u o c i s, and sizes b h w g")),
            }
        }
        let format = Format { count, kind, size: bytes.unwrap_or(if kind == 'c' { 1 } else { 4 }) };
        let total = count.checked_mul(format.size.into()).filter(|total| *total <= MOST_BYTES);
        total.map(|_| format).ok_or_else(|| "that is too much at once".into())
    }
}

/// A value of up to eight bytes, in a byte order.
fn value(bytes: &[u8], big: bool) -> u64 {
    let add = |all: u64, b: &u8| all << 8 | u64::from(*b);
    if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
}

fn show(value: u64, format: Format) -> String {
    let (size, bits) = (usize::from(format.size), u32::from(format.size) * 8);
    match format.kind {
        'd' => format!("{}", (value << (64 - bits)) as i64 >> (64 - bits)),
        'u' => format!("{value}"),
        'o' => format!("{value:#o}"),
        'c' => match char::from(value as u8) {
            c if c.is_ascii_graphic() || c == ' ' => format!("'{c}'"),
            c => format!("'\\x{:02x}'", c as u32),
        },
        _ => format!("{value:#0width$x}", width = 2 * size + 2),
    }
}

fn dump(session: &Session, args: &mut Args<'_>, space: Space) -> Result<String, String> {
    let format = Format::parse(args.format())?;
    let at = session.value(args.need("the address")?)?;
    args.end()?;
    let (names, host) = (session.names().clone(), session.host().clone());
    let text = session.machine(move |machine| match format.kind {
        'i' => {
            let cpu = &names.cpus[space.cpu()];
            let key = machine.cpu(space.cpu()).map_or(0, |c| c.block_key());
            instructions(machine, space, at, format.count, |pc, bytes| host.disassemble(cpu, key, pc, bytes))
        }
        's' => strings(machine, space, at, format.count),
        _ => values(machine, space, at, format),
    })?;
    Ok(text)
}

fn nothing(text: &mut String, at: u64) {
    _ = writeln!(text, "{at:08x}: cannot be accessed");
}

fn values(machine: &mut Machine, space: Space, at: u64, format: Format) -> String {
    let big = machine.cpu(space.cpu()).is_some_and(|c| c.big_endian());
    let size = usize::from(format.size);
    let mut bytes = vec![0; format.count as usize * size];
    let read = space.read(machine, at, &mut bytes) / size * size;
    let mut text = String::new();
    let line = (16 / size).max(1);
    for (i, part) in bytes[..read].chunks(line * size).enumerate() {
        let shown: Vec<String> = part.chunks_exact(size).map(|v| show(value(v, big), format)).collect();
        _ = writeln!(text, "{:08x}: {}", at.wrapping_add((i * line * size) as u64), shown.join(" "));
    }
    if read < bytes.len() {
        nothing(&mut text, at.wrapping_add(read as u64));
    }
    text
}

fn strings(machine: &mut Machine, space: Space, at: u64, count: u64) -> String {
    let (mut text, mut at) = (String::new(), at);
    for _ in 0..count {
        let mut bytes = vec![0; LONGEST_STRING];
        let read = space.read(machine, at, &mut bytes);
        if read == 0 {
            nothing(&mut text, at);
            break;
        }
        let end = bytes[..read].iter().position(|b| *b == 0);
        let string = &bytes[..end.unwrap_or(read)];
        let more = if end.is_none() { "..." } else { "" };
        _ = writeln!(text, "{at:08x}: \"{}\"{more}", string.escape_ascii());
        at = at.wrapping_add(string.len() as u64 + 1);
    }
    text
}

fn instructions(
    machine: &mut Machine,
    space: Space,
    mut at: u64,
    count: u64,
    disassemble: impl Fn(u64, &[u8]) -> Option<(usize, String, String)>,
) -> String {
    let mut text = String::new();
    for _ in 0..count {
        let mut bytes = [0; LONGEST_INSN];
        let read = space.read(machine, at, &mut bytes);
        if read == 0 {
            nothing(&mut text, at);
            break;
        }
        let Some((len, code, insn)) = disassemble(at, &bytes[..read]) else {
            _ = writeln!(text, "{at:08x}: there is no disassembler for this CPU, or the instruction is not all there");
            break;
        };
        _ = writeln!(text, "{at:08x}: {code:<8}  {insn}");
        at = at.wrapping_add(len.max(1) as u64);
    }
    text
}

/// The size behind the slash.
fn access_size(args: &mut Args<'_>) -> Result<u8, String> {
    let text = args.format();
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Ok(4),
        (Some(letter), None) if size(letter).is_some() => Ok(size(letter).unwrap_or(4)),
        _ => Err(format!("`/{text}` is no size: /b, /h, /w or /g")),
    }
}

/// An access of this size may be made there.
fn aligned(at: u64, size: u8) -> Result<u64, String> {
    if at.is_multiple_of(size.into()) { Ok(at) } else { Err(format!("{at:#x} is no multiple of {size}, the size of the access")) }
}

fn peek(session: &Session, args: &mut Args<'_>, space: Space) -> Result<String, String> {
    let size = access_size(args)?;
    let at = aligned(session.value(args.need("the address")?)?, size)?;
    args.end()?;
    let read = session.machine(move |machine| {
        let big = machine.cpu(space.cpu()).is_some_and(|c| c.big_endian());
        let (bus, at) = space.place(machine, at)?;
        let bytes = machine.debug_read_once(bus, at, size)?.to_le_bytes();
        Some(value(&bytes[..size.into()], big))
    })?;
    let value = read.ok_or_else(|| format!("{at:#x} cannot be read"))?;
    Ok(format!("{at:08x}: {}\n", show(value, Format { count: 1, kind: 'x', size })))
}

fn poke(session: &Session, args: &mut Args<'_>, space: Space) -> Result<String, String> {
    let size = access_size(args)?;
    let at = aligned(session.value(args.need("the address")?)?, size)?;
    let value = session.value(args.need("the value")?)?;
    args.end()?;
    if size < 8 && value >> (8 * u32::from(size)) != 0 {
        return Err(format!("{value:#x} does not fit into {size} bytes"));
    }
    let written = session.machine(move |machine| {
        let big = machine.cpu(space.cpu()).is_some_and(|c| c.big_endian());
        let mut bytes = value.to_le_bytes()[..size.into()].to_vec();
        if big {
            bytes.reverse();
        }
        let (bus, at) = space.place(machine, at)?;
        machine.debug_write_physical(bus, at, &bytes).ok()
    })?;
    written.map(|()| String::new()).ok_or_else(|| format!("{at:#x} cannot be written"))
}

/// Copies memory to a file, which is created or emptied.
///
/// # Errors
/// Where nothing is, what the host says about the file; the file may hold a part then.
pub fn save_memory(session: &Session, space: Space, at: u64, size: u64, file: &str) -> Result<(), String> {
    let said = |e: std::io::Error| format!("cannot write {file}: {e}");
    let mut out = File::create(file).map_err(said)?;
    let save = move |machine: &mut Machine| -> Result<(), Option<(u64, std::io::Error)>> {
        let mut buffer = vec![0; 1 << 16];
        let mut done = 0;
        while done < size {
            let n = usize::try_from(size - done).unwrap_or(usize::MAX).min(buffer.len());
            let at = at.wrapping_add(done);
            if space.read(machine, at, &mut buffer[..n]) < n {
                return Err(None);
            }
            out.write_all(&buffer[..n]).map_err(|e| Some((at, e)))?;
            done += n as u64;
        }
        Ok(())
    };
    session.machine(save)?.map_err(|e| match e {
        Some((_, e)) => said(e),
        None => format!("{size:#x} bytes at {at:#x} are not all memory"),
    })
}

fn save(session: &Session, args: &mut Args<'_>, space: Space) -> Result<String, String> {
    let at = session.value(args.need("the address")?)?;
    let size = session.value(args.need("the size")?)?;
    let file = args.need("the file")?;
    args.end()?;
    save_memory(session, space, at, size, file)?;
    Ok(String::new())
}

pub fn dump_virtual(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    dump(session, args, Space::Virtual(session.cpu()))
}
pub fn dump_physical(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    dump(session, args, Space::Physical(session.cpu()))
}
pub fn peek_virtual(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    peek(session, args, Space::Virtual(session.cpu()))
}
pub fn peek_physical(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    peek(session, args, Space::Physical(session.cpu()))
}
pub fn poke_virtual(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    poke(session, args, Space::Virtual(session.cpu()))
}
pub fn poke_physical(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    poke(session, args, Space::Physical(session.cpu()))
}
pub fn save_virtual(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    save(session, args, Space::Virtual(session.cpu()))
}
pub fn save_physical(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    save(session, args, Space::Physical(session.cpu()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_count_kind_and_size() {
        let format = |count, kind, size| Ok(Format { count, kind, size });
        assert_eq!(Format::parse(""), format(1, 'x', 4));
        assert_eq!(Format::parse("16xb"), format(16, 'x', 1));
        assert_eq!(Format::parse("3gd"), format(3, 'd', 8));
        assert_eq!(Format::parse("8c"), format(8, 'c', 1));
        for bad in ["q", "4z", "99999999999999999999", "10000000", "18446744073709551615g"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_shown_in_their_format() {
        let show = |v, kind, size| show(v, Format { count: 1, kind, size });
        assert_eq!(show(0xff, 'd', 1), "-1");
        assert_eq!(show(0xff, 'u', 1), "255");
        assert_eq!(show(8, 'o', 4), "0o10");
        assert_eq!(show(0x41, 'c', 1), "'A'");
        assert_eq!(show(0xfe, 'c', 1), "'\\xfe'");
        assert_eq!(show(0x12, 'x', 8), "0x0000000000000012");
        assert_eq!(value(&[1, 2, 3], false), 0x030201);
        assert_eq!(value(&[1, 2, 3], true), 0x010203);
    }
}
