//! Measures the interpreter on loops of a small test instruction set: `cargo run --release -p emu-ir --example mips`.

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use emu_ir::interp::Engine;
use std::sync::Arc;
use std::time::Instant;

fn measure(name: &str, program: &[u32]) {
    let bus = Bus::new(program);
    let mut engine = Engine::new(Arc::new(Toy), 0);
    LAYOUT.write(engine.state_mut(), PC, 0x1000);
    bus.limit.set(100_000_000);
    let start = Instant::now();
    let stop = engine.run(&bus);
    let seconds = start.elapsed().as_secs_f64();
    let stats = engine.stats();
    println!(
        "{name:10} {:8.1} MIPS  ({stop:?}, {} words for {} instructions)",
        stats.instructions as f64 / seconds / 1e6,
        stats.words,
        stats.translated
    );
}

fn main() {
    // A counted loop: four operations, compare, branch.
    measure(
        "alu",
        &[
            asm(I::Li, 1, 0, 0),
            asm(I::AddI, 1, 1, 3),
            asm(I::Xor, 2, 2, 1),
            asm(I::ShlI, 3, 2, 5),
            asm(I::Add, 4, 3, 2),
            asm(I::CmpI, 0, 1, 0xffff),
            asm(I::Bne, 0, 0, (-5i32) as u32),
        ],
    );
    // Copies words through memory, with flags from a subtraction of registers.
    measure(
        "memory",
        &[
            asm(I::Li, 5, 0, 1),
            asm(I::Li, 1, 0, 0x4000),
            asm(I::Li, 2, 0, 0x6000),
            asm(I::Li, 3, 0, 1024),
            asm(I::Ld, 4, 1, 0),
            asm(I::St, 4, 2, 4),
            asm(I::AddI, 1, 1, 4),
            asm(I::AddI, 2, 2, 4),
            asm(I::SubS, 3, 3, 5),
            asm(I::Bne, 0, 0, (-5i32) as u32),
            asm(I::B, 0, 0, (-9i32) as u32),
        ],
    );
    // Calls and returns.
    measure(
        "calls",
        &[
            asm(I::Jal, 13, 0, 4),
            asm(I::AddI, 1, 1, 1),
            asm(I::B, 0, 0, (-2i32) as u32),
            asm(I::Nop, 0, 0, 0),
            asm(I::AddI, 2, 2, 1),
            asm(I::Xor, 3, 2, 1),
            asm(I::Jr, 0, 13, 0),
        ],
    );
}
