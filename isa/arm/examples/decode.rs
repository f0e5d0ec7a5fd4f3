//! What decoding costs: finds the encoding of every word of a file of A32 code, as translation does, and prints the time of one.
//!
//!   cargo run --release -p emu-isa-arm --example decode -- FILE

use emu_ir::guest::Isa;
use emu_isa_arm::{Arm, CELLS, System, encodings_of, state};
use std::time::Instant;

/// Rounds over the file; the first warms up, the best counts.
const ROUNDS: u32 = 20;

fn main() {
    let Some(file) = std::env::args().nth(1) else { panic!("which file?") };
    let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    let words: Vec<u64> = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w).into()).collect();
    let isa = Arm::model("cortex-a9", System::new("cortex-a9")).expect("the model");
    let mut cells = vec![0; CELLS];
    isa.reset(&mut cells);
    state::set_cpacr(&mut cells, 0x00f0_0000);
    state::set_fpexc_en(&mut cells, true);
    let key = isa.block_key(&cells);
    let (mut best, mut known) = (f64::MAX, 0);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        known = encodings_of(&isa, key, 32, words.iter().copied()).flatten().count();
        best = best.min(begin.elapsed().as_secs_f64() / words.len() as f64);
    }
    // The processor's clock, if the host tells it.
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = info.lines().find_map(|l| l.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok());
    let cycles = mhz.map_or(String::new(), |m| format!(", {:.0} cycles at {m:.0} MHz", best * m * 1e6));
    println!("{} words, {known} decoded: {:.1} ns each{cycles}", words.len(), best * 1e9);
}
