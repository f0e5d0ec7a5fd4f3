//! The text form of a block, printed and parsed: for golden files, tests and people.
//!
//! One instruction a line: `v3 = add.i32 v1, 0x5:i32`. Properties are `key=value` or bare words before the operands; constants are written where
//! they are used; slots and values go by name. Values are numbered as they are defined, so printing what was parsed gives the same text.

use crate::op::*;
use crate::state::StateLayout;
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Operations that have no properties.
const PLAIN: [(&str, Op); 43] = [
    ("bitcast", Op::Bitcast),
    ("add", Op::Add),
    ("sub", Op::Sub),
    ("mul", Op::Mul),
    ("mulhu", Op::MulHighU),
    ("mulhs", Op::MulHighS),
    ("divu", Op::DivU),
    ("divs", Op::DivS),
    ("remu", Op::RemU),
    ("rems", Op::RemS),
    ("and", Op::And),
    ("or", Op::Or),
    ("xor", Op::Xor),
    ("shl", Op::Shl),
    ("shr", Op::Shr),
    ("sar", Op::Sar),
    ("ror", Op::Ror),
    ("not", Op::Not),
    ("neg", Op::Neg),
    ("clz", Op::Clz),
    ("ctz", Op::Ctz),
    ("popcnt", Op::Popcnt),
    ("bswap", Op::Bswap),
    ("bitrev", Op::Bitrev),
    ("carry", Op::CarryAdd),
    ("overflow", Op::OverflowAdd),
    ("select", Op::Select),
    ("zext", Op::Zext),
    ("sext", Op::Sext),
    ("trunc", Op::Trunc),
    ("concat", Op::Concat),
    ("clearex", Op::ClearExclusive),
    ("tbl", Op::TableLookup),
    ("if", Op::If),
    ("else", Op::Else),
    ("endif", Op::EndIf),
    ("repeat", Op::Repeat),
    ("breakif", Op::BreakIf),
    ("endrepeat", Op::EndRepeat),
    ("mark", Op::Mark),
    ("jump", Op::Jump),
    ("jumpto", Op::JumpTo),
    ("jumprekey", Op::JumpRekey),
];

fn lower(x: impl std::fmt::Debug) -> String {
    format!("{x:?}").to_lowercase()
}

/// The type an operation's line need not mention.
fn usual_type(op: Op) -> Type {
    match op {
        Op::Mark | Op::Jump | Op::JumpTo | Op::JumpRekey | Op::Raise(_) | Op::Wait => Type::I64,
        Op::LaneGet(_) => Type::I64,
        _ => Type::I1,
    }
}

fn describe(op: Op, layout: &StateLayout) -> (String, Vec<String>) {
    let mut words = Vec::new();
    let mut put = |key: &str, value: &dyn std::fmt::Display| words.push(format!("{key}={value}"));
    let name: String = match op {
        Op::Const => "const".into(),
        Op::Get(slot) | Op::Set(slot) => {
            words.push(layout.slots.get(slot.0 as usize).map_or_else(|| format!("slot{}", slot.0), |s| s.name.to_string()));
            if matches!(op, Op::Get(_)) { "get".into() } else { "set".into() }
        }
        Op::VarGet(var) | Op::VarSet(var) => {
            words.push(format!("x{}", var.0));
            if matches!(op, Op::VarGet(_)) { "getvar".into() } else { "setvar".into() }
        }
        Op::Cmp(cond) => lower(cond),
        Op::Extract { lo, len } | Op::Insert { lo, len } => {
            put("lo", &lo);
            put("len", &len);
            if matches!(op, Op::Extract { .. }) { "extract".into() } else { "insert".into() }
        }
        Op::Load(m) | Op::Store(m) | Op::Probe(m) | Op::LoadExclusive(m) | Op::StoreExclusive(m) | Op::Swap(m) | Op::CompareSwap(m) => {
            put("size", &m.size);
            put("mmu", &m.mmu);
            put("align", &m.align);
            if m.note != 0 {
                put("note", &m.note);
            }
            if m.order != Order::Relaxed {
                put("order", &format!("{:?}", m.order));
            }
            for (yes, word) in [(m.big, "big"), (m.atomic, "atomic"), (m.physical, "physical")] {
                if yes {
                    words.push(word.into());
                }
            }
            memory_name(op).into()
        }
        Op::Fence(order) => {
            put("order", &format!("{order:?}"));
            "fence".into()
        }
        Op::Float { op, env } => {
            put("op", &format!("{op:?}"));
            put("env", &env);
            "float".into()
        }
        Op::FloatRound { round, exact, env } => {
            put("round", &format!("{round:?}"));
            put("env", &env);
            if exact {
                words.push("exact".into());
            }
            "fround".into()
        }
        Op::FloatConvert { env, alt } => {
            put("env", &env);
            if alt {
                words.push("alt".into());
            }
            "fconvert".into()
        }
        Op::FloatToInt { env, signed, round, frac, bits } | Op::IntToFloat { env, signed, round, frac, bits } => {
            put("env", &env);
            put("round", &format!("{round:?}"));
            put("frac", &frac);
            put("bits", &bits);
            if signed {
                words.push("signed".into());
            }
            if matches!(op, Op::FloatToInt { .. }) { "ftoi".into() } else { "itof".into() }
        }
        Op::Vec(vop, lane) | Op::VecSat(vop, lane) => {
            put("op", &format!("{vop:?}"));
            put("lane", &lane);
            if matches!(op, Op::Vec(..)) { "vec".into() } else { "vecsat".into() }
        }
        Op::LaneGet(lane) | Op::LaneSet(lane) => {
            put("lane", &lane);
            if matches!(op, Op::LaneGet(_)) { "laneget".into() } else { "laneset".into() }
        }
        Op::Call(id) | Op::Raise(id) => {
            put("id", &id);
            if matches!(op, Op::Call(_)) { "call".into() } else { "raise".into() }
        }
        Op::Wait => "wait".into(),
        plain => PLAIN.iter().find(|(_, op)| *op == plain).map_or("?", |(name, _)| name).into(),
    };
    (name, words)
}

