//! A few seconds of what `run.sh` does for longer.

use emu_tiers::shrink::{compare, show, shrink};

#[test]
fn tiers_agree_on_random_programs() {
    for target in emu_tiers::targets() {
        for seed in 1..=25 {
            let case = target.case(seed);
            if let Err(difference) = compare(&*target, &case) {
                let (case, difference) = shrink(&*target, &case, difference);
                panic!("--isa {} --seed {seed} --count 1\n{}", target.name(), show(&*target, &case, &difference));
            }
        }
    }
}
