//! What tells the models apart: integer division and fused multiply-add, which the Cortex-A9 has not and the Cortex-A15 has; identification.

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

#[test]
fn identification_registers() {
    // (CRn, opc1, CRm, opc2) and the value in a Cortex-A9 r3p0 with 32 KiB caches and a TLB of 128 entries.
    let table: [(u32, u32, u32, u32, &str, u32); 25] = [
        (0, 0, 0, 0, "MIDR", 0x413f_c090),
        (0, 0, 0, 1, "CTR", 0x8333_8003),
        (0, 0, 0, 2, "TCMTR", 0),
        (0, 0, 0, 3, "TLBTR", 0x0000_0402),
        (0, 0, 0, 4, "MIDR, alias", 0x413f_c090),
        (0, 0, 0, 6, "REVIDR", 0),
        (0, 0, 0, 7, "MIDR, alias", 0x413f_c090),
        (0, 0, 1, 0, "ID_PFR0", 0x0000_1231),
        (0, 0, 1, 1, "ID_PFR1", 0x0000_0011),
        (0, 0, 1, 2, "ID_DFR0", 0x0001_0444),
        (0, 0, 1, 3, "ID_AFR0", 0),
        (0, 0, 1, 4, "ID_MMFR0", 0x0010_0103),
        (0, 0, 1, 5, "ID_MMFR1", 0x2000_0000),
        (0, 0, 1, 6, "ID_MMFR2", 0x0123_0000),
        (0, 0, 1, 7, "ID_MMFR3", 0x0010_2111),
        (0, 0, 2, 0, "ID_ISAR0", 0x0010_1111),
        (0, 0, 2, 1, "ID_ISAR1", 0x1311_2111),
        (0, 0, 2, 2, "ID_ISAR2", 0x2123_2041),
        (0, 0, 2, 3, "ID_ISAR3", 0x1111_2131),
        (0, 0, 2, 4, "ID_ISAR4", 0x0001_1142),
        (0, 1, 0, 0, "CCSIDR, level 1 data", 0x701f_e019),
        (0, 1, 0, 1, "CLIDR", 0x0920_0003),
        (0, 1, 0, 7, "AIDR", 0),
        (1, 0, 0, 0, "SCTLR", 0x00c5_0078),
        (9, 0, 12, 0, "PMCR", 0x4109_3000),
    ];
    for (crn, opc1, crm, opc2, name, value) in table {
        // mrc p15, opc1, r0, crn, crm, opc2
        let mut b = executed("cortex-a9", false, 0xee10_0f10 | opc1 << 21 | crn << 16 | opc2 << 5 | crm);
        b.step();
        assert_eq!(state::pc(b.engine.state()), AT + 4, "{name}");
        assert_eq!(state::r(b.engine.state(), 0), value, "{name}");
    }
    // The instruction cache's size: CSSELR.InD.
    let mut b = executed("cortex-a9", false, 0xee30_0f10);
    state::set_csselr(b.engine.state_mut(), 1);
    b.step();
    assert_eq!(state::r(b.engine.state(), 0), 0x201f_e019);
}

#[test]
fn memory_transfers_of_the_system_coprocessor_are_undefined() {
    // ldc p15, c0, [r1]; stc p15, c0, [r1]; stc p14, c5, [r1] (the debug channel, absent).
    for code in [0xed91_0f00, 0xed81_0f00, 0xed81_5e00] {
        for model in ["cortex-a9", "cortex-a15"] {
            assert_undefined(&mut executed(model, false, code), false, "ldc, stc");
        }
    }
}
