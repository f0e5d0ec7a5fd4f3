//! Short-descriptor translation and its faults, as a program meets them (ARM ARM B3.5, B3.7, B3.12, B3.13).
//!
//! Each case: tables in memory, one load, store or fetch, and what comes of it: the physical place, or the exception's status, address and
//! return address.

mod common;

use common::{Bench, RAM};
use emu_isa_arm::state;

/// The code and the first-level tables.
const CODE: u32 = 0x8000;
const TABLE0: u32 = 0x4000;
const TABLE1: u32 = 0xc000;
const SECOND: u32 = 0x1_0000;

const LDR: u32 = 0xe590_1000; // ldr r1, [r0]
const STR: u32 = 0xe580_1000; // str r1, [r0]
const LDRT: u32 = 0xe4b0_1000; // ldrt r1, [r0]
const STRT: u32 = 0xe4a0_1000; // strt r1, [r0]
const BX: u32 = 0xe12f_ff10; // bx r0

/// Identity section: domain 0, privileged read and write, executable.
const SECTION: u32 = 0b10 | 0b01 << 10;
/// A table entry for `SECOND`, domain 5.
const COARSE: u32 = SECOND | 5 << 5 | 0b01;

/// What an access comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// The word at this physical address.
    Word(u32),
    /// Data abort: DFSR.
    Data(u32),
    /// Prefetch abort: IFSR.
    Fetch(u32),
}
use Seen::*;

/// MMU on, all domains clients, the first MiB mapped as it is.
fn bench() -> Bench {
    bench_of("cortex-a9")
}

fn bench_of(model: &str) -> Bench {
    let mut b = Bench::new(model);
    b.poke(TABLE0, SECTION);
    let s = b.engine.state_mut();
    state::set_ttbr0(s, TABLE0);
    state::set_ttbr1(s, TABLE1);
    state::set_dacr(s, 0x5555_5555);
    state::set_sctlr(s, state::sctlr(s) | 1);
    b
}

/// Executes `code` with `va` in r0.
fn access(b: &mut Bench, code: u32, va: u32) -> Seen {
    b.poke(CODE, code);
    // Every word of RAM that a case may read holds its own address.
    let marks: Vec<u32> = (0x10_0000..RAM as u32).step_by(0x400).collect();
    marks.iter().for_each(|at| b.poke(*at, *at));
    let s = b.engine.state_mut();
    state::set_M(s, 0x13);
    state::set_pc(s, CODE);
    state::set_r(s, 0, va);
    state::set_r(s, 1, 0xdead_beef);
    b.step();
    if code == BX {
        assert_eq!(state::pc(b.engine.state()), va);
        b.step();
    }
    let s = b.engine.state();
    if state::M(s) == 0x13 {
        if code == BX {
            return Word(state::pc(s) - 4);
        }
        if code == STR || code == STRT {
            let changed = marks.iter().find(|at| b.peek(**at) == 0xdead_beef);
            return Word(*changed.expect("a word was stored"));
        }
        return Word(state::r(s, 1));
    }
    assert_eq!((state::M(s), state::I(s), state::A(s)), (0x17, true, true));
    assert_eq!(state::spsr(s) & 0x1f, 0x13);
    assert_eq!(state::r(s, 0), va, "a faulting access writes no register");
    if state::pc(s) == 0x10 {
        assert_eq!((state::dfar(s), state::r(s, 14)), (va, CODE + 8));
        Data(state::dfsr(s))
    } else {
        assert_eq!((state::pc(s), state::ifar(s), state::r(s, 14)), (0x0c, va, va + 4));
        Fetch(state::ifsr(s))
    }
}

const WRITE: u32 = 1 << 11;
const DOMAIN5: u32 = 5 << 4;

#[test]
fn sections_and_pages() {
    let mut b = bench();
    // Section at 0x300: VA 0x300xxxxx -> 0x001xxxxx; supersection at 0x40000000 -> 0; tables at 0x500: large and small pages.
    b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | SECTION);
    (0..16).for_each(|i| b.poke(TABLE0 + (0x400 + i) * 4, 1 << 18 | SECTION));
    b.poke(TABLE0 + 0x500 * 4, COARSE);
    (0..16).for_each(|i| b.poke(SECOND + i * 4, 0x0011_0000 | 0b01 << 4 | 0b01));
    b.poke(SECOND + 0x20 * 4, 0x0012_3000 | 0b01 << 4 | 0b10);
    for (va, pa) in [
        (0x3000_0000, 0x10_0000),
        (0x300f_fc00, 0x1f_fc00),
        (0x4010_0400, 0x10_0400),
        (0x5000_0000, 0x11_0000),
        (0x5000_fc00, 0x11_fc00),
        (0x5002_0000, 0x12_3000),
        (0x5002_0c00, 0x12_3c00),
    ] {
        assert_eq!(access(&mut b, LDR, va), Word(pa), "{va:#x}");
        assert_eq!(access(&mut b, STR, va), Word(pa), "{va:#x}");
        assert_eq!(access(&mut b, BX, va), Word(va), "{va:#x}");
    }
}

