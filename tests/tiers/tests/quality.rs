//! The code of each instruction is as good as it was: `golden/MODEL.txt` says how good. `BLESS=1` takes what it is now.

use std::collections::HashSet;
use std::path::Path;

/// One of each instruction set: that with most instructions.
const MODELS: [&str; 2] = ["cortex-a15", "microblaze"];

#[test]
fn code_is_as_good_as_it_was() {
    #[cfg(target_arch = "x86_64")]
    if !std::is_x86_feature_detected!("avx2") || !std::is_x86_feature_detected!("bmi2") {
        eprintln!("skipped: what the golden files say is of a host with AVX2 and BMI2");
        return;
    }
    let mut wrong = Vec::new();
    for target in emu_tiers::targets().into_iter().filter(|target| MODELS.contains(&target.name())) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{}.txt", target.name()));
        let found = target.quality();
        if found.is_empty() {
            eprintln!("skipped: this host has no quick tier");
            return;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        let (old, new): (HashSet<&str>, HashSet<&str>) = (wanted.lines().collect(), found.lines().collect());
        wrong.extend(wanted.lines().filter(|line| !new.contains(line)).map(|line| format!("{}: - {line}", target.name())));
        wrong.extend(found.lines().filter(|line| !old.contains(line)).map(|line| format!("{}: + {line}", target.name())));
        if wrong.is_empty() && found != wanted {
            wrong.push(format!("{}: another order", target.name()));
        }
    }
    let count = wrong.len();
    wrong.truncate(60);
    assert!(wrong.is_empty(), "{count} lines differ (BLESS=1 takes what is found; see git diff)\n{}", wrong.join("\n"));
}
