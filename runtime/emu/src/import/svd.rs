//! Register maps from a CMSIS-SVD file: what a device of ours begins with (`regs "..." { }`), a peripheral each.
//!
//! Our registers are words of 32 bits: narrower ones that share a word become its fields. Left out and noted: registers of 64 bits, and those that lie where
//! another does. A peripheral that is derived from another has its map, and is only named.
//!
//! Source: Arm CMSIS-SVD schema 1.3.9.

use super::{Imported, plain, quoted};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use svd_parser::Config;
use svd_parser::svd::{Access, Field, ModifiedWriteValues, ReadAction, Register};

/// Our name of how software reaches something; `None`: as the register.
fn access(access: Option<Access>, write: Option<ModifiedWriteValues>, read: Option<ReadAction>) -> Option<&'static str> {
    Some(match (read, write, access?) {
        (Some(ReadAction::Clear), ..) => "rc",
        (Some(ReadAction::Set), ..) => "rs",
        (_, _, Access::ReadOnly) => "ro",
        (_, Some(ModifiedWriteValues::OneToClear), _) => "w1c",
        (_, Some(ModifiedWriteValues::ZeroToClear), _) => "w0c",
        (_, Some(ModifiedWriteValues::OneToSet), _) => "w1s",
        (_, _, Access::WriteOnly | Access::WriteOnce) => "wo",
        (_, _, Access::ReadWrite | Access::ReadWriteOnce) => "rw",
    })
}

fn doc(text: Option<&str>) -> String {
    let words: Vec<&str> = text.unwrap_or_default().split_whitespace().collect();
    if words.is_empty() { String::new() } else { format!(" doc={}", quoted(&words.join(" "))) }
}

fn bits(low: u32, len: u32) -> String {
    if len == 1 { format!("{low}") } else { format!("\"{}:{low}\"", low + len - 1) }
}

/// A field line, or nothing if its bits are no bits of the word.
fn field(out: &mut String, name: &str, low: u32, len: u32, access: Option<&str>, outer: &str) -> bool {
    let fits = len > 0 && low.checked_add(len).is_some_and(|end| end <= 32);
    if fits {
        let access = access.filter(|a| *a != outer).map_or(String::new(), |a| format!(" access={}", quoted(a)));
        let _ = writeln!(out, "        field {} bits={}{access}", quoted(&plain(name)), bits(low, len));
    }
    fits
}

fn size(register: &Register) -> u32 {
    register.properties.size.unwrap_or(32)
}

fn own_access(register: &Register) -> &'static str {
    access(register.properties.access, register.modified_write_values, register.read_action).unwrap_or("rw")
}

/// The fields of a register whose lowest bit is `shift` of the word.
fn fields(out: &mut String, fields: &[&Field], shift: u32, outer: &str, notes: &mut Vec<String>, place: &str) {
    let mut taken = 0u32;
    let mut names: Vec<String> = vec![];
    for f in fields {
        let (low, len) = (f.bit_range.offset + shift, f.bit_range.width);
        let mask = ((1u64 << len.min(32)) - 1).checked_shl(low).unwrap_or(0) as u32;
        let name = plain(&f.name);
        if taken & mask != 0
            || names.contains(&name)
            || !field(out, &name, low, len, access(f.access, f.modified_write_values, f.read_action), outer)
        {
            notes.push(format!("{place}.{}: its bits are others' or no bits of a word; left out", f.name));
        }
        taken |= mask;
        names.push(name);
    }
}

fn word(out: &mut String, at: u32, registers: &[&Register], notes: &mut Vec<String>, place: &str) {
    let alone = registers.len() == 1 && registers[0].address_offset == at;
    let name = registers.iter().map(|r| plain(&r.name)).collect::<Vec<_>>().join("_");
    let reset = registers.iter().fold(0u32, |all, r| {
        let value = r.properties.reset_value.unwrap_or(0) as u32 & (u64::from(u32::MAX) >> (32 - size(r).clamp(1, 32))) as u32;
        all | value << (8 * (r.address_offset - at))
    });
    let access = own_access(registers[0]);
    let reset = if reset == 0 { String::new() } else { format!(" reset={reset:#x}") };
    let shown = if access == "rw" { String::new() } else { format!(" access={}", quoted(access)) };
    let text = registers.iter().filter_map(|r| r.description.as_deref()).collect::<Vec<_>>().join("; ");
    let _ = write!(out, "    reg {} at={at:#x}{reset}{shown}{}", quoted(&name), doc(Some(&text)));
    let mut inside = String::new();
    for r in registers {
        let shift = 8 * (r.address_offset - at);
        let all: Vec<&Field> = r.fields().collect();
        if alone && (size(r) == 32 || !all.is_empty()) {
            fields(&mut inside, &all, shift, access, notes, &format!("{place}.{}", r.name));
        } else {
            field(&mut inside, &r.name, shift, size(r), Some(own_access(r)), access);
        }
    }
    let _ = if inside.is_empty() { writeln!(out) } else { writeln!(out, " {{\n{inside}    }}") };
}

/// All register maps of the file.
pub(super) fn import(text: &str) -> Result<Imported, String> {
    let config = Config::default().expand(true).expand_properties(true);
    let device = svd_parser::parse_with_config(text, &config).map_err(|e| format!("{e:#}"))?;
    let (mut out, mut notes) = (
        format!(
            "// Register maps of {}, made by `emu board import-svd`: resets, hooks and what is special are yours to add.\n",
            plain(&device.name)
        ),
        vec![],
    );
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for p in &device.peripherals {
        let (mut map, mut said) = (String::new(), vec![]);
        let mut words: BTreeMap<u32, Vec<&Register>> = BTreeMap::new();
        let mut ends = BTreeMap::new();
        let mut registers: Vec<&Register> = p.all_registers().collect();
        registers.sort_by_key(|r| r.address_offset);
        for r in registers {
            let (at, bytes) = (r.address_offset, size(r).div_ceil(8));
            let free = ends.range(..at.saturating_add(bytes)).next_back().is_none_or(|(_, end)| *end <= at);
            if !matches!(bytes, 1..=4) || at % 4 + bytes > 4 {
                said.push(format!("{}.{}: {} bits at {at:#x} are no register of ours; left out", p.name, r.name, size(r)));
            } else if !free {
                said.push(format!("{}.{}: another register lies at {at:#x}; left out", p.name, r.name));
            } else {
                ends.insert(at, at + bytes);
                words.entry(at & !3).or_default().push(r);
            }
        }
        for (at, registers) in &words {
            word(&mut map, *at, registers, &mut said, &p.name);
        }
        if map.is_empty() {
            notes.push(format!("{}: it has no registers", p.name));
        } else if let Some(other) = seen.get(&map) {
            let _ = writeln!(out, "\n// {} at {:#x} is as {other}.", plain(&p.name), p.base_address);
        } else {
            let name = plain(&p.name).to_lowercase();
            let widths = if words.values().any(|w| w.len() > 1 || size(w[0]) < 32) { "32,16,8" } else { "32" };
            let _ = writeln!(
                out,
                "\n// at {:#x}\nregs {} access=\"{widths}\"{} {{\n{map}}}",
                p.base_address,
                quoted(&name),
                doc(p.description.as_deref())
            );
            seen.insert(map, plain(&p.name));
            notes.append(&mut said);
        }
    }
    Ok(Imported { text: out, notes })
}
