//! Encodings: bit strings, shapes and operands expanded, conditions, guards, predicates, assembly text; and instructions, whose
//! meaning takes its names from their encodings.

use crate::ast::{self, Bit};
use crate::body::{Checker, Inputs, show};
use crate::check::{Global, World};
use crate::diagnostic::Diagnostic;
use crate::parse;
use crate::spec::*;
use std::collections::HashMap;

/// One encoding after shapes and operands were expanded, still syntax.
struct Flat {
    token: TokenId,
    name: String,
    bits: Vec<Bit>,
    tail: ast::Tail,
    /// Operand name, value, its type.
    operands: Vec<(String, ast::Expr, Ty)>,
    /// Assembly text of each operand.
    texts: HashMap<String, (Option<ast::Expr>, Vec<ast::Piece>)>,
    span: Span,
}

/// Checks one instruction and adds it to the specification.
pub fn insn(w: &mut World, insn: &ast::Insn) {
    let mut flats = Vec::new();
    for e in &insn.encodings {
        expand(w, e, &mut flats);
    }
    let mut done: Vec<(Encoding, Inputs, HashMap<String, LocalId>, HashMap<String, Expr>)> = Vec::new();
    let mut names: HashMap<String, u32> = HashMap::new();
    for mut flat in flats {
        let n = names.entry(flat.name.clone()).or_insert(0);
        *n += 1;
        if *n > 1 {
            flat.name = format!("{}_{n}", flat.name);
        }
        flat.tail.guards.extend(insn.guards.iter().cloned());
        if let Some(e) = encoding(w, flat) {
            done.push(e);
        }
    }
    let Some(first) = done.first() else {
        if insn.encodings.is_empty() {
            w.errors.push(Diagnostic::new("isa::no-encoding", insn.name.span, format!("`{}` has no encoding", insn.name.name)));
        }
        return;
    };
    let Some(sem) = &insn.sem else {
        w.errors.push(
            Diagnostic::new("isa::no-meaning", insn.name.span, format!("`{}` has no `sem`", insn.name.name))
                .help("an instruction that does nothing says `sem { nop; }`"),
        );
        return;
    };
    // A name is dynamic in `sem` if one encoding computes it from state.
    let mut available = first.1.clone();
    for (name, (_, time)) in &mut available {
        *time = done.iter().filter_map(|d| d.1.get(name)).map(|i| i.1).fold(*time, Time::max);
    }
    let mut c = Checker::new(w);
    c.available = available;
    let (mut stmts, value) = c.block(sem, None);
    if let Some(v) = value {
        let span = v.span;
        stmts.push(Stmt { kind: StmtKind::Expr(v), span });
    }
    let (locals, used) = (c.locals, c.used);
    // Every encoding gives every input, with the same type.
    let mut encodings = Vec::new();
    for (mut e, inputs, ids, values) in done {
        for (name, local) in &used {
            let wanted = &locals[local.0 as usize].ty;
            match inputs.get(name) {
                None => {
                    w.errors.push(
                        Diagnostic::new("isa::missing-input", e.span, format!("this encoding does not give `{name}`, which `sem` uses"))
                            .also(insn.name.span, format!("of `{}`", insn.name.name))
                            .help(format!("add a field or `where {name} = ...`")),
                    );
                }
                Some((t, _)) if t != wanted => {
                    w.errors.push(
                        Diagnostic::new(
                            "isa::input-type",
                            e.span,
                            format!("`{name}` is {} here and {} in the first encoding", show(t), show(wanted)),
                        )
                        .help(format!("give it a type: where {name}: {} = ...", show(wanted))),
                    );
                }
                Some((t, t_time)) => {
                    let value = match values.get(name) {
                        Some(v) => v.clone(),
                        None => {
                            let Some(id) = ids.get(name) else { continue };
                            Expr { kind: Box::new(ExprKind::Local(*id)), ty: t.clone(), time: *t_time, span: e.span }
                        }
                    };
                    e.inputs.push(value);
                }
            }
        }
        encodings.push(e);
    }
    let tests = insn.tests.iter().filter_map(|t| test(w, t, &encodings)).collect();
    w.spec.insns.push(Insn {
        name: insn.name.name.clone(),
        title: insn.title.clone(),
        inputs: used.iter().map(|u| u.1).collect(),
        sem: Body { locals, stmts, value: None },
        encodings,
        tests,
        span: insn.name.span,
        source: insn.source,
    });
}

