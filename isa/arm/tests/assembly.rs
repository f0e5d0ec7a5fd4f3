//! Assembler, disassembler and decoder agree: one specification, three consumers.

mod common;

use common::{Bare, Random};
use emu_asm::encode::NoSymbols;
use emu_asm::solve::Inverses;
use emu_asm::{Isa as Assembly, Setting};
use emu_ir::guest::*;
use emu_ir::{Slot, spec_test::Place};
use emu_isa_arm::tests::{ENCODINGS, TESTS};
use emu_isa_arm::{Arm, CELLS, LAYOUT, TABLES, code_bytes, encoding_at};

/// Modes and contexts as the block key has them.
fn setting(assembly: &Assembly, model: &str, key: BlockKey, pc: u64) -> Setting {
    let mut s = assembly.setting(model);
    let mut rest = key.0;
    let widths = assembly.tables.modes.iter().map(|m| m.1).chain(assembly.tables.contexts.iter().map(|c| c.bits));
    let values: Vec<u64> = widths
        .map(|bits| {
            let value = rest & ((1 << bits) - 1);
            rest >>= bits;
            value
        })
        .collect();
    s.contexts = values[s.modes.len()..].to_vec();
    s.modes = values[..s.modes.len()].to_vec();
    s.pc = pc;
    s
}

/// Numbers in decimal.
fn plain(text: &str) -> String {
    let mut words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let number = |w: &str| {
        let (digits, rest) = w.split_at(w.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
        let value = digits.strip_prefix("0x").and_then(|d| u64::from_str_radix(d, 16).ok());
        value.map_or(w.to_string(), |v| format!("{v}{rest}"))
    };
    words.by_ref().map(number).collect()
}

#[test]
fn tests_assemble_and_disassemble() {
    let assembly = Assembly::from_json(TABLES).unwrap();
    let isa = Arm::model("cortex-a15", Bare).unwrap();
    let inverses = Inverses::default();
    let mut wrong = Vec::new();
    for t in TESTS {
        let mut state = vec![0; CELLS];
        isa.reset(&mut state);
        for (place, value) in t.before {
            if let Place::Slot(slot) = place {
                LAYOUT.write(&mut state, Slot(*slot), *value);
            }
        }
        let key = isa.block_key(&state);
        let setting = setting(&assembly, "cortex-a15", key, t.at.unwrap_or(0x1000));
        let bits = code_bytes(&isa, key, t.code).len() as u8 * 8;
        let text = assembly.disassemble(&setting, bits, t.code);
        // Numbers may be written in any base.
        if text.as_deref().map(plain) != Some(plain(t.text)) {
            wrong.push(format!("{}: {:#x} is `{}`, wanted `{}`", t.place, t.code, text.unwrap_or_default(), t.text));
        }
        match assembly.encode(&setting, t.text, &NoSymbols, &inverses) {
            Ok(e) if e.code == t.code => {}
            Ok(e) => wrong.push(format!("{}: `{}` is {:#x}, wanted {:#x}", t.place, t.text, e.code, t.code)),
            Err(error) => wrong.push(format!("{}: {error}", t.place)),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * TESTS.len(), wrong.join("\n"));
}

#[test]
fn what_is_printed_assembles_to_what_prints_the_same() {
    let assembly = Assembly::from_json(TABLES).unwrap();
    let isa = Arm::model("cortex-a15", Bare).unwrap();
    let inverses = Inverses::default();
    let mut random = Random(77);
    let (mut wrong, mut printed) = (Vec::new(), 0);
    for e in ENCODINGS {
        for _ in 0..4 {
            let code = random.next() & ((1 << e.bits) - 1) & !e.mask | e.value;
            // Privileged, floating point enabled, now and then in an IT block.
            let it = if e.token == 1 && random.next() & 3 == 0 { 0x08 | (random.next() & 0xe0) } else { 0 };
            let key = BlockKey(u64::from(e.token) | 0x64 | it << 7);
            let s = setting(&assembly, "cortex-a15", key, 0x1000);
            let bytes = code_bytes(&isa, key, code);
            let mut fetch = |at: u64, size: u8| {
                let at = at as usize - 0x1000;
                Ok((0..usize::from(size)).rev().fold(0u64, |all, i| all << 8 | u64::from(bytes.get(at + i).copied().unwrap_or(0))))
            };
            let found = encoding_at(&isa, key, 0x1000, &mut fetch).unwrap();
            let decoded = assembly.decode(&s, e.bits, code);
            let named = decoded.as_ref().map(|d| {
                let table = &assembly.tables.encodings[d.encoding];
                format!("{}_{}", assembly.tables.insns[table.insn as usize].name, table.name)
            });
            assert_eq!(named.as_deref(), found.map(|f| f.name), "{code:#x}");
            let Some(text) = assembly.disassemble(&s, e.bits, code) else { continue };
            printed += 1;
            let again = match assembly.encode(&s, &text, &NoSymbols, &inverses) {
                Ok(found) => assembly.disassemble(&s, found.bits, found.code).unwrap_or_default(),
                Err(error) => error,
            };
            // A shorter encoding may have a shorter name.
            if again != text && again != text.replacen(".w", "", 1) {
                wrong.push(format!("{} {} {code:#x} `{text}`: {again}", e.place, e.name));
                break;
            }
        }
    }
    assert!(printed > ENCODINGS.len(), "only {printed} have a text");
    assert!(wrong.is_empty(), "{} encodings:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn constants_come_from_a_pool_before_or_after_the_load() {
    let assembly = Assembly::from_json(TABLES).unwrap();
    let text = "ldr r0, =0x12345678\n bx lr\n.pool\nback: .word 7\n ldr r1, back\n ldr r2, =0xfffffff0";
    let made = emu_asm::source::assemble(&assembly, &assembly.setting("cortex-a9"), "test", text, 0xffff_ff00, &[]).unwrap();
    let words: Vec<u32> = made.bytes.chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
    assert_eq!(words, [0xe59f_0000, 0xe12f_ff1e, 0x1234_5678, 7, 0xe51f_100c, 0xe51f_2004, 0xffff_fff0]);
}
