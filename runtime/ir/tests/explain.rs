//! What the engine says a block became, on a small test instruction set.

mod common;

use common::*;
use emu_ir::interp::{Engine, Explained};
use std::sync::Arc;

const PROGRAM: [fn() -> u32; 5] =
    [|| asm(I::Add, 1, 2, 5), || asm(I::AddI, 2, 1, 6), || asm(I::Nop, 0, 0, 0), || asm(I::St, 2, 3, 4), || asm(I::Bne, 0, 0, 0)];

fn engine(quick: bool) -> (Bus, Engine<Toy>) {
    let mut engine = Engine::new(Arc::new(Toy), 0);
    let native = quick && engine.use_quick_tier();
    assert_eq!(quick, native, "no quick tier");
    LAYOUT.write(engine.state_mut(), PC, 0x1000);
    (Bus::new(&PROGRAM.map(|word| word())), engine)
}

fn check(explained: &Explained) {
    assert_eq!(explained.pc, 0x1000);
    let pcs: Vec<u64> = explained.guest.iter().map(|g| g.pc).collect();
    assert_eq!(pcs, [0x1000, 0x1004, 0x1008, 0x100c, 0x1010]);
    let bytes: Vec<Vec<u8>> = explained.guest.iter().map(|g| g.bytes.clone()).collect();
    assert_eq!(bytes, PROGRAM.map(|word| word().to_le_bytes().to_vec()));
    assert_eq!(explained.ir.lines().filter(|line| line.starts_with("mark")).count(), 5, "{}", explained.ir);
    assert!(explained.ir.contains("store.i32 size=4"), "{}", explained.ir);
    assert!(explained.words[0].starts_with("Enter 5 instructions"), "{:#?}", explained.words);
    assert!(explained.words.iter().any(|word| word == "Store32 [r3 + 0x4] = r2"), "{:#?}", explained.words);
}

#[test]
fn a_block_is_explained_without_being_executed() {
    let (bus, mut engine) = engine(false);
    let before = engine.state().to_vec();
    let explained = engine.explain(&bus, 0x1000).unwrap();
    check(&explained);
    assert!(explained.host.is_none());
    assert_eq!((engine.state(), engine.stats().blocks), (&before[..], 0));
    assert!(engine.explain(&bus, 0xff_0000).is_none(), "there is no memory");
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn every_piece_of_host_code_belongs_to_a_word() {
    let (bus, mut engine) = engine(true);
    let explained = engine.explain(&bus, 0x1000).unwrap();
    check(&explained);
    let host = explained.host.as_ref().unwrap();
    assert!(host.cold > 0 && host.cold <= host.slots && host.slots as usize <= host.bytes.len());
    assert!(host.words.is_sorted_by_key(|(_, offset)| *offset));
    assert!(host.words.iter().all(|(word, _)| (*word as usize) < explained.words.len()));
    let store = explained.words.iter().position(|word| word.starts_with("Store32")).unwrap() as u32;
    let pieces = |low, high| host.words.iter().filter(|(word, at)| *word == store && (low..high).contains(at)).count();
    assert!(pieces(0, host.cold) == 1 && pieces(host.cold, host.slots) > 0, "in line, and the slow path: {host:?}");
    assert_eq!(explained.guest_of(store), Some(3));
    assert_eq!(explained.guest_of(0), None);
    assert!(host.stubs.iter().any(|(_, name)| name == "store32"));
}

#[test]
fn translations_that_hold_an_instruction_are_found() {
    let (bus, mut engine) = engine(false);
    bus.limit.set(5);
    engine.run(&bus);
    let all = engine.explain_all(&bus, 0x1008);
    assert_eq!(all.iter().map(|e| e.pc).collect::<Vec<_>>(), [0x1000]);
    check(&all[0]);
    // Nothing was executed there.
    assert_eq!(engine.explain_all(&bus, 0x1020).iter().map(|e| e.pc).collect::<Vec<_>>(), [0x1020]);
}