/// Shapes and operands: one encoding as written may be many.
fn expand(w: &mut World, e: &ast::Encoding, out: &mut Vec<Flat>) {
    let mut heads: Vec<(TokenId, String, Vec<Bit>, ast::Tail)> = Vec::new();
    let Some(own) = bits(w, &e.bits) else { return };
    if let Some(t) = w.names.tokens.get(&e.token.name) {
        heads.push((*t, e.token.name.clone(), own, e.tail.clone()));
    } else if let Some(shape) = w.names.shapes.get(&e.token.name).copied() {
        let members = w.shapes[shape].members.clone();
        let shared = w.shapes[shape].tail.clone();
        for (token, text, wheres) in members {
            let Some(t) = w.names.tokens.get(&token.name).copied() else {
                w.errors.push(Diagnostic::new("isa::unknown-token", token.span, format!("there is no token `{}`", token.name)));
                continue;
            };
            let Some(mut all) = bits(w, &text) else { continue };
            all.extend(own.iter().cloned());
            let mut tail = ast::Tail { wheres, ..ast::Tail::default() };
            tail.wheres.extend(shared.wheres.iter().cloned());
            tail.conditions.extend(shared.conditions.iter().cloned());
            tail.guards.extend(shared.guards.iter().cloned());
            tail.wheres.extend(e.tail.wheres.iter().cloned());
            tail.conditions.extend(e.tail.conditions.iter().cloned());
            tail.guards.extend(e.tail.guards.iter().cloned());
            tail.asm.extend(e.tail.asm.iter().cloned());
            heads.push((t, token.name.clone(), all, tail));
        }
    } else {
        let mut known: Vec<&str> = w.names.tokens.keys().chain(w.names.shapes.keys()).map(String::as_str).collect();
        known.sort_unstable();
        let help = crate::check::nearest(&e.token.name, known.into_iter())
            .map_or("declare it with `token` or `shape`".to_string(), |n| format!("did you mean `{n}`?"));
        w.errors
            .push(Diagnostic::new("isa::unknown-token", e.token.span, format!("there is no token or shape `{}`", e.token.name)).help(help));
        return;
    }
    for (token, name, all, tail) in heads {
        let flat = Flat { token, name, bits: all, tail, operands: vec![], texts: HashMap::new(), span: e.span };
        operands(w, flat, out);
    }
}

fn bits(w: &mut World, text: &ast::Text) -> Option<Vec<Bit>> {
    match parse::bits(text.span, &text.text) {
        Ok(b) => Some(b),
        Err(d) => {
            w.errors.push(d);
            None
        }
    }
}

