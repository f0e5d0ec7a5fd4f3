//! Visits all expressions of a checked body, in the order they are written.

use crate::spec::*;

/// Calls `f` for every expression in `stmts`, outer before inner.
pub fn stmts<'a>(all: &'a [Stmt], f: &mut dyn FnMut(&'a Expr)) {
    for s in all {
        stmt(s, f);
    }
}

/// Calls `f` for every expression in a body.
pub fn body<'a>(b: &'a Body, f: &mut dyn FnMut(&'a Expr)) {
    stmts(&b.stmts, f);
    if let Some(v) = &b.value {
        expr(v, f);
    }
}

fn block<'a>(b: &'a Block, f: &mut dyn FnMut(&'a Expr)) {
    stmts(&b.stmts, f);
    if let Some(v) = &b.value {
        expr(v, f);
    }
}

fn memory<'a>(m: &'a MemExpr, f: &mut dyn FnMut(&'a Expr)) {
    expr(&m.addr, f);
    [&m.align, &m.note, &m.mmu, &m.big].into_iter().flatten().for_each(|e| expr(e, f));
}

fn stmt<'a>(s: &'a Stmt, f: &mut dyn FnMut(&'a Expr)) {
    match &s.kind {
        StmtKind::Let(_, e)
        | StmtKind::VarSet(_, e)
        | StmtKind::SetState(_, e)
        | StmtKind::SetBits(.., e)
        | StmtKind::Jump(e)
        | StmtKind::JumpRekey(e)
        | StmtKind::SetContext(_, e)
        | StmtKind::Expr(e)
        | StmtKind::BreakIf(e) => expr(e, f),
        StmtKind::SetBank(_, i, e) => [i, e].into_iter().for_each(|e| expr(e, f)),
        StmtKind::If(c, a, b) => {
            expr(c, f);
            stmts(a, f);
            stmts(b, f);
        }
        StmtKind::Match(x, arms) => {
            expr(x, f);
            arms.iter().for_each(|a| stmts(&a.1, f));
        }
        StmtKind::For(_, a, b, _, inner) => {
            expr(a, f);
            expr(b, f);
            stmts(inner, f);
        }
        StmtKind::Store(m, e) => {
            memory(m, f);
            expr(e, f);
        }
        StmtKind::Probe(m, _) => memory(m, f),
        StmtKind::Raise(_, es) => es.iter().for_each(|e| expr(e, f)),
        StmtKind::Repeat(inner) => stmts(inner, f),
        StmtKind::Undefined
        | StmtKind::Unpredictable(_)
        | StmtKind::Commit
        | StmtKind::Wait(_)
        | StmtKind::Fence(_)
        | StmtKind::ClearExclusive
        | StmtKind::Nop => {}
    }
}

/// Calls `f` for `e` and everything inside.
pub fn expr<'a>(e: &'a Expr, f: &mut dyn FnMut(&'a Expr)) {
    f(e);
    match &*e.kind {
        ExprKind::Int(_)
        | ExprKind::Local(_)
        | ExprKind::Mode(_)
        | ExprKind::Context(_)
        | ExprKind::Feature(_)
        | ExprKind::Pc
        | ExprKind::NextPc
        | ExprKind::TokenBits
        | ExprKind::First
        | ExprKind::State(_)
        | ExprKind::Unspecified => {}
        ExprKind::Bank(_, a)
        | ExprKind::Unary(_, a)
        | ExprKind::Slice(a, ..)
        | ExprKind::Rep(a, _)
        | ExprKind::Zext(a)
        | ExprKind::Sext(a)
        | ExprKind::VectorSat(a) => expr(a, f),
        ExprKind::Binary(_, a, b) | ExprKind::Bit(a, b) => [a, b].into_iter().for_each(|e| expr(e, f)),
        ExprKind::Cat(es) | ExprKind::Tuple(es) | ExprKind::Builtin(_, es) | ExprKind::Call(_, es) | ExprKind::CallExtern(_, es) => {
            es.iter().for_each(|e| expr(e, f));
        }
        ExprKind::Cond(c, a, b) => [c, a, b].into_iter().for_each(|e| expr(e, f)),
        ExprKind::If(c, a, b) => {
            expr(c, f);
            block(a, f);
            block(b, f);
        }
        ExprKind::Match(x, arms) => {
            expr(x, f);
            arms.iter().for_each(|a| block(&a.1, f));
        }
        ExprKind::Float { args, params, .. } => {
            args.iter().for_each(|e| expr(e, f));
            for p in params {
                if let FloatParam::Value(e) = p {
                    expr(e, f);
                }
            }
        }
        ExprKind::Vector { lane, args, imm, .. } => {
            expr(lane, f);
            args.iter().chain(imm).for_each(|e| expr(e, f));
        }
        ExprKind::Load(m) | ExprKind::LoadExclusive(m) => memory(m, f),
        ExprKind::StoreExclusive(m, e) | ExprKind::Swap(m, e) => {
            memory(m, f);
            expr(e, f);
        }
        ExprKind::CompareSwap(m, a, b) => {
            memory(m, f);
            expr(a, f);
            expr(b, f);
        }
    }
}

/// Calls `f` for every expression of an encoding: where names, condition, guards, predicate, inputs, text.
pub fn encoding<'a>(e: &'a Encoding, f: &mut dyn FnMut(&'a Expr)) {
    fn pieces<'a>(all: &'a [AsmPiece], f: &mut dyn FnMut(&'a Expr)) {
        for p in all {
            match p {
                AsmPiece::Text(_) => {}
                AsmPiece::Value(e, _) => expr(e, f),
                AsmPiece::Choice(e, a, b) => {
                    expr(e, f);
                    pieces(a, f);
                    pieces(b, f);
                }
            }
        }
    }
    e.wheres.iter().for_each(|w| expr(&w.1, f));
    e.condition.iter().chain(&e.predicate).chain(&e.inputs).for_each(|x| expr(x, f));
    e.guards.iter().for_each(|g| expr(&g.0, f));
    for (when, text) in &e.asm {
        when.iter().for_each(|x| expr(x, f));
        pieces(text, f);
    }
}
