//! Makes a case that differs smaller: less program, fewer runs, as few instructions as show it.

use crate::case::{Case, Difference};
use crate::guest::Target;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Compares; a tier that panics differs too.
///
/// # Errors
/// The first difference.
pub fn compare(target: &dyn Target, case: &Case) -> Result<crate::case::Outcome, Difference> {
    catch_unwind(AssertUnwindSafe(|| target.compare(case))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Difference { run: case.runs.len().saturating_sub(1), what: format!("a tier panicked: {}\n", text.unwrap_or("?")) })
    })
}

/// The smallest case found that still differs, and how.
pub fn shrink(target: &dyn Target, case: &Case, found: Difference) -> (Case, Difference) {
    let (mut case, mut found) = (case.clone(), found);
    case.runs.truncate(found.run + 1);
    loop {
        let before = (case.items.len(), case.runs.clone());
        let mut size = case.items.len().div_ceil(2).max(1);
        loop {
            let mut first = 0;
            while first < case.items.len() {
                let last = (first + size).min(case.items.len());
                let mut smaller = case.clone();
                for item in smaller.items.drain(first..last) {
                    let nothing = target.nothing(&item);
                    smaller.ram[item.at as usize..][..nothing.len()].copy_from_slice(&nothing);
                }
                if !take(target, &mut case, &mut found, smaller) {
                    first = last;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        runs(target, &mut case, &mut found);
        if before == (case.items.len(), case.runs.clone()) {
            return (case, found);
        }
    }
}

/// Fewer runs; less in each.
fn runs(target: &dyn Target, case: &mut Case, found: &mut Difference) {
    let mut index = 0;
    while index < case.runs.len() {
        let mut smaller = case.clone();
        smaller.runs.remove(index);
        if !smaller.runs.is_empty() && take(target, case, found, smaller) {
            continue;
        }
        for change in [|run: &mut crate::case::Run| run.levels = None, |run: &mut crate::case::Run| run.pokes.clear()] {
            let mut smaller = case.clone();
            change(&mut smaller.runs[index]);
            if smaller != *case {
                take(target, case, found, smaller);
            }
        }
        let mut step = case.runs.get(index).map_or(0, |run| run.budget / 2);
        while step > 0 {
            let mut smaller = case.clone();
            let Some(run) = smaller.runs.get_mut(index).filter(|run| run.budget > step) else { break };
            run.budget -= step;
            if !take(target, case, found, smaller) || case.runs.len() <= index {
                step /= 2;
            }
        }
        index += 1;
    }
}

/// Takes a smaller case if it differs.
fn take(target: &dyn Target, case: &mut Case, found: &mut Difference, smaller: Case) -> bool {
    let Err(difference) = compare(target, &smaller) else { return false };
    *case = smaller;
    case.runs.truncate(difference.run + 1);
    *found = difference;
    true
}

/// A case in words.
pub fn show(target: &dyn Target, case: &Case, found: &Difference) -> String {
    let mut text = String::new();
    for item in &case.items {
        _ = writeln!(text, "  {:#07x}: {}", item.at, target.text(case, item));
    }
    for (index, run) in case.runs.iter().enumerate() {
        let pokes: String = run.pokes.iter().map(|(slot, value)| format!(" {} = {value:#x}", target.slot(*slot))).collect();
        let levels = run.levels.map_or(String::new(), |levels| format!(", lines {levels:#b}"));
        _ = writeln!(text, "run {index}: {} instructions{levels}{pokes}", run.budget);
    }
    _ = writeln!(text, "after run {}: (interpreter, quick tier)", found.run);
    for line in found.what.lines() {
        _ = writeln!(text, "  {line}");
    }
    text
}
