//! Declarations: collects names, then checks every body; gives the [`Spec`].
//!
//! Two passes: the first gives every declaration its number, so that order in the source does not matter; the second checks
//! expressions and statements (`body.rs`) and encodings (`encoding.rs`). Every problem is reported, not only the first.

use crate::ast::{self, Id, Item};
use crate::body::Checker;
use crate::diagnostic::Diagnostic;
use crate::spec::*;
use std::collections::HashMap;

/// What a global name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Global {
    Const(usize),
    Feature(FeatureId),
    State(StateId),
    Bank(BankRef),
    Enum(EnumId),
    Mode(ModeId),
    Context(ContextId),
    Fn(FnId),
    Extern(ExternId),
    Env(EnvId),
}

/// Names by name space; all of them, for did-you-mean.
#[derive(Default)]
pub struct Names {
    /// Values, functions, banks, environments.
    pub globals: HashMap<String, (Global, Span)>,
    /// Flag groups.
    pub flags: HashMap<String, Vec<(String, StateId)>>,
    /// Exceptions.
    pub exceptions: HashMap<String, ExceptionId>,
    /// Unpredictable rules.
    pub rules: HashMap<String, RuleId>,
    /// Tokens.
    pub tokens: HashMap<String, TokenId>,
    /// Shapes: index into the syntax.
    pub shapes: HashMap<String, usize>,
    /// Operands: index into the syntax.
    pub operands: HashMap<String, usize>,
}

/// A shape as written.
pub struct ShapeDecl {
    /// Token, bits, where names.
    pub members: Vec<(Id, ast::Text, Vec<ast::Where>)>,
    /// What all share.
    pub tail: ast::Tail,
}

/// An operand as written.
pub struct OperandDecl {
    /// Type of its value.
    pub ty: Ty,
    /// Forms.
    pub forms: Vec<ast::Form>,
}

/// Everything known while bodies are checked.
pub struct World {
    /// The specification so far.
    pub spec: Spec,
    /// Its names.
    pub names: Names,
    /// Constants' values.
    pub consts: Vec<u128>,
    /// Shapes.
    pub shapes: Vec<ShapeDecl>,
    /// Operands.
    pub operands: Vec<OperandDecl>,
    /// Predicate clauses by token.
    pub predicates: HashMap<u32, Vec<(ast::Expr, ast::Expr)>>,
    /// Total bits of long tokens.
    pub longs: HashMap<u32, u32>,
    /// Which parameters of a function are static, by function.
    pub fixed: Vec<Vec<bool>>,
    /// Problems.
    pub errors: Vec<Diagnostic>,
}

/// The nearest of `names` to `name`, if one is near.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (name.chars().collect(), other.chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut left = i + 1;
            let mut corner = row[0];
            row[0] = left;
            for (j, y) in b.iter().enumerate() {
                let new = (corner + usize::from(x != y)).min(row[j + 1] + 1).min(left + 1);
                corner = row[j + 1];
                row[j + 1] = new;
                left = new;
            }
        }
        row[b.len()]
    };
    let limit = 1 + name.len() / 4;
    names.map(|n| (distance(n), n)).filter(|(d, _)| *d <= limit).min().map(|(_, n)| n)
}

/// A type as the specification has it.
pub fn ty(t: &ast::Ty) -> Ty {
    match t {
        ast::Ty::Bits(n) => Ty::Bits(*n),
        ast::Ty::Tuple(parts) => Ty::Tuple(parts.iter().map(ty).collect()),
    }
}

impl World {
    fn define(&mut self, id: &Id, what: Global) {
        if let Some((_, first)) = self.names.globals.get(&id.name) {
            let first = *first;
            self.errors
                .push(Diagnostic::new("isa::duplicate", id.span, format!("`{}` is declared twice", id.name)).also(first, "first here"));
        } else {
            self.names.globals.insert(id.name.clone(), (what, id.span));
        }
    }

    fn duplicate(&mut self, id: &Id, there: bool) {
        if there {
            self.errors.push(Diagnostic::new("isa::duplicate", id.span, format!("`{}` is declared twice", id.name)));
        }
    }

