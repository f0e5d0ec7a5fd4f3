//! Assembles source text: labels, directives, expressions, literal pools.
//!
//! One statement a line; `//` and `@` begin comments. `name:` and `1:` are labels (`1b`, `1f` refer to the numeric ones);
//! `name = expr` and `.equ name, expr` constants. Directives: `.word .half .byte .ascii .asciz .space .balign .org .pool
//! .mode NAME VALUE`. `ldr r0, =expr` keeps the constant in the next `.pool` (or at the end). Lengths are settled by repeating
//! the whole assembly until no label moves.

use crate::encode::{Encoded, Symbols, plain_number};
use crate::isa::{Isa, Setting};
use crate::solve::Inverses;
use std::collections::HashMap;

/// What was wrong, and where (line from 1).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Error {
    /// Source name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Assembled code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Object {
    /// Bytes from the origin on.
    pub bytes: Vec<u8>,
    /// Labels and constants.
    pub symbols: HashMap<String, i128>,
}

/// Output may not exceed this many bytes.
const MAX_BYTES: usize = 16 << 20;
/// Label positions settle within this many passes or never.
const MAX_PASSES: usize = 24;

/// Assembles `text` for `origin`; `defines` are constants given from outside.
///
/// # Errors
/// All statements that could not be assembled, in order.
pub fn assemble(
    isa: &Isa,
    setting: &Setting,
    file: &str,
    text: &str,
    origin: u64,
    defines: &[(String, i128)],
) -> Result<Object, Vec<Error>> {
    let inverses = Inverses::default();
    let mut symbols: HashMap<String, i128> = defines.iter().cloned().collect();
    let mut previous: Option<HashMap<String, i128>> = None;
    for _ in 0..MAX_PASSES {
        let mut pass = Pass {
            isa,
            setting: Setting { pc: origin, ..setting.clone() },
            inverses: &inverses,
            known: &symbols,
            names: &names(text),
            defined: defines.iter().cloned().collect(),
            numeric: HashMap::new(),
            origin,
            bytes: Vec::new(),
            pool: Vec::new(),
            pools: 0,
            errors: Vec::new(),
        };
        for (n, line) in text.lines().enumerate() {
            if let Err(message) = pass.line(line) {
                pass.errors.push(Error { file: file.to_string(), line: n + 1, message });
            }
        }
        pass.flush_pool();
        let Pass { bytes, defined, errors, .. } = pass;
        if previous.as_ref() == Some(&defined) {
            return if errors.is_empty() { Ok(Object { bytes, symbols: defined }) } else { Err(errors) };
        }
        symbols.clone_from(&defined);
        previous = Some(defined);
    }
    Err(vec![Error { file: file.to_string(), line: 1, message: "labels do not settle: the source depends on its own length".into() }])
}

/// Every name the source defines, known or not yet: so that a register's name is never taken for a symbol.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let line = uncomment(line);
        let mut rest = line.trim();
        while let Some((label, after)) = label(rest) {
            names.push(label.to_string());
            rest = after;
        }
        if let Some((name, _)) = constant(rest) {
            names.push(name.to_string());
        }
    }
    names
}

fn uncomment(line: &str) -> &str {
    let mut quote = None;
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, '@') => return &line[..i],
            (None, '/') if line[i..].starts_with("//") => return &line[..i],
            _ => {}
        }
    }
    line
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.' && c != '$').unwrap_or(text.len())
}

fn label(text: &str) -> Option<(&str, &str)> {
    let len = word_length(text);
    let after = text[len..].strip_prefix(':')?;
    (len > 0).then(|| (&text[..len], after.trim_start()))
}

fn constant(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix(".equ ").or_else(|| text.strip_prefix(".set ")) {
        let (name, value) = rest.split_once(',')?;
        return Some((name.trim(), value.trim()));
    }
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    (!name.is_empty() && word_length(name) == name.len()).then(|| (name, value.trim()))
}

struct Pass<'a> {
    isa: &'a Isa,
    setting: Setting,
    inverses: &'a Inverses,
    /// From the pass before.
    known: &'a HashMap<String, i128>,
    names: &'a [String],
    defined: HashMap<String, i128>,
    /// How often each numeric label was met.
    numeric: HashMap<String, usize>,
    origin: u64,
    bytes: Vec<u8>,
    /// Constants waiting for the next pool: their labels and values.
    pool: Vec<(String, i128)>,
    pools: usize,
    errors: Vec<Error>,
}

