//! Every encoding, with random fields and in every mode, lowers to IR that the verifier accepts.

use emu_ir::guest::*;
use emu_ir::spec_test::verify;
use emu_isa_arm::tests::ENCODINGS;
use emu_isa_arm::{Arm, Externs, code_bytes, exception};

/// No system coprocessor: this is about lowering only.
struct Bare;

impl Externs for Bare {
    fn send_event(&self, _: &mut HelperCx<'_>) {}
    fn cp15_read(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8) -> Result<u32, Exception> {
        Err(exception::undef())
    }
    fn cp15_write(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8, _: u32) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn cp15_read64(&self, _: &mut HelperCx<'_>, _: u8, _: u8) -> Result<u64, Exception> {
        Err(exception::undef())
    }
    fn cp15_write64(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u64) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn cp14_read(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8) -> Result<u32, Exception> {
        Err(exception::undef())
    }
    fn cp14_write(&self, _: &mut HelperCx<'_>, _: u8, _: u8, _: u8, _: u8, _: u32) -> Result<(), Exception> {
        Err(exception::undef())
    }
    fn translate_address(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind, _: u8) -> Result<Translation, Exception> {
        Err(exception::data_abort(va as u32, 0))
    }
    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
        exception::data_abort(va as u32, 0)
    }
    fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
        exception::data_abort(va as u32, 0)
    }
    fn space_tag(&self, _: &[u64]) -> u32 {
        0
    }
    fn reset(&self, _: &mut [u64]) {}
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn round(random: &mut Random, each: u32) -> Vec<String> {
    let models = ["cortex-a9", "cortex-a15"].map(|m| Arm::model(m, Bare).unwrap());
    let mut wrong = Vec::new();
    for e in ENCODINGS {
        for _ in 0..each {
            let isa = &models[(random.next() & 1) as usize];
            let all = if e.bits == 64 { u64::MAX } else { (1 << e.bits) - 1 };
            let code = random.next() & all & !e.mask | e.value;
            // Modes at random; the token's own; an IT state half of the time.
            let mut key = random.next() & 0x3e | u64::from(e.token);
            if e.token == 1 && random.next() & 1 == 1 {
                key |= (random.next() & 0xff) << 6;
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
            if let Err(error) = verify(&isa, BlockKey(random.next() & 0x3e | thumb), code, code_bytes) {
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