    /// The feature called so; an error if there is none.
    pub fn feature(&mut self, id: &Id) -> Option<FeatureId> {
        match self.names.globals.get(&id.name) {
            Some((Global::Feature(f), _)) => Some(*f),
            _ => {
                let help = nearest(&id.name, self.spec.features.iter().map(|f| f.name.as_str()))
                    .map_or("declare it with `feature`".to_string(), |n| format!("did you mean `{n}`?"));
                self.errors.push(Diagnostic::new("isa::unknown-feature", id.span, format!("there is no feature `{}`", id.name)).help(help));
                None
            }
        }
    }

    /// The state called by `id`.
    pub fn state(&mut self, id: &Id) -> Option<StateId> {
        match self.names.globals.get(&id.name) {
            Some((Global::State(s), _)) => Some(*s),
            _ => {
                let known = self.spec.states.iter().map(|s| s.name.as_str());
                let help = nearest(&id.name, known).map_or("declare it with `state`".to_string(), |n| format!("did you mean `{n}`?"));
                self.errors.push(Diagnostic::new("isa::unknown-state", id.span, format!("there is no state `{}`", id.name)).help(help));
                None
            }
        }
    }

    /// The exception called by `id`.
    pub fn exception(&mut self, id: &Id) -> Option<ExceptionId> {
        let found = self.names.exceptions.get(&id.name).copied();
        if found.is_none() {
            let help = nearest(&id.name, self.names.exceptions.keys().map(String::as_str))
                .map_or("declare it with `exception`".to_string(), |n| format!("did you mean `{n}`?"));
            self.errors.push(Diagnostic::new("isa::unknown-exception", id.span, format!("there is no exception `{}`", id.name)).help(help));
        }
        found
    }

    fn set(&mut self, ids: &[Id]) -> StateSet {
        let mut set = StateSet::default();
        for id in ids {
            match self.names.globals.get(&id.name) {
                _ if id.name == "all" => set.all = true,
                Some((Global::State(s), _)) => set.states.push(*s),
                Some((Global::Bank(b), _)) => set.banks.push(b.bank),
                _ => match self.names.flags.get(&id.name) {
                    Some(flags) => set.states.extend(flags.iter().map(|f| f.1)),
                    None => {
                        self.errors.push(
                            Diagnostic::new("isa::unknown-state", id.span, format!("there is no state or bank `{}`", id.name))
                                .help("effects name states, banks, flag groups or `all`"),
                        );
                    }
                },
            }
        }
        set
    }

    fn add_state(&mut self, id: &Id, bits: u8, reset: u128) -> StateId {
        let state = StateId(self.spec.states.len() as u32);
        if bits < 128 && reset >> bits != 0 {
            self.errors.push(Diagnostic::new(
                "isa::width",
                id.span,
                format!("the reset value of `{}` does not fit into {bits} bits", id.name),
            ));
        }
        self.spec.states.push(State { name: id.name.clone(), bits, reset, span: id.span });
        self.define(id, Global::State(state));
        state
    }
}

/// Checks the items of all files.
pub fn check(files: Vec<File>, items: Vec<Item>) -> Result<Spec, Vec<Diagnostic>> {
    let mut w = World {
        spec: Spec { files, ..Spec::default() },
        names: Names::default(),
        consts: vec![],
        shapes: vec![],
        operands: vec![],
        predicates: HashMap::new(),
        longs: HashMap::new(),
        fixed: vec![],
        errors: vec![],
    };
    collect(&mut w, &items);
    for item in &items {
        body(&mut w, item);
    }
    finish(&mut w, &items);
    crate::encoding::conflicts(&mut w);
    if w.errors.is_empty() { Ok(w.spec) } else { Err(w.errors) }
}

