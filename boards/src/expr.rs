//! Expressions inside `"{...}"`: integers, sizes, parameters, `'text'`, arithmetic, comparison and `? :`.
//!
//! Arithmetic is on 128-bit integers and checked: overflow, division by zero and bad shifts are errors. There are no
//! loops and nesting is bounded, so evaluation always ends. A hyphen between letters belongs to a name
//! (`ram-start`); put blanks around a minus.

use crate::tree::{Data, Value, number};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parameters by name.
pub type Env = BTreeMap<String, Arc<Value>>;

/// What is wrong, and where in the text (bytes).
#[derive(Clone, PartialEq, Debug)]
pub struct ExprError {
    /// First byte in the expanded text.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// What is wrong.
    pub message: String,
    /// The unknown name, for a suggestion.
    pub unknown: Option<String>,
}

/// Expands `{...}` in `text`. A text that is one expression keeps the expression's type, others become text; `{{` and `}}`
/// stand for braces. Names used are added to `used`.
pub fn expand(text: &str, env: &Env, used: &mut Vec<String>) -> Result<Data, ExprError> {
    let mut out = String::new();
    let mut i = 0;
    let bytes = text.as_bytes();
    while i < bytes.len() {
        let error = |end: usize, message: &str| ExprError { start: i, end, message: message.into(), unknown: None };
        match bytes[i] {
            b'{' if bytes.get(i + 1) == Some(&b'{') => {
                out.push('{');
                i += 2;
            }
            b'}' if bytes.get(i + 1) == Some(&b'}') => {
                out.push('}');
                i += 2;
            }
            b'}' => return Err(error(i + 1, "a `}` without `{`; write `}}` for a brace")),
            b'{' => {
                let close = text[i..].find('}').ok_or_else(|| error(text.len(), "this `{` is not closed; write `{{` for a brace"))? + i;
                let value = Parser::new(&text[i + 1..close], env, used).whole().map_err(|mut e| {
                    e.start += i + 1;
                    e.end += i + 1;
                    e
                })?;
                if i == 0 && close + 1 == text.len() {
                    return Ok(value);
                }
                match value {
                    Data::Text(t) => out += &t,
                    Data::Int(v) => out += &v.to_string(),
                    Data::Bool(b) => out += if b { "true" } else { "false" },
                    Data::Null => {}
                    Data::Bad => return Ok(Data::Bad),
                }
                i = close + 1;
            }
            _ => {
                let n = text[i..].find(['{', '}']).unwrap_or(text.len() - i);
                out += &text[i..i + n];
                i += n;
            }
        }
    }
    Ok(Data::Text(out))
}

