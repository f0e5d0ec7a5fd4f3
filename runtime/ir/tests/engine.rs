//! The engine as a CPU, here interpreting, in `quick.rs` in the quick tier, in `region.rs` with regions, in `windows.rs` with those whose accesses the host maps, in `stored.rs` with what another engine translated: translation, exceptions, self-modifying code, interrupts, budgets; on a small test instruction set.

pub mod common;

use common::*;
use emu_ir::interp::{CODE_CACHE, Engine, Stop, Tiers, Workers};
use emu_ir::state::Slot;
use emu_memory::Attention;
use emu_store::Store;
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

fn back(n: u32) -> u32 {
    n.wrapping_neg()
}

fn engine() -> Engine<Toy> {
    let mut engine = Engine::new(Arc::new(Toy), 0);
    if module_path!().starts_with("quick") {
        engine.use_quick_tier();
    } else if module_path!().starts_with("region") {
        engine.use_tiers(&with_regions(false));
    } else if module_path!().starts_with("windows") {
        engine.use_tiers(&with_regions(true));
    } else if module_path!().starts_with("stored") {
        engine.use_tiers(&with_regions(false));
        engine.use_store(&STORE);
    }
    LAYOUT.write(engine.state_mut(), PC, 0x1000);
    engine
}

/// Every loop is a region as soon as it jumps back; its accesses go to windows or not.
fn with_regions(windows: bool) -> Tiers {
    Tiers::All { workers: Arc::new(Workers::new(0, |make| make())), threshold: 1, thorough: true, windows: Some(windows) }
}

/// What all engines of `stored.rs` share. Nobody writes it anywhere.
static STORE: LazyLock<Arc<Store>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    Arc::new(Store::open(&directory.path().join("cache"), [0; 32], Ok).unwrap())
});

fn reg(engine: &Engine<Toy>, index: u16) -> u32 {
    LAYOUT.read(engine.state(), Slot(index)) as u32
}

/// Loops become regions, which nobody else has compiled.
fn has_regions() -> bool {
    ["region", "windows"].iter().any(|name| module_path!().starts_with(name))
}

/// Where loops become regions, some did.
fn assert_regions(engine: &Engine<Toy>) {
    if has_regions() {
        assert!(engine.stats().regions > 0);
    }
}

/// Handlers that put a mark into r12 and stop in a loop at their vector.
fn handlers(bus: &Bus) {
    for id in 0..5 {
        bus.load(u64::from(VECTORS + 16 * id), &[asm(I::Li, 12, 0, 100 + id), asm(I::B, 0, 0, 0)]);
    }
}

#[test]
fn budgets_are_exact() {
    let program = [
        asm(I::Li, 1, 0, 0),
        asm(I::Li, 2, 0, 0x4000),
        asm(I::AddI, 1, 1, 1),
        asm(I::St, 1, 2, 0),
        asm(I::CmpI, 0, 1, 10),
        asm(I::Bne, 0, 0, back(3)),
        asm(I::B, 0, 0, 0),
    ];
    for limit in 1..60 {
        let (one, many) = (Bus::new(&program), Bus::new(&program));
        let (mut a, mut b) = (engine(), engine());
        for _ in 0..limit {
            assert_eq!(a.step(&one), Stop::Budget);
            assert_eq!(a.executed(), 1);
        }
        many.limit.set(limit);
        assert_eq!(b.run(&many), Stop::Budget);
        assert_eq!(b.executed(), limit);
        assert_eq!(a.state(), b.state(), "after {limit}");
    }
}

/// Another CPU's store over code is in two steps: the page's generation changes, then the note is left. Here a block of the page is translated in between.
#[test]
fn a_block_made_before_the_note_came_hears_of_the_next_store() {
    let bus =
        Bus::new(&[asm(I::Li, 2, 0, 0x3000), asm(I::Li, 3, 0, 0x100c), asm(I::Jr, 0, 2, 0), asm(I::Li, 2, 0, 0x3020), asm(I::Jr, 0, 2, 0)]);
    let add = |at: u64, n: u32| bus.load(at, &[asm(I::AddI, 1, 1, n), asm(I::Jr, 0, 3, 0)]);
    add(0x3000, 1);
    add(0x3020, 10);
    let mut engine = engine();
    let mut run = |insns| {
        bus.limit.set(insns);
        assert_eq!(engine.run(&bus), Stop::Budget);
        reg(&engine, 1)
    };
    assert_eq!(run(5), 1);
    add(0x3000, 1);
    bus.attention.fetch_and(!Attention::CODE, Ordering::Relaxed);
    assert_eq!(run(5), 11, "the second block is translated");
    bus.attention.fetch_or(Attention::CODE, Ordering::Relaxed);
    assert_eq!(run(8), 31);
    add(0x3020, 100);
    assert_eq!(run(8), 231);
}