/// Expands the first operand of `flat`, and the rest in what comes of it.
fn operands(w: &mut World, flat: Flat, out: &mut Vec<Flat>) {
    let found = flat.bits.iter().find_map(|b| match b {
        Bit::Operand(name, operand) => Some((name.clone(), operand.clone())),
        Bit::OperandPart(name, _, operand) => Some((name.clone(), operand.clone().unwrap_or_default())),
        _ => None,
    });
    let Some((name, mut operand)) = found else {
        out.push(flat);
        return;
    };
    if operand.is_empty() {
        // `{sh/0}` without `: shifter`: the operand's name is the value's.
        operand = name.clone();
    }
    let Some(decl) = w.names.operands.get(&operand).copied() else {
        let known: Vec<&str> = w.names.operands.keys().map(String::as_str).collect();
        let help = crate::check::nearest(&operand, known.into_iter())
            .map_or("declare it with `operand`".to_string(), |n| format!("did you mean `{n}`?"));
        w.errors.push(Diagnostic::new("isa::unknown-operand", flat.span, format!("there is no operand `{operand}`")).help(help));
        return;
    };
    let (ty, forms) = (w.operands[decl].ty.clone(), w.operands[decl].forms.clone());
    for form in forms {
        let parts: Vec<Vec<Bit>> = {
            let mut parts = Vec::new();
            for part in parse::split(&form.bits.text) {
                let Some(b) = bits(w, &ast::Text { text: part.to_string(), span: form.bits.span }) else { return };
                parts.push(b);
            }
            parts
        };
        let mut all = Vec::new();
        for b in &flat.bits {
            match b {
                Bit::Operand(n, _) if *n == name => all.extend(parts.iter().flatten().cloned()),
                Bit::OperandPart(n, i, _) if *n == name => match parts.get(*i as usize) {
                    Some(p) => all.extend(p.iter().cloned()),
                    None => {
                        w.errors.push(
                            Diagnostic::new("isa::operand-part", flat.span, format!("form `{}` has no part {i}", form.name.name))
                                .also(form.bits.span, "this form"),
                        );
                        return;
                    }
                },
                other => all.push(other.clone()),
            }
        }
        let mut tail = flat.tail.clone();
        let mut wheres = form.tail.wheres.clone();
        wheres.extend(tail.wheres);
        tail.wheres = wheres;
        tail.conditions.extend(form.tail.conditions.iter().cloned());
        tail.guards.extend(form.tail.guards.iter().cloned());
        let mut texts = flat.texts.clone();
        let template = match form.tail.asm.first() {
            Some((_, text)) => match parse::template(text.span, &text.text) {
                Ok(t) => t,
                Err(d) => {
                    w.errors.push(d);
                    return;
                }
            },
            None => vec![],
        };
        texts.insert(name.clone(), (None, template));
        let mut values = flat.operands.clone();
        match (&form.value.value, form.value.stmts.is_empty()) {
            (Some(v), true) => values.push((name.clone(), v.clone(), ty.clone())),
            _ => {
                w.errors.push(
                    Diagnostic::new("isa::form-value", form.value.span, "a form's value is one expression")
                        .help("put the statements into a `fn`"),
                );
                return;
            }
        }
        let made = Flat {
            token: flat.token,
            name: format!("{}_{}", flat.name, form.name.name),
            bits: all,
            tail,
            operands: values,
            texts,
            span: flat.span,
        };
        operands(w, made, out);
    }
}

type Checked = (Encoding, Inputs, HashMap<String, LocalId>, HashMap<String, Expr>);

