//! Checks of a whole specification that its language cannot make on single lines: unused fields, encodings that overlap or are never
//! reached, codecs that lose information, texts that two instructions share, memory written before something that may raise.
//!
//! What depends on conditions is tried out, on words chosen at random from a fixed seed and on every model and a choice of modes: a
//! finding comes with a witness, and is sure; that nothing is found is not a proof.

use crate::asm;
use emu_asm::isa::Decoded;
use emu_asm::tables::Tables;
use emu_asm::{Isa, Setting};
use emu_dsl::diagnostic::Diagnostic;
use emu_dsl::spec::*;
use emu_dsl::walk;
use std::collections::{BTreeSet, HashMap};

/// Words tried for each encoding, or pair of them, and setting.
const TRIES: usize = 64;
/// Codecs of more input bits than that are not listed.
const MAX_CODEC_BITS: u32 = 16;

/// All findings, by kind and place.
pub fn check(spec: &Spec) -> Vec<Diagnostic> {
    let tables = asm::tables(spec);
    let isa = Isa { tables };
    let settings = settings(&isa);
    let mut found = unused_fields(spec);
    found.extend(spec.insns.iter().filter_map(|insn| written_early(spec, insn)));
    found.extend(codecs(spec, &isa.tables));
    found.extend(overlaps(spec, &isa, &settings));
    found.extend(unreachable(spec, &isa, &settings));
    found.extend(same_texts(spec, &isa, &settings));
    found
}

/// xorshift64*: the same words at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Every model with modes and contexts of several kinds: all 0, all 1, and some at random.
fn settings(isa: &Isa) -> Vec<Setting> {
    let t = &isa.tables;
    let names: Vec<String> = if t.models.is_empty() { vec![String::new()] } else { t.models.iter().map(|m| m.name.clone()).collect() };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mask = |bits: u8| u64::MAX >> (64 - u32::from(bits.clamp(1, 64)));
    let mut all = Vec::new();
    for name in names {
        for kind in 0..16 {
            let mut s = isa.setting(&name);
            s.pc = 0x1000;
            for (value, (_, bits)) in s.modes.iter_mut().zip(&t.modes) {
                *value = mask(*bits) & [0, u64::MAX, random.next()][kind.min(2)];
            }
            for (value, c) in s.contexts.iter_mut().zip(&t.contexts) {
                *value = if kind % 2 == 0 { c.at_reset } else { mask(c.bits) & random.next() };
            }
            all.push(s);
        }
    }
    all
}

fn name(spec: &Spec, insn: usize, encoding: &Encoding) -> String {
    format!("`{}` ({})", spec.insns[insn].name, encoding.name)
}

/// Fields that nothing looks at: not even the text.
fn unused_fields(spec: &Spec) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for (i, insn) in spec.insns.iter().enumerate() {
        for e in &insn.encodings {
            let mut used = BTreeSet::new();
            walk::encoding(e, &mut |x| {
                if let ExprKind::Local(l) = &*x.kind {
                    used.insert(l.0);
                }
            });
            for (local, _) in e.fields.iter().filter(|f| !used.contains(&f.0.0)) {
                let field = &e.locals[local.0 as usize].name;
                if told.insert((e.span.start, e.span.file, field.clone())) {
                    found.push(
                        Diagnostic::new("isa::unused-field", e.span, format!("field `{field}` of {} is used nowhere", name(spec, i, e)))
                            .help("write `.` for bits that are ignored, or (0) for those that should be 0"),
                    );
                }
            }
        }
    }
    found
}

/// Follows an instruction in the order in which it is executed.
#[derive(Clone)]
struct Order<'a> {
    spec: &'a Spec,
    /// The first write to memory.
    write: Option<Span>,
    /// What may raise after it.
    raise: Option<Span>,
    /// Places were probed: what follows is taken not to fault.
    probed: bool,
}

