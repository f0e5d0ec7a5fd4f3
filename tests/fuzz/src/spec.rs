//! Instruction-set specifications: any text is refused with messages, or gives code and findings.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match emu_dsl::load_texts(vec![("fuzz.isa".into(), text.into())]) {
        Ok(spec) => {
            _ = emu_codegen::lint::check(&spec);
            _ = emu_codegen::generate(&spec);
        }
        Err(errors) => _ = errors.to_string(),
    }
});