fn memory_name(op: Op) -> &'static str {
    match op {
        Op::Load(_) => "load",
        Op::Store(_) => "store",
        Op::Probe(_) => "probe",
        Op::LoadExclusive(_) => "loadex",
        Op::StoreExclusive(_) => "storeex",
        Op::Swap(_) => "swap",
        _ => "cas",
    }
}

/// The names of the immediates of this operation.
fn immediates(op: Op) -> (&'static str, &'static str) {
    match op {
        Op::Mark | Op::Jump | Op::JumpTo | Op::JumpRekey => ("pc", "next"),
        Op::Wait => ("event", "next"),
        _ => ("imm", "hi"),
    }
}

/// The text of a block.
pub fn print(block: &Block, layout: &StateLayout) -> String {
    let mut text = String::new();
    for (index, ty) in block.vars.iter().enumerate() {
        let _ = writeln!(text, "var x{index}: {}", lower(ty));
    }
    let mut names: FxHashMap<Value, String> = FxHashMap::default();
    let mut count = 0;
    let mut depth = 0usize;
    for inst in &block.insts {
        if let Some(x) = inst.constant() {
            names.insert(inst.res, format!("{x:#x}:{}", lower(inst.ty)));
            continue;
        }
        if matches!(inst.op, Op::Else | Op::EndIf | Op::EndRepeat) {
            depth = depth.saturating_sub(1);
        }
        let indent = if inst.op == Op::Mark { 0 } else { depth + 1 };
        let _ = write!(text, "{:1$}", "", 2 * indent);
        if matches!(inst.op, Op::If | Op::Else | Op::Repeat) {
            depth += 1;
        }
        let (name, mut words) = describe(inst.op, layout);
        let keys = immediates(inst.op);
        for (key, value) in [(keys.0, inst.imm), (keys.1, inst.imm_hi)] {
            if value != 0 || inst.op == Op::Mark {
                words.push(format!("{key}={value:#x}"));
            }
        }
        let operands =
            inst.operands().map(|v| names.get(&v).cloned().unwrap_or_else(|| format!("?{}", v.0))).collect::<Vec<_>>().join(", ");
        if inst.res != Value::NONE {
            let _ = write!(text, "v{count} = ");
            names.insert(inst.res, format!("v{count}"));
            count += 1;
        }
        text.push_str(&name);
        if inst.ty != usual_type(inst.op) {
            let _ = write!(text, ".{}", lower(inst.ty));
        }
        for word in words {
            let _ = write!(text, " {word}");
        }
        if !operands.is_empty() {
            let _ = write!(text, " {operands}");
        }
        text.push('\n');
    }
    text
}

