//! Which expressions may be computed where they are not needed: then a choice between them is a select, not a branch.

use crate::body::Shared;
use crate::dynamic::Arm;
use emu_dsl::spec::*;

impl Arm<'_> {
    /// True if it may be computed where it is not needed.
    pub fn is_pure(self, shared: &Shared<'_>) -> bool {
        match self {
            Arm::Expr(e) => shared.pure(e),
            Arm::Block(b) => shared.pure_block(b),
        }
    }
}

impl Shared<'_> {
    /// True if the expression has no effect, cannot fault, and leaves no sticky flags.
    pub fn pure(&self, e: &Expr) -> bool {
        if e.time == Time::Static {
            return true;
        }
        let all = |es: &[Expr]| es.iter().all(|e| self.pure(e));
        match &*e.kind {
            ExprKind::Load(_)
            | ExprKind::LoadExclusive(_)
            | ExprKind::StoreExclusive(..)
            | ExprKind::Swap(..)
            | ExprKind::CompareSwap(..)
            | ExprKind::CallExtern(..)
            | ExprKind::Float { .. } => false,
            ExprKind::Vector { env, args, .. } => env.is_none() && all(args),
            ExprKind::VectorSat(a) | ExprKind::Unary(_, a) | ExprKind::Slice(a, ..) | ExprKind::Rep(a, _) => self.pure(a),
            ExprKind::Zext(a) | ExprKind::Sext(a) => self.pure(a),
            ExprKind::Binary(_, a, b) | ExprKind::Bit(a, b) => self.pure(a) && self.pure(b),
            ExprKind::Cat(es) | ExprKind::Tuple(es) | ExprKind::Builtin(_, es) => all(es),
            ExprKind::Cond(c, a, b) => self.pure(c) && self.pure(a) && self.pure(b),
            ExprKind::If(c, a, b) => self.pure(c) && self.pure_block(a) && self.pure_block(b),
            ExprKind::Match(x, arms) => self.pure(x) && arms.iter().all(|a| self.pure_block(&a.1)),
            ExprKind::Call(f, args) => all(args) && self.pure_fn(*f),
            _ => true,
        }
    }

    fn pure_block(&self, b: &Block) -> bool {
        b.stmts.iter().all(|s| self.pure_stmt(s)) && b.value.as_ref().is_none_or(|v| self.pure(v))
    }

    fn pure_stmt(&self, s: &Stmt) -> bool {
        match &s.kind {
            StmtKind::Let(_, e) => self.pure(e),
            StmtKind::If(c, a, b) if c.time == Time::Static => a.iter().chain(b).all(|s| self.pure_stmt(s)),
            StmtKind::Match(x, arms) if x.time == Time::Static => arms.iter().all(|a| a.1.iter().all(|s| self.pure_stmt(s))),
            StmtKind::Nop => true,
            _ => false,
        }
    }

    fn pure_fn(&self, f: FnId) -> bool {
        if let Some(known) = self.pure_fns.borrow().get(&f.0) {
            return *known;
        }
        let body = &self.spec.fns[f.0 as usize].body;
        let pure = body.stmts.iter().all(|s| self.pure_fn_stmt(s)) && body.value.as_deref().is_none_or(|v| self.pure(v));
        self.pure_fns.borrow_mut().insert(f.0, pure);
        pure
    }

    /// As [`Shared::pure_stmt`]; a function's own mutable locals do not leave it.
    fn pure_fn_stmt(&self, s: &Stmt) -> bool {
        match &s.kind {
            StmtKind::VarSet(_, e) => self.pure(e),
            StmtKind::For(.., body) => body.iter().all(|s| self.pure_fn_stmt(s)),
            StmtKind::If(c, a, b) => self.pure(c) && a.iter().chain(b).all(|s| self.pure_fn_stmt(s)),
            _ => self.pure_stmt(s),
        }
    }
}
