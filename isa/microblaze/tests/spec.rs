//! The tests written in the specification.

use emu_ir::spec_test::run;
use emu_isa_microblaze::tests::TESTS;
use emu_isa_microblaze::{Microblaze, System, code_bytes};

#[test]
fn specification_tests() {
    let mut wrong = Vec::new();
    for test in TESTS {
        let isa = Microblaze::model("big", System).unwrap();
        if let Err(what) = run(isa, test, code_bytes) {
            wrong.push(format!("{} {} `{}`: {what}", test.place, test.insn, test.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TESTS.len(), wrong.join("\n"));
}