/// First pass: names, numbers, and all that needs no other name.
fn collect(w: &mut World, items: &[Item]) {
    for item in items {
        match item {
            Item::Isa(id, _) => {
                if !w.spec.name.is_empty() {
                    w.errors.push(Diagnostic::new("isa::duplicate", id.span, "a second `isa` block").help("an instruction set has one"));
                }
                w.spec.name.clone_from(&id.name);
            }
            Item::Feature(id, doc) => {
                let f = FeatureId(w.spec.features.len() as u32);
                w.spec.features.push(Named { name: id.name.clone(), doc: doc.clone(), span: id.span });
                w.define(id, Global::Feature(f));
            }
            Item::State(id, bits, reset) => {
                w.add_state(id, *bits, *reset);
            }
            Item::Flags(id, flags) => {
                let group = flags.iter().map(|f| (f.name.clone(), w.add_state(f, 1, 0))).collect();
                let there = w.names.flags.insert(id.name.clone(), group).is_some();
                w.duplicate(id, there);
            }
            Item::Bank(id, count, bits, views) => {
                let bank = BankId(w.spec.banks.len() as u32);
                let total = count.saturating_mul(u128::from(*bits));
                if *count == 0 || *count > 1024 {
                    w.errors.push(
                        Diagnostic::new("isa::bank", id.span, format!("`{}` has {count} elements", id.name)).help("a bank has 1 to 1024"),
                    );
                }
                let mut all = Vec::new();
                for (i, (name, n, b)) in views.iter().enumerate() {
                    if n.saturating_mul(u128::from(*b)) > total {
                        w.errors.push(
                            Diagnostic::new("isa::bank", name.span, format!("view `{}` is larger than its bank", name.name))
                                .also(id.span, format!("{total} bits")),
                        );
                    }
                    all.push(View { name: name.name.clone(), count: *n as u32, bits: *b });
                    w.define(name, Global::Bank(BankRef { bank, view: Some(i as u32) }));
                }
                w.spec.banks.push(Bank { name: id.name.clone(), count: *count as u32, bits: *bits, views: all, span: id.span });
                w.define(id, Global::Bank(BankRef { bank, view: None }));
            }
            Item::Enum(id, bits, values) => {
                if *bits > 16 || values.len() > 1 << bits {
                    w.errors.push(
                        Diagnostic::new(
                            "isa::enum-size",
                            id.span,
                            format!("`{}` has {} values, u{bits} holds {}", id.name, values.len(), 1u128 << bits),
                        )
                        .help("widen the type or remove values"),
                    );
                }
                let e = EnumId(w.spec.enums.len() as u32);
                w.spec.enums.push(Enum { name: id.name.clone(), bits: *bits, values: values.clone(), span: id.span });
                w.define(id, Global::Enum(e));
            }
            Item::Mode(id, bits, value) => {
                let m = ModeId(w.spec.modes.len() as u32);
                let placeholder = Expr { kind: Box::new(ExprKind::Int(0)), ty: Ty::Bits(*bits), time: Time::Static, span: value.span };
                w.spec.modes.push(Mode { name: id.name.clone(), bits: *bits, value: placeholder, span: id.span });
                w.define(id, Global::Mode(m));
            }
            Item::Context(id, bits, _, advance) => {
                let c = ContextId(w.spec.contexts.len() as u32);
                let placeholder = Expr { kind: Box::new(ExprKind::Int(0)), ty: Ty::Bits(*bits), time: Time::Static, span: advance.span };
                w.spec.contexts.push(Context {
                    name: id.name.clone(),
                    bits: *bits,
                    state: StateId(0),
                    advance: placeholder,
                    span: id.span,
                });
                w.define(id, Global::Context(c));
            }
            Item::Token(id, _, size, long, variable) => {
                let long_bits = variable.or(long.as_ref().map(|l| l.0)).unwrap_or(*size);
                if ![8, 16, 32, 64].contains(size) || long_bits < *size || long_bits > 64 || long_bits % size.max(&1) != 0 {
                    w.errors.push(
                        Diagnostic::new(
                            "isa::token",
                            id.span,
                            format!("`{}` has a size of {size} and a long size of {long_bits} bits", id.name),
                        )
                        .help("sizes are 8, 16, 32 or 64; the long size a multiple, at most 64"),
                    );
                }
                let t = TokenId(w.spec.tokens.len() as u32);
                w.spec.tokens.push(Token {
                    name: id.name.clone(),
                    when: None,
                    size: (*size).min(64) as u8,
                    long: None,
                    variable: variable.map(|bits| bits.min(64) as u8),
                    predicates: vec![],
                    span: id.span,
                });
                if long.is_some() {
                    w.longs.insert(t.0, long_bits.min(64) as u32);
                }
                let there = w.names.tokens.insert(id.name.clone(), t).is_some();
                w.duplicate(id, there);
            }
            Item::Shape(id, members, tail) => {
                w.shapes.push(ShapeDecl { members: members.clone(), tail: tail.clone() });
                let there = w.names.shapes.insert(id.name.clone(), w.shapes.len() - 1).is_some();
                w.duplicate(id, there);
            }
            Item::Operand(id, t, forms) => {
                w.operands.push(OperandDecl { ty: ty(t), forms: forms.clone() });
                let there = w.names.operands.insert(id.name.clone(), w.operands.len() - 1).is_some();
                w.duplicate(id, there);
            }
            Item::Rule(id, doc, choice) => {
                let choice = match choice.as_str() {
                    "undefined" => Choice::Undefined,
                    "nop" => Choice::Nop,
                    _ => Choice::Proceed,
                };
                let r = RuleId(w.spec.rules.len() as u32);
                w.spec.rules.push(Rule { name: id.name.clone(), doc: doc.clone(), choice, span: id.span });
                let there = w.names.rules.insert(id.name.clone(), r).is_some();
                w.duplicate(id, there);
            }
            Item::FpEnv(id, _) => {
                let e = EnvId(w.spec.envs.len() as u32);
                w.spec.envs.push(Env {
                    name: id.name.clone(),
                    round: None,
                    rounds: vec!["nearest".into()],
                    flush: StateOr::Const(false),
                    default_nan: StateOr::Const(false),
                    alt_half: StateOr::Const(false),
                    sticky: StateId(0),
                    nan: "arm".into(),
                    tininess_before: false,
                    precision: None,
                    span: id.span,
                });
                w.define(id, Global::Env(e));
            }
            Item::Exception(id, params, _) => {
                if params.len() > 4 {
                    w.errors.push(Diagnostic::new("isa::exception", id.span, "an exception has at most four arguments"));
                }
                let e = ExceptionId(w.spec.exceptions.len() as u32);
                w.spec.exceptions.push(ExceptionDecl { name: id.name.clone(), params: vec![], body: Body::default(), span: id.span });
                let there = w.names.exceptions.insert(id.name.clone(), e).is_some();
                w.duplicate(id, there);
            }
            Item::Extern(id, params, result, ..) => {
                let e = ExternId(w.spec.externs.len() as u32);
                if params.len() > 6 {
                    w.errors.push(Diagnostic::new("isa::extern", id.span, "an `extern fn` has at most six parameters"));
                }
                w.spec.externs.push(Extern {
                    name: id.name.clone(),
                    params: params.iter().map(|p| (p.name.name.clone(), ty(&p.ty))).collect(),
                    result: result.as_ref().map_or(Ty::Unit, ty),
                    reads: StateSet::default(),
                    writes: StateSet::default(),
                    memory: false,
                    raises: false,
                    span: id.span,
                });
                w.define(id, Global::Extern(e));
            }
            Item::Fn(kind, id, params, result, _) => {
                let f = FnId(w.spec.fns.len() as u32);
                let all_static = *kind != FnKind::Plain;
                let locals = params
                    .iter()
                    .map(|p| Local {
                        name: p.name.name.clone(),
                        ty: ty(&p.ty),
                        time: if p.fixed || all_static { Time::Static } else { Time::Dynamic },
                        mutable: false,
                    })
                    .collect();
                w.fixed.push(params.iter().map(|p| p.fixed || all_static).collect());
                w.spec.fns.push(Function {
                    name: id.name.clone(),
                    kind: *kind,
                    params: (0..params.len() as u32).map(LocalId).collect(),
                    result: result.as_ref().map_or(Ty::Unit, ty),
                    body: Body { locals, stmts: vec![], value: None },
                    span: id.span,
                });
                w.define(id, Global::Fn(f));
            }
            Item::Predicate(id, clauses) => {
                // Tokens may come later in the source: resolved in `body`.
                let _ = (id, clauses);
            }
            Item::Const(..)
            | Item::Model(..)
            | Item::Interrupt(..)
            | Item::Wake(..)
            | Item::Successor(..)
            | Item::Gdb(_)
            | Item::Insn(_) => {}
        }
    }
    // Constants may use constants declared before them.
    for item in items {
        if let Item::Const(id, e) = item {
            let mut c = Checker::new(w);
            let value = c.expr(e, None).and_then(|e| c.constant(&e, "a constant")).unwrap_or(0);
            w.consts.push(value);
            let n = w.consts.len() - 1;
            w.define(id, Global::Const(n));
        }
    }
    for item in items {
        if let Item::Predicate(id, clauses) = item {
            match w.names.tokens.get(&id.name) {
                Some(t) => {
                    let t = *t;
                    w.predicates.entry(t.0).or_default().extend(clauses.iter().cloned());
                    w.spec.tokens[t.0 as usize].predicates.push(Predicate { span: id.span });
                }
                None => w.errors.push(Diagnostic::new("isa::unknown-token", id.span, format!("there is no token `{}`", id.name))),
            }
        }
    }
}