#[test]
fn a_code_cache_that_is_full_is_emptied() {
    // A round of more blocks than fit.
    let blocks = 30_000;
    let mut program: Vec<u32> = (0..blocks).flat_map(|_| [asm(I::AddI, 1, 1, 1), asm(I::B, 0, 0, 1)]).collect();
    program.push(asm(I::Li, 2, 0, 0x1000));
    program.push(asm(I::Jr, 0, 2, 0));
    let bus = Bus::new(&program);
    let mut engine = engine();
    engine.set_code_cache(*CODE_CACHE.start());
    bus.limit.set(u64::from(3 * (2 * blocks + 2)));
    assert_eq!(engine.run(&bus), Stop::Budget);
    assert_eq!((reg(&engine, 1), engine.pc()), (3 * blocks, 0x1000));
    let stats = engine.stats();
    assert!(stats.flushes > 2 && stats.blocks + stats.stored_blocks > u64::from(2 * blocks), "{stats:?}");
}

#[test]
fn a_store_into_its_own_block_is_seen_at_once() {
    // The store replaces the instruction after the next.
    let program = [
        asm(I::Li, 2, 0, 0x1000),
        asm(I::Lui, 1, 0, (I::Li as u32) << 8 | 5 << 4),
        asm(I::AddI, 1, 1, 77),
        asm(I::St, 1, 2, 20),
        asm(I::Nop, 0, 0, 0),
        asm(I::Li, 5, 0, 1),
        asm(I::AddI, 6, 5, 0),
        asm(I::B, 0, 0, 0),
    ];
    let bus = Bus::new(&program);
    let mut engine = engine();
    bus.limit.set(20);
    engine.run(&bus);
    assert_eq!(reg(&engine, 6), 77);
    assert_eq!(engine.pc(), 0x101c);
}

#[test]
fn linked_blocks_notice_new_code() {
    let program = [asm(I::AddI, 1, 1, 1), asm(I::B, 0, 0, back(1))];
    let bus = Bus::new(&program);
    let mut engine = engine();
    bus.limit.set(1000);
    engine.run(&bus);
    assert_eq!(reg(&engine, 1), 500);
    bus.load(0x1000, &[asm(I::AddI, 1, 1, 2)]);
    engine.run(&bus);
    assert_eq!(reg(&engine, 1), 1500);
    engine.run(&bus);
    assert_eq!(reg(&engine, 1), 2500);
    assert!(engine.stats().blocks <= 8, "{:?}", engine.stats());
}

#[test]
fn faults_are_precise() {
    // The second half of a pair and of a crossing access faults: nothing of the instruction happens.
    for (op, at) in [(I::Ldp, UNMAPPED - 4), (I::Ld, UNMAPPED - 2), (I::StW, UNMAPPED - 2)] {
        let program = [
            asm(I::Lui, 2, 0, (at >> 16) as u32),
            asm(I::AddI, 2, 2, 0x7fff),
            asm(I::AddI, 2, 2, (at as u32 & 0xffff).wrapping_sub(0x7fff)),
            asm(I::AddI, 2, 2, 0),
            asm(I::Window, 0, 0, 0),
            asm(I::Li, 4, 0, 11),
            asm(I::Li, 5, 0, 12),
            asm(op, 4, 2, 0),
            asm(I::Li, 4, 0, 13),
        ];
        let bus = Bus::new(&program);
        handlers(&bus);
        let mut engine = engine();
        bus.limit.set(15);
        engine.run(&bus);
        assert_eq!(engine.executed(), 15);
        assert_eq!((reg(&engine, 4), reg(&engine, 5), reg(&engine, 12)), (11, 12, 101), "{op:?}");
        assert_eq!(reg(&engine, 2), at as u32, "{op:?}");
        assert_eq!(reg(&engine, EPC.0), 0x101c, "{op:?}");
        assert_eq!(u64::from(reg(&engine, CAUSE.0)), UNMAPPED, "{op:?}");
    }
}

#[test]
fn alignment_bus_and_fetch_faults() {
    let cases: [(&[u32], u32, u32, u32); 4] = [
        (&[asm(I::Li, 2, 0, 0x4002), asm(I::LdAligned, 1, 2, 0)], 101, 0x1004, 0x4002),
        (&[asm(I::Lui, 2, 0, 0x2000), asm(I::Ld, 1, 2, 8)], 101, 0x1004, 0x2000_0008),
        (&[asm(I::Lui, 2, 0, 0x8000), asm(I::Jr, 0, 2, 0)], 102, 0x8000_0000, 0x8000_0000),
        (&[asm(I::Nop, 0, 0, 0), 0xff00_0000], 104, 0x1004, 0xff00_0000),
    ];
    for (program, handler, epc, cause) in cases {
        let bus = Bus::new(program);
        handlers(&bus);
        let mut engine = engine();
        bus.limit.set(10);
        engine.run(&bus);
        assert_eq!((reg(&engine, 12), reg(&engine, EPC.0), reg(&engine, CAUSE.0)), (handler, epc, cause));
    }
}

