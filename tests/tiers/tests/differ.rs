//! A few seconds of what `run.sh` does for longer.

use emu_tiers::shrink::{compare, show, shrink};

/// Seeds that differed once, of others than the first: a helper that changes the block key in a region (SCTLR.A).
const ONCE: [u64; 1] = [21_378];

#[test]
fn tiers_agree_on_random_programs() {
    for target in emu_tiers::targets() {
        for seed in (1..=25).chain(ONCE) {
            let case = target.case(seed);
            if let Err(difference) = compare(&*target, &case) {
                let (case, difference) = shrink(&*target, &case, difference);
                panic!("--isa {} --seed {seed} --count 1\n{}", target.name(), show(&*target, &case, &difference));
            }
        }
    }
}