impl Order<'_> {
    fn may_raise(&mut self, span: Span) {
        if self.write.is_some() && !self.probed {
            self.raise.get_or_insert(span);
        }
    }

    fn writes(&mut self, span: Span) {
        self.may_raise(span);
        self.write.get_or_insert(span);
    }

    fn expr(&mut self, e: &Expr) {
        walk::expr(e, &mut |e| match &*e.kind {
            ExprKind::Load(_) | ExprKind::LoadExclusive(_) => self.may_raise(e.span),
            ExprKind::StoreExclusive(..) | ExprKind::Swap(..) | ExprKind::CompareSwap(..) => self.writes(e.span),
            ExprKind::CallExtern(f, _) if self.spec.externs[f.0 as usize].raises => self.may_raise(e.span),
            ExprKind::Call(f, _) => {
                let body = &self.spec.fns[f.0 as usize].body;
                self.stmts(&body.stmts);
                body.value.iter().for_each(|v| self.expr(v));
            }
            _ => {}
        });
    }

    fn branches<'s>(&mut self, all: impl Iterator<Item = &'s [Stmt]>) {
        let before = self.clone();
        for branch in all {
            let mut path = before.clone();
            path.stmts(branch);
            self.write = self.write.or(path.write);
            self.raise = self.raise.or(path.raise);
            self.probed |= path.probed;
        }
    }

    fn stmts(&mut self, all: &[Stmt]) {
        for s in all {
            match &s.kind {
                StmtKind::If(c, a, b) => {
                    self.expr(c);
                    self.branches([&a[..], &b[..]].into_iter());
                }
                StmtKind::Match(x, arms) => {
                    self.expr(x);
                    self.branches(arms.iter().map(|a| &a.1[..]));
                }
                // The second round shows what follows the end of the first.
                StmtKind::For(.., inner) => (0..2).for_each(|_| self.stmts(inner)),
                // Each round of it is complete in itself.
                StmtKind::Repeat(inner) => {
                    let mut round = Order { write: None, ..self.clone() };
                    round.stmts(inner);
                    self.raise = self.raise.or(round.raise);
                }
                StmtKind::Store(m, e) => {
                    self.expr(&m.addr);
                    self.expr(e);
                    self.writes(s.span);
                }
                StmtKind::Probe(..) => self.probed = true,
                StmtKind::Raise(..) | StmtKind::Undefined => self.may_raise(s.span),
                StmtKind::Let(_, e) | StmtKind::VarSet(_, e) | StmtKind::SetState(_, e) | StmtKind::SetBits(.., e) => self.expr(e),
                StmtKind::SetBank(_, i, e) => [i, e].into_iter().for_each(|e| self.expr(e)),
                StmtKind::Jump(e) | StmtKind::JumpRekey(e) | StmtKind::SetContext(_, e) | StmtKind::Expr(e) | StmtKind::BreakIf(e) => {
                    self.expr(e)
                }
                _ => {}
            }
        }
    }
}

/// State is written when an instruction is complete, memory at once: what raises after a write leaves half of it done.
fn written_early(spec: &Spec, insn: &Insn) -> Option<Diagnostic> {
    let mut order = Order { spec, write: None, raise: None, probed: false };
    order.stmts(&insn.sem.stmts);
    let (write, raise) = (order.write?, order.raise?);
    let message = format!("{} may raise here when it has written memory", insn.name);
    let found = Diagnostic::new("isa::written-early", raise, message).also(write, "the write");
    Some(found.help("`probe` all places before the first write, or write last"))
}

/// Codecs of which two inputs give one output: the assembler then chooses the smaller.
fn codecs(spec: &Spec, tables: &Tables) -> Vec<Diagnostic> {
    use emu_asm::eval::{Env, Val};
    use emu_asm::tables::{Expr, Op};
    let mut found = Vec::new();
    for (number, (f, table)) in spec.fns.iter().zip(&tables.fns).enumerate().filter(|(_, (f, _))| f.kind == FnKind::Codec) {
        let total: u32 = table.widths.iter().map(|w| u32::from(*w)).sum();
        if total > MAX_CODEC_BITS || table.widths.contains(&0) {
            continue;
        }
        let features = vec![true; tables.features.len()];
        let env = Env { tables, locals: vec![], modes: &[], contexts: &[], features: &features, pc: 0, token_bits: 0, first: 0 };
        let mut seen: HashMap<u128, u64> = HashMap::new();
        for packed in 0..1u64 << total {
            let mut left = total;
            let arguments = table.widths.iter().map(|w| {
                left -= u32::from(*w);
                Expr { op: Box::new(Op::Int(u128::from(packed >> left) & ((1 << w) - 1))), width: *w }
            });
            let call = Expr { op: Box::new(Op::Call(number as u32, arguments.collect())), width: 0 };
            let Some(Val::Bits(value)) = env.eval(&call) else { continue };
            if let Some(other) = seen.insert(value, packed) {
                found.push(
                    Diagnostic::new(
                        "isa::codec",
                        f.span,
                        format!("codec `{}` gives {value:#x} for {other:#x} and for {packed:#x}", f.name),
                    )
                    .help("the assembler writes the smaller input; make it a `static fn` if the text cannot say which"),
                );
                break;
            }
        }
    }
    found
}

/// The encodings of a specification by instruction and index, with their place in the tables.
fn all(spec: &Spec) -> impl Iterator<Item = (usize, &Encoding)> {
    spec.insns.iter().enumerate().flat_map(|(i, insn)| insn.encodings.iter().map(move |e| (i, e)))
}

/// The place of an encoding in the tables.
fn place(isa: &Isa, insn: usize, e: &Encoding) -> Option<usize> {
    isa.tables.encodings.iter().position(|t| t.insn as usize == insn && t.name == e.name)
}

/// What an encoding prints for a word it takes.
fn text(isa: &Isa, setting: &Setting, insn: usize, e: &Encoding, code: u64) -> String {
    let printed = place(isa, insn, e).and_then(|encoding| {
        let table = &isa.tables.encodings[encoding];
        let mut env = isa.env(setting, table);
        isa.fill(&mut env, table, code);
        isa.print(setting, &Decoded { encoding, locals: env.locals, guard: None })
    });
    printed.unwrap_or_else(|| "(no text)".into())
}

