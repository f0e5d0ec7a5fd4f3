//! What is wrong with a board: a code, the place, the place it conflicts with, and the edit that helps.

use crate::source::{Sources, Span};
use serde_json::json;
use std::fmt::Write;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The board cannot be used.
    Error,
    /// It can, but probably does not mean what its author wants.
    Warning,
}

/// A place and what to say there.
#[derive(Clone, PartialEq, Debug)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// The words under it; may be empty.
    pub text: String,
}

/// One problem.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What kind, without the `board::` in front: stable, for editors and tests.
    pub code: &'static str,
    /// One line naming the thing and the rule.
    pub message: String,
    /// Where; `None` only if there is no text at all (a file that cannot be read).
    pub primary: Option<Label>,
    /// Other places that matter: the other definition, where a value was set.
    pub related: Vec<Label>,
    /// Facts.
    pub notes: Vec<String>,
    /// A concrete edit.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with no place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            primary: None,
            related: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }
    /// A warning with no place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }
    /// The main place.
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.primary = Some(Label { span, text: text.into() });
        self
    }
    /// Another place; one that is the main place already is not repeated.
    pub fn and(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        if self.primary.as_ref().is_none_or(|p| p.span != span) {
            self.related.push(Label { span, text: text.into() });
        }
        self
    }
    /// The places where the parameters a value was computed from were set.
    pub fn because(mut self, value: &crate::tree::Value) -> Diagnostic {
        for (name, source) in &value.params {
            self = self.and(source.span, format!("`{name}` is {} here", source.data));
        }
        self
    }
    /// A fact.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }
    /// The edit that helps.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }
    /// As a `miette` report, for programs that render all their errors so. It shows one text: places in others become notes.
    pub fn to_miette(&self, sources: &Sources) -> miette::Report {
        let mut out = miette::MietteDiagnostic::new(self.message.clone()).with_code(format!("board::{}", self.code));
        if self.severity == Severity::Warning {
            out = out.with_severity(miette::Severity::Warning);
        }
        let file = self.primary.as_ref().map(|p| p.span.file);
        let mut notes = self.notes.clone();
        for label in self.primary.iter().chain(&self.related) {
            if Some(label.span.file) == file {
                let text = (!label.text.is_empty()).then(|| label.text.clone());
                let range = label.span.start as usize..label.span.end as usize;
                out = out.and_label(miette::LabeledSpan::new_with_span(text, range));
            } else {
                notes.push(format!("{}: {}", sources.place(label.span), label.text));
            }
        }
        let help: Vec<String> = notes.into_iter().chain(self.help.clone()).collect();
        if !help.is_empty() {
            out = out.with_help(help.join("\n"));
        }
        let report = miette::Report::new(out);
        match file {
            Some(file) => report.with_source_code(miette::NamedSource::new(sources.name(file), sources.text(file).to_string())),
            None => report,
        }
    }
    /// The same, if there is one.
    pub fn maybe_help(mut self, text: Option<String>) -> Diagnostic {
        self.help = text.or(self.help);
        self
    }
}

/// True if one of them is an error.
pub fn has_errors(list: &[Diagnostic]) -> bool {
    list.iter().any(|d| d.severity == Severity::Error)
}

/// `did you mean` for `word` among `known`; nothing if none is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |k: &str| {
        let distance = strsim::damerau_levenshtein(&word.to_lowercase(), &k.to_lowercase());
        let longest = word.chars().count().max(k.chars().count()).max(1);
        (distance, longest)
    };
    known
        .into_iter()
        .map(|k| (score(k), k))
        .filter(|((distance, longest), _)| *distance * 5 <= longest * 2 || *distance <= 1)
        .min_by_key(|((distance, _), k)| (*distance, k.len()))
        .map(|(_, k)| k)
}