fn encoding(w: &mut World, flat: Flat) -> Option<Checked> {
    let (mut mask, mut value, mut should_be) = (0u64, 0u64, 0u64);
    let mut pieces: Vec<(String, Vec<(u8, u8)>)> = Vec::new();
    let total: u32 = flat.bits.iter().map(|b| if let Bit::Field(_, n) = b { u32::from(*n) } else { 1 }).sum();
    let token = &w.spec.tokens[flat.token.0 as usize];
    // While tokens are checked in source order, the long length may not be there yet; both lengths are asked of the syntax.
    let sizes: Vec<u32> = match token.variable {
        Some(most) => (1..=u32::from(most / token.size.max(1))).map(|units| units * u32::from(token.size)).collect(),
        None => std::iter::once(u32::from(token.size)).chain(w.token_long(flat.token)).collect(),
    };
    if !sizes.contains(&total) {
        let lengths = sizes.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
        let message = format!("this bit string has {total} bits, token `{}` has {lengths}", token.name);
        w.errors.push(
            Diagnostic::new("isa::bits", flat.span, message).help("every bit of the token is given once: 0, 1, (0), (1), `.` or a field"),
        );
        return None;
    }
    let mut at = total;
    for b in &flat.bits {
        match b {
            Bit::Field(name, n) => {
                at -= u32::from(*n);
                match pieces.iter_mut().find(|p| p.0 == *name) {
                    Some(p) => p.1.push((at as u8, *n)),
                    None => pieces.push((name.clone(), vec![(at as u8, *n)])),
                }
            }
            other => {
                at -= 1;
                match other {
                    Bit::Fixed(on) => {
                        mask |= 1 << at;
                        value |= u64::from(*on) << at;
                    }
                    Bit::Should(on) => should_be |= u64::from(*on) << at,
                    _ => {}
                }
            }
        }
    }
    let span = flat.span;
    let mut c = Checker::new(w);
    let mut ids = HashMap::new();
    let mut inputs = Inputs::new();
    let mut fields = Vec::new();
    for (name, places) in pieces {
        let n: u32 = places.iter().map(|p| u32::from(p.1)).sum();
        if places.len() > 1 {
            c.w.errors.push(
                Diagnostic::new("isa::bits", span, format!("field `{name}` stands twice"))
                    .help("give the parts names of their own and put them together with `cat` in a `where`"),
            );
            return None;
        }
        let t = Ty::Bits(n as u8);
        let id = c.local(&ast::Id { name: name.clone(), span }, t.clone(), Time::Static, false);
        ids.insert(name.clone(), id);
        inputs.insert(name, (t, Time::Static));
        fields.push((id, places));
    }
    let mut wheres = Vec::new();
    for wh in &flat.tail.wheres {
        let want = wh.ty.map(Ty::Bits);
        let x = c.fixed(&wh.value, want.as_ref(), "a where name")?;
        if inputs.contains_key(&wh.name.name) {
            c.w.errors.push(Diagnostic::new("isa::duplicate", wh.name.span, format!("`{}` is given twice", wh.name.name)));
            return None;
        }
        if x.ty == Ty::Int {
            c.w.errors.push(
                Diagnostic::new("isa::type", x.span, format!("how wide is `{}`?", wh.name.name))
                    .help(format!("give it a type: where {}: u4 = ...", wh.name.name)),
            );
            return None;
        }
        let id = c.local(&wh.name, x.ty.clone(), Time::Static, false);
        ids.insert(wh.name.name.clone(), id);
        inputs.insert(wh.name.name.clone(), (x.ty.clone(), Time::Static));
        wheres.push((id, x));
    }
    let one = Ty::Bits(1);
    let mut condition: Option<Expr> = None;
    for e in &flat.tail.conditions {
        let x = c.fixed(e, Some(&one), "a decode condition")?;
        condition = Some(match condition {
            None => x,
            Some(a) => Expr { span: x.span, kind: Box::new(ExprKind::Binary(BinOp::And, a, x)), ty: one.clone(), time: Time::Static },
        });
    }
    let mut guards = Vec::new();
    for g in &flat.tail.guards {
        let x = c.fixed(&g.cond, Some(&one), "a guard");
        let otherwise = match &g.otherwise {
            ast::Otherwise::Undefined => Otherwise::Undefined,
            ast::Otherwise::Nop => Otherwise::Nop,
            ast::Otherwise::Unpredictable(id) => match c.w.names.rules.get(&id.name) {
                Some(r) => Otherwise::Unpredictable(*r),
                None => c.unknown_rule(id)?,
            },
        };
        guards.push((x?, otherwise, g.always));
    }
    let mut values = HashMap::new();
    for (name, e, t) in &flat.operands {
        let x = c.expr(e, Some(t)).and_then(|x| c.coerce(x, t))?;
        inputs.insert(name.clone(), (t.clone(), x.time.max(Time::Dynamic)));
        values.insert(name.clone(), x);
    }
    let predicate = predicate(&mut c, flat.token, &inputs)?;
    let mut asm = Vec::new();
    for (when, text) in &flat.tail.asm {
        let when = match when {
            Some(e) => Some(c.fixed(e, Some(&one), "a template's condition")?),
            None => None,
        };
        match parse::template(text.span, &text.text) {
            Ok(t) => asm.push((when, template(&mut c, &t, &flat.texts)?)),
            Err(d) => {
                c.w.errors.push(d);
                return None;
            }
        }
    }
    let locals = c.locals;
    let e = Encoding {
        token: flat.token,
        name: flat.name,
        bits: total as u8,
        mask,
        value,
        should_be,
        locals,
        fields,
        wheres,
        condition,
        guards,
        predicate,
        inputs: vec![],
        asm,
        span,
    };
    Some((e, inputs, ids, values))
}