impl Pass<'_> {
    fn here(&self) -> u64 {
        self.origin.wrapping_add(self.bytes.len() as u64)
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            return Err(format!("the output is larger than {MAX_BYTES} bytes"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn define(&mut self, name: &str, value: i128) -> Result<(), String> {
        match self.defined.insert(name.to_string(), value) {
            Some(_) => Err(format!("`{name}` is defined twice")),
            None => Ok(()),
        }
    }

    fn number(&mut self, value: i128, size: usize) -> Result<(), String> {
        let bits = 8 * size as u32;
        if value < -(1 << (bits - 1)) || value >= 1 << bits {
            return Err(format!("{value:#x} does not fit into {bits} bits"));
        }
        let all = value.to_le_bytes();
        let mut part = all[..size].to_vec();
        if self.isa.big_endian(&self.setting) {
            part.reverse();
        }
        self.emit(&part)
    }

    fn value(&self, text: &str) -> Result<i128, String> {
        let text = text.trim();
        match self.expression(text, 0) {
            Some((v, used)) if text[used..].trim().is_empty() => Ok(v),
            _ => Err(format!("`{text}` is no number or known name")),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut rest = uncomment(line).trim();
        while let Some((name, after)) = label(rest) {
            let here = i128::from(self.here());
            if name.bytes().all(|b| b.is_ascii_digit()) {
                let count = self.numeric.entry(name.to_string()).or_insert(0);
                *count += 1;
                let unique = format!("{name}\u{1}{count}");
                self.define(&unique, here)?;
            } else {
                self.define(name, here)?;
            }
            rest = after;
        }
        if rest.is_empty() {
            return Ok(());
        }
        if let Some((name, value)) = constant(rest) {
            let value = self.value(value)?;
            return self.define(name, value);
        }
        if rest.starts_with('.') {
            return self.directive(rest);
        }
        self.instruction(rest)
    }

    fn directive(&mut self, text: &str) -> Result<(), String> {
        let (name, args) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let args = args.trim();
        match name {
            ".word" | ".long" => self.numbers(args, 4),
            ".half" | ".short" => self.numbers(args, 2),
            ".byte" => self.numbers(args, 1),
            ".ascii" => self.string(args, false),
            ".asciz" | ".string" => self.string(args, true),
            ".space" | ".skip" => {
                let (count, fill) = args.split_once(',').unwrap_or((args, "0"));
                let count = usize::try_from(self.value(count)?).ok().filter(|c| *c <= MAX_BYTES).ok_or("a size out of range")?;
                let fill = self.value(fill)? as u8;
                self.emit(&vec![fill; count])
            }
            ".balign" => {
                let to = u64::try_from(self.value(args)?)
                    .ok()
                    .filter(|t| t.is_power_of_two() && *t <= 0x1_0000)
                    .ok_or("an alignment is a power of two")?;
                let gap = self.here().next_multiple_of(to) - self.here();
                self.emit(&vec![0; gap as usize])
            }
            ".org" => {
                let to = u64::try_from(self.value(args)?).map_err(|_| "a negative address")?;
                let gap = to.checked_sub(self.here()).ok_or("`.org` cannot go back")?;
                let gap = usize::try_from(gap).ok().filter(|g| *g <= MAX_BYTES).ok_or("`.org` goes too far")?;
                self.emit(&vec![0; gap])
            }
            ".pool" | ".ltorg" => {
                self.flush_pool();
                Ok(())
            }
            ".mode" => {
                let (mode, value) = args.split_once(' ').ok_or("write `.mode NAME VALUE`")?;
                let value = self.value(value)? as u64;
                if self.isa.set_mode(&mut self.setting, mode.trim(), value) { Ok(()) } else { Err(format!("there is no mode `{mode}`")) }
            }
            ".global" | ".globl" | ".text" => Ok(()),
            other => Err(format!("unknown directive `{other}`")),
        }
    }

    fn numbers(&mut self, args: &str, size: usize) -> Result<(), String> {
        for arg in args.split(',') {
            let value = self.value(arg)?;
            self.number(value, size)?;
        }
        Ok(())
    }

    fn string(&mut self, args: &str, zero: bool) -> Result<(), String> {
        let inner = args.strip_prefix('"').and_then(|a| a.strip_suffix('"')).ok_or("write the text in double quotes")?;
        let mut chars = inner.chars();
        let mut out = Vec::new();
        while let Some(c) = chars.next() {
            let c = if c == '\\' {
                match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('e') => '\u{1b}',
                    Some(c @ ('\\' | '"')) => c,
                    _ => return Err("unknown escape in a string".into()),
                }
            } else {
                c
            };
            out.extend(c.to_string().bytes());
        }
        if zero {
            out.push(0);
        }
        self.emit(&out)
    }

    fn instruction(&mut self, text: &str) -> Result<(), String> {
        let mut owned = text.to_string();
        if let Some((head, constant)) = text.split_once('=') {
            let value = self.value(constant)?;
            let name = format!("\u{1}pool{}.{}", self.pools, self.pool.len());
            owned = format!("{head}{name}");
            self.pool.push((name, value));
        }
        self.setting.pc = self.here();
        match self.isa.encode(&self.setting, &owned, &*self, self.inverses) {
            Ok(Encoded { token, bits, code }) => {
                let bytes = self.isa.to_bytes(&self.setting, token, bits, code);
                self.emit(&bytes)
            }
            Err(message) => {
                // Keep the addresses near the truth for the next pass.
                let size = self.isa.token(&self.setting).map_or(4, |t| usize::from(self.isa.tables.tokens[t].size / 8));
                self.emit(&vec![0; size])?;
                Err(message)
            }
        }
    }

    fn flush_pool(&mut self) {
        if self.pool.is_empty() {
            return;
        }
        while !self.here().is_multiple_of(4) {
            self.bytes.push(0);
        }
        for (name, value) in std::mem::take(&mut self.pool) {
            let here = i128::from(self.here());
            self.defined.insert(name, here);
            // Checked when the constant was met: a pool entry is a word.
            let all = (value as u32).to_le_bytes();
            let mut part = all.to_vec();
            if self.isa.big_endian(&self.setting) {
                part.reverse();
            }
            self.bytes.extend(part);
        }
        self.pools += 1;
    }

    fn symbol(&self, name: &str) -> Option<i128> {
        if let Some(value) = self.defined.get(name).or_else(|| self.known.get(name)) {
            return Some(*value);
        }
        // Not placed yet in this first pass: somewhere near.
        (name.starts_with('\u{1}') || self.names.iter().any(|n| n == name)).then(|| i128::from(self.here()))
    }

    fn numeric_label(&self, digits: &str, forward: bool) -> Option<i128> {
        let met = self.numeric.get(digits).copied().unwrap_or(0);
        let wanted = if forward { met + 1 } else { met };
        let key = format!("{digits}\u{1}{wanted}");
        let table = if forward { self.known } else { &self.defined };
        table.get(&key).copied().or_else(|| (forward && self.names.iter().any(|n| n == digits)).then(|| i128::from(self.here())))
    }

    /// Precedence climbing over `| ^ & << >> + - * /`; returns the value and the bytes taken.
    fn expression(&self, text: &str, level: usize) -> Option<(i128, usize)> {
        const LEVELS: [&[&str]; 6] = [&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "/"]];
        let Some(operators) = LEVELS.get(level) else { return self.operand(text) };
        let (mut left, mut used) = self.expression(text, level + 1)?;
        'more: loop {
            let rest = &text[used..];
            let spaces = rest.len() - rest.trim_start().len();
            for op in *operators {
                let Some(after) = rest[spaces..].strip_prefix(op) else { continue };
                let gap = after.len() - after.trim_start().len();
                let Some((right, len)) = self.expression(after.trim_start(), level + 1) else { continue };
                left = match *op {
                    "|" => left | right,
                    "^" => left ^ right,
                    "&" => left & right,
                    "<<" => left.checked_shl(u32::try_from(right).ok()?)?,
                    ">>" => left.checked_shr(u32::try_from(right).ok()?)?,
                    "+" => left.checked_add(right)?,
                    "-" => left.checked_sub(right)?,
                    "*" => left.checked_mul(right)?,
                    _ => left.checked_div(right)?,
                };
                used += spaces + op.len() + gap + len;
                continue 'more;
            }
            return Some((left, used));
        }
    }

    fn operand(&self, text: &str) -> Option<(i128, usize)> {
        if let Some(inner) = text.strip_prefix('(') {
            let (value, used) = self.expression(inner, 0)?;
            return inner[used..].starts_with(')').then_some((value, used + 2));
        }
        if let Some(inner) = text.strip_prefix('~') {
            return self.operand(inner).map(|(v, used)| (!v, used + 1));
        }
        if let Some(inner) = text.strip_prefix('-') {
            return self.operand(inner).map(|(v, used)| (-v, used + 1));
        }
        let start = text.chars().next()?;
        if start.is_ascii_digit() || start == '\'' {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let tail = text[digits..].chars().next();
            let alone = !text[digits..].chars().nth(1).is_some_and(|c| c.is_ascii_alphanumeric());
            if let (Some(c @ ('b' | 'f')), true, true) = (tail, alone, digits > 0) {
                return self.numeric_label(&text[..digits], c == 'f').map(|v| (v, digits + 1));
            }
            return plain_number(text);
        }
        if start == '.' && word_length(text) == 1 {
            return Some((i128::from(self.setting.pc), 1));
        }
        let len = if start == '\u{1}' { 1 + word_length(&text[1..]) } else { word_length(text) };
        (len > 0).then_some(())?;
        self.symbol(&text[..len]).map(|v| (v, len))
    }
}

impl Symbols for Pass<'_> {
    fn number(&self, text: &str) -> Option<(i128, usize)> {
        self.expression(text, 0)
    }
}
