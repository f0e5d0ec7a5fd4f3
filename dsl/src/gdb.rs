//! `gdb` declarations: which state a debugger's registers are made of.

use crate::ast;
use crate::check::{Global, World};
use crate::diagnostic::Diagnostic;
use crate::spec::*;

/// Checks one feature and adds it to the specification.
pub fn feature(w: &mut World, g: &ast::GdbFeature) {
    let mut regs: Vec<GdbReg> = Vec::new();
    for r in &g.regs {
        if regs.iter().chain(w.spec.gdb.iter().flat_map(|f| &f.regs)).any(|o| o.name == r.name.name) {
            w.errors.push(Diagnostic::new("isa::gdb", r.name.span, format!("the debugger has two registers `{}`", r.name.name)));
            continue;
        }
        let parts: Option<Vec<_>> = r.parts.iter().map(|p| part(w, p)).collect();
        let Some(parts) = parts else { continue };
        let mut used = 0u128;
        for (_, _, len, at) in &parts {
            let mask = if *len >= 128 { u128::MAX } else { ((1 << len) - 1) << at };
            if used & mask != 0 {
                w.errors.push(Diagnostic::new("isa::gdb", r.name.span, format!("two parts of `{}` overlap", r.name.name)));
            }
            used |= mask;
        }
        // A register of one part has its width; a composed one is as wide as a register that holds it.
        let top = parts.iter().map(|p| p.2 + p.3).max().unwrap_or(0);
        let least = if top <= 8 { 8 } else { top.next_power_of_two() };
        let bits = match r.bits {
            Some(b) if [8, 16, 32, 64, 128].contains(&b) && b >= u128::from(least) => b as u32,
            Some(b) => {
                let message =
                    format!("`{}` cannot have {b} bits: its parts need {least}, and a register has 8, 16, 32, 64 or 128", r.name.name);
                w.errors.push(Diagnostic::new("isa::gdb", r.name.span, message));
                least
            }
            None => least,
        };
        regs.push(GdbReg { name: r.name.name.clone(), bits, ty: r.ty.as_ref().map(|t| t.text.clone()), parts });
    }
    w.spec.gdb.push(GdbFeature { arch: g.arch.name.clone(), name: g.name.text.clone(), regs });
}

fn part(w: &mut World, p: &ast::GdbPart) -> Option<(TestPlace, u32, u32, u32)> {
    let mut fail = |message: String| {
        w.errors.push(Diagnostic::new("isa::gdb", p.state.span, message));
        None
    };
    let (place, bits) = match (w.names.globals.get(&p.state.name).copied(), p.index) {
        (Some((Global::State(s), _)), None) => (TestPlace::State(s), w.spec.states[s.0 as usize].bits),
        (Some((Global::Bank(b), _)), Some(index)) => {
            let bank = &w.spec.banks[b.bank.0 as usize];
            let (count, bits) = b.view.map_or((bank.count, bank.bits), |v| (bank.views[v as usize].count, bank.views[v as usize].bits));
            if index >= u128::from(count) {
                return fail(format!("element {index} of a bank of {count}"));
            }
            let index = index as u32;
            (b.view.map_or(TestPlace::Bank(b.bank, index), |v| TestPlace::View(b.bank, v, index)), bits)
        }
        (Some((Global::Bank(_), _)), None) => return fail(format!("`{}` is a bank: write which element", p.state.name)),
        _ => return fail(format!("there is no state `{}`", p.state.name)),
    };
    let (hi, lo) = p.range.unwrap_or((u128::from(bits) - 1, 0));
    if hi < lo || hi >= u128::from(bits) || p.at + hi - lo >= 128 {
        return fail(format!("bits {hi}:{lo} of `{}`, which has {bits}, at {}", p.state.name, p.at));
    }
    Some((place, lo as u32, (hi - lo + 1) as u32, p.at as u32))
}
