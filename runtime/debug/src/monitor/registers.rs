//! Registers by name: a device's, from its register map, and a CPU's.
//!
//! Reading is a look without effects where the device knows a debugger; registers that a read clears are read only when they are named. Writing a
//! field reads the register first, and writes the other fields so that they keep their values.

use super::Session;
use emu_machine::schema::RegisterDoc;
use emu_machine::{BusError, Machine};
use std::fmt::Write;

/// A register of a CPU, by the name of the state or the debugger: its value, and its width in bits.
pub fn cpu_register(machine: &mut Machine, cpu: usize, name: &str) -> Option<(u128, u32)> {
    let cpu = machine.cpu(cpu)?;
    let reg = cpu.debug_registers().regs().find(|r| r.name == name);
    match reg {
        Some(reg) => Some((cpu.debug_register(reg), reg.bits)),
        None if name == "pc" => Some((cpu.pc().into(), 32)),
        None => cpu.register(name).map(|value| (value, 32)),
    }
}

fn set_cpu_register(machine: &mut Machine, cpu: usize, name: &str, value: u64) -> bool {
    let Some(cpu) = machine.cpu(cpu) else { return false };
    let reg = cpu.debug_registers().regs().find(|r| r.name == name);
    match reg {
        Some(reg) => cpu.set_debug_register(reg, value.into()),
        None if name == "pc" => cpu.set_pc(value),
        None => return cpu.set_register(name, value.into()),
    }
    true
}

/// What a name means.
enum Meaning {
    Device(usize),
    Register(usize, Place),
    Field(usize, Place, Field),
    Cpu(usize, String),
}

/// A register of a device.
#[derive(Clone, Copy)]
struct Place {
    doc: &'static RegisterDoc,
    /// Which of an array.
    index: Option<u64>,
}

#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    lo: u32,
    bits: u32,
}

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits.clamp(1, 64))
}

impl Place {
    fn offset(&self) -> u64 {
        self.doc.offset + self.index.unwrap_or(0) * self.doc.stride
    }

    fn name(&self) -> String {
        self.index.map_or_else(|| self.doc.name.to_string(), |index| format!("{}[{index}]", self.doc.name))
    }

    fn size(&self) -> u8 {
        (self.doc.width / 8).clamp(1, 8) as u8
    }

    fn digits(&self) -> usize {
        self.doc.width as usize / 4
    }

    fn read(&self, machine: &Machine, device: usize) -> Result<u64, BusError> {
        machine.read_register(device, self.doc.region, self.offset(), self.size())
    }

    fn write(&self, machine: &Machine, device: usize, value: u64) -> Result<(), BusError> {
        machine.write_register(device, self.doc.region, self.offset(), self.size(), value)
    }

    /// All fields: name, least bit, width, access; a register without is one.
    fn parts(&self) -> Vec<(&'static str, u32, u32, &'static str)> {
        match self.doc.fields {
            [] => vec![("", 0, self.doc.width, self.doc.access)],
            fields => fields.to_vec(),
        }
    }

    /// A read changes it.
    fn is_changed_by_reads(&self) -> bool {
        self.parts().iter().any(|f| matches!(f.3, "rc" | "rs"))
    }

    /// What to write so that only `field` changes, if the register reads as `value`.
    fn with(&self, value: u64, field: Field, new: u64) -> u64 {
        let mut out = value;
        for (_, lo, bits, access) in self.parts() {
            // What acts when it is written is written so that it does not.
            match access {
                "w1c" | "w1s" | "w1-self-clear" | "wo" => out &= !(mask(bits) << lo),
                "w0c" => out |= mask(bits) << lo,
                _ => {}
            }
        }
        out & !(mask(field.bits) << field.lo) | new << field.lo
    }

