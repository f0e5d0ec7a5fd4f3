//! From text to the syntax tree, by the pest grammar and its Pratt parser.

use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::spec::{FnKind, Span};
use pest::Parser;
use pest::iterators::{Pair, Pairs};
use pest::pratt_parser::{Assoc, Op, PrattParser};
use std::sync::LazyLock;

mod grammar {
    // The generated `Rule` has a variant for each rule of the grammar, and no words for them.
    #![allow(missing_docs)]

    #[derive(pest_derive::Parser)]
    #[grammar = "grammar.pest"]
    pub struct Grammar;
}
use grammar::{Grammar, Rule};

/// Brackets may nest this deep, and a statement may hold that many `?`: bounds the recursion of everything after.
const MAX_DEPTH: usize = 48;

static PRATT: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    use Rule::*;
    let left = |r| Op::infix(r, Assoc::Left);
    PrattParser::new()
        .op(left(lor))
        .op(left(land))
        .op(left(or))
        .op(left(xor))
        .op(left(and))
        .op(left(eq) | left(ne) | left(lt) | left(le) | left(gt) | left(ge) | left(slt) | left(sle) | left(sgt) | left(sge))
        .op(left(shl) | left(shr) | left(sar))
        .op(left(add) | left(sub))
        .op(left(mul))
        .op(Op::prefix(not) | Op::prefix(inv) | Op::prefix(neg))
});

/// Parses one file. `index` is its number in the specification.
///
/// # Errors
/// Syntax errors, numbers out of range, nesting beyond bounds.
pub fn file(index: u32, text: &str) -> Result<Vec<Item>, Diagnostic> {
    depth(index, text)?;
    let pairs = Grammar::parse(Rule::file, text).map_err(|e| syntax(index, 0, text, e))?;
    let b = Build { file: index, base: 0 };
    let mut items = Vec::new();
    for pair in pairs.flat_map(Pair::into_inner) {
        if pair.as_rule() != Rule::EOI {
            items.push(b.item(pair)?);
        }
    }
    Ok(items)
}

/// Parses a bit string that stands at `at`.
///
/// # Errors
/// Syntax errors with the place inside the string.
pub fn bits(at: Span, text: &str) -> Result<Vec<Bit>, Diagnostic> {
    let pairs = Grammar::parse(Rule::bits, text).map_err(|e| syntax(at.file, at.start, text, e))?;
    let mut out = Vec::new();
    for pair in pairs.flat_map(Pair::into_inner) {
        match pair.as_rule() {
            Rule::bit => out.push(Bit::Fixed(pair.as_str() == "1")),
            Rule::should => out.extend(pair.as_str().bytes().filter(|b| matches!(b, b'0' | b'1')).map(|b| Bit::Should(b == b'1'))),
            Rule::ignore => out.push(Bit::Ignored),
            Rule::field | Rule::part => {
                let is_part = pair.as_rule() == Rule::part;
                let mut inner = pair.into_inner();
                let (Some(name), Some(what)) = (inner.next(), inner.next()) else { continue };
                let name = name.as_str().to_string();
                out.push(match (is_part, what.as_str().parse::<u32>()) {
                    (true, Ok(n)) => Bit::OperandPart(name, n, inner.next().map(|p| p.as_str().to_string())),
                    (false, Ok(n)) if (1..=64).contains(&n) => Bit::Field(name, n as u8),
                    (false, Err(_)) => Bit::Operand(name, what.as_str().to_string()),
                    _ => {
                        return Err(Diagnostic::new("isa::field-width", at, format!("field `{name}` has no sensible width"))
                            .help("a field has 1 to 64 bits"));
                    }
                });
            }
            _ => {}
        }
    }
    Ok(out)
}

/// The parts of a split form: `"a / b"`.
pub fn split(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

/// Parses an assembly template that stands at `at`.
///
/// # Errors
/// Syntax errors with the place inside the string.
pub fn template(at: Span, text: &str) -> Result<Vec<Piece>, Diagnostic> {
    depth(at.file, text).map_err(|mut d| {
        d.labels[0].0 = at;
        d
    })?;
    let pairs = Grammar::parse(Rule::template, text).map_err(|e| syntax(at.file, at.start, text, e))?;
    let b = Build { file: at.file, base: at.start };
    let inner = pairs.flat_map(Pair::into_inner).filter(|p| p.as_rule() != Rule::EOI);
    inner.map(|p| b.piece(p)).collect()
}

fn syntax(file: u32, base: u32, text: &str, error: pest::error::Error<Rule>) -> Diagnostic {
    let (start, end) = match error.location {
        pest::error::InputLocation::Pos(p) => (p, (p + 1).min(text.len().max(p))),
        pest::error::InputLocation::Span(s) => s,
    };
    let wanted = match &error.variant {
        pest::error::ErrorVariant::ParsingError { positives, .. } => {
            let mut names: Vec<String> = positives.iter().map(|r| format!("{r:?}").trim_end_matches('_').replace('_', " ")).collect();
            names.dedup();
            names.truncate(6);
            format!("expected {}", names.join(", "))
        }
        pest::error::ErrorVariant::CustomError { message } => message.clone(),
    };
    let found: String = text.get(start..).unwrap_or("").chars().take_while(|c| *c != '\n').take(24).collect();
    let message = if found.is_empty() { "the text ends too early".to_string() } else { format!("cannot read `{found}` here") };
    Diagnostic::new("isa::syntax", Span { file, start: base + start as u32, end: base + end as u32 }, message).help(wanted)
}

fn depth(file: u32, text: &str) -> Result<(), Diagnostic> {
    let (mut open, mut questions, mut prefixes) = (0usize, 0usize, 0usize);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => questions += 1,
            ';' => questions = 0,
            _ => {}
        }
        prefixes = if matches!(c, '!' | '~' | '-') {
            prefixes + 1
        } else if c.is_whitespace() {
            prefixes
        } else {
            0
        };
        if open > MAX_DEPTH || questions > 4 * MAX_DEPTH || prefixes > 4 * MAX_DEPTH {
            let span = Span { file, start: i as u32, end: i as u32 + 1 };
            return Err(Diagnostic::new("isa::nesting", span, "nested too deeply").help("name a part of it with `let` or a `fn`"));
        }
    }
    Ok(())
}