#[test]
fn a_fault_loop_ends_with_the_budget() {
    // The fetch fault's vector cannot be fetched in user mode, and nobody leaves it.
    let bus = Bus::new(&[asm(I::Lui, 2, 0, 0x8000), asm(I::Jr, 0, 2, 0)]);
    bus.load(u64::from(VECTORS + 16 * u32::from(FETCH)), &[asm(I::Lui, 2, 0, 0x8000), asm(I::Jr, 0, 2, 0)]);
    let mut engine = engine();
    bus.limit.set(1000);
    assert_eq!(engine.run(&bus), Stop::Budget);
    assert_eq!(engine.executed(), 1000);
}

#[test]
fn a_device_write_that_raises_a_line_interrupts_after_its_instruction() {
    let program = [
        asm(I::Lui, 2, 0, (DEVICE >> 16) as u32),
        asm(I::Li, 1, 0, 42),
        asm(I::Mask, 0, 0, 0),
        asm(I::Nop, 0, 0, 0),
        asm(I::St, 1, 2, 0),
        asm(I::Li, 5, 0, 1),
        asm(I::Li, 5, 0, 2),
    ];
    let bus = Bus::new(&program);
    handlers(&bus);
    bus.write_raises.set(true);
    let mut engine = engine();
    bus.limit.set(30);
    engine.run(&bus);
    assert_eq!(*bus.log.borrow(), [(0x1010, 4, 42)]);
    assert_eq!((reg(&engine, 5), reg(&engine, 12), reg(&engine, EPC.0)), (0, 103, 0x1014));
}

#[test]
fn interrupts_wake_and_masked_ones_wait() {
    let program = [asm(I::Wfi, 0, 0, 0), asm(I::Li, 1, 0, 1), asm(I::Mask, 0, 0, 0), asm(I::Li, 2, 0, 1), asm(I::B, 0, 0, 0)];
    let bus = Bus::new(&program);
    handlers(&bus);
    let mut engine = engine();
    bus.limit.set(10);
    assert_eq!(engine.run(&bus), Stop::Asleep(false));
    assert_eq!(engine.executed(), 1);
    assert_eq!(engine.run(&bus), Stop::Asleep(false));
    assert_eq!(engine.executed(), 0);
    bus.raise(1);
    assert_eq!(engine.run(&bus), Stop::Budget);
    assert_eq!((reg(&engine, 1), reg(&engine, 2), reg(&engine, 12), reg(&engine, EPC.0)), (1, 0, 103, 0x100c));
}

#[test]
fn events_wake_wfe() {
    let program = [asm(I::Wfe, 0, 0, 0), asm(I::Li, 1, 0, 1), asm(I::Wfe, 0, 0, 0), asm(I::Li, 2, 0, 1)];
    let bus = Bus::new(&program);
    let mut engine = engine();
    bus.limit.set(100);
    assert_eq!(engine.run(&bus), Stop::Asleep(true));
    bus.attention.fetch_or(Attention::EVENT, Ordering::Release);
    assert_eq!(engine.run(&bus), Stop::Asleep(true));
    assert_eq!((reg(&engine, 1), reg(&engine, 2)), (1, 0));
    bus.attention.fetch_or(Attention::EXIT, Ordering::Release);
    assert_eq!(engine.run(&bus), Stop::Exit);
}

#[test]
fn exclusives() {
    let program = [
        asm(I::Li, 2, 0, 0x4000),
        asm(I::Li, 3, 0, 9),
        asm(I::StX, 4, 2, 3),
        asm(I::LdX, 1, 2, 0),
        asm(I::StX, 5, 2, 3),
        asm(I::StX, 6, 2, 3),
        asm(I::LdX, 1, 2, 0),
        asm(I::St, 2, 2, 0),
        asm(I::StX, 7, 2, 3),
        asm(I::B, 0, 0, 0),
    ];
    let bus = Bus::new(&program);
    let mut engine = engine();
    bus.limit.set(20);
    engine.run(&bus);
    assert_eq!([4, 5, 6, 7].map(|r| reg(&engine, r)), [1, 0, 1, 1]);
    assert_eq!(bus.ram.read_u32(0x4000), Some(0x4000));
    assert_eq!(reg(&engine, 1), 9);
}