#[test]
fn translation_faults() {
    let mut b = bench();
    b.poke(TABLE0 + 0x500 * 4, COARSE);
    b.poke(TABLE0 + 0x600 * 4, 0b11); // reserved in the Cortex-A9
    for (code, va, seen) in [
        (LDR, 0x3000_0004, Data(0b0101)),
        (STR, 0x3000_0004, Data(0b0101 | WRITE)),
        (BX, 0x3000_0004, Fetch(0b0101)),
        (LDR, 0x6000_0000, Data(0b0101)),
        (LDR, 0x5000_1000, Data(0b0111 | DOMAIN5)),
        (STR, 0x5000_1ffc, Data(0b0111 | DOMAIN5 | WRITE)),
        (BX, 0x5000_1000, Fetch(0b0111)),
    ] {
        assert_eq!(access(&mut b, code, va), seen, "{code:#x} {va:#x}");
    }
}

#[test]
fn domains() {
    // (domain's access, the page's AP, load, store)
    for (domain, ap, load, store) in [
        (0, 3, Some(Data(0b1011 | DOMAIN5)), Some(Data(0b1011 | DOMAIN5 | WRITE))),
        (1, 3, None, None),
        (1, 0, Some(Data(0b1111 | DOMAIN5)), Some(Data(0b1111 | DOMAIN5 | WRITE))),
        (2, 3, Some(Data(0b1011 | DOMAIN5)), Some(Data(0b1011 | DOMAIN5 | WRITE))),
        (3, 0, None, None),
    ] {
        let mut b = bench();
        b.poke(TABLE0 + 0x500 * 4, COARSE);
        b.poke(SECOND, 0x0010_0000 | ap << 4 | 0b10);
        state::set_dacr(b.engine.state_mut(), 1 | domain << 10);
        assert_eq!(access(&mut b, LDR, 0x5000_0000), load.unwrap_or(Word(0x10_0000)), "{domain} {ap}");
        assert_eq!(access(&mut b, STR, 0x5000_0000), store.unwrap_or(Word(0x10_0000)), "{domain} {ap}");
    }
    // The same of a section, whose domain fault has its own code; and of a fetch.
    let mut b = bench();
    b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | 5 << 5 | SECTION);
    state::set_dacr(b.engine.state_mut(), 1);
    assert_eq!(access(&mut b, LDR, 0x3000_0000), Data(0b1001 | DOMAIN5));
    assert_eq!(access(&mut b, BX, 0x3000_0000), Fetch(0b1001));
}

#[test]
fn permissions() {
    // AP[2:0]: what privileged code may do, and what unprivileged may (LDRT, STRT).
    let table: [(u32, &str, &str); 8] =
        [(0, "", ""), (1, "rw", ""), (2, "rw", "r"), (3, "rw", "rw"), (4, "", ""), (5, "r", ""), (6, "r", "r"), (7, "r", "r")];
    for (ap, privileged, user) in table {
        let mut b = bench();
        b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | (ap & 3) << 10 | (ap >> 2) << 15 | 0b10);
        for (code, allowed) in
            [(LDR, privileged.contains('r')), (STR, privileged.contains('w')), (LDRT, user.contains('r')), (STRT, user.contains('w'))]
        {
            let write = if code == STR || code == STRT { WRITE } else { 0 };
            let seen = if allowed { Word(0x10_0400) } else { Data(0b1101 | write) };
            assert_eq!(access(&mut b, code, 0x3000_0400), seen, "AP {ap:03b} {code:#x}");
        }
    }
}

