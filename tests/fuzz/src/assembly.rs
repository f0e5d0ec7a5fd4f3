//! Assembly text in board files, and words given to the disassembler.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fuzz_target!(|input: (&str, u64)| {
    static ARM: OnceLock<emu_asm::Isa> = OnceLock::new();
    let isa = ARM.get_or_init(|| emu_asm::Isa::from_json(emu_isa_arm::TABLES).expect("the tables"));
    let mut setting = isa.setting("cortex-a15");
    _ = isa.encode(&setting, input.0, &emu_asm::encode::NoSymbols, &Default::default());
    for thumb in [0, 1] {
        isa.set_mode(&mut setting, "thumb", thumb);
        for bits in [16, 32] {
            _ = isa.disassemble(&setting, bits, input.1 & (u64::MAX >> (64 - bits)));
        }
    }
});