#[test]
fn remapping_reaches_code_and_data() {
    // The same virtual code, twice, from two physical pages.
    let program = [
        asm(I::Lui, 3, 0, (WINDOW_AT >> 16) as u32),
        asm(I::Li, 1, 0, 0x4000),
        asm(I::Window, 0, 1, 0),
        asm(I::Jal, 13, 0, 6),
        asm(I::Li, 1, 0, 0x5000),
        asm(I::Window, 0, 1, 0),
        asm(I::Jal, 13, 0, 3),
        asm(I::B, 0, 0, 0),
        asm(I::Nop, 0, 0, 0),
        asm(I::Jr, 0, 3, 0),
    ];
    let bus = Bus::new(&program);
    bus.load(0x4000, &[asm(I::Ld, 4, 3, 0x100), asm(I::Li, 6, 0, 1), asm(I::Jr, 0, 13, 0)]);
    bus.load(0x5000, &[asm(I::Ld, 5, 3, 0x100), asm(I::Li, 7, 0, 1), asm(I::Jr, 0, 13, 0)]);
    bus.load(0x4100, &[44]);
    bus.load(0x5100, &[55]);
    let mut engine = engine();
    bus.limit.set(40);
    engine.run(&bus);
    assert_eq!([4, 5, 6, 7].map(|r| reg(&engine, r)), [44, 55, 1, 1]);
}

#[test]
fn a_loop_over_two_pages_follows_remapping() {
    let program = [
        asm(I::Li, 8, 0, 0x4000),
        asm(I::Li, 9, 0, 0x5000),
        asm(I::Lui, 7, 0, (WINDOW_AT >> 16) as u32),
        asm(I::AddI, 7, 7, 0x1100),
        asm(I::Li, 6, 0, 0x101c),
        asm(I::Li, 10, 0, 4),
        asm(I::Li, 5, 0, 1),
        // 0x101c
        asm(I::Window, 0, 8, 0),
        asm(I::Xor, 8, 8, 9),
        asm(I::Xor, 9, 8, 9),
        asm(I::Xor, 8, 8, 9),
        asm(I::Li, 2, 0, 50),
        asm(I::SubS, 10, 10, 5),
        asm(I::Blt, 0, 0, 2),
        asm(I::Jr, 0, 7, 0),
        asm(I::B, 0, 0, 0),
    ];
    let bus = Bus::new(&program);
    bus.load(0x1100, &[asm(I::B, 0, 0, back(0x440)), asm(I::SubS, 2, 2, 5), asm(I::Bne, 0, 0, back(2)), asm(I::Jr, 0, 6, 0)]);
    bus.load(0x4000, &[asm(I::AddI, 1, 1, 1), asm(I::B, 0, 0, 0x440)]);
    bus.load(0x5000, &[asm(I::AddI, 1, 1, 100), asm(I::B, 0, 0, 0x440)]);
    let mut engine = engine();
    bus.limit.set(2000);
    engine.run(&bus);
    assert_eq!((reg(&engine, 1), reg(&engine, 10)), (2 * 50 + 2 * 5000, u32::MAX));
    assert_regions(&engine);
}

/// A loop that reads and writes a page goes on with another one when the page is mapped anew, by a helper between two rounds or from outside, and in other
/// address spaces.
#[test]
fn loops_follow_data_that_is_mapped_anew() {
    let program = [
        asm(I::Li, 8, 0, 0x4000),
        asm(I::Li, 9, 0, 0x5000),
        asm(I::Lui, 3, 0, (WINDOW_AT >> 16) as u32),
        asm(I::Li, 5, 0, 1),
        // 0x1010: the window is at r8, r9 in turn.
        asm(I::Window, 0, 8, 0),
        asm(I::Xor, 8, 8, 9),
        asm(I::Xor, 9, 8, 9),
        asm(I::Xor, 8, 8, 9),
        asm(I::Li, 2, 0, 50),
        asm(I::Ld, 4, 3, 0x100),
        asm(I::Add, 1, 1, 4),
        asm(I::St, 2, 3, 0x204),
        asm(I::SubS, 2, 2, 5),
        asm(I::Bne, 0, 0, back(4)),
        asm(I::AddI, 10, 10, 1),
        asm(I::ShrI, 11, 10, 1),
        asm(I::Asid, 0, 11, 0),
        asm(I::B, 0, 0, back(13)),
    ];
    let bus = Bus::new(&program);
    bus.load(0x4100, &[1]);
    bus.load(0x5100, &[1000]);
    let mut engine = engine();
    const ROUND: u64 = 5 + 5 * 50 + 4;
    bus.limit.set(4 + 8 * ROUND);
    engine.run(&bus);
    assert_eq!((reg(&engine, 1), reg(&engine, 10)), (4 * 50 + 4 * 50_000, 8));
    assert_eq!([0x4204, 0x5204].map(|at| bus.ram.read_u32(at)), [Some(1); 2]);
    // In the middle of a round.
    bus.limit.set(5 + 100);
    engine.run(&bus);
    bus.load(0x6100, &[7]);
    LAYOUT.write(engine.state_mut(), WINDOW, 0x6000);
    LAYOUT.write(engine.registers_mut(), Slot(1), 0);
    bus.limit.set(ROUND - 5 - 100);
    engine.run(&bus);
    assert_eq!((reg(&engine, 1), bus.ram.read_u32(0x6204)), (7 * 30, Some(1)));
    assert_regions(&engine);
}