#[test]
fn the_access_flag() {
    // SCTLR.AFE: AP[0] is the access flag; clear it faults before domain and permissions are looked at.
    for (ap, domain, seen) in [(0b001, 1, Word(0x10_0000)), (0b000, 1, Data(0b0011)), (0b010, 0, Data(0b0011)), (0b011, 0, Data(0b1001))] {
        let mut b = bench();
        b.poke(TABLE0, 0b11 << 10 | 5 << 5 | 0b10);
        b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | ap << 10 | 0b10);
        let s = b.engine.state_mut();
        state::set_sctlr(s, state::sctlr(s) | 1 << 29);
        state::set_dacr(s, domain | 1 << 10);
        assert_eq!(access(&mut b, LDR, 0x3000_0000), seen, "AP {ap:03b} domain {domain}");
    }
    let mut b = bench();
    b.poke(TABLE0, SECTION);
    b.poke(TABLE0 + 0x500 * 4, COARSE);
    b.poke(SECOND, 0x0010_0000 | 0b10 << 4 | 0b10);
    let s = b.engine.state_mut();
    state::set_sctlr(s, state::sctlr(s) | 1 << 29);
    assert_eq!(access(&mut b, STR, 0x5000_0000), Data(0b0110 | DOMAIN5 | WRITE));
    assert_eq!(access(&mut b, BX, 0x5000_0000), Fetch(0b0110));
}

#[test]
fn execute_never() {
    let mut b = bench();
    b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | 1 << 4 | SECTION);
    b.poke(TABLE0 + 0x500 * 4, COARSE);
    b.poke(SECOND, 0x0010_0000 | 0b01 << 4 | 0b11);
    (0x10..0x20).for_each(|i| b.poke(SECOND + i * 4, 0x0011_0000 | 1 << 15 | 0b01 << 4 | 0b01));
    assert_eq!(access(&mut b, BX, 0x3000_0000), Fetch(0b1101));
    assert_eq!(access(&mut b, BX, 0x5000_0000), Fetch(0b1111));
    assert_eq!(access(&mut b, BX, 0x5001_0000), Fetch(0b1111));
    assert_eq!(access(&mut b, LDR, 0x5001_0000), Word(0x11_0000));
    // A manager's domain checks neither.
    state::set_dacr(b.engine.state_mut(), 0xffff_ffff);
    assert_eq!(access(&mut b, BX, 0x3000_0000), Word(0x3000_0000));
}

#[test]
fn two_tables() {
    // TTBCR.N = 1: the upper half by TTBR1, whose table begins at index 0 of all 4096; the lower by a half-size TTBR0.
    let mut b = bench();
    b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | SECTION);
    b.poke(TABLE1 + 0x900 * 4, 0x0010_0000 | SECTION);
    state::set_ttbcr(b.engine.state_mut(), 1);
    assert_eq!(access(&mut b, LDR, 0x3000_0400), Word(0x10_0400));
    assert_eq!(access(&mut b, LDR, 0x9000_0800), Word(0x10_0800));
    assert_eq!(access(&mut b, LDR, 0x9010_0000), Data(0b0101));
    // PD1: no walks by TTBR1.
    state::set_ttbcr(b.engine.state_mut(), 1 | 1 << 5);
    assert_eq!(access(&mut b, LDR, 0x9000_0800), Data(0b0101));
    // PD0: none by TTBR0, while the code, in the upper half, goes on.
    b.poke(TABLE1 + 0x900 * 4, SECTION);
    b.poke(CODE, LDR);
    let s = b.engine.state_mut();
    state::set_ttbcr(s, 1 | 1 << 4);
    state::set_M(s, 0x13);
    state::set_pc(s, 0x9000_0000 + CODE);
    state::set_r(s, 0, 0x3000_0400);
    b.step();
    let s = b.engine.state();
    assert_eq!((state::pc(s), state::dfsr(s), state::dfar(s), state::r(s, 14)), (0x10, 0b0101, 0x3000_0400, 0x9000_0008 + CODE));
}

#[test]
fn privileged_execute_never() {
    // The Cortex-A15 has it: bit 0 of a section, bit 2 of the descriptor of a table. In the Cortex-A9 the former is reserved, the latter nothing.
    for (model, section, table) in [("cortex-a15", Fetch(0b1101), Fetch(0b1111)), ("cortex-a9", Fetch(0b0101), Word(0x5000_0000))] {
        let mut b = bench_of(model);
        b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | 0b11 << 10 | 0b11);
        b.poke(TABLE0 + 0x500 * 4, COARSE | 1 << 2);
        b.poke(SECOND, 0x0010_0000 | 0b11 << 4 | 0b10);
        assert_eq!(access(&mut b, BX, 0x3000_0000), section, "{model}");
        assert_eq!(access(&mut b, BX, 0x5000_0000), table, "{model}");
        assert_eq!(access(&mut b, LDR, 0x5000_0000), Word(0x10_0000), "{model}");
    }
}

