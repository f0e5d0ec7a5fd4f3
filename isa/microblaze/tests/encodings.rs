//! Every encoding, with random fields and in every mode, lowers to IR that the verifier accepts; what is printed assembles to what it was.

use emu_asm::encode::NoSymbols;
use emu_asm::solve::Inverses;
use emu_ir::guest::*;
use emu_ir::spec_test::verify;
use emu_isa_microblaze::tests::{ENCODINGS, TESTS};
use emu_isa_microblaze::{GDB, Microblaze, System, TABLES, code_bytes};

fn next(random: &mut u64) -> u64 {
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    random.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[test]
fn every_encoding_lowers_to_valid_ir() {
    let mut random = 1;
    for e in ENCODINGS {
        for round in 0..100 {
            let isa = Microblaze::model(["big", "little"][round & 1], System).unwrap();
            let code = next(&mut random) & 0xffff_ffff & !e.mask | e.value;
            // user, mmu, exceptions, slot, imm: seven bits.
            let key = BlockKey(next(&mut random) & 0x7f);
            if let Err(error) = verify(&isa, key, code, code_bytes) {
                panic!("{} {}: {error}", e.place, e.name);
            }
        }
    }
}

#[test]
fn exceptions_enter_with_valid_ir() {
    let isa = Microblaze::model("big", System).unwrap();
    for id in (0..).take_while(|id| isa.exception_name(*id) != "?") {
        let mut builder = emu_ir::Builder::for_isa(&isa);
        isa.lower_exception(id, &mut builder);
        emu_ir::verify::verify(&builder.finish(), isa.layout(), Some(isa.helpers())).unwrap_or_else(|e| panic!("{id}: {e}"));
    }
}

#[test]
fn what_is_printed_assembles_to_the_same_word() {
    let assembly = emu_asm::Isa::from_json(TABLES).unwrap();
    let mut setting = assembly.setting("microblaze");
    setting.pc = 0x1000;
    let (mut random, inverses) = (7, Inverses::default());
    for e in ENCODINGS {
        for _ in 0..20 {
            let code = next(&mut random) & 0xffff_ffff & !e.mask | e.value;
            let Some(text) = assembly.disassemble(&setting, 32, code) else { continue };
            let made = assembly.encode(&setting, &text, &NoSymbols, &inverses).unwrap_or_else(|error| panic!("{code:#x}: {error}"));
            // Fields that mean nothing are not printed: the text is what must be the same.
            assert_eq!(assembly.disassemble(&setting, 32, made.code).as_deref(), Some(text.as_str()), "{code:#x}");
        }
    }
}

#[test]
fn tests_assemble_to_their_words() {
    let assembly = emu_asm::Isa::from_json(TABLES).unwrap();
    let (mut setting, inverses) = (assembly.setting("microblaze"), Inverses::default());
    let mut wrong = Vec::new();
    for t in TESTS {
        setting.pc = t.at.unwrap_or(0x1000);
        match assembly.encode(&setting, t.text, &NoSymbols, &inverses) {
            Ok(made) if made.code == t.code => {}
            other => wrong.push(format!("{} `{}`: {other:?}, not {:#x}", t.place, t.text, t.code)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_debugger_numbers_registers_as_gdb_does() {
    let names: Vec<&str> = GDB.regs().map(|r| r.name).collect();
    assert_eq!((names[31], names[32], names[33], names[34]), ("r31", "rpc", "rmsr", "rear"));
    assert_eq!((names[38], names[49], names[50], names[53]), ("rpvr0", "rpvr11", "redr", "rtlbx"));
}
