//! Executes the `test` lines of every slice, and checks their assembly text against the disassembler.

use emu_asm::Isa as Assembly;
use emu_ir::spec_test::run;

/// The text without differences in the base of its numbers.
fn plain(text: &str) -> String {
    let parts = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    parts
        .map(|part| {
            let digits = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let value = digits.strip_prefix("0x").and_then(|d| u64::from_str_radix(d, 16).ok());
            value.map_or(part.to_string(), |v| format!("{v}{}", &part[digits.len()..]))
        })
        .collect()
}

macro_rules! slice {
    ($name:ident, $isa:ident) => {
        #[test]
        fn $name() {
            use emu_slices::$name::{Flat, code_bytes, tests::TESTS, $isa};
            assert!(TESTS.len() >= 10);
            let wrong: Vec<String> = TESTS
                .iter()
                .filter_map(|test| {
                    let isa = $isa::model("all", Flat).expect("the slice has a model `all`");
                    let what = run(isa, test, code_bytes).err()?;
                    Some(format!("{} {} `{}`:\n{what}", test.place, test.insn, test.text))
                })
                .collect();
            assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TESTS.len(), wrong.join("\n"));

            let assembly = Assembly::from_json(emu_slices::$name::TABLES).expect("generated tables");
            let mut setting = assembly.setting("all");
            let mut wrong = Vec::new();
            for test in TESTS {
                setting.pc = test.at.unwrap_or(0x1000);
                let isa = $isa::model("all", Flat).expect("the slice has a model `all`");
                let mut state = vec![0; emu_slices::$name::CELLS];
                emu_ir::guest::Isa::reset(&isa, &mut state);
                let key = emu_ir::guest::Isa::block_key(&isa, &state);
                for (text, code) in [(test.text, test.code)].iter().chain(test.then) {
                    let bits = code_bytes(&isa, key, *code).len() as u8 * 8;
                    let found = assembly.disassemble(&setting, bits, *code).unwrap_or_default();
                    if plain(&found) != plain(text) {
                        wrong.push(format!("{}: {code:#x} is `{found}`, wanted `{text}`", test.place));
                    }
                    setting.pc += u64::from(bits) / 8;
                }
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    };
}

slice!(mips, Mips);