#[test]
fn tex_remap_changes_neither_address_nor_permissions() {
    // SCTLR.TRE takes TEX[2:1] for the operating system: every TEX, C and B gives the same.
    let mut b = bench();
    let s = b.engine.state_mut();
    state::set_sctlr(s, state::sctlr(s) | 1 << 28);
    for attributes in 0..32u32 {
        let (tex, cb) = (attributes >> 2, attributes & 3);
        b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | tex << 12 | cb << 2 | 1 << 15 | 0b01 << 10 | 0b10);
        assert_eq!(access(&mut b, LDR, 0x3000_0400), Word(0x10_0400), "TEX {tex} CB {cb}");
        assert_eq!(access(&mut b, STR, 0x3000_0400), Data(0b1101 | WRITE), "TEX {tex} CB {cb}");
    }
}

#[test]
fn saved_status_and_return_address_in_thumb() {
    // ldr r1, [r0] in an IT block: SPSR has T and the IT state of the load itself, LR is as in A32.
    let mut b = bench();
    b.poke(CODE, 0x6801_bf08); // it eq; ldreq r1, [r0]
    let s = b.engine.state_mut();
    state::set_T(s, true);
    state::set_z(s, true);
    state::set_pc(s, CODE);
    state::set_r(s, 0, 0x6000_0000);
    b.step();
    b.step();
    let s = b.engine.state();
    assert_eq!((state::pc(s), state::r(s, 14), state::dfsr(s)), (0x10, CODE + 2 + 8, 0b0101));
    assert_eq!(state::spsr(s) & 0x4600_fc20, 1 << 30 | 1 << 5 | 0x08 >> 2 << 10, "Z, T, IT = 0x08");
    assert!(!state::T(s) && state::ITSTATE(s) == 0);
}

#[test]
fn external_aborts() {
    let mut b = bench();
    b.poke(TABLE0 + 0x300 * 4, RAM as u32 | SECTION); // maps to where nothing is
    b.poke(TABLE0 + 0x500 * 4, RAM as u32 | 5 << 5 | 0b01); // its table is nowhere
    assert_eq!(access(&mut b, LDR, 0x3000_0000), Data(0b1000));
    assert_eq!(access(&mut b, STR, 0x3000_0000), Data(0b1000 | WRITE));
    assert_eq!(access(&mut b, BX, 0x3000_0000), Fetch(0b1000));
    assert_eq!(access(&mut b, LDR, 0x5000_0000), Data(0b1110 | DOMAIN5));
    state::set_ttbcr(b.engine.state_mut(), 1);
    state::set_ttbr1(b.engine.state_mut(), RAM as u32);
    assert_eq!(access(&mut b, LDR, 0x9000_0000), Data(0b1100));
}

#[test]
fn alignment_comes_before_translation() {
    let mut b = bench();
    b.poke(TABLE0 + 0x300 * 4, 0x0010_0000 | SECTION);
    assert_eq!(access(&mut b, LDR, 0x3000_0001), Word(0x10_0000 >> 8));
    let s = b.engine.state_mut();
    state::set_sctlr(s, state::sctlr(s) | 2);
    assert_eq!(access(&mut b, LDR, 0x3000_0001), Data(0b0001));
    assert_eq!(access(&mut b, STR, 0x3000_0002), Data(0b0001 | WRITE));
    assert_eq!(access(&mut b, LDR, 0x6000_0001), Data(0b0001));
}

#[test]
fn a_page_crossing_access_faults_on_the_page_that_is_missing() {
    let mut b = bench();
    b.poke(TABLE0 + 0x500 * 4, COARSE);
    b.poke(SECOND, 0x0010_0000 | 0b01 << 4 | 0b10);
    b.poke(CODE, LDR);
    let s = b.engine.state_mut();
    state::set_pc(s, CODE);
    state::set_r(s, 0, 0x5000_0ffe);
    b.step();
    let s = b.engine.state();
    assert_eq!((state::pc(s), state::dfsr(s), state::dfar(s)), (0x10, 0b0111 | DOMAIN5, 0x5000_1000));
}