/// One line's words, taken as they are asked for.
struct Line<'a> {
    number: usize,
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        Err(TextError { line: self.number, message: message.into() })
    }
    fn key(&mut self, key: &str) -> Option<&'a str> {
        let at = self.words.iter().position(|w| w.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))?;
        Some(&self.words.remove(at)[key.len() + 1..])
    }
    fn number<T: TryFrom<u64>>(&mut self, key: &str) -> Result<T, TextError> {
        let Some(text) = self.key(key) else { return self.fail(format!("`{key}=` is missing")) };
        match number(text).and_then(|x| u64::try_from(x).ok()).and_then(|x| T::try_from(x).ok()) {
            Some(x) => Ok(x),
            None => self.fail(format!("`{key}={text}` is no number in range")),
        }
    }
    fn flag(&mut self, word: &str) -> bool {
        let at = self.words.iter().position(|w| *w == word);
        at.map(|at| self.words.remove(at)).is_some()
    }
    fn named<T: Copy + std::fmt::Debug>(&mut self, key: &str, all: &[T]) -> Result<T, TextError> {
        let Some(text) = self.key(key) else { return self.fail(format!("`{key}=` is missing")) };
        match all.iter().find(|x| format!("{x:?}") == text) {
            Some(x) => Ok(*x),
            None => self.fail(format!("`{text}` is not a known {key}")),
        }
    }
    fn next(&mut self, what: &str) -> Result<&'a str, TextError> {
        if self.words.is_empty() { self.fail(format!("{what} is missing")) } else { Ok(self.words.remove(0)) }
    }
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse_type(text: &str) -> Option<Type> {
    Type::ALL.into_iter().find(|ty| lower(ty) == text)
}

/// Parses the text of a block over this state.
pub fn parse(text: &str, layout: &'static StateLayout) -> Result<Block, TextError> {
    let mut block = Block::default();
    let mut constants: FxHashMap<(Type, u128), Value> = FxHashMap::default();
    let mut names: FxHashMap<&str, Value> = FxHashMap::default();
    let mut front = Vec::new();
    for (index, source) in text.lines().enumerate() {
        let content = source.split("//").next().unwrap_or("").trim();
        let mut line = Line { number: index + 1, words: Vec::new() };
        if content.is_empty() {
            continue;
        }
        if let Some(rest) = content.strip_prefix("var ") {
            let ty = rest.split_once(':').and_then(|(name, ty)| Some((name, parse_type(ty.trim())?)));
            match ty {
                Some((name, ty)) if name.trim() == format!("x{}", block.vars.len()) => block.vars.push(ty),
                _ => return line.fail(format!("`{content}`: expected `var x{}: TYPE`", block.vars.len())),
            }
            continue;
        }
        let (result, rest) = match content.split_once(" = ") {
            Some((name, rest)) => (Some(name.trim()), rest),
            None => (None, content),
        };
        line.words = rest.split([' ', ',']).filter(|w| !w.is_empty()).collect();
        let head = line.next("the operation")?;
        let (name, ty) = match head.split_once('.') {
            Some((name, ty)) => match parse_type(ty) {
                Some(ty) => (name, Some(ty)),
                None => return line.fail(format!("`{ty}` is no type")),
            },
            None => (head, None),
        };
        let op = parse_op(name, &mut line, layout, &block)?;
        let ty = ty.unwrap_or(usual_type(op));
        let mut inst = Inst::new(op, ty, &[]);
        let keys = immediates(op);
        for (key, to) in [(keys.0, &mut inst.imm), (keys.1, &mut inst.imm_hi)] {
            if line.words.iter().any(|w| w.strip_prefix(key).is_some_and(|w| w.starts_with('='))) {
                *to = line.number(key)?;
            }
        }
        if line.words.len() > inst.args.len() {
            return line.fail("more than six operands");
        }
        for (at, word) in std::mem::take(&mut line.words).into_iter().enumerate() {
            inst.args[at] = match (names.get(word), word.split_once(':')) {
                (Some(v), _) => *v,
                (None, Some((x, ty))) => {
                    let (Some(x), Some(ty)) = (number(x), parse_type(ty)) else {
                        return line.fail(format!("`{word}` is no constant"));
                    };
                    if x & !ty.mask() != 0 {
                        return line.fail(format!("`{word}` does not fit its type"));
                    }
                    *constants.entry((ty, x)).or_insert_with(|| {
                        let v = Value(block.values.len() as u32);
                        block.values.push(ty);
                        let mut inst = Inst::new(Op::Const, ty, &[]);
                        (inst.imm, inst.imm_hi, inst.res) = (x as u64, (x >> 64) as u64, v);
                        front.push(inst);
                        v
                    })
                }
                _ => return line.fail(format!("`{word}` is not a value defined above")),
            };
        }
        if let Some(name) = result {
            inst.res = Value(block.values.len() as u32);
            block.values.push(ty);
            if names.insert(name, inst.res).is_some() {
                return line.fail(format!("`{name}` is defined twice"));
            }
        }
        block.guest_insns += u32::from(op == Op::Mark);
        block.insts.push(inst);
    }
    front.append(&mut block.insts);
    block.insts = front;
    Ok(block)
}