#[derive(Clone, PartialEq, Debug)]
enum Token<'a> {
    Number(i128),
    Name(&'a str),
    Text(&'a str),
    Op(&'static str),
    End,
}

const OPERATORS: [&str; 24] =
    ["<<", ">>", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "?", ":", "(", ")"];

struct Parser<'a, 'u> {
    text: &'a str,
    at: usize,
    /// The token at `at` and where it starts.
    token: Token<'a>,
    start: usize,
    env: &'a Env,
    used: &'u mut Vec<String>,
    depth: u32,
    /// Inside the branch of `?:`, `&&` or `||` that is not taken: names and types are still checked, arithmetic errors are not.
    dead: u32,
}

type Result1 = Result<Data, ExprError>;

impl<'a, 'u> Parser<'a, 'u> {
    fn new(text: &'a str, env: &'a Env, used: &'u mut Vec<String>) -> Self {
        Parser { text, at: 0, token: Token::End, start: 0, env, used, depth: 0, dead: 0 }
    }

    fn whole(mut self) -> Result1 {
        self.next()?;
        if self.token == Token::End {
            return Err(self.fail(0, "an empty expression"));
        }
        let value = self.ternary()?;
        if self.token != Token::End {
            return Err(self.fail(self.start, "something is left over after the expression"));
        }
        Ok(value)
    }

    fn fail(&self, start: usize, message: impl Into<String>) -> ExprError {
        ExprError { start, end: self.at.max(start + 1).min(self.text.len().max(start)), message: message.into(), unknown: None }
    }

    fn next(&mut self) -> Result<(), ExprError> {
        let rest = &self.text[self.at..];
        let blank = rest.len() - rest.trim_start().len();
        self.at += blank;
        self.start = self.at;
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            self.token = Token::End;
            return Ok(());
        };
        if first.is_ascii_digit() {
            let n = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += n;
            self.token =
                Token::Number(number(&rest[..n]).ok_or_else(|| self.fail(self.start, format!("`{}` is not a number", &rest[..n])))?);
        } else if first.is_ascii_alphabetic() || first == '_' {
            let bytes = rest.as_bytes();
            let inside = |i: usize| {
                bytes[i].is_ascii_alphanumeric()
                    || bytes[i] == b'_'
                    || (bytes[i] == b'-' && bytes.get(i + 1).is_some_and(u8::is_ascii_alphabetic))
            };
            let n = (0..bytes.len()).find(|&i| !inside(i)).unwrap_or(bytes.len());
            self.at += n;
            self.token = Token::Name(&rest[..n]);
        } else if first == '\'' {
            let n = rest[1..].find('\'').ok_or_else(|| self.fail(self.start, "this `'` is not closed"))?;
            self.at += n + 2;
            self.token = Token::Text(&rest[1..1 + n]);
        } else if let Some(op) = OPERATORS.iter().find(|o| rest.starts_with(**o)) {
            self.at += op.len();
            self.token = Token::Op(op);
        } else {
            self.at += first.len_utf8();
            return Err(self.fail(self.start, format!("`{first}` means nothing in an expression")));
        }
        Ok(())
    }

    fn take(&mut self, op: &'static str) -> Result<bool, ExprError> {
        let found = self.token == Token::Op(op);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn ternary(&mut self) -> Result1 {
        self.depth += 1;
        if self.depth > 40 {
            return Err(self.fail(self.start, "the expression nests too deep"));
        }
        let start = self.start;
        let condition = self.binary(0)?;
        let value = if self.take("?")? {
            let yes = self.truth(condition, start)?;
            self.dead += u32::from(!yes);
            let a = self.ternary()?;
            self.dead -= u32::from(!yes);
            if !self.take(":")? {
                return Err(self.fail(self.start, "`?` wants a `:`"));
            }
            self.dead += u32::from(yes);
            let b = self.ternary()?;
            self.dead -= u32::from(yes);
            if yes { a } else { b }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    fn binary(&mut self, level: usize) -> Result1 {
        const LEVELS: [&[&str]; 10] = [
            &["||"],
            &["&&"],
            &["|"],
            &["^"],
            &["&"],
            &["==", "!="],
            &["<", "<=", ">", ">="],
            &["<<", ">>"],
            &["+", "-"],
            &["*", "/", "%"],
        ];
        if level == LEVELS.len() {
            return self.unary();
        }
        let start = self.start;
        let mut left = self.binary(level + 1)?;
        while let Token::Op(op) = self.token
            && LEVELS[level].contains(&op)
        {
            self.next()?;
            if op == "&&" || op == "||" {
                let known = self.truth(left, start)?;
                let skip = known == (op == "||");
                self.dead += u32::from(skip);
                let right_start = self.start;
                let right = self.binary(level + 1)?;
                let right = self.truth(right, right_start)?;
                self.dead -= u32::from(skip);
                left = Data::Bool(if skip { known } else { right });
            } else {
                let right = self.binary(level + 1)?;
                left = self.apply(op, left, right, start)?;
            }
        }
        Ok(left)
    }

    fn truth(&self, value: Data, start: usize) -> Result<bool, ExprError> {
        match value {
            Data::Bool(b) => Ok(b),
            Data::Int(v) => Ok(v != 0),
            other => Err(self.fail(start, format!("a condition is wanted, this is {}", other.kind()))),
        }
    }

    fn apply(&self, op: &str, left: Data, right: Data, start: usize) -> Result1 {
        if let "==" | "!=" = op {
            let same = match (left.int(), right.int()) {
                (Some(a), Some(b)) => a == b,
                _ => left == right,
            };
            return Ok(Data::Bool(same == (op == "==")));
        }
        let int = |v: &Data| v.int().ok_or_else(|| self.fail(start, format!("`{op}` wants numbers, {v} is {}", v.kind())));
        let (a, b) = (int(&left)?, int(&right)?);
        let shift = || u32::try_from(b).ok().filter(|n| *n < 127);
        let value = match op {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "/" => a.checked_div(b),
            "%" => a.checked_rem(b),
            "<<" => shift().and_then(|n| a.checked_mul(1i128 << n)),
            ">>" => shift().map(|n| a >> n),
            "&" => Some(a & b),
            "|" => Some(a | b),
            "^" => Some(a ^ b),
            "<" => return Ok(Data::Bool(a < b)),
            "<=" => return Ok(Data::Bool(a <= b)),
            ">" => return Ok(Data::Bool(a > b)),
            _ => return Ok(Data::Bool(a >= b)),
        };
        match value {
            Some(v) => Ok(Data::Int(v)),
            None if self.dead > 0 => Ok(Data::Int(0)),
            None if b == 0 => Err(self.fail(start, "division by zero")),
            None => Err(self.fail(start, format!("the result of `{op}` does not fit 128 bits"))),
        }
    }

    fn unary(&mut self) -> Result1 {
        let start = self.start;
        // Not recursive, so that no row of signs can exhaust the stack.
        let mut signs = Vec::new();
        while let Token::Op(op @ ("-" | "~" | "!")) = self.token {
            signs.push(op);
            self.next()?;
        }
        let mut value = self.primary()?;
        for op in signs.into_iter().rev() {
            let int = |v: &Data| v.int().ok_or_else(|| self.fail(start, format!("`{op}` wants a number, this is {}", v.kind())));
            value = match op {
                "!" => Data::Bool(!self.truth(value, start)?),
                "~" => Data::Int(!int(&value)?),
                _ => Data::Int(int(&value)?.checked_neg().ok_or_else(|| self.fail(start, "the number does not fit 128 bits"))?),
            };
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result1 {
        let start = self.start;
        let value = match self.token.clone() {
            Token::Number(v) => Data::Int(v),
            Token::Text(t) => Data::Text(t.to_string()),
            Token::Name("true") => Data::Bool(true),
            Token::Name("false") => Data::Bool(false),
            Token::Name(name) => match self.env.get(name) {
                Some(value) => {
                    if !self.used.iter().any(|u| u == name) {
                        self.used.push(name.to_string());
                    }
                    value.data.clone()
                }
                None => {
                    let message = format!("no parameter `{name}` here");
                    return Err(ExprError { unknown: Some(name.to_string()), ..self.fail(start, message) });
                }
            },
            Token::Op("(") => {
                self.next()?;
                let value = self.ternary()?;
                if self.token != Token::Op(")") {
                    return Err(self.fail(start, "this `(` is not closed"));
                }
                value
            }
            Token::Op(_) | Token::End => return Err(self.fail(start, "a number, a parameter or `(` is missing here")),
        };
        self.next()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(text: &str) -> Result<Data, String> {
        let span = crate::source::Span { file: crate::source::FileId(0), start: 0, end: 0 };
        let mut env = Env::new();
        for (name, data) in
            [("i", Data::Int(3)), ("ram-start", Data::Int(0x1000)), ("size", Data::Text("512M".into())), ("b", Data::Int(1))]
        {
            env.insert(name.into(), Arc::new(Value::new(data, span)));
        }
        expand(text, &env, &mut Vec::new()).map_err(|e| e.message)
    }

    #[test]
    fn values() {
        let int = |v| Ok(Data::Int(v));
        assert_eq!(eval("{1 + 2 * 3}"), int(7));
        assert_eq!(eval("{(1 + 2) * 3 % 5}"), int(4));
        assert_eq!(eval("{i-1}"), int(2));
        assert_eq!(eval("{ram-start + 0x10}"), int(0x1010));
        assert_eq!(eval("{size / 2}"), int(256 << 20));
        assert_eq!(eval("{1 << 4 | 3}"), int(19));
        assert_eq!(eval("{-i + ~0}"), int(-4));
        assert_eq!(eval("{i == 3 ? 'run' : 'held'}"), Ok(Data::Text("run".into())));
        assert_eq!(eval("{i > 3 || !(b == 2) && true}"), Ok(Data::Bool(true)));
        assert_eq!(eval("cpu{i}.irq"), Ok(Data::Text("cpu3.irq".into())));
        assert_eq!(eval("{{{i}}}"), Ok(Data::Text("{3}".into())));
        assert_eq!(eval("{b == 0 ? 1 / 0 : 5}"), int(5));
    }

    #[test]
    fn errors() {
        for (text, message) in [
            ("{1 / 0}", "division by zero"),
            ("{1 << 200}", "does not fit"),
            ("{170141183460469231731687303715884105727 + 1}", "does not fit"),
            ("{nope}", "no parameter `nope`"),
            ("{i", "not closed"),
            ("i}", "without"),
            ("{}", "empty"),
            ("{1 2}", "left over"),
            ("{'a' + 1}", "wants numbers"),
            ("{1 ? 2}", "wants a `:`"),
            ("{9z}", "is not a number"),
        ] {
            let got = eval(text).unwrap_err();
            assert!(got.contains(message), "{text}: {got}");
        }
        assert!(eval(&format!("{{{}1{}}}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(eval(&format!("{{{}1}}", "-".repeat(5000))).is_ok());
    }
}