/// A loop writes beside what is code, and in the next round over it, and what is there is executed each time.
#[test]
fn loops_that_write_over_code_are_seen() {
    let program = [
        asm(I::Li, 3, 0, 0x4000),
        asm(I::Li, 5, 0, 1),
        // 0x1008: twenty words up to r3 + 0x800 become r7.
        asm(I::AddI, 9, 3, 0x800 - 19 * 4),
        asm(I::Li, 2, 0, 20),
        asm(I::St, 7, 9, 0),
        asm(I::AddI, 9, 9, 4),
        asm(I::SubS, 2, 2, 5),
        asm(I::Bne, 0, 0, back(3)),
        asm(I::Jal, 13, 0, (0x4000 - 0x1020) / 4),
        asm(I::AddI, 7, 7, 1),
        asm(I::Xor, 3, 3, 8),
        asm(I::B, 0, 0, back(9)),
    ];
    let code = [asm(I::AddI, 4, 4, 1), asm(I::Jr, 0, 13, 0)];
    let begin = |engine: &mut Engine<Toy>| {
        let bus = Bus::new(&program);
        // r3 is 0x4000 and 0x3800 in turn: the last word is data, or the first of the code.
        bus.load(0x4000, &code);
        for (slot, value) in [(Slot(8), 0x4000 ^ 0x3800), (Slot(7), code[0]), (PC, 0x1000)] {
            LAYOUT.write(engine.state_mut(), slot, value.into());
        }
        bus
    };
    let (mut engine, mut plain) = (engine(), Engine::new(Arc::new(Toy), 0));
    let (bus, other) = (begin(&mut engine), begin(&mut plain));
    bus.limit.set(2000);
    engine.run(&bus);
    for _ in 0..2000 {
        plain.step(&other);
    }
    assert!(reg(&plain, 4) > 30, "{}", reg(&plain, 4));
    assert_eq!(engine.state(), plain.state());
}

/// Loads and stores by one base whose bytes lie on two pages are not left to the interpreter for ever.
#[test]
fn accesses_on_two_pages_are_set_apart() {
    let program = [
        asm(I::Li, 1, 0, 0),
        asm(I::Li, 2, 0, 0x3ffc),
        // 0x1008
        asm(I::AddI, 1, 1, 1),
        asm(I::Ld, 3, 2, 0),
        asm(I::St, 1, 2, 4),
        asm(I::Add, 4, 4, 3),
        asm(I::CmpI, 0, 1, 300),
        asm(I::Bne, 0, 0, back(5)),
        asm(I::B, 0, 0, 0),
    ];
    let bus = Bus::new(&program);
    bus.load(0x3ffc, &[5]);
    let mut engine = engine();
    bus.limit.set(2000);
    engine.run(&bus);
    assert_eq!((reg(&engine, 1), reg(&engine, 4), bus.ram.read_u32(0x4000)), (300, 1500, Some(300)));
    let resumed = engine.stats().resumed;
    assert!(resumed < 60, "{resumed}");
    if ["quick", "region"].iter().any(|tier| module_path!().starts_with(tier)) {
        assert!(resumed > 0, "they are looked up together at first");
    }
}

/// What compares and is overwritten by the next that does has its value wherever somebody may look.
#[test]
fn outcomes_of_comparisons_are_there_when_asked_for() {
    let program = [
        asm(I::Li, 1, 0, 0),
        asm(I::Lui, 2, 0, 0x10),
        asm(I::Li, 3, 0, 5000),
        asm(I::Li, 6, 0, 7),
        // 0x1010
        asm(I::AddI, 1, 1, 1),
        asm(I::Cmp, 5, 6, 1),
        asm(I::Bltz, 0, 5, 2),
        asm(I::AddI, 7, 7, 1),
        // Until there is no memory any more.
        asm(I::St, 1, 2, back(0x1000)),
        asm(I::AddI, 2, 2, 4),
        asm(I::Cmp, 5, 1, 3),
        asm(I::Bltz, 0, 5, back(7)),
        asm(I::B, 0, 0, 0),
    ];
    for chunk in [1, 3, 8, 61, 2000] {
        let set_up = || (Bus::new(&program), engine());
        let ((one, mut a), (many, mut b)) = (set_up(), set_up());
        handlers(&one);
        handlers(&many);
        many.limit.set(chunk);
        let mut done = 0;
        while done < 10_000 {
            b.run(&many);
            for _ in 0..b.executed() {
                a.step(&one);
            }
            assert_eq!(a.state(), b.state(), "{done} and {} more", b.executed());
            done += b.executed();
        }
        let one = reg(&b, 1);
        assert_eq!((reg(&b, 12), reg(&b, 5)), (101, 7u32.wrapping_sub(one) & 0x7fff_ffff | 1 << 31), "the store that has no memory");
    }
}