/// Second pass over one declaration.
fn body(w: &mut World, item: &Item) {
    match item {
        Item::Isa(_, parts) => {
            for part in parts {
                match part {
                    ast::IsaItem::Doc(t) => w.spec.doc.clone_from(&t.text),
                    ast::IsaItem::Pc(id) => w.spec.pc = w.state(id),
                    ast::IsaItem::BigEndian(b, unless) => {
                        w.spec.big_endian_fetch = *b;
                        w.spec.endian_unless = unless.as_ref().and_then(|f| w.feature(f));
                    }
                    ast::IsaItem::DataEndian(e) => w.spec.data_endian = Checker::new(w).fixed(e, Some(&Ty::Bits(1)), "the data endianness"),
                    ast::IsaItem::MmuIndex(e) => w.spec.mmu_index = Checker::new(w).fixed(e, None, "the MMU index"),
                    ast::IsaItem::Undefined(id) => w.spec.undefined = w.exception(id),
                }
            }
        }
        Item::Model(id, title, features) => {
            let mut all = Vec::new();
            for f in features {
                all.extend(w.feature(f));
            }
            w.spec.models.push(Model { name: id.name.clone(), title: title.clone(), features: all, span: id.span });
        }
        Item::Mode(id, bits, e) => {
            let mut c = Checker::new(w);
            c.states_only = true;
            let value = c.expr(e, Some(&Ty::Bits(*bits))).and_then(|v| c.coerce(v, &Ty::Bits(*bits)));
            if let (Some(value), Some((Global::Mode(m), _))) = (value, w.names.globals.get(&id.name).copied()) {
                w.spec.modes[m.0 as usize].value = value;
            }
        }
        Item::Context(id, bits, state, advance) => {
            let state = w.state(state);
            let advance = Checker::new(w).fixed(advance, Some(&Ty::Bits(*bits)), "the next context");
            if let (Some(state), Some(advance), Some((Global::Context(c), _))) = (state, advance, w.names.globals.get(&id.name).copied()) {
                let context = &mut w.spec.contexts[c.0 as usize];
                (context.state, context.advance) = (state, advance);
            }
        }
        Item::Successor(id, when) => {
            let state = w.state(id);
            let when = Checker::new(w).fixed(when, Some(&Ty::Bits(1)), "the condition of a successor");
            let wide = w.spec.pc.map(|pc| w.spec.states[pc.0 as usize].bits);
            if let Some(s) = state
                && wide.is_some_and(|bits| w.spec.states[s.0 as usize].bits != bits)
            {
                w.errors.push(Diagnostic::new("isa::successor", id.span, format!("`{}` is not as wide as the program counter", id.name)));
            }
            if w.spec.successor.is_some() {
                w.errors.push(Diagnostic::new("isa::successor", id.span, "there is one `successor` already"));
            }
            w.spec.successor = state.zip(when);
        }
        Item::Token(id, when, _, long, _) => {
            let when = when.as_ref().and_then(|e| Checker::new(w).fixed(e, Some(&Ty::Bits(1)), "a token's condition"));
            let size = w.names.tokens.get(&id.name).map_or(16, |t| w.spec.tokens[t.0 as usize].size);
            let long = long.as_ref().and_then(|(bits, e)| {
                let mut c = Checker::new(w);
                c.first = Some(size);
                c.fixed(e, Some(&Ty::Bits(1)), "the condition of a long token").map(|e| ((*bits).min(64) as u8, e))
            });
            if let Some(t) = w.names.tokens.get(&id.name) {
                let token = &mut w.spec.tokens[t.0 as usize];
                (token.when, token.long) = (when, long);
            }
        }
        Item::FpEnv(id, parts) => env(w, id, parts),
        Item::Exception(id, params, block) => {
            let mut c = Checker::new(w);
            c.in_exception = true;
            let ids: Vec<LocalId> = params.iter().map(|p| c.local(&p.name, ty(&p.ty), Time::Dynamic, false)).collect();
            let (stmts, value) = c.block(block, None);
            let locals = c.locals;
            if let Some(v) = value {
                w.errors.push(Diagnostic::new("isa::value", v.span, "an exception has no value").help("end the statement with `;`"));
            }
            if let Some(e) = w.names.exceptions.get(&id.name) {
                let e = &mut w.spec.exceptions[e.0 as usize];
                e.params = ids;
                e.body = Body { locals, stmts, value: None };
            }
        }
        Item::Interrupt(id, e) => {
            let exception = w.exception(id);
            let mut c = Checker::new(w);
            (c.states_only, c.lines) = (true, true);
            let condition = c.expr(e, Some(&Ty::Bits(1))).and_then(|v| c.coerce(v, &Ty::Bits(1)));
            if let (Some(x), Some(condition)) = (exception, condition) {
                w.spec.interrupts.push((x, condition));
            }
        }
        Item::Gdb(g) => crate::gdb::feature(w, g),
        Item::Wake(e) => {
            let mut c = Checker::new(w);
            (c.states_only, c.lines) = (true, true);
            w.spec.wake = c.expr(e, Some(&Ty::Bits(1))).and_then(|v| c.coerce(v, &Ty::Bits(1)));
        }
        Item::Extern(id, _, _, reads, writes, memory, raises) => {
            let (reads, writes) = (w.set(reads), w.set(writes));
            if let Some((Global::Extern(e), _)) = w.names.globals.get(&id.name).copied() {
                let e = &mut w.spec.externs[e.0 as usize];
                (e.reads, e.writes, e.memory, e.raises) = (reads, writes, *memory, *raises);
            }
        }
        Item::Fn(kind, id, params, _, block) => function(w, *kind, id, params, block),
        Item::Insn(insn) => crate::encoding::insn(w, insn),
        _ => {}
    }
}

