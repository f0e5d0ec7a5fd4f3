//! The tests written in the specification.

use emu_ir::spec_test::run;
use emu_isa_arm::tests::TESTS;
use emu_isa_arm::{Arm, System, code_bytes};

#[test]
fn specification_tests() {
    let mut wrong = Vec::new();
    for test in TESTS {
        let isa = Arm::model("cortex-a15", System::new("cortex-a15")).unwrap();
        if let Err(what) = run(isa, test, code_bytes) {
            wrong.push(format!("{} {} `{}`: {what}", test.place, test.insn, test.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TESTS.len(), wrong.join("\n"));
}