/// A function that is called in a loop belongs to it, also where calls note their own address.
#[test]
fn calls_in_loops_come_back() {
    // The own address is that of two words before where it comes back.
    for (call, offset) in [(I::Jal, 0), (I::JalOwn, 8)] {
        let program = [
            asm(I::B, 0, 0, 3),
            // 0x1004
            asm(I::AddI, 3, 3, 3),
            asm(I::JrI, 0, 13, offset),
            asm(I::Li, 1, 0, 1000),
            asm(I::Li, 2, 0, 1),
            // 0x1014
            asm(call, 13, 0, back(4)),
            asm(if call == I::Jal { I::SubS } else { I::Nop }, 1, 1, 2),
            asm(if call == I::Jal { I::Nop } else { I::SubS }, 1, 1, 2),
            asm(I::Bne, 0, 0, back(3)),
            asm(I::B, 0, 0, 0),
        ];
        let (bus, mut engine) = (Bus::new(&program), engine());
        bus.limit.set(7000);
        engine.run(&bus);
        assert_eq!((reg(&engine, 1), reg(&engine, 3)), (0, 3000));
        if module_path!().starts_with("region") {
            let pcs: Vec<u64> = engine.explain_regions(&bus, None).into_iter().flat_map(|region| region.guest).map(|g| g.pc).collect();
            assert!([0x1004, 0x1014, 0x1020].iter().all(|pc| pcs.contains(pc)), "{call:?}: {pcs:x?}");
        }
    }
}

/// Where a computed jump leads out of a region, it leads inside the one that takes its place.
#[test]
fn regions_learn_where_they_are_left_to() {
    let program = [
        asm(I::Li, 1, 0, 0x7fff),
        asm(I::ShlI, 1, 1, 2),
        asm(I::Li, 2, 0, 1),
        asm(I::Li, 3, 0, 0x1030),
        asm(I::Li, 4, 0, 0),
        // 0x1014: every 64th round goes on at 0x1030 by a computed jump, all others by one that is linked.
        asm(I::AddI, 4, 4, 1),
        asm(I::ShlI, 5, 4, 26),
        asm(I::CmpI, 5, 5, 0),
        asm(I::Beq, 0, 0, 2),
        asm(I::B, 0, 0, 3),
        asm(I::Nop, 0, 0, 0),
        asm(I::JrI, 0, 3, 0),
        // 0x1030
        asm(I::AddI, 6, 6, 1),
        asm(I::SubS, 1, 1, 2),
        asm(I::Bne, 0, 0, back(9)),
        asm(I::B, 0, 0, 0),
    ];
    let (bus, mut engine) = (Bus::new(&program), engine());
    bus.limit.set(3_000_000);
    engine.run(&bus);
    assert_eq!((reg(&engine, 1), reg(&engine, 6)), (0, 0x1fffc));
    if has_regions() {
        assert_eq!(engine.stats().regions, 2, "{:?}", engine.stats());
    }
}

#[test]
fn code_of_all_address_spaces_is_known_in_each() {
    let program = [
        asm(I::Li, 1, 0, 1),
        asm(I::Asid, 0, 1, 0),
        asm(I::Jal, 13, 0, 0x3fe),
        asm(I::Li, 1, 0, 2),
        asm(I::Asid, 0, 1, 0),
        asm(I::Jal, 13, 0, 0x3fb),
        asm(I::B, 0, 0, back(6)),
    ];
    let bus = Bus::new(&program);
    bus.load(0x2000, &[asm(I::AddI, 4, 4, 1), asm(I::Jr, 0, 13, 0)]);
    let mut engine = engine();
    bus.limit.set(110);
    engine.run(&bus);
    let misses = engine.stats().jump_misses;
    engine.run(&bus);
    assert_eq!((reg(&engine, 4), engine.stats().jump_misses), (40, misses));
}

#[test]
fn code_overwritten_in_another_address_space_is_gone() {
    let program = [
        asm(I::Li, 1, 0, 1),
        asm(I::Asid, 0, 1, 0),
        asm(I::Jal, 13, 0, 0x3fe),
        asm(I::Li, 1, 0, 2),
        asm(I::Asid, 0, 1, 0),
        asm(I::Jal, 13, 0, 0x3fb),
        asm(I::Li, 5, 0, 0x2000),
        asm(I::Ld, 6, 5, 0x1000),
        asm(I::St, 6, 5, 0),
        asm(I::Li, 1, 0, 1),
        asm(I::Asid, 0, 1, 0),
        asm(I::Jal, 13, 0, 0x3f5),
        asm(I::B, 0, 0, 0),
    ];
    let bus = Bus::new(&program);
    bus.load(0x2000, &[asm(I::AddI, 4, 4, 1), asm(I::Jr, 0, 13, 0)]);
    bus.load(0x3000, &[asm(I::AddI, 4, 4, 100)]);
    let mut engine = engine();
    bus.limit.set(30);
    engine.run(&bus);
    assert_eq!(reg(&engine, 4), 102);
}