fn function(w: &mut World, kind: FnKind, id: &Id, params: &[ast::Param], block: &ast::Block) {
    // Of two of one name the first counts.
    let Some((Global::Fn(f), _)) = w.names.globals.get(&id.name).copied().filter(|(_, first)| *first == id.span) else { return };
    let result = w.spec.fns[f.0 as usize].result.clone();
    let fixed = w.fixed[f.0 as usize].clone();
    let mut c = Checker::new(w);
    c.static_only = kind != FnKind::Plain;
    for (p, fixed) in params.iter().zip(fixed) {
        c.local(&p.name, ty(&p.ty), if fixed { Time::Static } else { Time::Dynamic }, false);
    }
    let wanted = (result != Ty::Unit).then_some(&result);
    let (stmts, mut value) = c.block(block, wanted);
    if let Some(wanted) = wanted {
        value = value.and_then(|v| c.coerce(v, wanted));
        if block.value.is_none() {
            c.w.errors.push(
                Diagnostic::new("isa::value", id.span, format!("`{}` gives no value", id.name))
                    .help("its body must end with an expression without `;`"),
            );
        }
    }
    let locals = c.locals;
    let f = &mut w.spec.fns[f.0 as usize];
    f.body = Body { locals, stmts, value: value.map(Box::new) };
}

