//! From one line of assembly text to an instruction word: the templates, read backwards.

use crate::eval::mask;
use crate::isa::{Isa, Setting};
use crate::solve::{Constraint, Inverses, solve};
use crate::tables::*;

/// An encoded instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Token (index) of the encoding.
    pub token: usize,
    /// Length in bits.
    pub bits: u8,
    /// The word, first fetched unit most significant.
    pub code: u64,
}

/// Evaluates numbers and labels in operand text: returns the value and how many bytes of the text it took.
pub trait Symbols {
    /// A number expression at the beginning of `text`.
    fn number(&self, text: &str) -> Option<(i128, usize)>;
}

/// Symbols with plain numbers only.
#[derive(Debug)]
pub struct NoSymbols;

impl Symbols for NoSymbols {
    fn number(&self, text: &str) -> Option<(i128, usize)> {
        plain_number(text)
    }
}

/// Reads `[-]123`, `0x1f`, `0b101`, `'c'`.
pub fn plain_number(text: &str) -> Option<(i128, usize)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let skipped = text.len() - rest.len();
    if let Some(quoted) = rest.strip_prefix('\'') {
        let c = quoted.chars().next()?;
        return (quoted[c.len_utf8()..].starts_with('\'')).then(|| (sign * c as i128, skipped + 2 + c.len_utf8()));
    }
    let (radix, digits) = match rest.get(..2) {
        Some("0x" | "0X") => (16, &rest[2..]),
        Some("0b" | "0B") => (2, &rest[2..]),
        _ => (10, rest),
    };
    let len = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
    if len == 0 || digits.starts_with('_') {
        return None;
    }
    let value = i128::from_str_radix(&digits[..len].replace('_', ""), radix).ok()?;
    Some((sign * value, text.len() - digits.len() + len))
}

impl Isa {
    /// Assembles one instruction. The shortest encoding that says it wins, then the specification's order. As other assemblers do, it
    /// takes numbers without `#`, and a base alone in brackets as one with displacement 0.
    ///
    /// # Errors
    /// What no encoding of that mnemonic could take, in words.
    pub fn encode(&self, setting: &Setting, text: &str, symbols: &dyn Symbols, inverses: &Inverses) -> Result<Encoded, String> {
        let text = normalise(text);
        self.encode_exactly(setting, &text, symbols, inverses).or_else(|error| match displaced(&text) {
            Some(longer) => self.encode_exactly(setting, &longer, symbols, inverses).map_err(|_| error),
            None => Err(error),
        })
    }