struct Build {
    file: u32,
    base: u32,
}

type Made<T> = Result<T, Diagnostic>;

/// Keywords of a rule are no pairs, so the inner pairs of a rule are just its parts.
impl Build {
    fn span(&self, p: &Pair<'_, Rule>) -> Span {
        let s = p.as_span();
        Span { file: self.file, start: self.base + s.start() as u32, end: self.base + s.end() as u32 }
    }

    fn id(&self, p: &Pair<'_, Rule>) -> Id {
        Id { name: p.as_str().to_string(), span: self.span(p) }
    }

    fn next<'i>(&self, it: &mut Pairs<'i, Rule>, of: Span) -> Made<Pair<'i, Rule>> {
        it.next().ok_or_else(|| Diagnostic::new("isa::syntax", of, "something is missing here"))
    }

    fn number(&self, p: &Pair<'_, Rule>) -> Made<u128> {
        let text = p.as_str().replace('_', "");
        let parsed = match text.get(..2) {
            Some("0x") => u128::from_str_radix(&text[2..], 16),
            Some("0b") => u128::from_str_radix(&text[2..], 2),
            _ => text.parse(),
        };
        parsed.map_err(|_| Diagnostic::new("isa::number", self.span(p), format!("`{}` is no number of at most 128 bits", p.as_str())))
    }

    fn uint(&self, p: &Pair<'_, Rule>) -> Made<u8> {
        match p.as_str()[1..].parse::<u32>() {
            Ok(n @ 1..=128) => Ok(n as u8),
            _ => Err(Diagnostic::new("isa::type", self.span(p), format!("there is no type `{}`", p.as_str())).help("types are u1 to u128")),
        }
    }

    fn ty(&self, p: Pair<'_, Rule>) -> Made<Ty> {
        let mut parts = Vec::new();
        for inner in p.into_inner() {
            if inner.as_rule() == Rule::uint {
                return Ok(Ty::Bits(self.uint(&inner)?));
            }
            parts.push(self.ty(inner)?);
        }
        Ok(Ty::Tuple(parts))
    }

    fn text(&self, p: Pair<'_, Rule>) -> Text {
        match p.clone().into_inner().next() {
            Some(t) => Text { text: t.as_str().to_string(), span: self.span(&t) },
            None => Text { text: String::new(), span: self.span(&p) },
        }
    }

    fn params(&self, p: Pair<'_, Rule>) -> Made<Vec<Param>> {
        let mut out = Vec::new();
        for param in p.into_inner() {
            let span = self.span(&param);
            let mut it = param.into_inner().peekable();
            let fixed = it.next_if(|p| p.as_rule() == Rule::static_kw).is_some();
            let (Some(name), Some(ty)) = (it.next(), it.next()) else {
                return Err(Diagnostic::new("isa::syntax", span, "a parameter is `name: type`"));
            };
            out.push(Param { fixed, name: self.id(&name), ty: self.ty(ty)? });
        }
        Ok(out)
    }

    fn item(&self, p: Pair<'_, Rule>) -> Made<Item> {
        let span = self.span(&p);
        let rule = p.as_rule();
        let mut it = p.into_inner();
        if rule == Rule::wake {
            return Ok(Item::Wake(self.expr(self.next(&mut it, span)?)?));
        }
        if rule == Rule::fn_ {
            return self.function(it, span);
        }
        let first = self.next(&mut it, span)?;
        let name = self.id(&first);
        Ok(match rule {
            Rule::isa => Item::Isa(name, it.map(|i| self.isa_item(i)).collect::<Made<_>>()?),
            Rule::const_ => Item::Const(name, self.expr(self.next(&mut it, span)?)?),
            Rule::feature => Item::Feature(name, it.next().map_or(String::new(), |t| self.text(t).text)),
            Rule::model => {
                let title = self.text(self.next(&mut it, span)?).text;
                Item::Model(name, title, it.map(|w| self.id(&w)).collect())
            }
            Rule::state => {
                let bits = self.uint(&self.next(&mut it, span)?)?;
                Item::State(name, bits, it.next().map_or(Ok(0), |n| self.number(&n))?)
            }
            Rule::flags => Item::Flags(name, it.map(|w| self.id(&w)).collect()),
            Rule::bank => {
                let count = self.number(&self.next(&mut it, span)?)?;
                let bits = self.uint(&self.next(&mut it, span)?)?;
                let mut views = Vec::new();
                for view in it {
                    let mut parts = view.into_inner();
                    let name = self.id(&self.next(&mut parts, span)?);
                    let count = self.number(&self.next(&mut parts, span)?)?;
                    views.push((name, count, self.uint(&self.next(&mut parts, span)?)?));
                }
                Item::Bank(name, count, bits, views)
            }
            Rule::enum_ => {
                let bits = self.uint(&self.next(&mut it, span)?)?;
                let mut values = Vec::new();
                for value in it {
                    let names = value.into_inner().filter_map(|n| n.into_inner().next());
                    values.push(
                        names.map(|n| if n.as_rule() == Rule::string { self.text(n).text } else { n.as_str().to_string() }).collect(),
                    );
                }
                Item::Enum(name, bits, values)
            }
            Rule::mode => {
                let bits = self.uint(&self.next(&mut it, span)?)?;
                Item::Mode(name, bits, self.expr(self.next(&mut it, span)?)?)
            }
            Rule::context => {
                let bits = self.uint(&self.next(&mut it, span)?)?;
                let state = self.id(&self.next(&mut it, span)?);
                Item::Context(name, bits, state, self.expr(self.next(&mut it, span)?)?)
            }
            Rule::successor => Item::Successor(name, self.expr(self.next(&mut it, span)?)?),
            Rule::token => {
                let (mut when, mut size, mut long, mut variable) = (None, 0, None, None);
                for part in it {
                    match part.as_rule() {
                        Rule::expr => when = Some(self.expr(part)?),
                        Rule::number => size = self.number(&part)?,
                        Rule::token_variable => variable = Some(self.number(&self.next(&mut part.into_inner(), span)?)?),
                        _ => {
                            let mut inner = part.into_inner();
                            let bits = self.number(&self.next(&mut inner, span)?)?;
                            long = Some((bits, self.expr(self.next(&mut inner, span)?)?));
                        }
                    }
                }
                Item::Token(name, when, size, long, variable)
            }
            Rule::predicate => {
                let mut clauses = Vec::new();
                for clause in it {
                    let mut inner = clause.into_inner();
                    let cond = self.expr(self.next(&mut inner, span)?)?;
                    clauses.push((cond, self.expr(self.next(&mut inner, span)?)?));
                }
                Item::Predicate(name, clauses)
            }
            Rule::shape => {
                let (mut members, mut tail) = (Vec::new(), Tail::default());
                for part in it {
                    if part.as_rule() == Rule::member {
                        let mut inner = part.into_inner();
                        let token = self.id(&self.next(&mut inner, span)?);
                        let bits = self.text(self.next(&mut inner, span)?);
                        let wheres = inner.next().map_or(Ok(vec![]), |w| self.wheres(w))?;
                        members.push((token, bits, wheres));
                    } else {
                        self.tail(part.into_inner(), &mut tail)?;
                    }
                }
                Item::Shape(name, members, tail)
            }
            Rule::rule_ => {
                let mut doc = String::new();
                let mut choice = String::new();
                for part in it {
                    match part.as_rule() {
                        Rule::string => doc = self.text(part).text,
                        _ => choice = part.as_str().to_string(),
                    }
                }
                Item::Rule(name, doc, choice)
            }
            Rule::fpenv => {
                let mut items = Vec::new();
                for part in it.filter_map(|i| i.into_inner().next()) {
                    items.push(self.fp_item(part)?);
                }
                Item::FpEnv(name, items)
            }
            Rule::exception => {
                let mut params = Vec::new();
                let mut body = None;
                for part in it {
                    match part.as_rule() {
                        Rule::params => params = self.params(part)?,
                        _ => body = Some(self.block(part)?),
                    }
                }
                Item::Exception(name, params, body.unwrap_or(Block { stmts: vec![], value: None, span }))
            }
            Rule::gdb => Item::Gdb(self.gdb(name, it, span)?),
            Rule::interrupt => Item::Interrupt(name, self.expr(self.next(&mut it, span)?)?),
            Rule::extern_fn => {
                let params = self.params(self.next(&mut it, span)?)?;
                let (mut result, mut reads, mut writes, mut memory, mut raises) = (None, vec![], vec![], false, false);
                for part in it {
                    if part.as_rule() == Rule::ty {
                        result = Some(self.ty(part)?);
                        continue;
                    }
                    for effect in part.into_inner() {
                        match effect.as_rule() {
                            Rule::reads => reads.extend(effect.into_inner().map(|w| self.id(&w))),
                            Rule::writes => writes.extend(effect.into_inner().map(|w| self.id(&w))),
                            Rule::effect_memory => memory = true,
                            _ => raises = true,
                        }
                    }
                }
                Item::Extern(name, params, result, reads, writes, memory, raises)
            }
            Rule::operand => {
                let ty = self.ty(self.next(&mut it, span)?)?;
                let mut forms = Vec::new();
                for form in it {
                    let mut inner = form.into_inner();
                    let name = self.id(&self.next(&mut inner, span)?);
                    let bits = self.text(self.next(&mut inner, span)?);
                    let (mut tail, mut value) = (Tail::default(), None);
                    for part in inner {
                        match part.as_rule() {
                            Rule::block => value = Some(self.block(part)?),
                            _ => self.tail(part.into_inner(), &mut tail)?,
                        }
                    }
                    forms.push(Form { name, bits, tail, value: value.unwrap_or(Block { stmts: vec![], value: None, span }) });
                }
                Item::Operand(name, ty, forms)
            }
            _ => Item::Insn(self.insn(name, it)?),
        })
    }

    fn function(&self, mut it: Pairs<'_, Rule>, span: Span) -> Made<Item> {
        let kind = match self.next(&mut it, span)?.as_str() {
            "codec" => FnKind::Codec,
            k if k.starts_with("static") => FnKind::Static,
            _ => FnKind::Plain,
        };
        let name = self.id(&self.next(&mut it, span)?);
        let params = self.params(self.next(&mut it, span)?)?;
        let (mut result, mut body) = (None, None);
        for part in it {
            match part.as_rule() {
                Rule::ty => result = Some(self.ty(part)?),
                _ => body = Some(self.block(part)?),
            }
        }
        Ok(Item::Fn(kind, name, params, result, body.unwrap_or(Block { stmts: vec![], value: None, span })))
    }

    fn isa_item(&self, p: Pair<'_, Rule>) -> Made<IsaItem> {
        let span = self.span(&p);
        let inner = self.next(&mut p.into_inner(), span)?;
        let rule = inner.as_rule();
        let mut it = inner.into_inner();
        let part = self.next(&mut it, span)?;
        Ok(match rule {
            Rule::isa_doc => IsaItem::Doc(self.text(part)),
            Rule::isa_pc => IsaItem::Pc(self.id(&part)),
            Rule::isa_endian => IsaItem::BigEndian(part.as_str() == "big", it.next().map(|w| self.id(&w))),
            Rule::isa_data => IsaItem::DataEndian(self.expr(part)?),
            Rule::isa_mmu => IsaItem::MmuIndex(self.expr(part)?),
            _ => IsaItem::Undefined(self.id(&part)),
        })
    }

    fn fp_item(&self, p: Pair<'_, Rule>) -> Made<FpItem> {
        let span = self.span(&p);
        let rule = p.as_rule();
        if rule == Rule::fp_round {
            // `round RMode { ... }` or `round { ... }`: the text up to the brace tells.
            let named = p.as_str().split('{').next().is_some_and(|head| head.trim() != "round");
            let mut words: Vec<Id> = p.into_inner().map(|w| self.id(&w)).collect();
            let state = (named && !words.is_empty()).then(|| words.remove(0));
            return Ok(FpItem::Round(state, words));
        }
        let mut parts = p.into_inner();
        let part = self.next(&mut parts, span)?;
        let state_or = |p: Pair<'_, Rule>| -> Made<StateOr> {
            let inner = self.next(&mut p.into_inner(), span)?;
            Ok(if inner.as_rule() == Rule::number { StateOr::Number(self.number(&inner)?) } else { StateOr::State(self.id(&inner)) })
        };
        Ok(match rule {
            Rule::fp_flush => FpItem::Flush(state_or(part)?),
            Rule::fp_nan_default => FpItem::DefaultNan(state_or(part)?),
            Rule::fp_alt => FpItem::AltHalf(state_or(part)?),
            Rule::fp_sticky => FpItem::Sticky(self.id(&part)),
            Rule::fp_nan => FpItem::Nan(self.id(&part)),
            Rule::fp_precision => FpItem::Precision(self.id(&part), parts.map(|n| self.number(&n)).collect::<Made<_>>()?),
            _ => FpItem::Tininess(self.id(&part)),
        })
    }

    fn wheres(&self, p: Pair<'_, Rule>) -> Made<Vec<Where>> {
        let mut out = Vec::new();
        for one in p.into_inner() {
            let span = self.span(&one);
            let mut it = one.into_inner();
            let name = self.id(&self.next(&mut it, span)?);
            let mut part = self.next(&mut it, span)?;
            let mut ty = None;
            if part.as_rule() == Rule::uint {
                ty = Some(self.uint(&part)?);
                part = self.next(&mut it, span)?;
            }
            out.push(Where { name, ty, value: self.expr(part)? });
        }
        Ok(out)
    }

    fn guard(&self, p: Pair<'_, Rule>) -> Made<Guard> {
        let span = self.span(&p);
        let mut it = p.into_inner();
        let cond = self.expr(self.next(&mut it, span)?)?;
        let what = self.next(&mut it, span)?;
        let otherwise = match what.as_str() {
            "undefined" => Otherwise::Undefined,
            "nop" => Otherwise::Nop,
            _ => Otherwise::Unpredictable(self.id(&self.next(&mut what.into_inner(), span)?)),
        };
        Ok(Guard { cond, otherwise, always: it.next().is_some() })
    }

    fn tail(&self, parts: Pairs<'_, Rule>, tail: &mut Tail) -> Made<()> {
        for part in parts {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::where_ => tail.wheres.extend(self.wheres(part)?),
                Rule::cond_if => tail.conditions.push(self.expr(self.next(&mut part.into_inner(), span)?)?),
                Rule::guard => tail.guards.push(self.guard(part)?),
                Rule::asm => {
                    let (mut when, mut text) = (None, None);
                    for p in part.into_inner() {
                        match p.as_rule() {
                            Rule::string => text = Some(self.text(p)),
                            _ => when = Some(self.expr(p)?),
                        }
                    }
                    tail.asm.push((when, text.unwrap_or(Text { text: String::new(), span })));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn insn(&self, name: Id, parts: Pairs<'_, Rule>) -> Made<Insn> {
        let source = name.span;
        let mut insn = Insn { name, source, title: String::new(), encodings: vec![], guards: vec![], sem: None, tests: vec![] };
        for part in parts {
            let span = self.span(&part);
            insn.source.end = span.end;
            match part.as_rule() {
                Rule::string => insn.title = self.text(part).text,
                Rule::sem => insn.sem = Some(self.block(self.next(&mut part.into_inner(), span)?)?),
                Rule::insn_guard => insn.guards.push(self.guard(self.next(&mut part.into_inner(), span)?)?),
                Rule::test => insn.tests.push(self.test(part)?),
                _ => {
                    let mut it = part.into_inner();
                    let token = self.id(&self.next(&mut it, span)?);
                    let bits = self.text(self.next(&mut it, span)?);
                    let mut tail = Tail::default();
                    for item in it {
                        self.tail(item.into_inner(), &mut tail)?;
                    }
                    insn.encodings.push(Encoding { token, span: bits.span, bits, tail });
                }
            }
        }
        Ok(insn)
    }

    fn gdb(&self, arch: Id, mut it: Pairs<'_, Rule>, span: Span) -> Made<GdbFeature> {
        let name = self.text(self.next(&mut it, span)?);
        let mut regs = Vec::new();
        for part in it {
            let (span, rule) = (self.span(&part), part.as_rule());
            let mut it = part.into_inner();
            let name = self.id(&self.next(&mut it, span)?);
            if rule == Rule::gdb_bank {
                let (first, last) = (self.number(&self.next(&mut it, span)?)?, self.number(&self.next(&mut it, span)?)?);
                let bank = self.id(&self.next(&mut it, span)?);
                let ty = it.next().map(|t| self.text(t));
                if last > 255 {
                    return Err(Diagnostic::new("isa::gdb", span, "register numbers end at 255"));
                }
                for n in first..=last {
                    let part = GdbPart { state: bank.clone(), index: Some(n), range: None, at: 0 };
                    let name = Id { name: format!("{}{n}", name.name), span: name.span };
                    regs.push(GdbReg { name, bits: None, parts: vec![part], ty: ty.clone() });
                }
                continue;
            }
            let (mut bits, mut parts, mut ty) = (None, Vec::new(), None);
            for piece in it {
                if piece.as_rule() == Rule::gdb_width {
                    bits = piece.into_inner().next().map(|n| self.number(&n)).transpose()?;
                    continue;
                }
                if piece.as_rule() == Rule::string {
                    ty = Some(self.text(piece));
                    continue;
                }
                let mut it = piece.into_inner();
                let mut part = GdbPart { state: self.id(&self.next(&mut it, span)?), index: None, range: None, at: 0 };
                for item in it {
                    let rule = item.as_rule();
                    let numbers = item.into_inner().map(|n| self.number(&n)).collect::<Made<Vec<_>>>()?;
                    match (rule, numbers.as_slice()) {
                        (Rule::gdb_index, [n]) => part.index = Some(*n),
                        (Rule::gdb_range, [hi, lo]) => part.range = Some((*hi, *lo)),
                        (_, [n]) => part.at = *n,
                        _ => {}
                    }
                }
                parts.push(part);
            }
            regs.push(GdbReg { name, bits, parts, ty });
        }
        Ok(GdbFeature { arch, name, regs })
    }

    fn test(&self, p: Pair<'_, Rule>) -> Made<Test> {
        let span = self.span(&p);
        let mut it = p.into_inner();
        let text = self.text(self.next(&mut it, span)?);
        let (mut numbers, mut then, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for part in it {
            match part.as_rule() {
                Rule::number => numbers.push(self.number(&part)?),
                Rule::then => {
                    let mut inner = part.into_inner();
                    let text = self.text(self.next(&mut inner, span)?);
                    then.push((text, self.number(&self.next(&mut inner, span)?)?));
                }
                _ => places.push(part.into_inner().map(|p| self.place(p)).collect::<Made<Vec<_>>>()?),
            }
        }
        let code = numbers.pop().unwrap_or(0);
        let after = places.pop().unwrap_or_default();
        Ok(Test { text, at: numbers.pop(), code, then, before: places.pop().unwrap_or_default(), after, span })
    }

    fn place(&self, p: Pair<'_, Rule>) -> Made<Place> {
        let span = self.span(&p);
        let inner = self.next(&mut p.into_inner(), span)?;
        let rule = inner.as_rule();
        let mut it = inner.into_inner();
        let first = self.next(&mut it, span)?;
        Ok(match rule {
            Rule::place_raise => Place::Raise(self.id(&first)),
            Rule::place_mem => {
                let size = first.as_str().trim_start_matches("mem");
                let big = size.ends_with("be");
                let bits = size.trim_end_matches("be").parse::<u64>().unwrap_or(0);
                if ![8, 16, 32, 64].contains(&bits) {
                    return Err(Diagnostic::new(
                        "isa::test",
                        span,
                        "memory is given as mem8, mem16, mem32 or mem64, big-endian with `be` behind",
                    ));
                }
                let at = self.number(&self.next(&mut it, span)?)? as u64;
                let value = self.number(&self.next(&mut it, span)?)?;
                let value = if big { u128::from((value as u64).swap_bytes() >> (64 - bits)) } else { value };
                Place::Mem(bits / 8, at, value)
            }
            Rule::place_bank => {
                let index = self.number(&self.next(&mut it, span)?)?;
                Place::Bank(self.id(&first), index, self.number(&self.next(&mut it, span)?)?)
            }
            _ => Place::State(self.id(&first), self.number(&self.next(&mut it, span)?)?),
        })
    }

    // ---- statements

    fn block(&self, p: Pair<'_, Rule>) -> Made<Block> {
        let span = self.span(&p);
        let (mut stmts, mut value) = (Vec::new(), None);
        for part in p.into_inner() {
            match part.as_rule() {
                Rule::stmt => stmts.extend(self.stmt(part)?),
                _ => value = Some(self.expr(part)?),
            }
        }
        let mut block = Block { stmts, value, span };
        block_value(&mut block);
        Ok(block)
    }

    fn stmt(&self, p: Pair<'_, Rule>) -> Made<Option<Stmt>> {
        let span = self.span(&p);
        let Some(inner) = p.into_inner().next() else { return Ok(None) };
        let rule = inner.as_rule();
        let mut it = inner.into_inner();
        let kind = match rule {
            Rule::let_ => {
                let mut names = Vec::new();
                let mut value = None;
                for part in it {
                    match part.as_rule() {
                        Rule::let_name => names.push((part.as_str() != "_").then(|| self.id(&part))),
                        _ => value = Some(self.expr(part)?),
                    }
                }
                StmtKind::Let(names, value.ok_or_else(|| Diagnostic::new("isa::syntax", span, "a `let` needs a value"))?)
            }
            Rule::var_ => {
                let name = self.id(&self.next(&mut it, span)?);
                let ty = self.ty(self.next(&mut it, span)?)?;
                StmtKind::Var(name, ty, self.expr(self.next(&mut it, span)?)?)
            }
            Rule::if_stmt => {
                let (cond, yes, no) = self.if_parts(it, span)?;
                StmtKind::If(cond, yes, no)
            }
            Rule::match_stmt => {
                let scrutinee = self.expr(self.next(&mut it, span)?)?;
                StmtKind::Match(scrutinee, it.map(|a| self.arm(a)).collect::<Made<_>>()?)
            }
            Rule::for_ => {
                let name = self.id(&self.next(&mut it, span)?);
                let first = self.expr(self.next(&mut it, span)?)?;
                let range = self.next(&mut it, span)?;
                let down = range.as_rule() == Rule::range_down;
                let end = self.expr(self.next(&mut range.into_inner(), span)?)?;
                StmtKind::For(name, first, end, down, self.block(self.next(&mut it, span)?)?)
            }
            Rule::repeat => {
                let mut stmts = Vec::new();
                for s in it {
                    stmts.extend(self.stmt(s)?);
                }
                StmtKind::Repeat(stmts)
            }
            _ => self.simple(self.next(&mut it, span)?, span)?,
        };
        Ok(Some(Stmt { kind, span }))
    }

    fn simple(&self, p: Pair<'_, Rule>, span: Span) -> Made<StmtKind> {
        let rule = p.as_rule();
        let text = p.as_str();
        if rule == Rule::expr {
            return Ok(StmtKind::Expr(self.expr(p)?));
        }
        let mut it = p.into_inner();
        Ok(match rule {
            Rule::keyword => match text.trim() {
                "undefined" => StmtKind::Undefined,
                "commit" => StmtKind::Commit,
                "clear_exclusive" => StmtKind::ClearExclusive,
                _ => StmtKind::Nop,
            },
            Rule::unpredictable => StmtKind::Unpredictable(self.id(&self.next(&mut it, span)?)),
            Rule::store => {
                let mem = self.next(&mut it, span)?;
                let value = self.expr(self.next(&mut it, span)?)?;
                StmtKind::Store(self.mem(mem, it)?, value)
            }
            Rule::probe => {
                let mut mem = self.next(&mut it, span)?;
                let write = mem.as_rule() == Rule::probe_write;
                if write {
                    mem = self.next(&mut it, span)?;
                }
                StmtKind::Probe(self.mem(mem, it)?, write)
            }
            Rule::raise => {
                let name = self.id(&self.next(&mut it, span)?);
                StmtKind::Raise(name, it.map(|a| self.expr(a)).collect::<Made<_>>()?)
            }
            Rule::jump => {
                let first = self.next(&mut it, span)?;
                if first.as_rule() == Rule::rekey {
                    StmtKind::JumpRekey(self.expr(self.next(&mut it, span)?)?)
                } else {
                    StmtKind::Jump(self.expr(first)?)
                }
            }
            Rule::set_context => {
                let name = self.id(&self.next(&mut it, span)?);
                StmtKind::Context(name, self.expr(self.next(&mut it, span)?)?)
            }
            Rule::wait => StmtKind::Wait(self.next(&mut it, span)?.as_str() == "event"),
            Rule::fence => StmtKind::Fence(it.next().map(|w| self.id(&w))),
            Rule::flag_set => {
                let name = self.id(&self.next(&mut it, span)?);
                let (mut flags, mut rest) = (Vec::new(), false);
                for one in it {
                    if one.as_rule() == Rule::flag_rest {
                        rest = true;
                        continue;
                    }
                    let mut parts = one.into_inner();
                    let flag = self.id(&self.next(&mut parts, span)?);
                    flags.push((flag, self.expr(self.next(&mut parts, span)?)?));
                }
                StmtKind::Flags(name, flags, rest)
            }
            _ => {
                let first = self.next(&mut it, span)?;
                if first.as_rule() == Rule::expr {
                    StmtKind::BreakIf(self.expr(first)?)
                } else {
                    let target = self.postfixed(first)?;
                    StmtKind::Assign(target, self.expr(self.next(&mut it, span)?)?)
                }
            }
        })
    }

    fn if_parts(&self, mut it: Pairs<'_, Rule>, span: Span) -> Made<(Expr, Block, Option<Block>)> {
        let cond = self.expr(self.next(&mut it, span)?)?;
        let yes = self.block(self.next(&mut it, span)?)?;
        let mut others = Vec::new();
        let mut last = None;
        for part in it {
            let mut inner = part.clone().into_inner();
            match part.as_rule() {
                Rule::else_if => {
                    let c = self.expr(self.next(&mut inner, span)?)?;
                    others.push((c, self.block(self.next(&mut inner, span)?)?));
                }
                _ => last = Some(self.block(self.next(&mut inner, span)?)?),
            }
        }
        if others.len() > MAX_DEPTH {
            return Err(Diagnostic::new("isa::nesting", span, "too many `else if`").help("use `match`"));
        }
        for (c, b) in others.into_iter().rev() {
            let inner = Stmt { span: c.span, kind: StmtKind::If(c, b, last) };
            let mut block = Block { span, stmts: vec![inner], value: None };
            block_value(&mut block);
            last = Some(block);
        }
        Ok((cond, yes, last))
    }

    fn patterns(&self, p: Pair<'_, Rule>) -> Made<Vec<Pattern>> {
        let mut out = Vec::new();
        for value in p.into_inner() {
            let mut it = value.into_inner();
            let span = Span::default();
            let first = self.next(&mut it, span)?;
            out.push(match (first.as_rule(), it.next()) {
                (Rule::number, _) => Pattern::Number(self.number(&first)?),
                (_, Some(second)) => Pattern::Name(Some(self.id(&first)), self.id(&second)),
                (_, None) => Pattern::Name(None, self.id(&first)),
            });
        }
        Ok(out)
    }

    fn arm(&self, p: Pair<'_, Rule>) -> Made<Arm<Block>> {
        let span = self.span(&p);
        let mut it = p.into_inner();
        let patterns = self.patterns(self.next(&mut it, span)?)?;
        let body = self.next(&mut it, span)?;
        let body = match body.as_rule() {
            Rule::block => self.block(body)?,
            _ => {
                let e = self.expr(body)?;
                Block { span: e.span, stmts: vec![], value: Some(e) }
            }
        };
        Ok(Arm { patterns, body, span })
    }

    fn mem(&self, p: Pair<'_, Rule>, options: Pairs<'_, Rule>) -> Made<Mem> {
        let span = self.span(&p);
        let mut it = p.into_inner();
        let bits = self.uint(&self.next(&mut it, span)?)?;
        let addr = self.expr(self.next(&mut it, span)?)?;
        let mut mem =
            Mem { bits, addr, align: None, note: None, mmu: None, big: None, acquire: false, release: false, atomic: false, span };
        for option in options.filter_map(|o| o.into_inner().next()) {
            let rule = option.as_rule();
            let text = option.as_str().trim().to_string();
            let value = option.into_inner().next().map(|v| self.postfixed(v)).transpose()?;
            match rule {
                Rule::opt_align => mem.align = value,
                Rule::opt_note => mem.note = value,
                Rule::opt_mmu => mem.mmu = value,
                Rule::opt_big => mem.big = value,
                _ => match text.as_str() {
                    "acquire" => mem.acquire = true,
                    "release" => mem.release = true,
                    _ => mem.atomic = true,
                },
            }
        }
        Ok(mem)
    }

    // ---- expressions

    fn expr(&self, p: Pair<'_, Rule>) -> Made<Expr> {
        let span = self.span(&p);
        if p.as_rule() == Rule::ops {
            return self.ops(p);
        }
        let mut it = p.into_inner();
        let first = self.ops(self.next(&mut it, span)?)?;
        match (it.next(), it.next()) {
            (Some(a), Some(b)) => Ok(Expr { kind: Box::new(Kind::Cond(first, self.expr(a)?, self.expr(b)?)), span }),
            _ => Ok(first),
        }
    }

    fn ops(&self, p: Pair<'_, Rule>) -> Made<Expr> {
        let flat = p
            .into_inner()
            .map(|p| if matches!(p.as_rule(), Rule::infix | Rule::prefix) { p.clone().into_inner().next().unwrap_or(p) } else { p });
        PRATT
            .map_primary(|p| self.postfixed(p))
            .map_prefix(|op, e| {
                let e = e?;
                let start = self.span(&op);
                let kind = match op.as_rule() {
                    Rule::not => Prefix::Not,
                    Rule::inv => Prefix::Invert,
                    _ => Prefix::Negate,
                };
                let span = Span { end: e.span.end, ..start };
                Ok(Expr { kind: Box::new(Kind::Prefix(kind, e)), span })
            })
            .map_infix(|a, op, b| {
                let (a, b) = (a?, b?);
                let span = Span { end: b.span.end, ..a.span };
                let kind = match op.as_rule() {
                    Rule::lor => Infix::LogicOr,
                    Rule::land => Infix::LogicAnd,
                    Rule::eq => Infix::Eq,
                    Rule::ne => Infix::Ne,
                    Rule::shl => Infix::Shl,
                    Rule::shr => Infix::Shr,
                    Rule::sar => Infix::Sar,
                    Rule::slt => Infix::Slt,
                    Rule::sle => Infix::Sle,
                    Rule::sgt => Infix::Sgt,
                    Rule::sge => Infix::Sge,
                    Rule::lt => Infix::Lt,
                    Rule::le => Infix::Le,
                    Rule::gt => Infix::Gt,
                    Rule::ge => Infix::Ge,
                    Rule::or => Infix::Or,
                    Rule::xor => Infix::Xor,
                    Rule::and => Infix::And,
                    Rule::add => Infix::Add,
                    Rule::sub => Infix::Sub,
                    _ => Infix::Mul,
                };
                Ok(Expr { kind: Box::new(Kind::Infix(kind, a, b)), span })
            })
            .parse(flat)
    }

    fn postfixed(&self, p: Pair<'_, Rule>) -> Made<Expr> {
        let span = self.span(&p);
        let mut it = p.into_inner();
        let mut e = self.primary(self.next(&mut it, span)?)?;
        for post in it.filter_map(|p| p.into_inner().next()) {
            let end = self.span(&post).end;
            let rule = post.as_rule();
            let mut inner = post.into_inner();
            let whole = Span { end, ..e.span };
            let kind = match rule {
                Rule::slice => {
                    let hi = self.expr(self.next(&mut inner, span)?)?;
                    Kind::Slice(e, hi, self.expr(self.next(&mut inner, span)?)?)
                }
                Rule::index => Kind::Index(e, self.expr(self.next(&mut inner, span)?)?),
                Rule::call => Kind::Call(e, inner.map(|a| self.expr(a)).collect::<Made<_>>()?),
                _ => Kind::Dot(e, self.id(&self.next(&mut inner, span)?)),
            };
            e = Expr { kind: Box::new(kind), span: whole };
        }
        Ok(e)
    }

    fn primary(&self, p: Pair<'_, Rule>) -> Made<Expr> {
        let span = self.span(&p);
        let p = self.next(&mut p.into_inner(), span)?;
        let rule = p.as_rule();
        let kind = match rule {
            Rule::number => Kind::Number(self.number(&p)?),
            Rule::name => Kind::Name(p.as_str().to_string()),
            Rule::paren => {
                let mut parts = p.into_inner().map(|e| self.expr(e)).collect::<Made<Vec<_>>>()?;
                if parts.len() == 1 {
                    let mut inner = parts.remove(0);
                    inner.span = span;
                    return Ok(inner);
                }
                Kind::Tuple(parts)
            }
            Rule::unspecified => Kind::Unspecified(self.uint(&self.next(&mut p.into_inner(), span)?)?),
            Rule::if_expr => {
                let (cond, yes, no) = self.if_parts(p.into_inner(), span)?;
                Kind::If(cond, yes, no.ok_or_else(|| Diagnostic::new("isa::syntax", span, "an `if` with a value needs an `else`"))?)
            }
            Rule::match_expr => {
                let mut it = p.into_inner();
                let scrutinee = self.expr(self.next(&mut it, span)?)?;
                Kind::Match(scrutinee, it.map(|a| self.arm(a)).collect::<Made<_>>()?)
            }
            _ => {
                let mut it = p.into_inner();
                let mem = self.next(&mut it, span)?;
                match rule {
                    Rule::load => Kind::Load(self.mem(mem, it)?),
                    Rule::load_exclusive => Kind::LoadExclusive(self.mem(mem, it)?),
                    Rule::compare_swap => {
                        let (expected, value) = (self.expr(self.next(&mut it, span)?)?, self.expr(self.next(&mut it, span)?)?);
                        Kind::CompareSwap(self.mem(mem, it)?, expected, value)
                    }
                    _ => {
                        let value = self.expr(self.next(&mut it, span)?)?;
                        let mem = self.mem(mem, it)?;
                        if rule == Rule::swap { Kind::Swap(mem, value) } else { Kind::StoreExclusive(mem, value) }
                    }
                }
            }
        };
        Ok(Expr { kind: Box::new(kind), span })
    }

    // ---- assembly templates

    fn piece(&self, p: Pair<'_, Rule>) -> Made<Piece> {
        let span = self.span(&p);
        Ok(match p.as_rule() {
            Rule::open => Piece::Text("{".into()),
            Rule::close => Piece::Text("}".into()),
            Rule::literal | Rule::alt_text => Piece::Text(p.as_str().to_string()),
            Rule::select => {
                let mut it = p.into_inner();
                let cond = self.template_expr(self.next(&mut it, span)?, span)?;
                let yes = self.alt(self.next(&mut it, span)?)?;
                let no = it.next().map_or(Ok(vec![]), |a| self.alt(a))?;
                Piece::Select(cond, yes, no)
            }
            _ => {
                let mut it = p.into_inner();
                let value = self.template_expr(self.next(&mut it, span)?, span)?;
                let printer = match it.next() {
                    Some(printer) => {
                        let list = printer.as_str().starts_with("list ");
                        printer.into_inner().next().map(|w| (list, self.id(&w)))
                    }
                    None => None,
                };
                Piece::Value(value, printer)
            }
        })
    }

    fn template_expr(&self, p: Pair<'_, Rule>, span: Span) -> Made<Expr> {
        self.ops(self.next(&mut p.into_inner(), span)?)
    }

    /// The text of an alternative loses the spaces around it: they only make the template readable.
    fn alt(&self, p: Pair<'_, Rule>) -> Made<Vec<Piece>> {
        let mut pieces = p.into_inner().map(|p| self.piece(p)).collect::<Made<Vec<_>>>()?;
        let last = pieces.len().wrapping_sub(1);
        for (i, piece) in pieces.iter_mut().enumerate() {
            if let Piece::Text(t) = piece {
                if i == 0 {
                    *t = t.trim_start().to_string();
                }
                if i == last {
                    *t = t.trim_end().to_string();
                }
            }
        }
        Ok(pieces)
    }
}

/// A block that ends in an `if` or `match` whose parts have values has their value.
fn block_value(block: &mut Block) {
    if block.value.is_some() {
        return;
    }
    let span = match block.stmts.last() {
        Some(Stmt { kind: StmtKind::If(_, yes, Some(no)), span }) if yes.value.is_some() && no.value.is_some() => *span,
        Some(Stmt { kind: StmtKind::Match(_, arms), span }) if !arms.is_empty() && arms.iter().all(|a| a.body.value.is_some()) => *span,
        _ => return,
    };
    if let Some(stmt) = block.stmts.pop() {
        let kind = match stmt.kind {
            StmtKind::If(c, yes, Some(no)) => Kind::If(c, yes, no),
            StmtKind::Match(s, arms) => Kind::Match(s, arms),
            _ => return,
        };
        block.value = Some(Expr { kind: Box::new(kind), span });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arm_vector_files_parse() {
        for name in ["vfp.isa", "neon.isa", "neon-float.isa", "neon-long.isa", "neon-shift.isa", "neon-two.isa", "neon-structure.isa"] {
            let path = format!("{}/../isa/arm/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            if let Err(d) = file(0, &text) {
                let files = [crate::spec::File { name: name.into(), text }];
                panic!("{}", crate::diagnostic::render(&d, &files));
            }
        }
    }
}