fn env(w: &mut World, id: &Id, parts: &[ast::FpItem]) {
    let Some((Global::Env(e), _)) = w.names.globals.get(&id.name).copied() else { return };
    let mut env = w.spec.envs[e.0 as usize].clone();
    let mut sticky = false;
    let state_or = |w: &mut World, s: &ast::StateOr| match s {
        ast::StateOr::Number(n) => StateOr::Const(*n != 0),
        ast::StateOr::State(id) => w.state(id).map_or(StateOr::Const(false), StateOr::State),
    };
    for part in parts {
        match part {
            ast::FpItem::Round(state, rounds) => {
                env.round = state.as_ref().and_then(|s| w.state(s));
                env.rounds = rounds.iter().map(|r| r.name.clone()).collect();
                for r in rounds {
                    if !["nearest", "zero", "up", "down", "away"].contains(&r.name.as_str()) {
                        w.errors.push(
                            Diagnostic::new("isa::rounding", r.span, format!("there is no rounding mode `{}`", r.name))
                                .help("nearest, zero, up, down or away"),
                        );
                    }
                }
            }
            ast::FpItem::Flush(s) => env.flush = state_or(w, s),
            ast::FpItem::DefaultNan(s) => env.default_nan = state_or(w, s),
            ast::FpItem::AltHalf(s) => env.alt_half = state_or(w, s),
            ast::FpItem::Sticky(s) => {
                sticky = true;
                if let Some(s) = w.state(s) {
                    env.sticky = s;
                }
            }
            ast::FpItem::Nan(n) => {
                if !["arm", "x86", "x87", "ppc", "sparc", "mips", "microblaze"].contains(&n.name.as_str()) {
                    w.errors.push(
                        Diagnostic::new("isa::nan-rule", n.span, format!("there is no NaN rule `{}`", n.name))
                            .help("arm, x86, x87, ppc, sparc, mips or microblaze"),
                    );
                }
                env.nan.clone_from(&n.name);
            }
            ast::FpItem::Tininess(n) => env.tininess_before = n.name == "before",
            ast::FpItem::Precision(state, precisions) => {
                if precisions.len() > 4 || precisions.iter().any(|n| ![24, 53, 64].contains(n)) {
                    w.errors.push(
                        Diagnostic::new("isa::precision", state.span, "a precision is 24, 53 or 64 bits")
                            .help("give one for each value of the state, four at most"),
                    );
                }
                env.precision = w.state(state).map(|s| (s, precisions.iter().map(|n| *n as u8).collect()));
            }
        }
    }
    if !sticky {
        w.errors.push(
            Diagnostic::new("isa::fpenv", id.span, format!("`{}` has no `sticky` state", id.name))
                .help("name a u8 state for the sticky flags"),
        );
    }
    w.spec.envs[e.0 as usize] = env;
}

