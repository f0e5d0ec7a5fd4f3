//! Register maps of devices.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    _ = emu_codegen::regs::generate("fuzz.kdl", text);
});