#[test]
fn traps_return_and_modes_are_keys() {
    let program = [
        asm(I::Li, 1, 0, 0x1010),
        asm(I::Trap, 0, 0, 5),
        asm(I::B, 0, 0, 0),
        asm(I::Nop, 0, 0, 0),
        asm(I::Li, 8, 0, 3),
        asm(I::Trap, 0, 0, 6),
    ];
    let bus = Bus::new(&program);
    // TRAP: count, return to user mode.
    bus.load(u64::from(VECTORS), &[asm(I::AddI, 9, 9, 1), asm(I::Eret, 0, 0, 1)]);
    let mut engine = engine();
    bus.limit.set(12);
    engine.run(&bus);
    assert_eq!((reg(&engine, 9), reg(&engine, CAUSE.0), reg(&engine, USER.0), engine.pc()), (1, 5, 1, 0x1008));
}

/// A loop of traps, one in the middle of a block.
fn traps() -> [u32; 7] {
    [
        asm(I::AddI, 1, 1, 1),
        asm(I::Trap, 0, 0, 2),
        asm(I::AddI, 2, 2, 1),
        asm(I::Trap, 0, 0, 3),
        asm(I::CmpI, 0, 1, 5),
        asm(I::Bne, 0, 0, back(5)),
        asm(I::B, 0, 0, 0),
    ]
}

#[test]
fn what_the_bus_serves_is_no_reason_to_stop() {
    for limit in 1..50 {
        let (one, many) = (Bus::new(&traps()), Bus::new(&traps()));
        let (mut a, mut b) = (engine(), engine());
        for (bus, engine) in [(&one, &mut a), (&many, &mut b)] {
            bus.serves.set(u32::MAX);
            engine.trap_exceptions();
        }
        for _ in 0..limit {
            assert_eq!((a.step(&one), a.executed()), (Stop::Budget, 1));
        }
        many.limit.set(limit);
        assert_eq!((b.run(&many), b.executed()), (Stop::Budget, limit));
        assert_eq!((a.state(), a.stats().exceptions), (b.state(), b.stats().exceptions), "after {limit}");
    }
}

#[test]
fn what_the_bus_does_not_serve_comes_back_where_it_was_raised() {
    let bus = Bus::new(&traps());
    let mut engine = engine();
    engine.trap_exceptions();
    bus.limit.set(1000);
    bus.serves.set(7);
    let Stop::Exception(e) = engine.run(&bus) else { panic!("it was served") };
    assert_eq!((e.id, e.args[0], engine.pc(), engine.executed()), (TRAP, 3, 0x100c, 22));
    assert_eq!((reg(&engine, 9), engine.stats().exceptions), (17, 8));
}

#[test]
fn a_request_that_comes_while_the_bus_serves_is_taken_behind_it() {
    let bus = Bus::new(&traps());
    let mut engine = engine();
    engine.trap_exceptions();
    bus.limit.set(1000);
    bus.serves.set(u32::MAX);
    bus.serve_exits.set(true);
    for (pc, sum) in [(0x1008, 2), (0x1010, 5), (0x1008, 7), (0x1010, 10), (0x1008, 12)] {
        assert_eq!((engine.run(&bus), engine.pc(), reg(&engine, 9)), (Stop::Exit, pc, sum));
    }
}

