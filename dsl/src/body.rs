//! Expressions and statements: names, types and binding times.

use crate::ast::{self, Id, Infix, Kind, Prefix};
use crate::check::{Global, World, nearest, ty};
use crate::diagnostic::Diagnostic;
use crate::spec::*;
use std::collections::HashMap;

/// Names that an instruction's meaning may take from its encodings: name -> type and time.
pub type Inputs = HashMap<String, (Ty, Time)>;

/// Checks one body (or one expression).
pub struct Checker<'w> {
    /// Everything declared.
    pub w: &'w mut World,
    /// Local names of this body.
    pub locals: Vec<Local>,
    scopes: Vec<HashMap<String, LocalId>>,
    /// Names that may become inputs when used, and those that were.
    pub available: Inputs,
    /// Inputs used, in order.
    pub used: Vec<(String, LocalId)>,
    /// Only states (and what is computed from them) may be read: modes, interrupt conditions.
    pub states_only: bool,
    /// `line(i)` may be used.
    pub lines: bool,
    /// Nothing dynamic may be used.
    pub static_only: bool,
    /// `first` is the first unit of a long token, of that many bits.
    pub first: Option<u8>,
    /// `pc` is the state, not the instruction's address.
    pub in_exception: bool,
    /// Dynamic reads of the instruction are allowed (`sem`, functions).
    loops: u32,
}

type Typed = Option<Expr>;

fn bits(n: u8) -> Ty {
    Ty::Bits(n)
}