impl World {
    /// The long length of a token, if it has one.
    fn token_long(&self, t: TokenId) -> Option<u32> {
        self.longs.get(&t.0).copied()
    }
}

/// The clauses of the token's predicate whose names this encoding has, as one expression: the first that applies decides.
fn predicate(c: &mut Checker<'_>, token: TokenId, inputs: &Inputs) -> Option<Option<Expr>> {
    let clauses = c.w.predicates.get(&token.0).cloned().unwrap_or_default();
    let mut made = Vec::new();
    for (cond, e) in clauses {
        let mut names = Vec::new();
        free(&cond, &mut names);
        free(&e, &mut names);
        let known = names.iter().all(|n| {
            let global = c.w.names.globals.get(n).is_some_and(|g| !matches!(g.0, crate::check::Global::Enum(_)));
            inputs.contains_key(n) || global || n == "pc" || n == "next_pc"
        });
        if !known {
            continue;
        }
        let one = Ty::Bits(1);
        let cond = c.fixed(&cond, Some(&one), "a predicate's condition")?;
        let e = c.expr(&e, Some(&one)).and_then(|e| c.coerce(e, &one))?;
        made.push((cond, e));
    }
    let mut all: Option<Expr> = None;
    for (cond, e) in made.into_iter().rev() {
        let span = cond.span;
        let otherwise = all.unwrap_or(Expr { kind: Box::new(ExprKind::Int(1)), ty: Ty::Bits(1), time: Time::Static, span });
        let time = e.time.max(otherwise.time);
        all = Some(Expr { kind: Box::new(ExprKind::Cond(cond, e, otherwise)), ty: Ty::Bits(1), time, span });
    }
    Some(all)
}

/// The names an expression uses.
fn free(e: &ast::Expr, out: &mut Vec<String>) {
    match &*e.kind {
        ast::Kind::Name(n) => out.push(n.clone()),
        // `enum.value`: no name of the encoding.
        ast::Kind::Dot(a, _) if matches!(&*a.kind, ast::Kind::Name(_)) => {}
        ast::Kind::Dot(a, _) | ast::Kind::Prefix(_, a) => free(a, out),
        ast::Kind::Index(a, b) | ast::Kind::Infix(_, a, b) => {
            free(a, out);
            free(b, out);
        }
        ast::Kind::Slice(a, b, d) | ast::Kind::Cond(a, b, d) => [a, b, d].into_iter().for_each(|e| free(e, out)),
        ast::Kind::Call(_, args) => args.iter().for_each(|e| free(e, out)),
        _ => {}
    }
}

fn template(
    c: &mut Checker<'_>,
    pieces: &[ast::Piece],
    texts: &HashMap<String, (Option<ast::Expr>, Vec<ast::Piece>)>,
) -> Option<Vec<AsmPiece>> {
    let mut out: Vec<AsmPiece> = Vec::new();
    for p in pieces {
        match p {
            ast::Piece::Text(t) => match out.last_mut() {
                Some(AsmPiece::Text(last)) => last.push_str(t),
                _ => out.push(AsmPiece::Text(t.clone())),
            },
            ast::Piece::Select(e, a, b) => {
                let e = c.expr(e, None)?;
                if e.time == Time::Dynamic {
                    return c.fail(Diagnostic::new("isa::not-static", e.span, "assembly text depends on static values only"));
                }
                out.push(AsmPiece::Choice(e, template(c, a, texts)?, template(c, b, texts)?));
            }
            ast::Piece::Value(e, printer) => {
                if let ast::Kind::Name(n) = &*e.kind
                    && let Some((_, inner)) = texts.get(n)
                {
                    let inner = inner.clone();
                    out.extend(template(c, &inner, texts)?);
                    continue;
                }
                let e = c.expr(e, None)?;
                if e.time == Time::Dynamic {
                    return c.fail(Diagnostic::new("isa::not-static", e.span, "assembly text depends on static values only"));
                }
                let printer = match printer {
                    None => Printer::Dec,
                    Some((list, id)) => match (id.name.as_str(), c.w.names.globals.get(&id.name).copied()) {
                        ("dec", _) if !list => Printer::Dec,
                        ("hex", _) if !list => Printer::Hex,
                        ("sdec", _) if !list => Printer::Sdec,
                        ("addr", _) if !list => Printer::Addr,
                        (_, Some((Global::Enum(x), _))) if *list => Printer::List(x),
                        (_, Some((Global::Enum(x), _))) => Printer::Enum(x),
                        _ => {
                            return c.fail(
                                Diagnostic::new("isa::printer", id.span, format!("there is no printer `{}`", id.name))
                                    .help("dec, hex, sdec, addr, list ENUM or an enum"),
                            );
                        }
                    },
                };
                out.push(AsmPiece::Value(e, printer));
            }
        }
    }
    Some(out)
}