    fn encode_exactly(&self, setting: &Setting, text: &str, symbols: &dyn Symbols, inverses: &Inverses) -> Result<Encoded, String> {
        let token = self.token(setting).ok_or("no token is in force in this mode")?;
        let word = text.split(' ').next().unwrap_or("");
        let mut best: Option<Encoded> = None;
        let mut mnemonic_seen = false;
        for (index, e) in self.tables.encodings.iter().enumerate() {
            if e.token as usize != token || best.as_ref().is_some_and(|b| b.bits <= e.bits) {
                continue;
            }
            for (when, pieces) in &e.asm {
                if let Some(Piece::Text(t)) = pieces.first() {
                    let head = t.split(' ').next().unwrap_or("");
                    if !head.is_empty() && !starts_with(text, head) {
                        continue;
                    }
                    mnemonic_seen |= head.len() == word.len() || !head.is_empty();
                }
                if let Some(code) = self.try_template(setting, index, when.as_ref(), pieces, text, symbols, inverses) {
                    best = Some(Encoded { token, bits: e.bits, code });
                    break;
                }
            }
        }
        best.ok_or_else(|| match mnemonic_seen {
            true => format!("`{text}`: no encoding of `{word}` takes these operands here"),
            false => format!("`{text}`: unknown instruction `{word}`"),
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn try_template<'a>(
        &'a self,
        setting: &Setting,
        index: usize,
        when: Option<&'a Expr>,
        pieces: &'a [Piece],
        text: &str,
        symbols: &dyn Symbols,
        inverses: &Inverses,
    ) -> Option<u64> {
        let e = &self.tables.encodings[index];
        let mut found = None;
        let mut constraints: Vec<Constraint<'a>> = when.iter().map(|w| Constraint { expr: w, value: 1, mask: 1 }).collect();
        let pieces: Vec<&Piece> = pieces.iter().collect();
        let mut matcher = Matcher { isa: self, symbols };
        matcher.pieces(&pieces, text, &mut constraints, &mut |constraints| {
            let mut env = self.env(setting, e);
            if let Some(code) = solve(&mut env, e, constraints, inverses) {
                let same = self
                    .decode(setting, e.bits, code)
                    .is_some_and(|d| d.guard != Some(Otherwise::Undefined) && self.tables.encodings[d.encoding].insn == e.insn);
                if same {
                    found = Some(code);
                    return true;
                }
            }
            false
        });
        found
    }
}

/// Single spaces, but for those in quotes.
pub fn normalise(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in text.trim().chars() {
        if c == '\'' {
            quoted = !quoted;
        }
        if c.is_whitespace() && !quoted {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// `[base]` as `[base, #0]`; `None` if there is no base alone in brackets.
fn displaced(text: &str) -> Option<String> {
    let (open, close) = (text.find('[')?, text.find(']')?);
    let base = text.get(open + 1..close)?;
    let plain = !base.is_empty() && base.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| format!("{}, #0{}", &text[..close], &text[close..]))
}

fn starts_with(text: &str, head: &str) -> bool {
    text.get(..head.len()).is_some_and(|t| t.eq_ignore_ascii_case(head))
}

struct Matcher<'m> {
    isa: &'m Isa,
    symbols: &'m dyn Symbols,
}

/// Called with the constraints of a complete match; true ends the search.
type Accept<'c, 'a> = dyn FnMut(&[Constraint<'a>]) -> bool + 'c;

impl<'m> Matcher<'m> {
    fn pieces<'a>(&mut self, pieces: &[&'a Piece], text: &str, constraints: &mut Vec<Constraint<'a>>, accept: &mut Accept<'_, 'a>) -> bool {
        let Some((piece, rest)) = pieces.split_first() else {
            return text.trim().is_empty() && accept(constraints);
        };
        match piece {
            Piece::Text(t) => match literal(t, text) {
                Some(text) => self.pieces(rest, text, constraints, accept),
                None => false,
            },
            Piece::Choice(c, a, b) => {
                // "Not zero" is a plain constraint for one bit only; of a wider value nothing can be concluded yet.
                let if_true = u128::from(c.width == 1);
                let mut branches = [(a, 1, if_true), (b, 0, mask(c.width))];
                // A branch with text that is there comes before an empty one: `{U?:-}` takes the sign, not the number after it.
                let says = |branch: &[Piece]| matches!(branch.first(), Some(Piece::Text(t)) if !t.is_empty() && literal(t, text).is_some());
                if !says(a) && says(b) {
                    branches.reverse();
                }
                for (branch, value, bits) in branches {
                    let mut all: Vec<&'a Piece> = branch.iter().collect();
                    all.extend_from_slice(rest);
                    constraints.push(Constraint { expr: c, value, mask: bits });
                    if self.pieces(&all, text, constraints, accept) {
                        return true;
                    }
                    constraints.pop();
                }
                false
            }
            Piece::Value(e, printer) => {
                let text = if matches!(printer, Printer::Enum(_)) { text } else { text.trim_start() };
                for (value, used) in self.values(e, *printer, text) {
                    constraints.push(Constraint { expr: e, value, mask: mask(e.width) });
                    if self.pieces(rest, &text[used..], constraints, accept) {
                        return true;
                    }
                    constraints.pop();
                }
                false
            }
        }
    }

    /// Possible values at the beginning of `text`, longest first, with the bytes they take.
    fn values(&self, e: &Expr, printer: Printer, text: &str) -> Vec<(u128, usize)> {
        match printer {
            Printer::Enum(id) => {
                let skipped = text.len() - text.trim_start().len();
                let mut found = Vec::new();
                for (value, names) in self.isa.tables.enums[id as usize].values.iter().enumerate() {
                    for name in names {
                        if name.is_empty() {
                            found.push((value as u128, 0));
                        } else if name.contains(' ') {
                            found.extend(literal(name, text).map(|rest| (value as u128, text.len() - rest.len())));
                        } else if starts_with(&text[skipped..], name) {
                            found.push((value as u128, skipped + name.len()));
                        } else if starts_with(text, name) {
                            found.push((value as u128, name.len()));
                        }
                    }
                }
                found.sort_by_key(|f| std::cmp::Reverse(f.1));
                found
            }
            Printer::List(id) => self.list(id, text).into_iter().collect(),
            _ => match self.symbols.number(text) {
                Some((value, used)) if fits(value, e.width) => vec![(value as u128 & mask(e.width), used)],
                _ => vec![],
            },
        }
    }

    /// `{r0, r2-r5, lr}` as a mask.
    fn list(&self, id: u32, text: &str) -> Option<(u128, usize)> {
        let end = text.find('}')?;
        let inner = text[..end].strip_prefix('{')?;
        let names = &self.isa.tables.enums[id as usize].values;
        let number = |name: &str| names.iter().position(|all| all.iter().any(|n| n.eq_ignore_ascii_case(name.trim())));
        let mut bits = 0u128;
        for part in inner.split(',').filter(|p| !p.trim().is_empty()) {
            let (first, last) = match part.split_once('-') {
                Some((a, b)) => (number(a)?, number(b)?),
                None => (number(part)?, number(part)?),
            };
            for i in first..=last {
                bits |= 1u128.checked_shl(i as u32)?;
            }
        }
        Some((bits, end + 1))
    }
}

fn fits(value: i128, width: u8) -> bool {
    width == 0 || width >= 127 || (value >= -(1 << (width - 1)) && value < 1 << width)
}

/// Matches literal text, forgiving spaces: any run (also none) around punctuation, at least one where the template separates words.
fn literal<'t>(pattern: &str, mut text: &'t str) -> Option<&'t str> {
    let mut chars = pattern.chars().peekable();
    let mut at_start = true;
    let mut punctuated = false;
    while let Some(c) = chars.next() {
        if c == ' ' {
            let trimmed = text.trim_start();
            let separates = at_start || !text.is_empty();
            let open = punctuated || chars.peek().is_none_or(|n| n.is_ascii_punctuation()) || ends_open(pattern);
            if trimmed.len() == text.len() && separates && !open {
                return None;
            }
            text = trimmed;
        } else {
            if !c.is_ascii_alphanumeric() && c != '.' && c != '!' && c != '^' {
                text = text.trim_start();
            }
            let mut rest = text.chars();
            if c == '#' && !text.starts_with('#') {
                continue;
            }
            if !rest.next().is_some_and(|t| t.eq_ignore_ascii_case(&c)) {
                return None;
            }
            text = rest.as_str();
        }
        at_start = false;
        punctuated = c.is_ascii_punctuation();
    }
    Some(text)
}

/// A pattern such as `, ` ends in a space that may be missing in the text.
fn ends_open(pattern: &str) -> bool {
    pattern.trim_end().ends_with(|c: char| c.is_ascii_punctuation())
}