    fn show_fields(&self, value: u64, all: bool) -> String {
        let mut text = String::new();
        for (name, lo, bits, _) in self.doc.fields {
            let field = value >> lo & mask(*bits);
            if all || field != 0 {
                _ = if field < 10 { write!(text, " {name}={field}") } else { write!(text, " {name}={field:#x}") };
            }
        }
        text
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let more = if all.len() > 40 { ", ..." } else { "" };
    all[..all.len().min(40)].join(", ") + more
}

fn meaning(session: &Session, name: &str) -> Result<Meaning, String> {
    let board = session.names();
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    if let Some(cpu) = board.cpus.iter().position(|c| c.name == first) {
        let register = rest.ok_or_else(|| format!("which register of `{first}`? `info registers` shows all"))?;
        return Ok(Meaning::Cpu(cpu, register.to_string()));
    }
    let device = board
        .device(first)
        .ok_or_else(|| format!("there is no command and no device `{first}`; `help` shows commands, `info devices` devices"))?;
    let Some(rest) = rest else { return Ok(Meaning::Device(device)) };
    let (register, field) = rest.split_once('.').map_or((rest, None), |(register, field)| (register, Some(field)));
    let (register, index) = match register.strip_suffix(']').and_then(|r| r.split_once('[')) {
        Some((register, index)) => {
            let index = super::args::number(index).ok_or_else(|| format!("`{index}` is no number"))?;
            (register, Some(index))
        }
        None => (register, None),
    };
    let docs = board.devices[device].kind.registers;
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let doc = docs.iter().find(|d| same(d.name, register)).ok_or_else(|| match docs {
        [] => format!("the registers of `{first}` have no names; look at them with xp"),
        _ => format!("`{first}` has no register `{register}`; it has {}", names(docs.iter().map(|d| d.name))),
    })?;
    match index {
        Some(index) if index >= doc.count => return Err(format!("`{}` has {} registers, from 0", doc.name, doc.count)),
        None if doc.count > 1 && field.is_some() => return Err(format!("which of them? `{}[0].{}`", doc.name, field.unwrap_or(""))),
        _ => {}
    }
    let place = Place { doc, index };
    let Some(field) = field else { return Ok(Meaning::Register(device, place)) };
    let found = doc.fields.iter().find(|f| same(f.0, field));
    let found = found.ok_or_else(|| format!("`{}` has no field `{field}`; it has {}", doc.name, names(doc.fields.iter().map(|f| f.0))))?;
    Ok(Meaning::Field(device, place, Field { name: found.0, lo: found.1, bits: found.2 }))
}

fn refused(name: &str) -> impl Fn(BusError) -> String {
    move |e| format!("`{name}` cannot be accessed: {e}")
}

/// Shows, or with `= VALUE` behind the name sets, what the name means.
pub fn access(session: &mut Session, name: &str, rest: &str) -> Result<String, String> {
    let meaning = meaning(session, name)?;
    let value = match rest.strip_prefix('=') {
        Some(value) => Some(session.value(value.trim())?),
        None if rest.is_empty() => None,
        None => return Err(format!("there is no command `{name}`; to write a register: `{name} = VALUE`")),
    };
    let said = refused(name);
    let called = name.to_string();
    match (meaning, value) {
        (Meaning::Device(_), Some(_)) => Err(format!("which register of `{name}`?")),
        (Meaning::Device(device), None) => {
            let names = session.names().clone();
            session.machine(move |machine| show_device(machine, &names, device))
        }
        (Meaning::Register(device, place), None) => session.machine(move |machine| show_register(machine, device, place, &called))?,
        (Meaning::Register(device, place), Some(value)) => {
            fits(value, place.doc.width)?;
            if place.index.is_none() && place.doc.count > 1 {
                return Err(format!("which of them? `{}[0]`", place.doc.name));
            }
            session.machine(move |machine| place.write(machine, device, value))?.map_err(said)?;
            Ok(String::new())
        }
        (Meaning::Field(device, place, field), None) => {
            let read = session.machine(move |machine| place.read(machine, device))?.map_err(said)?;
            let value = read >> field.lo & mask(field.bits);
            Ok(format!("{}.{} = {value:#x}\n", place.name(), field.name))
        }
        (Meaning::Field(device, place, field), Some(value)) => {
            fits(value, field.bits)?;
            let change = move |machine: &mut Machine| {
                let read = place.read(machine, device)?;
                place.write(machine, device, place.with(read, field, value))
            };
            session.machine(change)?.map_err(said)?;
            Ok(String::new())
        }
        (Meaning::Cpu(cpu, register), None) => {
            let read = session.machine(move |machine| cpu_register(machine, cpu, &register))?;
            let (value, bits) = read.ok_or_else(|| format!("there is no register `{name}`"))?;
            Ok(format!("{name} = {value:#0width$x}\n", width = bits as usize / 4 + 2))
        }
        (Meaning::Cpu(cpu, register), Some(value)) => {
            let set = session.machine(move |machine| set_cpu_register(machine, cpu, &register, value))?;
            if set { Ok(String::new()) } else { Err(format!("there is no register `{name}`")) }
        }
    }
}

fn fits(value: u64, bits: u32) -> Result<(), String> {
    if value <= mask(bits) { Ok(()) } else { Err(format!("{value:#x} does not fit into {bits} bits")) }
}

/// Array elements a device's overview shows.
const MOST: u64 = 16;

fn show_device(machine: &mut Machine, names: &super::Names, device: usize) -> String {
    let kind = &names.devices[device].kind;
    let mut text = format!("{}  {}  {}\n", names.devices[device].name, kind.name, kind.doc);
    if kind.registers.is_empty() {
        text += "its registers have no names; look at them with xp\n";
    }
    for doc in kind.registers {
        let place = Place { doc, index: None };
        let head = format!("  {:<14} {:#06x}", doc.name, doc.offset);
        if doc.count > 1 {
            let all = (0..doc.count.min(MOST)).map(|index| {
                let place = Place { doc, index: Some(index) };
                place.read(machine, device).map_or("-".into(), |v| format!("{v:0width$x}", width = place.digits()))
            });
            let all: Vec<String> = all.collect();
            let more = if doc.count > MOST { format!(" ... ({} in all)", doc.count) } else { String::new() };
            _ = writeln!(text, "{head}  {}{more}", all.join(" "));
        } else if place.is_changed_by_reads() {
            _ = writeln!(text, "{head}  not read, as a read changes it");
        } else {
            _ = match place.read(machine, device) {
                Ok(value) => writeln!(text, "{head}  {value:0width$x} {}", place.show_fields(value, false), width = place.digits()),
                Err(e) => writeln!(text, "{head}  {e}"),
            };
        }
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn show_register(machine: &mut Machine, device: usize, place: Place, name: &str) -> Result<String, String> {
    let said = refused(name);
    let doc = place.doc;
    let mut text = String::new();
    let indexes: Vec<Option<u64>> =
        if place.index.is_none() && doc.count > 1 { (0..doc.count).map(Some).collect() } else { vec![place.index] };
    for index in indexes {
        let place = Place { doc, index };
        let value = place.read(machine, device).map_err(&said)?;
        let name = place.name();
        _ = writeln!(text, "{name} = {value:#0width$x}{}", place.show_fields(value, true), width = place.digits() + 2);
    }
    Ok(text.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}