fn test(w: &mut World, t: &ast::Test, encodings: &[Encoding]) -> Option<Test> {
    let code = t.code as u64;
    if !encodings.iter().any(|e| (e.bits == 64 || t.code >> e.bits == 0) && code & e.mask == e.value) {
        w.errors.push(
            Diagnostic::new("isa::test-encoding", t.span, format!("{code:#x} is no encoding of this instruction"))
                .help("tests stand with the instruction they test"),
        );
        return None;
    }
    let mut raises = None;
    let before = places(w, &t.before, &mut raises)?;
    let after = places(w, &t.after, &mut raises)?;
    let then = t.then.iter().map(|(text, code)| (text.text.clone(), *code as u64)).collect();
    Some(Test { text: t.text.text.clone(), at: t.at.map(|a| a as u64), code, then, before, after, raises, span: t.span })
}

fn places(w: &mut World, places: &[ast::Place], raises: &mut Option<ExceptionId>) -> Option<Vec<(TestPlace, u128)>> {
    let mut out = Vec::new();
    for p in places {
        match p {
            ast::Place::Raise(id) => *raises = Some(w.exception(id)?),
            ast::Place::Mem(bytes, at, value) => out.push((TestPlace::Mem { addr: *at, bytes: *bytes as u8 }, *value)),
            ast::Place::State(id, value) if id.name == "lines" => out.push((TestPlace::Lines, *value)),
            ast::Place::State(id, value) => out.push((TestPlace::State(w.state(id)?), *value)),
            ast::Place::Bank(id, index, value) => match w.names.globals.get(&id.name).copied() {
                Some((Global::Bank(b), _)) => {
                    let bank = &w.spec.banks[b.bank.0 as usize];
                    let count = b.view.map_or(bank.count, |v| bank.views[v as usize].count);
                    if *index >= u128::from(count) {
                        w.errors.push(Diagnostic::new("isa::index", id.span, format!("element {index} of a bank of {count}")));
                        return None;
                    }
                    let place = match b.view {
                        None => TestPlace::Bank(b.bank, *index as u32),
                        Some(v) => TestPlace::View(b.bank, v, *index as u32),
                    };
                    out.push((place, *value));
                }
                _ => {
                    w.errors.push(Diagnostic::new("isa::unknown-state", id.span, format!("there is no bank `{}`", id.name)));
                    return None;
                }
            },
        }
    }
    Some(out)
}

/// Two encodings with the same bits and no condition to tell them apart.
pub fn conflicts(w: &mut World) {
    let mut seen: HashMap<(u32, u8, u64, u64), (String, Span)> = HashMap::new();
    let mut found = Vec::new();
    for insn in &w.spec.insns {
        for e in insn.encodings.iter().filter(|e| e.condition.is_none()) {
            let key = (e.token.0, e.bits, e.mask, e.value);
            match seen.get(&key) {
                Some((other, span)) => found.push(
                    Diagnostic::new("isa::same-bits", e.span, format!("`{}` has the same bits as `{other}`", insn.name))
                        .also(*span, format!("`{other}`"))
                        .help("tell them apart with `if`"),
                ),
                None => {
                    seen.insert(key, (insn.name.clone(), e.span));
                }
            }
        }
    }
    w.errors.extend(found);
}
