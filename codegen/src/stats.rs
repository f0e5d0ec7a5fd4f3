//! The size of a specification, and how much of its meaning is in Rust: what `emu isa stats` prints.

use emu_asm::tables::Stats;
use emu_dsl::spec::*;
use emu_dsl::walk;
use std::path::Path;

/// Counts `spec`; the helpers are the Rust in `folder/src`, if there is one.
pub fn of(spec: &Spec, folder: Option<&Path>) -> Stats {
    let mut functions: Vec<Option<bool>> = vec![None; spec.fns.len()];
    let helped = spec
        .insns
        .iter()
        .filter(|i| {
            let mut found = false;
            walk::body(&i.sem, &mut |e| found |= helper(spec, e, &mut functions));
            i.encodings.iter().for_each(|e| walk::encoding(e, &mut |x| found |= helper(spec, x, &mut functions)));
            found
        })
        .count();
    // Lines with something on them that is no comment.
    let lines = |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count() as u32;
    let rust = folder.and_then(|f| std::fs::read_dir(f.join("src")).ok());
    let rust = rust.into_iter().flatten().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "rs"));
    Stats {
        insns: spec.insns.len() as u32,
        encodings: spec.insns.iter().map(|i| i.encodings.len() as u32).sum(),
        tests: spec.insns.iter().map(|i| i.tests.len() as u32).sum(),
        spec_lines: spec.files.iter().map(|f| lines(&f.text)).sum(),
        helpers: spec.externs.len() as u32,
        helper_lines: rust.filter_map(|f| std::fs::read_to_string(f.path()).ok()).map(|t| lines(&t)).sum(),
        helped: helped as u32,
    }
}

/// True if this expression is the call of a helper, or of a function that calls one.
fn helper(spec: &Spec, e: &Expr, known: &mut [Option<bool>]) -> bool {
    match &*e.kind {
        ExprKind::CallExtern(..) => true,
        ExprKind::Call(f, _) => {
            let index = f.0 as usize;
            if known[index].is_none() {
                // Functions do not recur.
                let mut found = false;
                walk::body(&spec.fns[index].body, &mut |e| found |= helper(spec, e, known));
                known[index] = Some(found);
            }
            known[index] == Some(true)
        }
        _ => false,
    }
}