/// Instructions that go wrong in interesting ways but stay inside a few pages mostly.
fn instruction() -> impl Strategy<Value = u32> {
    let r = || 0u32..8;
    prop_oneof![
        (r(), r(), any::<u16>()).prop_map(|(d, a, i)| asm(I::AddI, d, a, i.into())),
        (r(), r(), r()).prop_map(|(d, a, b)| asm(I::Add, d, a, b)),
        (r(), r(), r()).prop_map(|(d, a, b)| asm(I::SubS, d, a, b)),
        (r(), r(), r()).prop_map(|(d, a, b)| asm(I::Xor, d, a, b)),
        (r(), r(), r()).prop_map(|(d, a, b)| asm(I::Mul, d, a, b)),
        (r(), r(), r()).prop_map(|(d, a, b)| asm(I::Cmp, d, a, b)),
        (r(), -12i16..12).prop_map(|(a, i)| asm(I::Bltz, 0, a, i as u16 as u32)),
        (r(), -4i16..4).prop_map(|(a, i)| asm(I::CmpI, 0, a, i as u16 as u32)),
        (prop_oneof![Just(I::Bne), Just(I::Beq), Just(I::Blt), Just(I::B)], -12i16..12).prop_map(|(op, i)| asm(op, 0, 0, i as u16 as u32)),
        (
            prop_oneof![Just(I::Ld), Just(I::St), Just(I::LdB), Just(I::StB), Just(I::Ldp), Just(I::StW), Just(I::LdX), Just(I::LdAligned)],
            r(),
            8u32..12,
            0u32..0xc0
        )
            .prop_map(|(op, d, a, i)| asm(op, d, a, i)),
        (r(), 8u32..12, r()).prop_map(|(d, a, b)| asm(I::StX, d, a, b)),
        (r(), 0u32..20).prop_map(|(d, i)| asm(I::ShlI, d, d, i)),
        Just(asm(I::Trap, 0, 0, 1)),
        (8u32..12).prop_map(|a| asm(I::Window, 0, a, 0)),
        (0u32..2).prop_map(|i| asm(I::Mask, 0, 0, i)),
        r().prop_map(|a| asm(I::Jr, 0, a, 0)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Running in chunks of any size gives what stepping gives, with self-modifying code, faults, interrupts and traps.
    #[test]
    fn runs_equal_steps(program in prop::collection::vec(instruction(), 4..60), chunk in 1u64..90, start in 0u64..8) {
        let set_up = || {
            let bus = Bus::new(&[]);
            let at = 0x1fd0 + 4 * start;
            bus.load(at, &program);
            // Handlers go on after the instruction that trapped or faulted: add 4 to epc is not to be had, so they go to the start.
            for id in 0..5u64 {
                bus.load(u64::from(VECTORS) + 16 * id, &[asm(I::AddI, 12, 12, 1), asm(I::Li, 0, 0, at as u32), asm(I::Jr, 0, 0, 0)]);
            }
            let mut engine = engine();
            let state = engine.state_mut();
            LAYOUT.write(state, PC, at.into());
            // Pointers: data, the code itself, a page border, the device.
            for (index, value) in [0x4000u128, 0x1fd0, 0x1ff8, u128::from(DEVICE)].into_iter().enumerate() {
                LAYOUT.write(state, Slot(8 + index as u16), value);
            }
            bus.write_raises.set(true);
            (bus, engine)
        };
        let ((one, mut a), (many, mut b)) = (set_up(), set_up());
        let total = 600;
        let mut done = 0;
        while done < total {
            // Overwritten code may sleep; nothing wakes it.
            if a.step(&one) != Stop::Budget {
                break;
            }
            done += a.executed();
        }
        let mut done = 0;
        while done < total {
            many.limit.set(chunk.min(total - done));
            if b.run(&many) != Stop::Budget {
                break;
            }
            prop_assert!(b.executed() <= chunk);
            done += b.executed();
        }
        prop_assert_eq!(a.state(), b.state());
        prop_assert_eq!(a.is_asleep(), b.is_asleep());
        prop_assert_eq!(one.log.borrow().iter().map(|l| (l.0, l.2)).collect::<Vec<_>>(), many.log.borrow().iter().map(|l| (l.0, l.2)).collect::<Vec<_>>());
        let dump = |bus: &Bus| { let mut bytes = vec![0; 0x8000]; bus.ram.copy_out(0, &mut bytes); bytes };
        prop_assert!(dump(&one) == dump(&many), "memories differ");
    }
}

/// Breakpoints end blocks wherever they lie in one, and are passed by a step; watchpoints name the access.
#[test]
fn a_debugger_s_points_stop_it() {
    use emu_ir::interp::{DebugPoints, Watch};
    let program = [
        asm(I::Li, 2, 0, 0x4000),
        asm(I::AddI, 1, 1, 1),
        asm(I::St, 1, 2, 8),
        asm(I::Ld, 3, 2, 8),
        asm(I::AddI, 4, 3, 1),
        asm(I::B, 0, 0, back(4)),
    ];
    let bus = Bus::new(&program);
    bus.limit.set(1000);
    let mut engine = engine();
    // Once without points, so that blocks are linked.
    assert_eq!(engine.run(&bus), Stop::Budget);
    engine.set_debug_points(&DebugPoints { breakpoints: [0x1010].into(), watches: vec![] });
    let mut before = None;
    for _ in 0..3 {
        assert_eq!((engine.run(&bus), engine.pc()), (Stop::Breakpoint, 0x1010));
        assert_eq!((engine.run(&bus), engine.pc()), (Stop::Breakpoint, 0x1010));
        let count = reg(&engine, 1);
        assert!(before.is_none_or(|b| count == b + 1));
        before = Some(count);
        assert_eq!((reg(&engine, 3), reg(&engine, 4)), (count, count));
        assert_eq!((engine.step(&bus), engine.pc()), (Stop::Budget, 0x1014));
    }
    let watch = |start, len, read| DebugPoints { breakpoints: [].into(), watches: vec![Watch { start, len, read, write: !read }] };
    engine.set_debug_points(&watch(0x400a, 1, false));
    for _ in 0..3 {
        assert_eq!((engine.run(&bus), engine.pc()), (Stop::Watchpoint(0x400a, true), 0x100c));
    }
    engine.set_debug_points(&watch(0x4008, 4, true));
    assert_eq!((engine.run(&bus), engine.pc()), (Stop::Watchpoint(0x4008, false), 0x1010));
    engine.set_debug_points(&DebugPoints::default());
    assert_eq!(engine.run(&bus), Stop::Budget);
}
