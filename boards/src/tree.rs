//! The elaborated tree: nodes without parameters, templates or includes, whose values know who set them.

use crate::source::Span;
use crate::syntax::Name;
use std::fmt;
use std::sync::Arc;

/// A plain value.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// An integer.
    Int(i128),
    /// A boolean.
    Bool(bool),
    /// Text.
    Text(String),
    /// `#null`.
    Null,
    /// It could not be computed; that has been reported.
    Bad,
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Int(v) if *v >= 0x1_0000 || *v <= -0x1_0000 => write!(f, "{v:#x}"),
            Data::Int(v) => write!(f, "{v}"),
            Data::Bool(b) => write!(f, "#{b}"),
            Data::Text(t) => write!(f, "\"{t}\""),
            Data::Null | Data::Bad => write!(f, "#null"),
        }
    }
}

impl Data {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Data::Int(_) => "a number",
            Data::Bool(_) => "a boolean",
            Data::Text(_) => "text",
            Data::Null | Data::Bad => "#null",
        }
    }
    /// As an integer: a number, a size with a unit (`512M`), or a number in text.
    pub fn int(&self) -> Option<i128> {
        match self {
            Data::Int(v) => Some(*v),
            Data::Text(t) => number(t),
            _ => None,
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// The value.
    pub data: Data,
    /// Where it was written.
    pub span: Span,
    /// Parameters its expression used.
    pub params: Vec<(String, Arc<Value>)>,
    /// What it replaced.
    pub before: Option<Box<Value>>,
}

impl Value {
    /// A value written at `span`.
    pub fn new(data: Data, span: Span) -> Value {
        Value { data, span, params: Vec::new(), before: None }
    }
    /// The text; empty if it is none.
    pub fn text(&self) -> &str {
        match &self.data {
            Data::Text(t) => t,
            _ => "",
        }
    }
    /// As text whatever it is: numbers in decimal.
    pub fn to_text(&self) -> String {
        match &self.data {
            Data::Int(v) => v.to_string(),
            Data::Bool(b) => b.to_string(),
            Data::Text(t) => t.clone(),
            Data::Null | Data::Bad => "none".into(),
        }
    }
}

/// A node with all its values computed.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// What kind of node.
    pub kind: Name,
    /// Arguments.
    pub args: Vec<Value>,
    /// Properties in order.
    pub props: Vec<(Name, Value)>,
    /// Children.
    pub children: Vec<Item>,
    /// The `use` or `include` nodes it came through, innermost first.
    pub via: Vec<Span>,
}

impl Item {
    /// The property `name`.
    pub fn prop(&self, name: &str) -> Option<&Value> {
        self.props.iter().find(|(n, _)| n.text == name).map(|(_, v)| v)
    }
    /// The first argument as text: its name, for named things.
    pub fn name(&self) -> &str {
        self.args.first().map_or("", Value::text)
    }
    /// Where to point when it is the whole thing: its name, or its kind.
    pub fn span(&self) -> Span {
        self.args.first().map_or(self.kind.span, |a| a.span)
    }
    /// Children of one kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Item> {
        self.children.iter().filter(move |c| c.kind.text == kind)
    }
    /// Sets a property, keeping what was there as history.
    pub fn set_prop(&mut self, name: &Name, mut value: Value) {
        match self.props.iter_mut().find(|(n, _)| n.text == name.text) {
            Some((_, old)) => {
                value.before = Some(Box::new(old.clone()));
                *old = value;
            }
            None => self.props.push((name.clone(), value)),
        }
    }
}

/// A number as people write it: decimal, `0x`, `0o`, `0b`, with `_`, and a unit `K M G T` (powers of 1024).
pub fn number(text: &str) -> Option<i128> {
    let text: String = text.trim().chars().filter(|c| *c != '_').collect();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    if !text.is_ascii() || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let radix = |prefix: &str, radix: u32| text.strip_prefix(prefix).map(|t| i128::from_str_radix(t, radix).ok());
    let value = match radix("0x", 16).or_else(|| radix("0X", 16)).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)) {
        Some(v) => v?,
        None => {
            let text = text.strip_suffix("iB").unwrap_or(text);
            let (digits, shift) = match text.bytes().last()? {
                b'K' | b'k' => (&text[..text.len() - 1], 10),
                b'M' | b'm' => (&text[..text.len() - 1], 20),
                b'G' | b'g' => (&text[..text.len() - 1], 30),
                b'T' | b't' => (&text[..text.len() - 1], 40),
                _ => (text, 0),
            };
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            digits.parse::<i128>().ok()?.checked_mul(1 << shift)?
        }
    };
    Some(if negative { -value } else { value })
}

/// A number of bytes in the largest unit that divides it.
pub fn size_text(bytes: i128) -> String {
    for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        if bytes != 0 && bytes % (1 << shift) == 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A frequency in Hz, MHz or kHz.
pub fn hertz_text(hz: u64) -> String {
    match hz {
        0 => "stopped".into(),
        _ if hz >= 1_000_000 => format!("{}.{:03} MHz", hz / 1_000_000, hz / 1000 % 1000),
        _ if hz >= 1000 => format!("{}.{:03} kHz", hz / 1000, hz % 1000),
        _ => format!("{hz} Hz"),
    }
}
