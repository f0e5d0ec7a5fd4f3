//! Guest bytes to IR: the lowering of representative instructions, as text. `BLESS=1` writes the golden file anew.

mod common;

use common::Bare;
use emu_ir::guest::{BlockKey, Isa};
use emu_ir::spec_test::verify;
use emu_isa_arm::{Arm, CELLS, TABLES, code_bytes, state};
use std::fmt::Write;

/// Thumb or not, and the word (a 32-bit Thumb instruction: first halfword high).
const CODES: &[(bool, u64)] = &[
    (false, 0xe081_0002), // add r0, r1, r2
    (false, 0xe0b1_0312), // adcs r0, r1, r2, lsl r3
    (false, 0x1251_0001), // subsne r0, r1, #1
    (false, 0xe1b0_0062), // rrxs r0, r2
    (false, 0xe0c1_0392), // smull r0, r1, r2, r3
    (false, 0xe710_f211), // sdiv r0, r1, r2
    (false, 0xe103_0052), // qadd r0, r2, r3
    (false, 0xe651_0f92), // uadd8 r0, r1, r2
    (false, 0xe6a1_0012), // ssat r0, #2, r2
    (false, 0xe5b1_0004), // ldr r0, [r1, #4]!
    (false, 0xe1c1_00d8), // ldrd r0, r1, [r1, #8]
    (false, 0xe8bd_800f), // pop {r0-r3, pc}
    (false, 0xe92d_4010), // push {r4, lr}
    (false, 0xe8fd_8001), // ldm sp!, {r0, pc}^
    (false, 0xe191_0f9f), // ldrex r0, [r1]
    (false, 0xe181_0f92), // strex r0, r2, [r1]
    (false, 0xebff_fffe), // bl
    (false, 0xe12f_ff1e), // bx lr
    (false, 0xef00_0000), // svc #0
    (false, 0xe320_f002), // wfe
    (false, 0xf57f_f05b), // dmb ish
    (false, 0xee11_0f10), // mrc p15, 0, r0, c1, c0, 0
    (false, 0xe121_f000), // msr cpsr_c, r0
    (false, 0xf102_0010), // cps #16
    (false, 0xee31_0a02), // vadd.f32 s0, s2, s4
    (false, 0xee81_0b02), // vdiv.f64 d0, d1, d2
    (false, 0xf202_0844), // vadd.i8 q0, q1, q2
    (false, 0xf3b2_0042), // vswp d0, d2
    (false, 0xec91_0b04), // vldmia r1, {d0, d1}
    (false, 0xe1c0_20f8), // strd r2, r3, [r0, #8]
    (false, 0xe7c7_0211), // bfi r0, r1, #4, #4
    (false, 0xf420_070f), // vld1.8 {d0}, [r0]
    (false, 0xf3a1_0a42), // vmull.u32 q0, d1, d2[0]
    (false, 0xf28c_0812), // vshrn.i16 d0, q1, #4
    (true, 0xef22_0844),  // vadd.i32 q0, q1, q2
    (true, 0x1888),       // adds r0, r1, r2
    (true, 0xbf18),       // it ne
    (true, 0xd0fe),       // beq
    (true, 0xe8d1_f002),  // tbb [r1, r2]
    (true, 0xf04f_0001),  // mov.w r0, #1
    (true, 0xb501),       // push {r0, lr}
];

#[test]
fn instructions_lower_to_the_golden_ir() {
    let isa = Arm::model("cortex-a15", Bare).unwrap();
    let assembly = emu_asm::Isa::from_json(TABLES).unwrap();
    let mut out = String::new();
    for &(thumb, code) in CODES {
        let mut cells = vec![0; CELLS];
        isa.reset(&mut cells);
        state::set_cpacr(&mut cells, 0x00f0_0000);
        state::set_fpexc_en(&mut cells, true);
        state::set_T(&mut cells, thumb);
        let key = isa.block_key(&cells);
        let mut setting = assembly.setting("cortex-a15");
        setting.pc = 0x1000;
        for (mode, value) in [("thumb", thumb), ("pl", true), ("fp_access", true), ("fp_on", true)] {
            assembly.set_mode(&mut setting, mode, value.into());
        }
        let bits = 8 * code_bytes(&isa, BlockKey(key.0), code).len() as u8;
        let text = assembly.disassemble(&setting, bits, code).unwrap_or_else(|| "undefined".into());
        let block = verify(&isa, key, code, code_bytes).unwrap_or_else(|e| panic!("{e}"));
        _ = writeln!(out, "{code:#x} {}: {text}\n{}", if thumb { "thumb" } else { "arm" }, emu_ir::text::print(&block, isa.layout()));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ir.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &out).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(out == golden, "the IR differs from tests/golden/ir.txt; look at it with BLESS=1 and git diff");
}