/// A type in the reader's words.
pub fn show(t: &Ty) -> String {
    match t {
        Ty::Bits(n) => format!("u{n}"),
        Ty::Int => "int".into(),
        Ty::Unit => "nothing".into(),
        Ty::Tuple(parts) => format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}

impl<'w> Checker<'w> {
    /// A checker with no local names.
    pub fn new(w: &'w mut World) -> Checker<'w> {
        Checker {
            w,
            locals: vec![],
            scopes: vec![HashMap::new()],
            available: HashMap::new(),
            used: vec![],
            states_only: false,
            lines: false,
            static_only: false,
            first: None,
            in_exception: false,
            loops: 0,
        }
    }

    /// Reports a problem; returns `None` for use in `?` chains.
    pub fn fail<T>(&mut self, d: Diagnostic) -> Option<T> {
        self.w.errors.push(d);
        None
    }

    /// Declares a local.
    pub fn local(&mut self, id: &Id, ty: Ty, time: Time, mutable: bool) -> LocalId {
        let local = LocalId(self.locals.len() as u32);
        self.locals.push(Local { name: id.name.clone(), ty, time, mutable });
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(id.name.clone(), local);
        }
        local
    }

    /// The local called `name`, taken from the inputs if it is one.
    pub fn find(&mut self, name: &str) -> Option<LocalId> {
        if let Some(found) = self.scopes.iter().rev().find_map(|s| s.get(name)) {
            return Some(*found);
        }
        let (ty, time) = self.available.get(name)?.clone();
        let local = LocalId(self.locals.len() as u32);
        self.locals.push(Local { name: name.to_string(), ty, time, mutable: false });
        self.scopes[0].insert(name.to_string(), local);
        self.used.push((name.to_string(), local));
        Some(local)
    }

    /// An expression that must be static.
    pub fn fixed(&mut self, e: &ast::Expr, want: Option<&Ty>, what: &str) -> Typed {
        let x = self.expr(e, want)?;
        let x = match want {
            Some(t) => self.coerce(x, t)?,
            None => x,
        };
        self.require_static(&x, what)?;
        Some(x)
    }

    fn require_static(&mut self, e: &Expr, what: &str) -> Option<()> {
        if e.time == Time::Static {
            return Some(());
        }
        self.fail(
            Diagnostic::new("isa::not-static", e.span, format!("{what} must be known at translation, and this depends on state"))
                .help("only fields, modes, contexts, features and numbers are static"),
        )
    }

    /// The value of an expression of numbers and constants only.
    pub fn constant(&mut self, e: &Expr, what: &str) -> Option<u128> {
        match fold(e) {
            Some(x) => Some(x),
            None => self.fail(Diagnostic::new("isa::not-constant", e.span, format!("{what} must be a number"))),
        }
    }

    /// Makes `e` have type `want`: integers adapt, everything else must match.
    pub fn coerce(&mut self, mut e: Expr, want: &Ty) -> Typed {
        if e.ty == *want {
            return Some(e);
        }
        if let (Ty::Int, Ty::Bits(n)) = (&e.ty, want) {
            if let Some(x) = fold(&e) {
                let negative = (x as i128) < 0;
                let fits = *n == 128 || if negative { (x as i128) >= -(1i128 << (n - 1)) } else { x >> n == 0 };
                if !fits {
                    return self.fail(
                        Diagnostic::new("isa::literal", e.span, format!("{} does not fit into u{n}", x as i128))
                            .help("widen the type or cut the number"),
                    );
                }
                let mask = if *n == 128 { u128::MAX } else { (1 << n) - 1 };
                e.kind = Box::new(ExprKind::Int(x & mask));
                e.ty = want.clone();
                return Some(e);
            }
            let (span, time) = (e.span, e.time);
            if let ExprKind::Cond(..) = &*e.kind
                && let ExprKind::Cond(c, a, b) = *e.kind
            {
                let (a, b) = (self.coerce(a, want)?, self.coerce(b, want)?);
                return Some(Expr { kind: Box::new(ExprKind::Cond(c, a, b)), ty: want.clone(), time, span });
            }
            return Some(Expr { kind: Box::new(ExprKind::Zext(e)), ty: want.clone(), time, span });
        }
        if let (ExprKind::Tuple(_), Ty::Tuple(wants)) = (&*e.kind, want)
            && let ExprKind::Tuple(parts) = *e.kind
        {
            if parts.len() == wants.len() {
                let parts = parts.into_iter().zip(wants).map(|(p, w)| self.coerce(p, w)).collect::<Option<Vec<_>>>()?;
                return Some(Expr { kind: Box::new(ExprKind::Tuple(parts)), ty: want.clone(), time: e.time, span: e.span });
            }
            return self.fail(Diagnostic::new("isa::type", e.span, format!("{} values where {} are wanted", parts.len(), wants.len())));
        }
        let help = match (&e.ty, want) {
            (Ty::Bits(a), Ty::Bits(b)) if a < b => format!("u{b}(x) to zero-extend or s{b}(x) to sign-extend?"),
            (Ty::Bits(_), Ty::Bits(b)) => format!("cut it: x[{}:0]", b - 1),
            (Ty::Bits(_), Ty::Int) => "int(x) makes a static value an int".into(),
            _ => "the types must agree".into(),
        };
        self.fail(Diagnostic::new("isa::type", e.span, format!("this is {}, {} is wanted", show(&e.ty), show(want))).help(help))
    }

    fn make(&self, kind: ExprKind, ty: Ty, time: Time, span: Span) -> Typed {
        Some(Expr { kind: Box::new(kind), ty, time, span })
    }

    /// Two operands of one type: integers adapt to the other side.
    fn pair(&mut self, a: Expr, b: Expr) -> Option<(Expr, Expr, Ty)> {
        let t = match (&a.ty, &b.ty) {
            (Ty::Int, t) => t.clone(),
            (t, _) => t.clone(),
        };
        if !matches!(t, Ty::Bits(_) | Ty::Int) {
            return self.fail(Diagnostic::new("isa::type", a.span, format!("{} is no operand of this", show(&t))));
        }
        if a.ty != b.ty && a.ty != Ty::Int && b.ty != Ty::Int {
            let help = match (&a.ty, &b.ty) {
                (Ty::Bits(x), Ty::Bits(y)) => format!("extend the narrower side: u{0}(x) or s{0}(x)", x.max(y)),
                _ => "the types must agree".into(),
            };
            return self.fail(
                Diagnostic::new("isa::type", b.span, format!("{} and {} do not go together", show(&a.ty), show(&b.ty)))
                    .also(a.span, format!("this is {}", show(&a.ty)))
                    .help(help),
            );
        }
        Some((self.coerce(a, &t)?, self.coerce(b, &t)?, t))
    }

    /// Checks an expression; `want` is the type the surroundings would like, if they have a say.
    pub fn expr(&mut self, e: &ast::Expr, want: Option<&Ty>) -> Typed {
        let span = e.span;
        match &*e.kind {
            Kind::Number(n) => self.make(ExprKind::Int(*n), Ty::Int, Time::Static, span),
            Kind::Name(n) => self.name(n, span),
            Kind::Dot(base, field) => self.dot(base, field, span),
            Kind::Index(base, i) => self.index(base, i, span),
            Kind::Slice(x, hi, lo) => {
                let x = self.expr(x, None)?;
                let hi = self.expr(hi, None).and_then(|e| self.constant(&e, "a slice's bound"))?;
                let lo = self.expr(lo, None).and_then(|e| self.constant(&e, "a slice's bound"))?;
                let width = match x.ty {
                    Ty::Bits(n) => u128::from(n),
                    _ => {
                        return self.fail(
                            Diagnostic::new("isa::type", x.span, format!("{} has no bits to cut", show(&x.ty)))
                                .help("u32(x)[7:0] cuts an int"),
                        );
                    }
                };
                if hi < lo || hi >= width {
                    return self.fail(
                        Diagnostic::new("isa::slice", span, format!("[{hi}:{lo}] is no part of u{width}"))
                            .help(format!("bounds are {}:0, the higher first", width - 1)),
                    );
                }
                let (time, n) = (x.time, (hi - lo + 1) as u8);
                self.make(ExprKind::Slice(x, hi as u8, lo as u8), bits(n), time, span)
            }
            Kind::Call(f, args) => self.call(f, args, span),
            Kind::Prefix(op, x) => {
                let x = self.expr(x, want)?;
                if *op == Prefix::Not && x.ty != bits(1) {
                    return self.fail(
                        Diagnostic::new("isa::type", x.span, format!("`!` is for u1, this is {}", show(&x.ty)))
                            .help("`~` inverts all bits; or compare with 0"),
                    );
                }
                if !matches!(x.ty, Ty::Bits(_) | Ty::Int) {
                    return self.fail(Diagnostic::new("isa::type", x.span, format!("{} is no operand of this", show(&x.ty))));
                }
                let (t, time) = (x.ty.clone(), x.time);
                let op = if *op == Prefix::Negate { UnOp::Neg } else { UnOp::Not };
                self.make(ExprKind::Unary(op, x), t, time, span)
            }
            Kind::Infix(op, a, b) => self.infix(*op, a, b, span),
            Kind::Cond(c, a, b) => {
                let c = self.expr(c, Some(&bits(1))).and_then(|c| self.coerce(c, &bits(1)));
                let (a, b) = (self.expr(a, want), self.expr(b, want));
                let (c, a, b) = (c?, a?, b?);
                let (a, b, t) = self.arms(a, b, want)?;
                if c.time == Time::Dynamic {
                    for arm in [&a, &b] {
                        if let Some(bad) = impure(arm) {
                            return self.fail(
                                Diagnostic::new(
                                    "isa::impure-arm",
                                    bad,
                                    "both arms of a dynamic `?:` are computed, and this one loads or calls out",
                                )
                                .help("use `if c { ... } else { ... }`"),
                            );
                        }
                    }
                }
                let time = c.time.max(a.time).max(b.time);
                self.make(ExprKind::Cond(c, a, b), t, time, span)
            }
            Kind::If(c, a, b) => {
                let c = self.expr(c, Some(&bits(1))).and_then(|c| self.coerce(c, &bits(1)));
                let (mut sa, va) = self.block(a, want);
                let (mut sb, vb) = self.block(b, want);
                let (c, va, vb) = (c?, va?, vb?);
                let (va, vb, t) = self.arms(va, vb, want)?;
                let time =
                    c.time.max(va.time).max(vb.time).max(if sa.is_empty() && sb.is_empty() { Time::Static } else { self.block_time() });
                let (sa, sb) = (std::mem::take(&mut sa), std::mem::take(&mut sb));
                self.make(ExprKind::If(c, Block { stmts: sa, value: Some(va) }, Block { stmts: sb, value: Some(vb) }), t, time, span)
            }
            Kind::Match(s, arms) => self.match_expr(s, arms, want, span),
            Kind::Tuple(parts) => {
                let wants: Vec<Option<&Ty>> = match want {
                    Some(Ty::Tuple(ts)) if ts.len() == parts.len() => ts.iter().map(Some).collect(),
                    _ => vec![None; parts.len()],
                };
                let mut out = Vec::new();
                for (p, w) in parts.iter().zip(wants) {
                    let mut x = self.expr(p, w)?;
                    if let Some(w) = w {
                        x = self.coerce(x, w)?;
                    }
                    out.push(x);
                }
                let t = Ty::Tuple(out.iter().map(|p| p.ty.clone()).collect());
                let time = out.iter().map(|p| p.time).max().unwrap_or(Time::Static);
                self.make(ExprKind::Tuple(out), t, time, span)
            }
            Kind::Load(m) => {
                let m = self.mem(m)?;
                let t = bits(m.bits);
                self.make(ExprKind::Load(m), t, Time::Dynamic, span)
            }
            Kind::LoadExclusive(m) => {
                let m = self.mem(m)?;
                let t = bits(m.bits);
                self.make(ExprKind::LoadExclusive(m), t, Time::Dynamic, span)
            }
            Kind::StoreExclusive(m, x) => {
                let m = self.mem(m)?;
                let t = bits(m.bits);
                let x = self.expr(x, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                self.make(ExprKind::StoreExclusive(m, x), bits(1), Time::Dynamic, span)
            }
            Kind::Swap(m, x) => {
                let m = self.mem(m)?;
                let t = bits(m.bits);
                let x = self.expr(x, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                self.make(ExprKind::Swap(m, x), t, Time::Dynamic, span)
            }
            Kind::CompareSwap(m, expected, x) => {
                let m = self.mem(m)?;
                let t = bits(m.bits);
                let expected = self.expr(expected, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                let x = self.expr(x, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                self.make(ExprKind::CompareSwap(m, expected, x), t, Time::Dynamic, span)
            }
            Kind::Unspecified(n) => self.make(ExprKind::Unspecified, bits(*n), Time::Dynamic, span),
        }
    }

    /// Statements in an expression's block make it dynamic unless the whole body is static anyway.
    fn block_time(&self) -> Time {
        if self.static_only { Time::Static } else { Time::Dynamic }
    }

    fn arms(&mut self, a: Expr, b: Expr, want: Option<&Ty>) -> Option<(Expr, Expr, Ty)> {
        if let Some(w) = want
            && (a.ty == Ty::Int || b.ty == Ty::Int)
            && matches!(w, Ty::Bits(_))
        {
            let (a, b) = (self.coerce(a, w)?, self.coerce(b, w)?);
            return Some((a, b, w.clone()));
        }
        match (&a.ty, &b.ty) {
            (Ty::Tuple(_), _) | (_, Ty::Tuple(_)) => {
                let t = if let (Ty::Tuple(x), Ty::Tuple(y)) = (&a.ty, &b.ty)
                    && x.len() == y.len()
                {
                    Ty::Tuple(x.iter().zip(y).map(|(x, y)| if *x == Ty::Int { y.clone() } else { x.clone() }).collect())
                } else {
                    a.ty.clone()
                };
                let (a, b) = (self.coerce(a, &t)?, self.coerce(b, &t)?);
                Some((a, b, t))
            }
            _ => self.pair(a, b),
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Typed {
        if let Some(local) = self.find(name) {
            let l = &self.locals[local.0 as usize];
            let (t, time) = (l.ty.clone(), l.time);
            return self.make(ExprKind::Local(local), t, time, span);
        }
        match name {
            "first" => {
                if let Some(n) = self.first {
                    return self.make(ExprKind::First, bits(n), Time::Static, span);
                }
            }
            "pc" if !self.in_exception && !self.states_only => {
                if let Some(pc) = self.w.spec.pc.or_else(|| self.pc_state()) {
                    let n = self.w.spec.states[pc.0 as usize].bits;
                    return self.make(ExprKind::Pc, bits(n), Time::Static, span);
                }
            }
            "next_pc" if !self.in_exception && !self.states_only => {
                if let Some(pc) = self.w.spec.pc.or_else(|| self.pc_state()) {
                    let n = self.w.spec.states[pc.0 as usize].bits;
                    return self.make(ExprKind::NextPc, bits(n), Time::Static, span);
                }
            }
            "token_bits" => return self.make(ExprKind::TokenBits, Ty::Int, Time::Static, span),
            _ => {}
        }
        let Some((global, _)) = self.w.names.globals.get(name).copied() else {
            let mut known: Vec<&str> = self.w.names.globals.keys().map(String::as_str).collect();
            known.extend(self.scopes.iter().flat_map(|s| s.keys().map(String::as_str)));
            known.extend(self.available.keys().map(String::as_str));
            known.sort_unstable();
            let help = nearest(name, known.into_iter()).map(|n| format!("did you mean `{n}`?"));
            let mut d = Diagnostic::new("isa::unknown-name", span, format!("`{name}` is not known here"));
            d.help = help.or_else(|| Some("fields come from the bits, other static names from `where`, dynamic ones from `let`".into()));
            return self.fail(d);
        };
        match global {
            Global::Const(i) => {
                let value = self.w.consts[i];
                self.make(ExprKind::Int(value), Ty::Int, Time::Static, span)
            }
            Global::Feature(f) => self.make(ExprKind::Feature(f), bits(1), Time::Static, span),
            Global::State(s) => {
                if self.static_only {
                    return self.fail(
                        Diagnostic::new("isa::not-static", span, format!("`{name}` is state, not known at translation"))
                            .help("pass it in as an argument of a plain `fn`, or declare a `mode` for it"),
                    );
                }
                let n = self.w.spec.states[s.0 as usize].bits;
                self.make(ExprKind::State(s), bits(n), Time::Dynamic, span)
            }
            Global::Mode(m) if !self.states_only => {
                let n = self.w.spec.modes[m.0 as usize].bits;
                self.make(ExprKind::Mode(m), bits(n), Time::Static, span)
            }
            Global::Context(c) if !self.states_only => {
                let n = self.w.spec.contexts[c.0 as usize].bits;
                self.make(ExprKind::Context(c), bits(n), Time::Static, span)
            }
            Global::Mode(_) | Global::Context(_) => self.fail(
                Diagnostic::new("isa::mode-of-mode", span, format!("`{name}` may not be used here")).help("use the states it is made of"),
            ),
            Global::Bank(_) => {
                self.fail(Diagnostic::new("isa::bank", span, format!("`{name}` is a bank")).help(format!("say which element: {name}[i]")))
            }
            Global::Enum(_) => {
                self.fail(Diagnostic::new("isa::enum", span, format!("`{name}` is an enum")).help(format!("say which value: {name}.value")))
            }
            Global::Fn(_) | Global::Extern(_) => {
                self.fail(Diagnostic::new("isa::call", span, format!("`{name}` is a function")).help(format!("call it: {name}(...)")))
            }
            Global::Env(_) => self.fail(
                Diagnostic::new("isa::fpenv", span, format!("`{name}` is a floating-point environment"))
                    .help("it stands first in f. and v.f_ calls"),
            ),
        }
    }

    /// The program counter's state before the isa block was checked: the state called `pc`.
    fn pc_state(&self) -> Option<StateId> {
        match self.w.names.globals.get("pc") {
            Some((Global::State(s), _)) => Some(*s),
            _ => None,
        }
    }

    fn enum_value(&mut self, e: EnumId, field: &Id) -> Option<u128> {
        let decl = &self.w.spec.enums[e.0 as usize];
        match decl.values.iter().position(|names| names.contains(&field.name)) {
            Some(i) => Some(i as u128),
            None => {
                let all = decl.values.iter().flatten().map(String::as_str);
                let help = nearest(&field.name, all).map_or("see its declaration".to_string(), |n| format!("did you mean `{n}`?"));
                let message = format!("enum `{}` has no value `{}`", decl.name, field.name);
                let at = decl.span;
                self.fail(Diagnostic::new("isa::enum", field.span, message).also(at, "declared here").help(help))
            }
        }
    }

    fn dot(&mut self, base: &ast::Expr, field: &Id, span: Span) -> Typed {
        if let Kind::Name(n) = &*base.kind
            && let Some((Global::Enum(e), _)) = self.w.names.globals.get(n).copied()
        {
            let value = self.enum_value(e, field)?;
            let n = self.w.spec.enums[e.0 as usize].bits;
            return self.make(ExprKind::Int(value), bits(n), Time::Static, span);
        }
        self.fail(
            Diagnostic::new("isa::dot", span, format!("`.{}` means nothing here", field.name))
                .help("`.` selects a value of an enum, or a function of `f` and `v`"),
        )
    }

    fn bank_ref(&self, e: &ast::Expr) -> Option<BankRef> {
        let Kind::Name(n) = &*e.kind else { return None };
        if self.scopes.iter().any(|s| s.contains_key(n)) || self.available.contains_key(n) {
            return None;
        }
        match self.w.names.globals.get(n) {
            Some((Global::Bank(b), _)) => Some(*b),
            _ => None,
        }
    }

    fn bank_shape(&self, b: BankRef) -> (u32, u8) {
        let bank = &self.w.spec.banks[b.bank.0 as usize];
        match b.view {
            None => (bank.count, bank.bits),
            Some(v) => (bank.views[v as usize].count, bank.views[v as usize].bits),
        }
    }

    fn bank_index(&mut self, b: BankRef, i: &ast::Expr) -> Option<(Expr, u8)> {
        let (count, n) = self.bank_shape(b);
        let i = self.expr(i, None)?;
        self.require_static(&i, "a bank's index")?;
        if let Some(x) = fold(&i)
            && x >= u128::from(count)
        {
            return self.fail(Diagnostic::new("isa::index", i.span, format!("element {x} of a bank of {count}")));
        }
        Some((i, n))
    }

    fn index(&mut self, base: &ast::Expr, i: &ast::Expr, span: Span) -> Typed {
        if let Some(b) = self.bank_ref(base) {
            if self.static_only {
                return self.fail(Diagnostic::new("isa::not-static", span, "a register is state, not known at translation"));
            }
            let (i, n) = self.bank_index(b, i)?;
            return self.make(ExprKind::Bank(b, i), bits(n), Time::Dynamic, span);
        }
        let x = self.expr(base, None)?;
        let Ty::Bits(n) = x.ty else {
            return self.fail(Diagnostic::new("isa::type", x.span, format!("{} has no bits to index", show(&x.ty))));
        };
        let i = self.expr(i, None)?;
        if let Some(at) = fold(&i)
            && at >= u128::from(n)
        {
            return self
                .fail(Diagnostic::new("isa::slice", i.span, format!("bit {at} of a u{n}")).help(format!("bits are 0 to {}", n - 1)));
        }
        let time = x.time.max(i.time);
        self.make(ExprKind::Bit(x, i), bits(1), time, span)
    }

    fn infix(&mut self, op: Infix, a: &ast::Expr, b: &ast::Expr, span: Span) -> Typed {
        let (a, b) = (self.expr(a, None), self.expr(b, None));
        let (a, b) = (a?, b?);
        let time = a.time.max(b.time);
        if matches!(op, Infix::Shl | Infix::Shr | Infix::Sar) {
            if !matches!(b.ty, Ty::Bits(_) | Ty::Int) || !matches!(a.ty, Ty::Bits(_) | Ty::Int) {
                return self.fail(Diagnostic::new("isa::type", b.span, format!("{} cannot be shifted by {}", show(&a.ty), show(&b.ty))));
            }
            if a.ty == Ty::Int && time == Time::Dynamic {
                return self.fail(Diagnostic::new("isa::type", a.span, "how wide is this number?").help("give it a width: u32(1) << n"));
            }
            let t = a.ty.clone();
            let op = match op {
                Infix::Shl => BinOp::Shl,
                Infix::Shr => BinOp::Shr,
                _ => BinOp::Sar,
            };
            return self.make(ExprKind::Binary(op, a, b), t, time, span);
        }
        let (a, b, t) = self.pair(a, b)?;
        let (op, result) = match op {
            Infix::Add => (BinOp::Add, t),
            Infix::Sub => (BinOp::Sub, t),
            Infix::Mul => (BinOp::Mul, t),
            Infix::And => (BinOp::And, t),
            Infix::Or => (BinOp::Or, t),
            Infix::Xor => (BinOp::Xor, t),
            Infix::LogicAnd | Infix::LogicOr => {
                if t != bits(1) {
                    return self.fail(
                        Diagnostic::new("isa::type", span, format!("`&&` and `||` are for u1, these are {}", show(&t)))
                            .help("compare with 0, or use `&` and `|`"),
                    );
                }
                (if op == Infix::LogicAnd { BinOp::And } else { BinOp::Or }, t)
            }
            Infix::Eq => (BinOp::Eq, bits(1)),
            Infix::Ne => (BinOp::Ne, bits(1)),
            Infix::Lt => (BinOp::Ult, bits(1)),
            Infix::Le => (BinOp::Ule, bits(1)),
            Infix::Gt => (BinOp::Ugt, bits(1)),
            Infix::Ge => (BinOp::Uge, bits(1)),
            Infix::Slt => (BinOp::Slt, bits(1)),
            Infix::Sle => (BinOp::Sle, bits(1)),
            Infix::Sgt => (BinOp::Sgt, bits(1)),
            _ => (BinOp::Sge, bits(1)),
        };
        self.make(ExprKind::Binary(op, a, b), result, time, span)
    }

    fn patterns(&mut self, scrutinee: &Ty, patterns: &[ast::Pattern], span: Span) -> Option<Vec<u128>> {
        let mut out = Vec::new();
        for p in patterns {
            let (value, at) = match p {
                ast::Pattern::Number(n) => (*n, span),
                ast::Pattern::Name(Some(e), id) => match self.w.names.globals.get(&e.name).copied() {
                    Some((Global::Enum(x), _)) => (self.enum_value(x, id)?, id.span),
                    _ => return self.fail(Diagnostic::new("isa::enum", e.span, format!("there is no enum `{}`", e.name))),
                },
                ast::Pattern::Name(None, id) => match self.w.names.globals.get(&id.name).copied() {
                    Some((Global::Const(c), _)) => (self.w.consts[c], id.span),
                    _ => {
                        return self.fail(
                            Diagnostic::new("isa::pattern", id.span, format!("`{}` is no constant", id.name))
                                .help("patterns are numbers, constants or enum values"),
                        );
                    }
                },
            };
            if let Ty::Bits(n) = scrutinee
                && *n < 128
                && value >> n != 0
            {
                return self.fail(Diagnostic::new("isa::pattern", at, format!("{value} is no value of u{n}")));
            }
            out.push(value);
        }
        Some(out)
    }

    /// Checks that the arms take every value once.
    fn exhaustive(&mut self, s: &Ty, arms: &[Vec<u128>], span: Span) -> Option<()> {
        let mut seen: Vec<u128> = arms.iter().flatten().copied().collect();
        let otherwise = arms.iter().position(Vec::is_empty);
        let total = seen.len();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() != total {
            return self.fail(Diagnostic::new("isa::match", span, "a value stands in two arms"));
        }
        if otherwise.is_some_and(|at| at + 1 != arms.len()) {
            return self.fail(Diagnostic::new("isa::match", span, "`_` must be the last arm"));
        }
        let all = matches!(s, Ty::Bits(n) if *n < 64 && seen.len() as u128 == 1 << n);
        if otherwise.is_none() && !all {
            return self.fail(
                Diagnostic::new("isa::match", span, format!("{} of the values of {} are not matched", "some", show(s)))
                    .help("add an arm for `_`"),
            );
        }
        Some(())
    }

    fn match_expr(&mut self, s: &ast::Expr, arms: &[ast::Arm<ast::Block>], want: Option<&Ty>, span: Span) -> Typed {
        let s = self.expr(s, None)?;
        if !matches!(s.ty, Ty::Bits(_) | Ty::Int) {
            return self.fail(Diagnostic::new("isa::type", s.span, format!("{} cannot be matched", show(&s.ty))));
        }
        let mut made: Vec<(Vec<u128>, Vec<Stmt>, Expr)> = Vec::new();
        let mut good = true;
        for arm in arms {
            let values = self.patterns(&s.ty, &arm.patterns, arm.span);
            let (stmts, value) = self.block(&arm.body, want);
            match (values, value) {
                (Some(v), Some(e)) => made.push((v, stmts, e)),
                _ => good = false,
            }
        }
        if !good {
            return None;
        }
        let values: Vec<Vec<u128>> = made.iter().map(|m| m.0.clone()).collect();
        self.exhaustive(&s.ty, &values, span)?;
        // The arms' type: what is wanted, else the first that is not a bare number's.
        let t = match want {
            Some(w) => w.clone(),
            None => made.iter().map(|m| &m.2.ty).find(|t| **t != Ty::Int).cloned().unwrap_or(Ty::Int),
        };
        let mut time = s.time;
        let mut out = Vec::new();
        for (values, stmts, value) in made {
            let value = self.coerce(value, &t)?;
            time = time.max(value.time);
            if !stmts.is_empty() {
                time = time.max(self.block_time());
            }
            out.push((values, Block { stmts, value: Some(value) }));
        }
        self.make(ExprKind::Match(s, out), t, time, span)
    }

    fn mem(&mut self, m: &ast::Mem) -> Option<MemExpr> {
        if self.static_only || self.states_only {
            return self.fail(Diagnostic::new("isa::not-static", m.span, "no memory access here"));
        }
        if ![8, 16, 32, 64, 128].contains(&m.bits) {
            return self
                .fail(Diagnostic::new("isa::memory", m.span, format!("memory has no u{}", m.bits)).help("u8, u16, u32, u64 or u128"));
        }
        let addr = self.expr(&m.addr, None)?;
        let addr = match addr.ty {
            Ty::Bits(32 | 64) => addr,
            Ty::Int => {
                let n = self.w.spec.pc.map_or(32, |p| self.w.spec.states[p.0 as usize].bits);
                self.coerce(addr, &bits(n))?
            }
            _ => {
                return self.fail(Diagnostic::new(
                    "isa::memory",
                    addr.span,
                    format!("an address is u32 or u64, this is {}", show(&addr.ty)),
                ));
            }
        };
        let align = match &m.align {
            Some(e) => Some(self.fixed(e, None, "an alignment")?),
            None => None,
        };
        let note = match &m.note {
            Some(e) => Some(self.fixed(e, Some(&bits(16)), "a note")?),
            None => None,
        };
        let mmu = match &m.mmu {
            Some(e) => Some(self.fixed(e, None, "an MMU index")?),
            None => None,
        };
        let big = match &m.big {
            Some(e) => Some(self.fixed(e, Some(&bits(1)), "a byte order")?),
            None => None,
        };
        Some(MemExpr { bits: m.bits, addr, align, note, mmu, big, acquire: m.acquire, release: m.release, atomic: m.atomic })
    }

    // ---- calls

    fn call(&mut self, f: &ast::Expr, args: &[ast::Expr], span: Span) -> Typed {
        if let Kind::Dot(base, name) = &*f.kind
            && let Kind::Name(space) = &*base.kind
        {
            match space.as_str() {
                "f" => return self.float(name, args, span),
                "v" if name.name == "sat" => return self.vector_sat(args, span),
                "v" => return self.vector(name, args, span),
                _ => {}
            }
        }
        let Kind::Name(name) = &*f.kind else {
            return self.fail(Diagnostic::new("isa::call", f.span, "this cannot be called"));
        };
        match self.w.names.globals.get(name).copied() {
            Some((Global::Fn(id), _)) => self.call_fn(id, args, span),
            Some((Global::Extern(id), _)) => {
                if self.static_only || self.states_only {
                    return self.fail(Diagnostic::new("isa::not-static", span, "an `extern fn` cannot be called here"));
                }
                let params: Vec<Ty> = self.w.spec.externs[id.0 as usize].params.iter().map(|p| p.1.clone()).collect();
                let args = self.args(name, args, &params, span)?;
                let t = self.w.spec.externs[id.0 as usize].result.clone();
                self.make(ExprKind::CallExtern(id, args), t, Time::Dynamic, span)
            }
            _ => self.builtin(name, args, f.span, span),
        }
    }

    fn args(&mut self, name: &str, args: &[ast::Expr], params: &[Ty], span: Span) -> Option<Vec<Expr>> {
        if args.len() != params.len() {
            return self.fail(Diagnostic::new(
                "isa::arguments",
                span,
                format!("`{name}` takes {} arguments, {} are given", params.len(), args.len()),
            ));
        }
        let made: Vec<Typed> = args.iter().zip(params).map(|(a, t)| self.expr(a, Some(t)).and_then(|a| self.coerce(a, t))).collect();
        made.into_iter().collect()
    }

    fn call_fn(&mut self, id: FnId, args: &[ast::Expr], span: Span) -> Typed {
        let f = &self.w.spec.fns[id.0 as usize];
        let (name, kind, result) = (f.name.clone(), f.kind, f.result.clone());
        let params: Vec<Ty> = f.params.iter().map(|p| f.body.locals[p.0 as usize].ty.clone()).collect();
        let fixed = self.w.fixed[id.0 as usize].clone();
        if kind == FnKind::Plain && self.static_only {
            return self.fail(
                Diagnostic::new("isa::not-static", span, format!("`{name}` is a plain `fn`, not known at translation"))
                    .help("declare it `static fn` if it only computes from its arguments"),
            );
        }
        let args = self.args(&name, args, &params, span)?;
        for (a, fixed) in args.iter().zip(&fixed) {
            if *fixed {
                self.require_static(a, &format!("this argument of `{name}`"))?;
            }
        }
        let time = if kind == FnKind::Plain { Time::Dynamic } else { Time::Static };
        self.make(ExprKind::Call(id, args), result, time, span)
    }

    fn builtin(&mut self, name: &str, args: &[ast::Expr], at: Span, span: Span) -> Typed {
        if let Some(n) = name.strip_prefix('u').and_then(|n| n.parse::<u8>().ok()).filter(|n| (1..=128).contains(n)) {
            return self.extend(args, n, false, span);
        }
        if let Some(n) = name.strip_prefix('s').and_then(|n| n.parse::<u8>().ok()).filter(|n| (1..=128).contains(n)) {
            return self.extend(args, n, true, span);
        }
        let made: Option<Vec<Expr>> = match name {
            "int" | "cat" | "rep" | "ror" | "rol" | "clz" | "ctz" | "popcnt" | "bswap" | "bitrev" | "udiv" | "sdiv" | "urem" | "srem"
            | "mulhu" | "mulhs" | "min" | "max" | "carry" | "overflow" | "bits" | "line" | "sizeof" => {
                args.iter().map(|a| self.expr(a, None)).collect::<Vec<_>>().into_iter().collect()
            }
            _ => {
                let mut known: Vec<&str> = self
                    .w
                    .names
                    .globals
                    .iter()
                    .filter(|(_, g)| matches!(g.0, Global::Fn(_) | Global::Extern(_)))
                    .map(|(n, _)| n.as_str())
                    .collect();
                known.extend(["cat", "rep", "ror", "rol", "clz", "popcnt", "bswap", "carry", "overflow", "bits", "int"]);
                known.sort_unstable();
                let help = nearest(name, known.into_iter()).map_or("declare it with `fn`".to_string(), |n| format!("did you mean `{n}`?"));
                return self.fail(Diagnostic::new("isa::unknown-function", at, format!("there is no function `{name}`")).help(help));
            }
        };
        let made = made?;
        let time = made.iter().map(|a| a.time).max().unwrap_or(Time::Static);
        let count = |n: usize| made.len() == n;
        let wrong = |this: &mut Self, n: &str| this.fail(Diagnostic::new("isa::arguments", span, format!("`{name}` takes {n}")));
        match name {
            "int" if count(1) => {
                let x = made.into_iter().next()?;
                self.require_static(&x, "an int")?;
                self.make(ExprKind::Zext(x), Ty::Int, Time::Static, span)
            }
            "cat" if !made.is_empty() => {
                let mut total = 0u32;
                for a in &made {
                    match a.ty {
                        Ty::Bits(n) => total += u32::from(n),
                        _ => {
                            return self.fail(
                                Diagnostic::new("isa::type", a.span, format!("how wide is this {}?", show(&a.ty)))
                                    .help("give it a width: u4(0)"),
                            );
                        }
                    }
                }
                if total > 128 {
                    return self.fail(Diagnostic::new(
                        "isa::width",
                        span,
                        format!("{total} bits in all; there is nothing wider than u128"),
                    ));
                }
                self.make(ExprKind::Cat(made), bits(total as u8), time, span)
            }
            "rep" if count(2) => {
                let n = self.constant(&made[1], "a repetition")?;
                let x = made.into_iter().next()?;
                match x.ty {
                    Ty::Bits(w) if n >= 1 && n.saturating_mul(u128::from(w)) <= 128 => {
                        let n = n as u8;
                        self.make(ExprKind::Rep(x, n), bits(n * w), time, span)
                    }
                    _ => self.fail(Diagnostic::new("isa::width", span, format!("{} repeated {n} times is no type", show(&x.ty)))),
                }
            }
            "clz" | "ctz" | "popcnt" | "bswap" | "bitrev" if count(1) => self.same(name, made, span),
            "ror" | "rol" if count(2) => self.same(name, made, span),
            "udiv" | "sdiv" | "urem" | "srem" | "mulhu" | "mulhs" | "min" | "max" if count(2) => {
                let mut it = made.into_iter();
                let (a, b) = (it.next()?, it.next()?);
                let (a, b, t) = self.pair(a, b)?;
                self.make(ExprKind::Builtin(name.into(), vec![a, b]), t, time, span)
            }
            "carry" | "overflow" if count(3) => {
                let mut it = made.into_iter();
                let (a, b, c) = (it.next()?, it.next()?, it.next()?);
                let (a, b, _) = self.pair(a, b)?;
                let c = self.coerce(c, &bits(1))?;
                if a.ty == Ty::Int {
                    return self.fail(Diagnostic::new("isa::type", span, "how wide is this sum?").help("give an operand a width: u32(1)"));
                }
                self.make(ExprKind::Builtin(name.into(), vec![a, b, c]), bits(1), time, span)
            }
            "bits" if count(3) => {
                let n = self.constant(&made[2], "a width")?;
                if !(1..=128).contains(&n) || made[0].ty == Ty::Int {
                    return self.fail(Diagnostic::new("isa::width", span, "bits(x, lo, N) takes N bits of a value with a width"));
                }
                let mut made = made;
                made.pop();
                self.make(ExprKind::Builtin(name.into(), made), bits(n as u8), time, span)
            }
            "line" if count(1) => {
                if !self.lines {
                    return self.fail(Diagnostic::new("isa::line", span, "input lines are seen in `interrupt` and `wake` conditions only"));
                }
                self.constant(&made[0], "a line")?;
                self.make(ExprKind::Builtin(name.into(), made), bits(1), Time::Dynamic, span)
            }
            "sizeof" if count(1) => match made[0].ty {
                Ty::Bits(n) => self.make(ExprKind::Int(n.into()), Ty::Int, Time::Static, span),
                _ => wrong(self, "a value with a width"),
            },
            "bits" | "carry" | "overflow" => wrong(self, "three arguments"),
            "int" | "line" | "sizeof" | "clz" | "ctz" | "popcnt" | "bswap" | "bitrev" => wrong(self, "one argument"),
            "cat" => wrong(self, "at least one argument"),
            _ => wrong(self, "two arguments"),
        }
    }

    /// A built-in whose result has its first operand's type.
    fn same(&mut self, name: &str, made: Vec<Expr>, span: Span) -> Typed {
        let time = made.iter().map(|a| a.time).max().unwrap_or(Time::Static);
        match made[0].ty.clone() {
            Ty::Bits(n) if name != "bswap" || n % 8 == 0 => self.make(ExprKind::Builtin(name.into(), made), bits(n), time, span),
            t => {
                self.fail(Diagnostic::new("isa::type", made[0].span, format!("`{name}` needs a value with a width, this is {}", show(&t))))
            }
        }
    }

    fn extend(&mut self, args: &[ast::Expr], n: u8, signed: bool, span: Span) -> Typed {
        let [x] = args else {
            return self.fail(Diagnostic::new("isa::arguments", span, "an extension takes one argument"));
        };
        let x = self.expr(x, None)?;
        let time = x.time;
        match x.ty {
            Ty::Int => {
                let mut x = self.coerce(x, &bits(n))?;
                x.span = span;
                Some(x)
            }
            Ty::Bits(m) if m > n => self.fail(
                Diagnostic::new("isa::type", span, format!("u{m} does not extend to {n} bits")).help(format!("cut it: x[{}:0]", n - 1)),
            ),
            Ty::Bits(_) if signed => self.make(ExprKind::Sext(x), bits(n), time, span),
            Ty::Bits(_) => self.make(ExprKind::Zext(x), bits(n), time, span),
            _ => self.fail(Diagnostic::new("isa::type", span, format!("{} cannot be extended", show(&x.ty)))),
        }
    }

    fn env(&mut self, e: Option<&ast::Expr>, span: Span) -> Option<EnvId> {
        if let Some(e) = e
            && let Kind::Name(n) = &*e.kind
            && let Some((Global::Env(env), _)) = self.w.names.globals.get(n)
        {
            return Some(*env);
        }
        let at = e.map_or(span, |e| e.span);
        self.fail(Diagnostic::new("isa::fpenv", at, "a floating-point environment is wanted here").help("declare one with `fpenv`"))
    }

    fn value(&mut self, e: &ast::Expr) -> Typed {
        let x = self.expr(e, None)?;
        match x.ty {
            Ty::Bits(16 | 32 | 64 | 80) => Some(x),
            _ => self.fail(Diagnostic::new(
                "isa::type",
                x.span,
                format!("a floating-point value is u16, u32, u64 or u80, this is {}", show(&x.ty)),
            )),
        }
    }

    fn round(&mut self, e: &ast::Expr) -> Option<FloatParam> {
        if let Kind::Name(n) = &*e.kind
            && ["env", "nearest", "zero", "up", "down", "away"].contains(&n.as_str())
        {
            return Some(FloatParam::Round(n.clone()));
        }
        self.fail(Diagnostic::new("isa::rounding", e.span, "a rounding is wanted here").help("env, nearest, zero, up, down or away"))
    }

    fn float(&mut self, name: &Id, args: &[ast::Expr], span: Span) -> Typed {
        if self.static_only || self.states_only {
            return self.fail(Diagnostic::new("isa::not-static", span, "floating-point operations are not known at translation"));
        }
        let env = self.env(args.first(), span)?;
        let rest = &args[1..];
        let n = name.name.as_str();
        let arity = match n {
            "add" | "sub" | "mul" | "div" | "min" | "max" | "minnum" | "maxnum" | "cmp" | "cmp_signal" | "recip_step" | "rsqrt_step" => 2,
            "sqrt" | "recip_est" | "rsqrt_est" => 1,
            "fma" => 3,
            "convert" => 2,
            "round" => 3,
            "to_int" | "from_int" => 6,
            _ => {
                let known = [
                    "add",
                    "sub",
                    "mul",
                    "div",
                    "sqrt",
                    "fma",
                    "min",
                    "max",
                    "minnum",
                    "maxnum",
                    "cmp",
                    "cmp_signal",
                    "convert",
                    "round",
                    "to_int",
                    "from_int",
                    "recip_est",
                    "rsqrt_est",
                ];
                let help = nearest(n, known.into_iter()).map_or("see the reference".to_string(), |n| format!("did you mean `f.{n}`?"));
                return self.fail(Diagnostic::new("isa::unknown-function", name.span, format!("there is no `f.{n}`")).help(help));
            }
        };
        if rest.len() != arity {
            return self.fail(Diagnostic::new(
                "isa::arguments",
                span,
                format!("`f.{n}` takes an environment and {arity} more, {} are given", rest.len()),
            ));
        }
        let mut params = Vec::new();
        let (values, t): (Vec<Expr>, Ty) = match n {
            "convert" => {
                let to = self.width(&rest[0], &[16, 32, 64, 80])?;
                (vec![self.value(&rest[1])?], bits(to))
            }
            "round" => {
                params.push(self.round(&rest[0])?);
                params.push(FloatParam::Value(self.fixed(&rest[1], Some(&bits(1)), "`exact`")?));
                let x = self.value(&rest[2])?;
                let t = x.ty.clone();
                (vec![x], t)
            }
            "to_int" | "from_int" => {
                let to = self.width(&rest[0], if n == "to_int" { &[16, 32, 64] } else { &[16, 32, 64, 80] })?;
                params.push(FloatParam::Value(self.fixed(&rest[1], Some(&bits(1)), "`signed`")?));
                params.push(self.round(&rest[2])?);
                params.push(FloatParam::Value(self.fixed(&rest[3], None, "a number of fraction bits")?));
                params.push(FloatParam::Value(self.fixed(&rest[4], None, "a number of bits")?));
                (vec![self.value(&rest[5])?], bits(to))
            }
            _ => {
                let mut values = Vec::new();
                for a in rest {
                    values.push(self.expr(a, None)?);
                }
                let t = values.iter().map(|v| v.ty.clone()).find(|t| *t != Ty::Int).unwrap_or(Ty::Int);
                if !matches!(t, Ty::Bits(16 | 32 | 64 | 80)) {
                    return self.fail(Diagnostic::new(
                        "isa::type",
                        span,
                        format!("a floating-point value is u16, u32, u64 or u80, this is {}", show(&t)),
                    ));
                }
                let values = values.into_iter().map(|v| self.coerce(v, &t)).collect::<Option<Vec<_>>>()?;
                (values, if n.starts_with("cmp") { bits(8) } else { t })
            }
        };
        self.make(ExprKind::Float { name: n.to_string(), env, args: values, params }, t, Time::Dynamic, span)
    }

    fn width(&mut self, e: &ast::Expr, known: &[u8]) -> Option<u8> {
        let x = self.expr(e, None).and_then(|x| self.constant(&x, "a width"))?;
        let found = known.iter().copied().find(|n| u128::from(*n) == x);
        if found.is_none() {
            let known: Vec<String> = known.iter().map(u8::to_string).collect();
            self.w.errors.push(Diagnostic::new("isa::width", e.span, format!("{x} is no width here")).help(known.join(", ")));
        }
        found
    }

    fn vector_sat(&mut self, args: &[ast::Expr], span: Span) -> Typed {
        if let [one] = args {
            let inner = self.expr(one, None)?;
            if let ExprKind::Vector { name, .. } = &*inner.kind
                && name.starts_with("sat_")
            {
                return self.make(ExprKind::VectorSat(inner), bits(1), Time::Dynamic, span);
            }
        }
        self.fail(Diagnostic::new("isa::arguments", span, "`v.sat` takes one saturating vector operation: v.sat(v.sat_add_s(...))"))
    }

    fn vector(&mut self, name: &Id, args: &[ast::Expr], span: Span) -> Typed {
        use crate::vector::{Shape, shape};
        if self.static_only || self.states_only {
            return self.fail(Diagnostic::new("isa::not-static", span, "vector operations are not known at translation"));
        }
        let Some(s) = shape(&name.name) else {
            let help =
                nearest(&name.name, crate::vector::names()).map_or("see `Vop` in the IR".to_string(), |n| format!("did you mean `v.{n}`?"));
            return self.fail(Diagnostic::new("isa::unknown-function", name.span, format!("there is no `v.{}`", name.name)).help(help));
        };
        let (env, rest) = if s.env { (Some(self.env(args.first(), span)?), args.get(1..).unwrap_or(&[])) } else { (None, args) };
        let expected = s.lane as usize + s.operands + usize::from(s.imm);
        let fits = if s.shape == Shape::Table { (3..=6).contains(&rest.len()) } else { rest.len() == expected };
        if !fits {
            return self.fail(Diagnostic::new(
                "isa::arguments",
                span,
                format!(
                    "`v.{}` takes {expected} arguments{}, {} are given",
                    name.name,
                    if s.env { " after the environment" } else { "" },
                    rest.len()
                ),
            ));
        }
        let lane = if s.lane {
            self.fixed(&rest[0], None, "a lane size")?
        } else {
            Expr { kind: Box::new(ExprKind::Int(0)), ty: Ty::Int, time: Time::Static, span }
        };
        let rest = &rest[usize::from(s.lane)..];
        let vector = |this: &mut Self, e: &ast::Expr, n: Option<u8>| -> Typed {
            let x = this.expr(e, n.map(bits).as_ref())?;
            match (&x.ty, n) {
                (_, Some(n)) => this.coerce(x, &bits(n)),
                (Ty::Bits(64 | 128), None) => Some(x),
                _ => this.fail(Diagnostic::new("isa::type", x.span, format!("a vector is u64 or u128, this is {}", show(&x.ty)))),
            }
        };
        let mut values = Vec::new();
        let mut imm = None;
        let t = match s.shape {
            Shape::Same => {
                let operands = &rest[..s.operands];
                let first = operands.iter().map(|e| self.expr(e, None)).collect::<Option<Vec<_>>>()?;
                let n = first.iter().find_map(|e| if let Ty::Bits(n @ (64 | 128)) = e.ty { Some(n) } else { None });
                let Some(n) = n else { return self.fail(Diagnostic::new("isa::type", span, "a vector is u64 or u128")) };
                values = first.into_iter().map(|e| self.coerce(e, &bits(n))).collect::<Option<Vec<_>>>()?;
                bits(n)
            }
            Shape::Widen => {
                for e in &rest[..s.operands] {
                    values.push(vector(self, e, Some(64))?);
                }
                bits(128)
            }
            Shape::Wide => {
                values.push(vector(self, &rest[0], Some(128))?);
                values.push(vector(self, &rest[1], Some(64))?);
                bits(128)
            }
            Shape::Narrow => {
                for e in &rest[..s.operands] {
                    values.push(vector(self, e, Some(128))?);
                }
                bits(64)
            }
            Shape::Dup => {
                values.push(vector(self, &rest[0], Some(64))?);
                let n = self.width(&rest[1], &[64, 128])?;
                return self.make(
                    ExprKind::Vector { name: name.name.clone(), env, lane, args: values, imm: None },
                    bits(n),
                    Time::Dynamic,
                    span,
                );
            }
            Shape::Get => {
                values.push(vector(self, &rest[0], None)?);
                imm = Some(self.fixed(&rest[1], None, "a lane's number")?);
                bits(64)
            }
            Shape::Set => {
                let x = vector(self, &rest[0], None)?;
                let t = x.ty.clone();
                values.push(x);
                imm = Some(self.fixed(&rest[1], None, "a lane's number")?);
                values.push(vector(self, &rest[2], Some(64))?);
                return self.make(ExprKind::Vector { name: name.name.clone(), env, lane, args: values, imm }, t, Time::Dynamic, span);
            }
            Shape::Table => {
                for e in rest {
                    values.push(vector(self, e, Some(64))?);
                }
                bits(64)
            }
        };
        if s.imm && imm.is_none() {
            imm = Some(self.fixed(&rest[s.operands], None, "an immediate")?);
        }
        self.make(ExprKind::Vector { name: name.name.clone(), env, lane, args: values, imm }, t, Time::Dynamic, span)
    }

    // ---- statements

    /// Checks a block; gives its statements and its value.
    pub fn block(&mut self, b: &ast::Block, want: Option<&Ty>) -> (Vec<Stmt>, Typed) {
        self.scopes.push(HashMap::new());
        let mut stmts = Vec::new();
        for s in &b.stmts {
            self.stmt(s, &mut stmts);
        }
        let value = b.value.as_ref().and_then(|e| self.expr(e, want));
        // A call for its effects may stand last without `;`.
        let value = match value {
            Some(v) if v.ty == Ty::Unit => {
                let span = v.span;
                stmts.push(Stmt { kind: StmtKind::Expr(v), span });
                None
            }
            other => other,
        };
        self.scopes.pop();
        (stmts, value)
    }

    /// A block that must not have a value.
    fn unit_block(&mut self, b: &ast::Block) -> Vec<Stmt> {
        let (mut stmts, value) = self.block(b, None);
        if let Some(v) = value {
            let span = v.span;
            stmts.push(Stmt { kind: StmtKind::Expr(v), span });
        }
        stmts
    }

    fn dynamic_only(&mut self, span: Span) -> Option<()> {
        if self.static_only {
            return self.fail(Diagnostic::new("isa::not-static", span, "a `static fn` has no effects"));
        }
        Some(())
    }

    fn stmt(&mut self, s: &ast::Stmt, out: &mut Vec<Stmt>) -> Option<()> {
        let span = s.span;
        let kind = match &s.kind {
            ast::StmtKind::Let(names, e) => {
                let x = self.expr(e, None);
                let Some(x) = x else {
                    // The names exist all the same, so that one mistake is reported once.
                    for id in names.iter().flatten() {
                        if let Some(scope) = self.scopes.last_mut() {
                            let local = LocalId(self.locals.len() as u32);
                            self.locals.push(Local { name: id.name.clone(), ty: Ty::Bits(32), time: Time::Static, mutable: false });
                            scope.insert(id.name.clone(), local);
                        }
                    }
                    return None;
                };
                let parts = match (&x.ty, names.len()) {
                    (Ty::Unit, _) => return self.fail(Diagnostic::new("isa::value", x.span, "this has no value")),
                    (Ty::Tuple(ts), n) if n > 1 => {
                        if ts.len() != n {
                            return self.fail(Diagnostic::new("isa::type", span, format!("{n} names for {} values", ts.len())));
                        }
                        ts.clone()
                    }
                    (t, 1) => vec![t.clone()],
                    (t, n) => return self.fail(Diagnostic::new("isa::type", span, format!("{n} names for one {}", show(t)))),
                };
                let ids = names.iter().zip(parts).map(|(id, t)| id.as_ref().map(|id| self.local(id, t, x.time, false))).collect();
                StmtKind::Let(ids, x)
            }
            ast::StmtKind::Var(id, t, e) => {
                let t = ty(t);
                let x = self.expr(e, Some(&t)).and_then(|x| self.coerce(x, &t));
                let time = if self.static_only { Time::Static } else { Time::Dynamic };
                let local = self.local(id, t, time, true);
                StmtKind::VarSet(local, x?)
            }
            ast::StmtKind::Assign(target, e) => self.assign(target, e, span)?,
            ast::StmtKind::Flags(id, flags, rest) => {
                self.dynamic_only(span)?;
                let Some(group) = self.w.names.flags.get(&id.name).cloned() else {
                    return self.fail(Diagnostic::new("isa::unknown-flags", id.span, format!("there is no flag group `{}`", id.name)));
                };
                let left: Vec<&str> = group.iter().map(|g| g.0.as_str()).filter(|g| flags.iter().all(|f| f.0.name != *g)).collect();
                if !rest && !left.is_empty() {
                    let message = format!("`{}` is set, but not its {}", id.name, left.join(", "));
                    let help = "give them a value, or end the list with `..`: the rest keep theirs";
                    self.w.errors.push(Diagnostic::new("isa::flags-left", span, message).help(help));
                }
                if *rest && left.is_empty() {
                    self.w.errors.push(Diagnostic::new(
                        "isa::flags-left",
                        span,
                        format!("all of `{}` is set: `..` stands for nothing", id.name),
                    ));
                }
                // All values are computed before the first flag is written.
                let mut sets = Vec::new();
                for (flag, e) in flags {
                    let Some((_, state)) = group.iter().find(|g| g.0 == flag.name) else {
                        self.w.errors.push(Diagnostic::new(
                            "isa::unknown-flags",
                            flag.span,
                            format!("`{}` has no flag `{}`", id.name, flag.name),
                        ));
                        continue;
                    };
                    let state = *state;
                    if let Some(x) = self.expr(e, Some(&bits(1))).and_then(|x| self.coerce(x, &bits(1))) {
                        let name = Id { name: format!("{}'", flag.name), span: flag.span };
                        let (t, time) = (x.ty.clone(), x.time);
                        let local = self.local(&name, t.clone(), time, false);
                        out.push(Stmt { kind: StmtKind::Let(vec![Some(local)], x), span });
                        sets.push((state, Expr { kind: Box::new(ExprKind::Local(local)), ty: t, time, span: flag.span }));
                    }
                }
                for (state, x) in sets {
                    out.push(Stmt { kind: StmtKind::SetState(state, x), span });
                }
                return Some(());
            }
            ast::StmtKind::If(c, a, b) => {
                let c = self.expr(c, Some(&bits(1))).and_then(|c| self.coerce(c, &bits(1)));
                let a = self.unit_block(a);
                let b = b.as_ref().map_or(vec![], |b| self.unit_block(b));
                StmtKind::If(c?, a, b)
            }
            ast::StmtKind::Match(s, arms) => {
                let s = self.expr(s, None);
                let mut out = Vec::new();
                let t = s.as_ref().map_or(Ty::Int, |s| s.ty.clone());
                for arm in arms {
                    let values = self.patterns(&t, &arm.patterns, arm.span);
                    let body = self.unit_block(&arm.body);
                    out.push((values?, body));
                }
                let s = s?;
                let values: Vec<Vec<u128>> = out.iter().map(|m| m.0.clone()).collect();
                self.exhaustive(&s.ty, &values, span)?;
                StmtKind::Match(s, out)
            }
            ast::StmtKind::For(id, first, end, down, body) => {
                let first = self.fixed(first, Some(&Ty::Int), "a loop's bound");
                let end = self.fixed(end, Some(&Ty::Int), "a loop's bound");
                self.scopes.push(HashMap::new());
                let local = self.local(id, Ty::Int, Time::Static, false);
                let body = self.unit_block(body);
                self.scopes.pop();
                StmtKind::For(local, first?, end?, *down, body)
            }
            ast::StmtKind::Store(m, e) => {
                self.dynamic_only(span)?;
                let m = self.mem(m)?;
                let t = bits(m.bits);
                let x = self.expr(e, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                StmtKind::Store(Box::new(m), x)
            }
            ast::StmtKind::Probe(m, write) => {
                self.dynamic_only(span)?;
                StmtKind::Probe(Box::new(self.mem(m)?), *write)
            }
            ast::StmtKind::Raise(id, args) => {
                self.dynamic_only(span)?;
                let exception = self.w.exception(id);
                let args: Vec<Typed> = args.iter().map(|a| self.expr(a, None)).collect();
                let args = args.into_iter().collect::<Option<Vec<_>>>()?;
                if args.len() > 4 {
                    return self.fail(Diagnostic::new("isa::arguments", span, "an exception has at most four arguments"));
                }
                // Numbers take the parameters' types in `raised`, once all exceptions are checked: here they are addresses or codes.
                let args = args
                    .into_iter()
                    .map(|a| if a.ty == Ty::Int { self.coerce(a, &bits(32)) } else { Some(a) })
                    .collect::<Option<Vec<_>>>()?;
                StmtKind::Raise(exception?, args)
            }
            ast::StmtKind::Undefined => {
                self.dynamic_only(span)?;
                StmtKind::Undefined
            }
            ast::StmtKind::Unpredictable(id) => match self.w.names.rules.get(&id.name) {
                Some(r) => StmtKind::Unpredictable(*r),
                None => return self.unknown_rule(id),
            },
            ast::StmtKind::Jump(e) => StmtKind::Jump(self.target(e, span)?),
            ast::StmtKind::JumpRekey(e) => StmtKind::JumpRekey(self.target(e, span)?),
            ast::StmtKind::Context(id, e) => match self.w.names.globals.get(&id.name).copied() {
                Some((Global::Context(c), _)) => {
                    let n = self.w.spec.contexts[c.0 as usize].bits;
                    StmtKind::SetContext(c, self.fixed(e, Some(&bits(n)), "a decoder context")?)
                }
                _ => return self.fail(Diagnostic::new("isa::unknown-context", id.span, format!("there is no context `{}`", id.name))),
            },
            ast::StmtKind::Commit => StmtKind::Commit,
            ast::StmtKind::Wait(event) => StmtKind::Wait(*event),
            ast::StmtKind::Fence(order) => StmtKind::Fence(order.as_ref().map_or("full".into(), |o| o.name.clone())),
            ast::StmtKind::ClearExclusive => StmtKind::ClearExclusive,
            ast::StmtKind::Nop => StmtKind::Nop,
            ast::StmtKind::Expr(e) => StmtKind::Expr(self.expr(e, None)?),
            ast::StmtKind::Repeat(body) => {
                self.dynamic_only(span)?;
                self.loops += 1;
                self.scopes.push(HashMap::new());
                let mut stmts = Vec::new();
                for s in body {
                    self.stmt(s, &mut stmts);
                }
                self.scopes.pop();
                self.loops -= 1;
                StmtKind::Repeat(stmts)
            }
            ast::StmtKind::BreakIf(e) => {
                if self.loops == 0 {
                    return self.fail(Diagnostic::new("isa::break", span, "`break if` stands outside a `repeat`"));
                }
                StmtKind::BreakIf(self.expr(e, Some(&bits(1))).and_then(|x| self.coerce(x, &bits(1)))?)
            }
        };
        out.push(Stmt { kind, span });
        Some(())
    }

    /// Reports an unknown unpredictable rule.
    pub fn unknown_rule<T>(&mut self, id: &Id) -> Option<T> {
        let help = nearest(&id.name, self.w.names.rules.keys().map(String::as_str))
            .map_or(format!("declare it: unpredictable {} \"...\" => proceed;", id.name), |n| format!("did you mean `{n}`?"));
        self.fail(Diagnostic::new("isa::unknown-rule", id.span, format!("there is no unpredictable rule `{}`", id.name)).help(help))
    }

    fn target(&mut self, e: &ast::Expr, span: Span) -> Typed {
        self.dynamic_only(span)?;
        let n = self.w.spec.pc.or_else(|| self.pc_state()).map_or(32, |p| self.w.spec.states[p.0 as usize].bits);
        let x = self.expr(e, Some(&bits(n)))?;
        self.coerce(x, &bits(n))
    }

    fn assign(&mut self, target: &ast::Expr, e: &ast::Expr, span: Span) -> Option<StmtKind> {
        match &*target.kind {
            Kind::Name(n) => {
                if let Some(local) = self.find(n) {
                    let l = self.locals[local.0 as usize].clone();
                    if !l.mutable {
                        return self.fail(
                            Diagnostic::new("isa::immutable", target.span, format!("`{n}` does not change"))
                                .help("declare it with `var` to change it"),
                        );
                    }
                    let x = self.expr(e, Some(&l.ty)).and_then(|x| self.coerce(x, &l.ty))?;
                    return Some(StmtKind::VarSet(local, x));
                }
                self.dynamic_only(span)?;
                let id = Id { name: n.clone(), span: target.span };
                let state = self.w.state(&id)?;
                let t = bits(self.w.spec.states[state.0 as usize].bits);
                let x = self.expr(e, Some(&t)).and_then(|x| self.coerce(x, &t))?;
                Some(StmtKind::SetState(state, x))
            }
            Kind::Index(base, i) => {
                self.dynamic_only(span)?;
                if let Some(b) = self.bank_ref(base) {
                    let (i, n) = self.bank_index(b, i)?;
                    let x = self.expr(e, Some(&bits(n))).and_then(|x| self.coerce(x, &bits(n)))?;
                    return Some(StmtKind::SetBank(b, i, x));
                }
                let at = self.expr(i, None).and_then(|i| self.constant(&i, "the number of an assigned bit"))?;
                self.set_bits(base, at, at, e, target.span)
            }
            Kind::Slice(base, hi, lo) => {
                self.dynamic_only(span)?;
                let hi = self.expr(hi, None).and_then(|i| self.constant(&i, "a slice's bound"))?;
                let lo = self.expr(lo, None).and_then(|i| self.constant(&i, "a slice's bound"))?;
                self.set_bits(base, hi, lo, e, target.span)
            }
            _ => self.fail(
                Diagnostic::new("isa::assign", target.span, "this cannot be assigned")
                    .help("states, bits of states, bank elements and `var`s can"),
            ),
        }
    }

    fn set_bits(&mut self, base: &ast::Expr, hi: u128, lo: u128, e: &ast::Expr, span: Span) -> Option<StmtKind> {
        let Kind::Name(n) = &*base.kind else {
            return self.fail(Diagnostic::new("isa::assign", span, "only bits of a state can be assigned"));
        };
        let state = self.w.state(&Id { name: n.clone(), span: base.span })?;
        let width = u128::from(self.w.spec.states[state.0 as usize].bits);
        if hi < lo || hi >= width {
            return self.fail(Diagnostic::new("isa::slice", span, format!("[{hi}:{lo}] is no part of u{width}")));
        }
        let t = bits((hi - lo + 1) as u8);
        let x = self.expr(e, Some(&t)).and_then(|x| self.coerce(x, &t))?;
        Some(StmtKind::SetBits(state, hi as u8, lo as u8, x))
    }
}

/// The value of an expression of literals.
pub fn fold(e: &Expr) -> Option<u128> {
    let mask = |x: u128| match e.ty {
        Ty::Bits(n) if n < 128 => x & ((1 << n) - 1),
        _ => x,
    };
    Some(mask(match &*e.kind {
        ExprKind::Int(x) => *x,
        ExprKind::Zext(a) => fold(a)?,
        ExprKind::Unary(UnOp::Neg, a) => fold(a)?.wrapping_neg(),
        ExprKind::Unary(UnOp::Not, a) => !fold(a)?,
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (fold(a)?, fold(b)?);
            match op {
                BinOp::Add => a.wrapping_add(b),
                BinOp::Sub => a.wrapping_sub(b),
                BinOp::Mul => a.wrapping_mul(b),
                BinOp::And => a & b,
                BinOp::Or => a | b,
                BinOp::Xor => a ^ b,
                BinOp::Shl => a.checked_shl(u32::try_from(b).ok()?).unwrap_or(0),
                BinOp::Shr => a.checked_shr(u32::try_from(b).ok()?).unwrap_or(0),
                _ => return None,
            }
        }
        _ => return None,
    }))
}

/// The place of something in `e` that may fault or has effects.
fn impure(e: &Expr) -> Option<Span> {
    match &*e.kind {
        ExprKind::Load(_)
        | ExprKind::LoadExclusive(_)
        | ExprKind::StoreExclusive(..)
        | ExprKind::Swap(..)
        | ExprKind::CompareSwap(..)
        | ExprKind::CallExtern(..) => Some(e.span),
        _ => children(e).into_iter().find_map(impure),
    }
}

/// The operands of an expression.
pub fn children(e: &Expr) -> Vec<&Expr> {
    match &*e.kind {
        ExprKind::Bank(_, a)
        | ExprKind::Unary(_, a)
        | ExprKind::Slice(a, ..)
        | ExprKind::Rep(a, _)
        | ExprKind::Zext(a)
        | ExprKind::Sext(a)
        | ExprKind::VectorSat(a) => vec![a],
        ExprKind::Binary(_, a, b) | ExprKind::Bit(a, b) => vec![a, b],
        ExprKind::Cond(a, b, c) => vec![a, b, c],
        ExprKind::Cat(all) | ExprKind::Call(_, all) | ExprKind::CallExtern(_, all) | ExprKind::Builtin(_, all) | ExprKind::Tuple(all) => {
            all.iter().collect()
        }
        ExprKind::Float { args, .. } | ExprKind::Vector { args, .. } => args.iter().collect(),
        ExprKind::If(c, a, b) => [Some(c), a.value.as_ref(), b.value.as_ref()].into_iter().flatten().collect(),
        ExprKind::Match(s, arms) => std::iter::once(s).chain(arms.iter().filter_map(|a| a.1.value.as_ref())).collect(),
        ExprKind::Load(m) | ExprKind::LoadExclusive(m) => vec![&m.addr],
        ExprKind::StoreExclusive(m, x) | ExprKind::Swap(m, x) => vec![&m.addr, x],
        ExprKind::CompareSwap(m, x, y) => vec![&m.addr, x, y],
        _ => vec![],
    }
}

fn expr_calls(e: &Expr, out: &mut Vec<u32>) {
    if let ExprKind::Call(f, _) = &*e.kind {
        out.push(f.0);
    }
    match &*e.kind {
        ExprKind::If(_, a, b) => {
            stmt_calls(&a.stmts, out);
            stmt_calls(&b.stmts, out);
        }
        ExprKind::Match(_, arms) => arms.iter().for_each(|a| stmt_calls(&a.1.stmts, out)),
        ExprKind::Vector { lane, imm, .. } => {
            expr_calls(lane, out);
            imm.iter().for_each(|i| expr_calls(i, out));
        }
        ExprKind::Load(m)
        | ExprKind::LoadExclusive(m)
        | ExprKind::StoreExclusive(m, _)
        | ExprKind::Swap(m, _)
        | ExprKind::CompareSwap(m, ..) => mem_calls(m, out),
        _ => {}
    }
    children(e).into_iter().for_each(|c| expr_calls(c, out));
}

fn mem_calls(m: &MemExpr, out: &mut Vec<u32>) {
    expr_calls(&m.addr, out);
    [&m.align, &m.note, &m.mmu, &m.big].into_iter().flatten().for_each(|e| expr_calls(e, out));
}

fn stmt_calls(stmts: &[Stmt], out: &mut Vec<u32>) {
    for s in stmts {
        match &s.kind {
            StmtKind::Let(_, e)
            | StmtKind::VarSet(_, e)
            | StmtKind::SetState(_, e)
            | StmtKind::SetBits(_, _, _, e)
            | StmtKind::Jump(e)
            | StmtKind::JumpRekey(e)
            | StmtKind::SetContext(_, e)
            | StmtKind::Expr(e)
            | StmtKind::BreakIf(e) => expr_calls(e, out),
            StmtKind::SetBank(_, i, e) => {
                expr_calls(i, out);
                expr_calls(e, out);
            }
            StmtKind::If(c, a, b) => {
                expr_calls(c, out);
                stmt_calls(a, out);
                stmt_calls(b, out);
            }
            StmtKind::Match(e, arms) => {
                expr_calls(e, out);
                arms.iter().for_each(|a| stmt_calls(&a.1, out));
            }
            StmtKind::For(_, a, b, _, body) => {
                expr_calls(a, out);
                expr_calls(b, out);
                stmt_calls(body, out);
            }
            StmtKind::Store(m, e) => {
                mem_calls(m, out);
                expr_calls(e, out);
            }
            StmtKind::Probe(m, _) => mem_calls(m, out),
            StmtKind::Raise(_, args) => args.iter().for_each(|e| expr_calls(e, out)),
            StmtKind::Repeat(body) => stmt_calls(body, out),
            _ => {}
        }
    }
}

/// The functions a body calls.
pub fn calls(body: &Body) -> Vec<u32> {
    let mut out = Vec::new();
    stmt_calls(&body.stmts, &mut out);
    body.value.iter().for_each(|v| expr_calls(v, &mut out));
    out
}