/// What only the whole shows: mandatory declarations, and calls that come back to themselves.
fn finish(w: &mut World, items: &[Item]) {
    let at = items.iter().find_map(|i| if let Item::Isa(id, _) = i { Some(id.span) } else { None });
    match at {
        None => w.errors.push(
            Diagnostic::new("isa::missing", Span::default(), "there is no `isa` block")
                .help("begin with: isa name { pc pc; endian little; undefined undef; }"),
        ),
        Some(span) => {
            if w.spec.pc.is_none() && w.errors.is_empty() {
                w.errors.push(
                    Diagnostic::new("isa::missing", span, "the program counter is not named").help("write `pc NAME;` in the isa block"),
                );
            }
            if w.spec.undefined.is_none() && w.errors.is_empty() {
                w.errors.push(
                    Diagnostic::new("isa::missing", span, "no exception for undefined instructions")
                        .help("write `undefined NAME;` in the isa block"),
                );
            }
        }
    }
    let calls: Vec<Vec<u32>> = w.spec.fns.iter().map(|f| crate::body::calls(&f.body)).collect();
    let mut state = vec![0u8; calls.len()];
    for start in 0..calls.len() {
        let mut stack = vec![(start, 0usize)];
        while let Some((f, next)) = stack.pop() {
            if next == 0 {
                if state[f] != 0 {
                    continue;
                }
                state[f] = 1;
            }
            match calls[f].get(next) {
                None => state[f] = 2,
                Some(&callee) => {
                    stack.push((f, next + 1));
                    if state[callee as usize] == 1 {
                        let f = &w.spec.fns[callee as usize];
                        w.errors.push(
                            Diagnostic::new("isa::recursion", f.span, format!("`{}` calls itself, directly or through others", f.name))
                                .help("functions are inlined at translation: use `for`, `match` or `repeat`"),
                        );
                        return;
                    }
                    stack.push((callee as usize, 0));
                }
            }
        }
    }
}
