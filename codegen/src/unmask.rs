//! Whether instructions that may unmask an interrupt always end with `jump rekey`, so that what executes code need look for interrupts only there.

use emu_dsl::spec::*;
use emu_dsl::walk;
use std::collections::BTreeSet;

/// True if no state that a condition of an interrupt reads is written by an instruction without `jump rekey`, nor by what belongs to no instruction (a
/// context, the state of a delay slot).
pub fn by_rekey(spec: &Spec) -> bool {
    let (mut masks, mut others) = (BTreeSet::new(), spec.successor.is_some());
    for (_, condition) in &spec.interrupts {
        walk::expr(condition, &mut |e| match &*e.kind {
            ExprKind::State(state) => _ = masks.insert(state.0),
            ExprKind::Context(_) | ExprKind::Mode(_) | ExprKind::Bank(..) | ExprKind::Call(..) => others = true,
            _ => {}
        });
    }
    let bodies = spec.insns.iter().map(|insn| &insn.sem).chain(spec.exceptions.iter().map(|e| &e.body));
    !others
        && bodies.into_iter().all(|body| {
            let mut effects = Effects { spec, masks: &masks, unmasks: false, rekeys: false };
            effects.body(body);
            effects.rekeys || !effects.unmasks
        })
}

struct Effects<'a> {
    spec: &'a Spec,
    masks: &'a BTreeSet<u32>,
    /// A state is written that masks interrupts.
    unmasks: bool,
    rekeys: bool,
}

impl Effects<'_> {
    fn body(&mut self, body: &Body) {
        self.stmts(&body.stmts);
        walk::body(body, &mut |e| self.expr(e));
    }

    /// What statements do themselves; their expressions are visited by the body.
    fn stmts(&mut self, all: &[Stmt]) {
        for s in all {
            match &s.kind {
                StmtKind::SetState(state, _) | StmtKind::SetBits(state, ..) => self.unmasks |= self.masks.contains(&state.0),
                StmtKind::JumpRekey(_) => self.rekeys = true,
                StmtKind::If(_, a, b) => [a, b].into_iter().for_each(|inner| self.stmts(inner)),
                StmtKind::Match(_, arms) => arms.iter().for_each(|arm| self.stmts(&arm.1)),
                StmtKind::For(.., inner) | StmtKind::Repeat(inner) => self.stmts(inner),
                _ => {}
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &*e.kind {
            ExprKind::Call(f, _) => self.body(&self.spec.fns[f.0 as usize].body),
            ExprKind::CallExtern(f, _) => {
                let writes = &self.spec.externs[f.0 as usize].writes;
                self.unmasks |= writes.all || writes.states.iter().any(|state| self.masks.contains(&state.0));
            }
            ExprKind::If(_, a, b) => [a, b].into_iter().for_each(|inner| self.stmts(&inner.stmts)),
            ExprKind::Match(_, arms) => arms.iter().for_each(|arm| self.stmts(&arm.1.stmts)),
            _ => {}
        }
    }
}