/// True if `code` satisfies the bits and the condition of this encoding.
fn matches(isa: &Isa, setting: &Setting, insn: usize, e: &Encoding, code: u64) -> bool {
    let Some(table) = place(isa, insn, e).map(|at| &isa.tables.encodings[at]) else { return false };
    if code & table.mask != table.value {
        return false;
    }
    let mut env = isa.env(setting, table);
    isa.fill(&mut env, table, code);
    table.condition.as_ref().is_none_or(|c| env.holds(c) == Some(true))
}

fn word(e: &Encoding, random: &mut Random) -> u64 {
    let whole = if e.bits >= 64 { u64::MAX } else { (1 << e.bits) - 1 };
    random.next() & whole & !e.mask | e.value
}

/// The settings in which a token is in force.
fn of_token<'s>(isa: &'s Isa, settings: &'s [Setting], token: u32) -> impl Iterator<Item = &'s Setting> {
    settings.iter().filter(move |s| isa.token(s) == Some(token as usize))
}

/// Two encodings with as many fixed bits that take one word: only the order in the file decides.
fn overlaps(spec: &Spec, isa: &Isa, settings: &[Setting]) -> Vec<Diagnostic> {
    let encodings: Vec<(usize, &Encoding)> = all(spec).collect();
    let mut found = Vec::new();
    let mut random = Random(1);
    for (at, (i, a)) in encodings.iter().enumerate() {
        for (j, b) in &encodings[at + 1..] {
            let both = a.mask & b.mask;
            if i == j
                || a.token != b.token
                || a.bits != b.bits
                || a.mask.count_ones() != b.mask.count_ones()
                || (a.value ^ b.value) & both != 0
            {
                continue;
            }
            let witness = of_token(isa, settings, a.token.0).find_map(|s| {
                (0..TRIES).find_map(|_| {
                    let code = word(a, &mut random) & !b.mask | a.value | b.value;
                    (matches(isa, s, *i, a, code) && matches(isa, s, *j, b, code)).then_some((s, code))
                })
            });
            if let Some((s, code)) = witness {
                let (first, second) = (text(isa, s, *i, a, code), text(isa, s, *j, b, code));
                found.push(
                    Diagnostic::new("isa::overlap", b.span, format!("{} and {} both take {code:#x}: as `{second}` and as `{first}`", name(spec, *j, b), name(spec, *i, a)))
                        .also(a.span, "the other")
                        .help("both have as many fixed bits, so the order in the file decides: give one an `if` that leaves the words to the other"),
                );
            }
        }
    }
    found
}

/// Encodings that no word was decoded as.
fn unreachable(spec: &Spec, isa: &Isa, settings: &[Setting]) -> Vec<Diagnostic> {
    let mut random = Random(2);
    let mut found = Vec::new();
    for (i, e) in all(spec) {
        let mut other = None;
        let reached = of_token(isa, settings, e.token.0).any(|s| {
            (0..TRIES).any(|_| {
                let code = word(e, &mut random);
                let Some(d) = isa.decode(s, e.bits, code) else { return false };
                let table = &isa.tables.encodings[d.encoding];
                let own = table.insn as usize == i && table.name == e.name;
                if !own && other.is_none() {
                    other = Some((code, table.insn as usize));
                }
                own
            })
        });
        if !reached {
            let why = match other {
                Some((code, insn)) => format!("{code:#x}, for one, is `{}`", spec.insns[insn].name),
                None => "its condition never holds".into(),
            };
            found.push(
                Diagnostic::new("isa::unreachable", e.span, format!("no word is decoded as {}: {why}", name(spec, i, e)))
                    .help("encodings with more fixed bits, and earlier ones with as many, come first"),
            );
        }
    }
    found
}

/// Words of different instructions that print alike, and of which one cannot be assembled back.
fn same_texts(spec: &Spec, isa: &Isa, settings: &[Setting]) -> Vec<Diagnostic> {
    let mut random = Random(3);
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for s in settings.iter().step_by(4) {
        let Some(token) = isa.token(s) else { continue };
        let mut seen: HashMap<String, (usize, u64)> = HashMap::new();
        for (i, e) in all(spec).filter(|(_, e)| e.token.0 as usize == token) {
            for _ in 0..TRIES / 8 {
                let code = word(e, &mut random);
                let Some(d) = isa.decode(s, e.bits, code) else { continue };
                if d.guard.is_some() || isa.tables.encodings[d.encoding].insn as usize != i {
                    continue;
                }
                let Some(text) = isa.print(s, &d) else { continue };
                let (other, first) = *seen.entry(text.clone()).or_insert((i, code));
                if other != i && told.insert((other.min(i), other.max(i))) {
                    let (a, b) = (&spec.insns[other], &spec.insns[i]);
                    found.push(
                        Diagnostic::new(
                            "isa::same-text",
                            b.span,
                            format!("{code:#x} of `{}` and {first:#x} of `{}` both print `{text}`", b.name, a.name),
                        )
                        .also(a.span, "the other")
                        .help("the assembler can only write one of them"),
                    );
                }
            }
        }
    }
    found
}
