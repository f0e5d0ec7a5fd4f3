//! Properties of a type: known, of the right kind, in range, none missing; defaults filled in.

use super::Planner;
use crate::diagnostic::{Diagnostic, suggest};
use crate::source::Span;
use crate::syntax::Name;
use crate::tree::{self, Data};
use emu_machine::schema::{PropKind, PropSpec, Props, Value};

impl Planner<'_> {
    pub(super) fn props(&mut self, owner: &str, span: Span, what: &str, specs: &[PropSpec], given: &[(Name, tree::Value)]) -> Props {
        let mut props = Props::default();
        for (name, value) in given {
            let Some(spec) = specs.iter().find(|s| s.name == name.text) else {
                let d = Diagnostic::error("unknown-property", format!("{what} has no property `{}`", name.text)).at(name.span, "");
                let d = if specs.is_empty() { d.help("it has none") } else { d };
                self.report(d.maybe_help(suggest(&name.text, "it has", specs.iter().map(|s| s.name))));
                continue;
            };
            if value.data == Data::Bad || value.data == Data::Null {
                props.0.extend(spec.default.and_then(|d| default(spec.kind, d)).map(|v| (spec.name.to_string(), v)));
                continue;
            }
            // An argument has no quotes to tell text from a number; the property's kind does.
            let argument = self.board.sources.name(value.span.file).starts_with("--set");
            let data = match (&value.data, spec.kind) {
                (Data::Int(_), PropKind::Text | PropKind::Choice(_)) if argument => Data::Text(self.board.sources.slice(value.span).into()),
                (data, _) => data.clone(),
            };
            match typed(spec.kind, &data) {
                Ok(v) => {
                    props.0.insert(spec.name.to_string(), v);
                }
                Err((code, rule, help)) => {
                    let d = Diagnostic::error(code, format!("`{}` of `{owner}` {rule}", name.text)).at(value.span, "").because(value);
                    self.report(d.maybe_help(help));
                    props.0.extend(spec.default.and_then(|d| default(spec.kind, d)).map(|v| (spec.name.to_string(), v)));
                }
            }
        }
        for spec in specs {
            if props.0.contains_key(spec.name) || given.iter().any(|(n, _)| n.text == spec.name) {
                continue;
            }
            match spec.default.and_then(|d| default(spec.kind, d)) {
                Some(v) => {
                    props.0.insert(spec.name.to_string(), v);
                }
                None => {
                    let d = Diagnostic::error("missing-property", format!("`{owner}` needs the property `{}`: {}", spec.name, spec.doc));
                    self.report(
                        d.at(span, format!("{what} has no default for it")).help(format!("add `set {}=...` inside its braces", spec.name)),
                    );
                }
            }
        }
        props
    }
}

type Wrong = (&'static str, String, Option<String>);

fn typed(kind: PropKind, data: &Data) -> Result<Value, Wrong> {
    let mismatch =
        |want: &str, help: &str| Err(("type-mismatch", format!("wants {want}, this is {}", data.kind()), Some(help.to_string())));
    match kind {
        PropKind::Int { min, max } => match data.int() {
            Some(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            Some(_) => {
                let help = format!("choose from {} to {}", Data::Int(min), Data::Int(max));
                Err(("value-range", format!("is out of range: {} to {}, this is {data}", Data::Int(min), Data::Int(max)), Some(help)))
            }
            None => mismatch("a number", "write digits, without quotes"),
        },
        PropKind::Size { min, max } => match data.int() {
            Some(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            Some(n) => {
                let text = tree::size_text;
                let help = format!("choose from {} to {}", text(min), text(max));
                Err(("value-range", format!("is out of range: {} to {}, this is {}", text(min), text(max), text(n)), Some(help)))
            }
            None => mismatch("a size", "write bytes, or a number with K, M or G in quotes, as in `\"512M\"`"),
        },
        PropKind::Bool => match data {
            Data::Bool(b) => Ok(Value::Bool(*b)),
            Data::Text(t) if t == "true" || t == "false" => {
                Err(("type-mismatch", "wants a boolean, this is text".into(), Some(format!("write `#{t}`"))))
            }
            _ => mismatch("a boolean", "write `#true` or `#false`"),
        },
        PropKind::Text => match data {
            Data::Text(t) => Ok(Value::Text(t.clone())),
            _ => mismatch("text", &format!("put it in quotes: `\"{}\"`", data.to_string().trim_matches('"'))),
        },
        PropKind::Choice(words) => match data {
            Data::Text(t) if words.contains(&t.as_str()) => Ok(Value::Text(t.clone())),
            Data::Text(t) => Err(("bad-choice", format!("cannot be `{t}`"), suggest(t, "it may be", words.iter().copied()))),
            _ => mismatch("a word", &format!("it may be: {}", words.join(", "))),
        },
    }
}

/// A type's own default, in board-file notation.
fn default(kind: PropKind, text: &str) -> Option<Value> {
    match kind {
        PropKind::Int { .. } | PropKind::Size { .. } => tree::number(text).map(Value::Int),
        PropKind::Bool => Some(Value::Bool(text.trim_start_matches('#') == "true")),
        PropKind::Text | PropKind::Choice(_) => Some(Value::Text(text.to_string())),
    }
}