/// `help` text: the nearest of `known`, or all of them if they are few.
pub fn suggest<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut seen = std::collections::BTreeSet::new();
    known.retain(|k| seen.insert(*k));
    if let Some(near) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        0 => None,
        1..=16 => Some(format!("{what}: {}", known.join(", "))),
        n => Some(format!("{what}: {}, ... ({n} in all)", known[..12].join(", "))),
    }
}

/// The text form: each problem with the lines it is about.
pub fn render(list: &[Diagnostic], sources: &Sources) -> String {
    let mut out = String::new();
    for d in list {
        let kind = if d.severity == Severity::Error { "error" } else { "warning" };
        let _ = writeln!(out, "{kind}[board::{}]: {}", d.code, d.message);
        let labels = || d.primary.iter().chain(&d.related);
        let gutter = labels().map(|l| sources.line_column(l.span).0.to_string().len()).max().unwrap_or(1).max(2);
        for (i, label) in labels().enumerate() {
            let (line, column) = sources.line_column(label.span);
            let arrow = if i == 0 { "-->" } else { ":::" };
            let name = sources.name(label.span.file);
            let _ = match name.starts_with("--") {
                true => writeln!(out, "{:gutter$}{arrow} command line, {}", "", name.split(' ').next().unwrap_or("")),
                false => writeln!(out, "{:gutter$}{arrow} {name}:{line}:{column}", ""),
            };
            let text = sources.text(label.span.file).lines().nth(line - 1).unwrap_or("");
            let (shown, column) = window(text, column - 1);
            let width = sources.slice(label.span).lines().next().unwrap_or("").chars().count();
            let width = width.min(shown.chars().count().saturating_sub(column)).max(1);
            let mark = if i == 0 { "^" } else { "-" };
            let _ = writeln!(out, "{line:gutter$} | {shown}");
            let _ = writeln!(out, "{:gutter$} | {:column$}{} {}", "", "", mark.repeat(width), label.text);
        }
        for note in &d.notes {
            let _ = writeln!(out, "{:gutter$} = note: {note}", "");
        }
        if let Some(help) = &d.help {
            let _ = writeln!(out, "{:gutter$} = help: {help}", "");
        }
        out.push('\n');
    }
    let mut clean: String = out.lines().map(|l| l.trim_end().to_string() + "\n").collect();
    let errors = list.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = list.len() - errors;
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    match (errors, warnings) {
        (0, 0) => {}
        (e, 0) => clean += &format!("{}\n", plural(e, "error")),
        (0, w) => clean += &format!("{}\n", plural(w, "warning")),
        (e, w) => clean += &format!("{}, {}\n", plural(e, "error"), plural(w, "warning")),
    }
    clean
}

/// Cuts a very long line to what is around `column`; tabs become spaces so that the mark stays under its text.
fn window(text: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = if chars.len() > 160 { column.saturating_sub(80) } else { 0 };
    (chars.iter().skip(from).take(160).collect(), column.min(chars.len()) - from.min(column))
}

/// The form for editors: a JSON array; lines and columns count from 1, offsets are bytes.
pub fn to_json(list: &[Diagnostic], sources: &Sources) -> String {
    let place = |l: &Label| {
        let (line, column) = sources.line_column(l.span);
        let end = sources.line_column(Span { start: l.span.end, ..l.span });
        json!({ "file": sources.name(l.span.file), "line": line, "column": column, "end_line": end.0, "end_column": end.1,
                "offset": l.span.start, "end_offset": l.span.end, "text": l.text })
    };
    let all: Vec<_> = list
        .iter()
        .map(|d| {
            json!({ "severity": if d.severity == Severity::Error { "error" } else { "warning" }, "code": format!("board::{}", d.code),
                "message": d.message, "primary": d.primary.as_ref().map(place),
                "related": d.related.iter().map(place).collect::<Vec<_>>(), "notes": d.notes, "help": d.help })
        })
        .collect();
    serde_json::to_string_pretty(&all).unwrap_or_default()
}