fn parse_op(name: &str, line: &mut Line<'_>, layout: &StateLayout, block: &Block) -> Result<Op, TextError> {
    if let Some((_, op)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
        return Ok(*op);
    }
    if let Some(cond) = Cond::ALL.into_iter().find(|c| lower(c) == name) {
        return Ok(Op::Cmp(cond));
    }
    let op = match name {
        "get" | "set" => {
            let word = line.next("the slot")?;
            let Some(slot) = layout.slot(word) else { return line.fail(format!("no slot is called `{word}`")) };
            if name == "get" { Op::Get(slot) } else { Op::Set(slot) }
        }
        "getvar" | "setvar" => {
            let word = line.next("the local")?;
            let index = word.strip_prefix('x').and_then(|x| x.parse::<u32>().ok()).filter(|x| (*x as usize) < block.vars.len());
            let Some(index) = index else { return line.fail(format!("no local is called `{word}`")) };
            if name == "getvar" { Op::VarGet(Var(index)) } else { Op::VarSet(Var(index)) }
        }
        "extract" => Op::Extract { lo: line.number("lo")?, len: line.number("len")? },
        "insert" => Op::Insert { lo: line.number("lo")?, len: line.number("len")? },
        "load" | "store" | "probe" | "loadex" | "storeex" | "swap" | "cas" => {
            let mem = Mem {
                size: line.number("size")?,
                mmu: line.number("mmu")?,
                align: line.number("align")?,
                note: if line.words.iter().any(|w| w.starts_with("note=")) { line.number("note")? } else { 0 },
                order: if line.words.iter().any(|w| w.starts_with("order=")) { line.named("order", &Order::ALL)? } else { Order::Relaxed },
                big: line.flag("big"),
                atomic: line.flag("atomic"),
                physical: line.flag("physical"),
            };
            let all = [
                Op::Load(mem),
                Op::Store(mem),
                Op::Probe(mem),
                Op::LoadExclusive(mem),
                Op::StoreExclusive(mem),
                Op::Swap(mem),
                Op::CompareSwap(mem),
            ];
            let Some(op) = all.into_iter().find(|op| memory_name(*op) == name) else { return line.fail("no such access") };
            op
        }
        "fence" => Op::Fence(line.named("order", &Order::ALL)?),
        "float" => Op::Float { op: line.named("op", &Fop::ALL)?, env: line.number("env")? },
        "fround" => Op::FloatRound { round: line.named("round", &Round::ALL)?, env: line.number("env")?, exact: line.flag("exact") },
        "fconvert" => Op::FloatConvert { env: line.number("env")?, alt: line.flag("alt") },
        "ftoi" | "itof" => {
            let env = line.number("env")?;
            let round = line.named("round", &Round::ALL)?;
            let (frac, bits) = (line.number("frac")?, line.number("bits")?);
            let signed = line.flag("signed");
            if name == "ftoi" {
                Op::FloatToInt { env, signed, round, frac, bits }
            } else {
                Op::IntToFloat { env, signed, round, frac, bits }
            }
        }
        "vec" => Op::Vec(line.named("op", &Vop::ALL)?, line.number("lane")?),
        "vecsat" => Op::VecSat(line.named("op", &Vop::ALL)?, line.number("lane")?),
        "laneget" => Op::LaneGet(line.number("lane")?),
        "laneset" => Op::LaneSet(line.number("lane")?),
        "call" => Op::Call(line.number("id")?),
        "raise" => Op::Raise(line.number("id")?),
        "wait" => Op::Wait,
        _ => return line.fail(format!("`{name}` is no operation")),
    };
    Ok(op)
}
