//! Every encoding, with random fields and in every mode, lowers to IR that the verifier accepts.

mod common;

use common::{Bare, Random};
use emu_ir::guest::*;
use emu_ir::spec_test::verify;
use emu_isa_arm::tests::ENCODINGS;
use emu_isa_arm::{Arm, code_bytes};

fn round(random: &mut Random, each: u32) -> Vec<String> {
    let models = ["cortex-a9", "cortex-a15"].map(|m| Arm::model(m, Bare).unwrap());
    let mut wrong = Vec::new();
    for e in ENCODINGS {
        for _ in 0..each {
            let isa = &models[(random.next() & 1) as usize];
            let all = if e.bits == 64 { u64::MAX } else { (1 << e.bits) - 1 };
            let code = random.next() & all & !e.mask | e.value;
            // Modes at random; the token's own; an IT state half of the time.
            let mut key = random.next() & 0x7e | u64::from(e.token);
            if e.token == 1 && random.next() & 1 == 1 {
                key |= (random.next() & 0xff) << 7;
            }
            if let Err(error) = verify(isa, BlockKey(key), code, code_bytes) {
                wrong.push(format!("{} {}: {error}", e.place, e.name));
                break;
            }
        }
    }
    wrong
}

#[test]
fn every_encoding_lowers_to_valid_ir() {
    let wrong = round(&mut Random(0x9e37_79b9_7f4a_7c15), 60);
    assert!(wrong.is_empty(), "{} encodings:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn any_word_translates() {
    let isa = Arm::model("cortex-a9", Bare).unwrap();
    let mut random = Random(1);
    for _ in 0..20_000 {
        let code = random.next() & 0xffff_ffff;
        for thumb in [0, 1] {
            if let Err(error) = verify(&isa, BlockKey(random.next() & 0x7e | thumb), code, code_bytes) {
                panic!("{error}");
            }
        }
    }
}

#[test]
fn exceptions_enter_with_valid_ir() {
    let isa = Arm::model("cortex-a9", Bare).unwrap();
    for id in 0.. {
        if isa.exception_name(id) == "?" {
            break;
        }
        let mut builder = emu_ir::Builder::for_isa(&isa);
        isa.lower_exception(id, &mut builder);
        let block = builder.finish();
        if let Err(error) = emu_ir::verify::verify(&block, isa.layout(), Some(isa.helpers())) {
            panic!("{}: {error}\n{}", isa.exception_name(id), emu_ir::text::print(&block, isa.layout()));
        }
    }
}
