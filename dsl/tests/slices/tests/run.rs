//! Executes the `test` lines of every slice, and checks their assembly text against the disassembler.

use emu_asm::Isa as Assembly;
use emu_ir::Slot;
use emu_ir::guest::Isa;
use emu_ir::spec_test::{Place, run};

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
            let mut wrong = Vec::new();
            for test in TESTS {
                let isa = $isa::model("all", Flat).expect("the slice has a model `all`");
                let mut state = vec![0; emu_slices::$name::CELLS];
                isa.reset(&mut state);
                for (place, value) in test.before {
                    if let Place::Slot(slot) = place {
                        isa.layout().write(&mut state, Slot(*slot), *value);
                    }
                }
                let first = isa.block_key(&state);
                let mut setting = assembly.setting(concat!(stringify!($name), "-slice"));
                setting.pc = test.at.unwrap_or(0x1000);
                let bytes = code_bytes(&isa, first, test.code);
                assembly.set_key(&mut setting, first.0);
                let fetched = assembly.fetch(&setting, &bytes);
                if test.raises.is_none() && fetched != Some((bytes.len() as u8 * 8, test.code)) {
                    wrong.push(format!("{}: {:#x} is fetched as {fetched:x?}", test.place, test.code));
                }
                for (i, (text, code)) in [(test.text, test.code)].iter().chain(test.then).enumerate() {
                    let bits = code_bytes(&isa, first, *code).len() as u8 * 8;
                    // A later instruction may run in other modes than the first.
                    let keys = if i == 0 { first.0..=first.0 } else { 0..=15 };
                    let mut texts = Vec::new();
                    for key in keys {
                        assembly.set_key(&mut setting, key);
                        texts.extend(assembly.disassemble(&setting, bits, *code));
                    }
                    // What is undefined has no text.
                    let undefined = texts.is_empty() && test.raises.is_some();
                    if !undefined && !texts.iter().any(|found| plain(found) == plain(text)) {
                        wrong.push(format!("{}: {code:#x} is `{}`, wanted `{text}`", test.place, texts.join("` or `")));
                    }
                    setting.pc += u64::from(bits) / 8;
                }
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    };
}

/// One specification, two byte orders of instructions and data: the model's feature decides.
#[test]
fn a_feature_turns_the_byte_order() {
    use emu_ir::guest::BlockKey;
    use emu_slices::mips::{Flat, Mips, TABLES, code_bytes};
    let lw = 0x8c82_0004; // lw v0, 4(a0)
    let assembly = Assembly::from_json(TABLES).expect("generated tables");
    for (model, title, wanted) in [("all", "mips-slice", [0x8c, 0x82, 0x00, 0x04]), ("little", "mipsel-slice", [0x04, 0x00, 0x82, 0x8c])] {
        let isa = Mips::model(model, Flat).expect("the model");
        assert_eq!(code_bytes(&isa, BlockKey(0), lw), wanted);
        let setting = assembly.setting(title);
        assert_eq!(assembly.fetch(&setting, &wanted), Some((32, lw)));
        assert_eq!(assembly.to_bytes(&setting, 0, 32, lw), wanted);
        let slot = |name| Place::Slot(isa.layout().slot(name).expect("a register").0);
        // The same four bytes in memory are another word.
        let test = emu_ir::spec_test::SpecTest {
            insn: "lw",
            place: "",
            text: "",
            at: None,
            code: lw,
            then: &[],
            before: Box::leak(Box::new([(slot("r4"), 0x2000), (Place::Mem(0x2004, 4), 0x1234_5678)])),
            after: Box::leak(Box::new([(slot("r2"), if model == "all" { 0x7856_3412 } else { 0x1234_5678 })])),
            raises: None,
        };
        run(isa, &test, code_bytes).unwrap_or_else(|e| panic!("{model}: {e}"));
    }
}

slice!(mips, Mips);
slice!(sparc, Sparc);
slice!(sh4, Sh4);
slice!(ppc, Ppc);
slice!(x86, X86);
