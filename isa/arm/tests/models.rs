//! What the Cortex-A9 has not and the Cortex-A15 has: integer division and fused multiply-add.

mod common;

use common::Bench;
use emu_isa_arm::state;

const AT: u32 = 0x8000;

/// Executes one instruction with r1 = -7, r2 = 2, and s2 = 3.0, s4 = 0.5, s0 = 1.0 (d1, d2, d0 alike in double precision).
fn executed(model: &str, thumb: bool, code: u32) -> Bench {
    let mut b = Bench::new(model);
    if thumb {
        b.poke(AT, code.rotate_right(16));
    } else {
        b.poke(AT, code);
    }
    let s = b.engine.state_mut();
    state::set_cpacr(s, 0x00f0_0000);
    state::set_fpexc_en(s, true);
    state::set_T(s, thumb);
    state::set_n(s, true);
    state::set_pc(s, AT);
    state::set_r(s, 1, -7i32 as u32);
    state::set_r(s, 2, 2);
    b
}

/// Undefined Instruction, with the return address and the saved status it must have.
fn assert_undefined(b: &mut Bench, thumb: bool, what: &str) {
    let before = emu_isa_arm::vectors::cpsr(b.engine.state()) | u32::from(thumb) << 5;
    b.step();
    let s = b.engine.state();
    assert_eq!((state::pc(s), state::M(s)), (4, 0x1b), "{what} {thumb} {:#x} {:#x} r0 {:#x}", b.peek(AT), state::pc(s), state::r(s, 0));
    assert_eq!(state::r(s, 14), AT + if thumb { 2 } else { 4 }, "{what}: LR_und");
    assert_eq!(state::spsr(s), before, "{what}: SPSR_und");
    assert!(state::I(s) && !state::T(s), "{what}");
}

#[test]
fn integer_division() {
    // (A32, T32, result in r0): SDIV r0, r1, r2 and UDIV r0, r1, r2.
    for (what, a32, t32, result) in [("sdiv", 0xe710_f211, 0xfb91_f0f2, -3i32 as u32), ("udiv", 0xe730_f211, 0xfbb1_f0f2, 0x7fff_fffc)] {
        for (thumb, code) in [(false, a32), (true, t32)] {
            assert_undefined(&mut executed("cortex-a9", thumb, code), thumb, what);
            let mut b = executed("cortex-a15", thumb, code);
            b.step();
            let s = b.engine.state();
            assert_eq!((state::r(s, 0), state::pc(s)), (result, AT + 4), "{what}");
        }
    }
}

#[test]
fn division_by_zero_gives_zero() {
    for code in [0xe710_f211, 0xe730_f211] {
        let mut b = executed("cortex-a15", false, code);
        state::set_r(b.engine.state_mut(), 2, 0);
        b.step();
        assert_eq!((state::r(b.engine.state(), 0), state::pc(b.engine.state())), (0, AT + 4));
    }
}

#[test]
fn fused_multiply_add() {
    // Single precision, sd = s0, sn = s2, sm = s4: VFMA, VFMS, VFNMA, VFNMS; and the same as NEON vectors of two: VFMA, VFMS d0, d1, d2.
    let scalar = [("vfma", 0xeea1_0a02u32, 2.5f32), ("vfms", 0xeea1_0a42, -0.5), ("vfnma", 0xee91_0a42, -2.5), ("vfnms", 0xee91_0a02, 0.5)];
    for (what, code, result) in scalar {
        for thumb in [false, true] {
            assert_undefined(&mut executed("cortex-a9", thumb, code), thumb, what);
            let mut b = executed("cortex-a15", thumb, code);
            let s = b.engine.state_mut();
            for (register, value) in [(0, 1.0f32), (2, 3.0), (4, 0.5)] {
                state::set_s(s, register, value.to_bits());
            }
            b.step();
            let s = b.engine.state();
            assert_eq!((f32::from_bits(state::s(s, 0)), state::pc(s)), (result, AT + 4), "{what}");
        }
    }
    for (what, a32, t32, result) in [("vfma", 0xf201_0c12u32, 0xef01_0c12, 2.5f32), ("vfms", 0xf221_0c12, 0xef21_0c12, -0.5)] {
        for (thumb, code) in [(false, a32), (true, t32)] {
            assert_undefined(&mut executed("cortex-a9", thumb, code), thumb, what);
            let mut b = executed("cortex-a15", thumb, code);
            let s = b.engine.state_mut();
            for (register, value) in [(0, 1.0f32), (2, 3.0), (4, 0.5)] {
                state::set_s(s, register, value.to_bits());
                state::set_s(s, register + 1, value.to_bits());
            }
            b.step();
            let s = b.engine.state();
            assert_eq!([state::s(s, 0), state::s(s, 1)].map(f32::from_bits), [result; 2], "{what}");
        }
    }
}
