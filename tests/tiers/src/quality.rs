//! How good the code of each instruction is: a line for every encoding, of a block with that instruction alone.
//!
//! The counts are of IR operations after all passes, words of bytecode, host instructions (on the straight way; with the paths out of line), and bytes
//! of host code. Each includes the block's head and the jump behind it, which the line of an instruction that does nothing shows. The instruction lies at the
//! end of its page, where a block ends.

use crate::bus::Bus;
use crate::guest::Guest;
use crate::instructions::with_fields;
use crate::program::{CODE, PAGE};
use crate::random::Random;
use emu_asm::isa::{Isa as Assembly, Setting};
use emu_asm::tables::{EncodingTable, Otherwise};
use emu_ir::guest::Isa;
use emu_ir::interp::{Engine, Explained};
use iced_x86::{Code, Decoder, DecoderOptions};
use std::fmt::Write;
use std::sync::Arc;

/// Words tried before an encoding counts as one that is always undefined.
const TRIES: u32 = 2000;

/// The table of a model; empty where there is no quick tier.
pub fn table<G: Guest>(guest: &G, assembly: &Assembly) -> String {
    let isa = Arc::new(guest.isa());
    let mut engine = Engine::new(isa.clone(), 0);
    let mut out = String::new();
    if !engine.use_quick_tier() {
        return out;
    }
    let bus = Bus::new(&[]);
    let mut setting = assembly.setting(guest.model());
    _ = writeln!(out, "{:28} {:>4} {:>5} {:>5} {:>5} {:>6}", "", "ir", "words", "host", "all", "bytes");
    // In the specification's order: the decoder's changes with every encoding.
    let tables = &assembly.tables;
    let mut order: Vec<usize> = (0..tables.encodings.len()).collect();
    order.sort_by_key(|index| (tables.encodings[*index].insn, &tables.encodings[*index].name));
    for index in order {
        let encoding = &tables.encodings[index];
        let name = format!("{} {}", tables.insns[encoding.insn as usize].name, encoding.name);
        let mut cells = guest.plain(encoding.token as usize);
        assembly.set_key(&mut setting, isa.block_key(&cells).0);
        let at = CODE + PAGE - u32::from(encoding.bits / 8);
        isa.layout().write(&mut cells, isa.pc(), at.into());
        setting.pc = at.into();
        let has = |name: &&str| encoding.fields.iter().any(|f| encoding.locals[f.local as usize] == *name);
        let variants = guest.variants().iter().copied().filter(has).map(Some);
        for variant in std::iter::once(None).chain(variants) {
            let Some(code) = example(guest, assembly, &setting, index, variant) else { continue };
            let bytes = assembly.to_bytes(&setting, encoding.token as usize, encoding.bits, code);
            bus.ram.copy_in(at.into(), &bytes);
            engine.state_mut().copy_from_slice(&cells);
            let text = assembly.disassemble(&setting, encoding.bits, code).unwrap_or_default();
            if let Some(explained) = engine.explain(&bus, at.into()) {
                out.push_str(&line(&variant.map_or(name.clone(), |variant| format!("{name} {variant}")), &text, &explained));
            }
        }
    }
    out
}

/// An instruction of this encoding, with the bit of a variant set: as plain as can be, else anything that is not undefined.
fn example<G: Guest>(guest: &G, assembly: &Assembly, setting: &Setting, index: usize, variant: Option<&str>) -> Option<u64> {
    let encoding = &assembly.tables.encodings[index];
    let insn = &assembly.tables.insns[encoding.insn as usize].name;
    let seed = insn.bytes().chain(encoding.name.bytes()).fold(0, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut random = Random::new(seed);
    (0..TRIES).map(|tries| fill(guest, encoding, variant, &mut random, tries)).find(|code| {
        let decoded = assembly.decode(setting, encoding.bits, *code);
        decoded.is_some_and(|d| d.encoding == index && d.guard != Some(Otherwise::Undefined))
    })
}

/// Fields of the guest's choice; the others 0 at first, then anything.
fn fill<G: Guest>(guest: &G, encoding: &EncodingTable, variant: Option<&str>, random: &mut Random, tries: u32) -> u64 {
    with_fields(encoding, encoding.value | encoding.should_be, |name| {
        if variant == Some(name) || guest.variants().contains(&name) {
            return u64::from(variant == Some(name));
        }
        let typical = guest.typical(name).filter(|_| tries < TRIES / 2);
        typical.unwrap_or_else(|| if tries == 0 { 0 } else { random.bits() })
    })
}

fn line(name: &str, text: &str, explained: &Explained) -> String {
    let ir = explained.ir.lines().count();
    let words = explained.words.len();
    let (straight, all, bytes) = explained.host.as_ref().map_or((0, 0, 0), |host| {
        let (all, bytes) = count(&host.bytes[..host.slots as usize]);
        (count(&host.bytes[..host.cold as usize]).0, all, bytes)
    });
    format!("{name:28} {ir:4} {words:5} {straight:5} {all:5} {bytes:6}  {text}\n")
}

/// Instructions in this code, and their bytes; what only fills a gap is none.
fn count(code: &[u8]) -> (usize, usize) {
    let all = Decoder::new(64, code, DecoderOptions::NONE).into_iter().filter(|i| i.code() != Code::Int3);
    all.fold((0, 0), |(count, bytes), i| (count + 1, bytes + i.len()))
}
