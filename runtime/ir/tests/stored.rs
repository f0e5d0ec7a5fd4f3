//! The engine's tests again, where each engine executes what others have translated before; and what is not to be taken from others.

#[path = "engine.rs"]
mod engine;

use emu_ir::interp::{Engine, Stats, Stop, Tiers, Workers};
use emu_store::Store;
use engine::common::*;
use std::path::Path;
use std::sync::Arc;

const KEY: [u8; 32] = [3; 32];

fn open(at: &Path) -> Arc<Store> {
    Arc::new(Store::open(at, KEY, Ok).unwrap())
}

/// A loop of several blocks with calls, over two pages, ending in a trap and a device.
fn program() -> (Vec<u32>, Vec<u32>) {
    let caller = vec![
        asm(I::Li, 1, 0, 0),
        asm(I::Li, 2, 0, 0x4000),
        asm(I::Jal, 13, 0, 0x3fe - 2),
        asm(I::St, 1, 2, 0),
        asm(I::LdX, 3, 2, 0),
        asm(I::StX, 4, 2, 3),
        asm(I::CmpI, 0, 1, 50),
        asm(I::Bne, 0, 0, 5u32.wrapping_neg()),
        asm(I::Trap, 0, 0, 5),
    ];
    // From 0x1ff8 on: the block lies on two pages.
    let function = vec![asm(I::AddI, 1, 1, 1), asm(I::Ldp, 6, 2, 0), asm(I::SubS, 5, 6, 7), asm(I::Jr, 0, 13, 0)];
    (caller, function)
}

/// Runs it, behind some other code, so that everything is elsewhere: the state, and what was counted.
fn run(tiers: &Tiers, store: Option<&Arc<Store>>, before: u32) -> (Vec<u64>, Stats) {
    let (caller, function) = program();
    let bus = Bus::new(&caller);
    bus.load(0x1ff8, &function);
    bus.load(u64::from(VECTORS), &[asm(I::B, 0, 0, 0)]);
    let other: Vec<u32> =
        (0..before).flat_map(|n| [asm(I::AddI, 8, 8, n + before), asm(I::B, 0, 0, 1)]).chain([asm(I::Wfi, 0, 0, 0)]).collect();
    bus.load(0x8000, &other);
    let mut engine = Engine::new(Arc::new(Toy), 0);
    engine.use_tiers(tiers);
    LAYOUT.write(engine.state_mut(), PC, 0x8000);
    assert_eq!(engine.run(&bus), Stop::Asleep(false));
    let begun = engine.stats();
    if let Some(store) = store {
        engine.use_store(store);
    }
    engine.reset();
    LAYOUT.write(engine.state_mut(), PC, 0x1000);
    bus.limit.set(1000);
    assert_eq!(engine.run(&bus), Stop::Budget);
    let mut stats = engine.stats();
    (stats.blocks, stats.regions) = (stats.blocks - begun.blocks, stats.regions - begun.regions);
    (engine.state().to_vec(), stats)
}

fn with_regions() -> Tiers {
    Tiers::All { workers: Arc::new(Workers::new(0, |make| make())), threshold: 4, thorough: true, windows: Some(true) }
}

#[test]
fn a_second_engine_translates_nothing_and_does_the_same() {
    for tiers in [Tiers::Quick, with_regions()] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("cache");
        let (expected, _) = run(&tiers, None, 0);
        let store = open(&at);
        let (state, first) = run(&tiers, Some(&store), 7);
        assert_eq!(state, expected);
        assert!(first.blocks > 4 && first.stored_blocks == 0, "{first:?}");
        store.save();
        for before in [0, 100, 3] {
            let (state, stats) = run(&tiers, Some(&open(&at)), before);
            assert_eq!(state, expected);
            assert_eq!((stats.blocks, stats.stored_blocks), (0, first.blocks), "{stats:?}");
            assert_eq!((stats.regions, stats.stored_regions), (first.regions, first.regions), "{stats:?}");
            assert_eq!(stats.rejected, 0);
        }
        if let Tiers::All { .. } = tiers {
            assert!(first.regions > 0, "{first:?}");
        }
    }
}

/// Another store's values are refused; what was damaged is made anew.
#[test]
fn what_is_damaged_is_translated_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("cache");
    let store = open(&at);
    let (expected, first) = run(&with_regions(), Some(&store), 0);
    store.save();
    let file = std::fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "code")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for at_byte in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at_byte] ^= 0x10;
        std::fs::write(&file, damaged).unwrap();
        let (state, stats) = run(&with_regions(), Some(&open(&at)), 0);
        assert_eq!(state, expected);
        assert_eq!(stats.blocks + stats.stored_blocks, first.blocks, "{stats:?}");
    }
}

/// A translation is for the bytes it was made from.
#[test]
fn other_code_at_the_same_place_is_not_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("cache"));
    for n in [1, 2, 3, 1] {
        // They begin alike.
        let bus = Bus::new(&[asm(I::Li, 1, 0, 0), asm(I::AddI, 1, 1, n), asm(I::Wfi, 0, 0, 0)]);
        let mut engine = Engine::new(Arc::new(Toy), 0);
        engine.use_tiers(&Tiers::Quick);
        engine.use_store(&store);
        LAYOUT.write(engine.state_mut(), PC, 0x1000);
        assert_eq!(engine.run(&bus), Stop::Asleep(false));
        assert_eq!(engine.state()[1], u64::from(n));
    }
}

/// A store over code that came from the store is seen, at once.
#[test]
fn code_from_the_store_is_forgotten_when_it_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("cache"));
    let word = asm(I::AddI, 3, 3, 100);
    for _ in 0..3 {
        let bus = Bus::new(&[
            asm(I::AddI, 3, 3, 1),
            asm(I::Lui, 1, 0, word >> 16),
            asm(I::AddI, 1, 1, word & 0xffff),
            asm(I::Li, 2, 0, 0x1000),
            asm(I::St, 1, 2, 0),
            asm(I::CmpI, 0, 3, 101),
            asm(I::Bne, 0, 0, 6u32.wrapping_neg()),
            asm(I::Wfi, 0, 0, 0),
        ]);
        let mut engine = Engine::new(Arc::new(Toy), 0);
        engine.use_tiers(&Tiers::Quick);
        engine.use_store(&store);
        LAYOUT.write(engine.state_mut(), PC, 0x1000);
        assert_eq!(engine.run(&bus), Stop::Asleep(false));
        assert_eq!(engine.state()[3], 101);
    }
}
