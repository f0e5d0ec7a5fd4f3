//! What is wrong with a specification, in the reader's words, with the places.

use crate::spec::{File, Span};
use std::fmt::{self, Write};

/// One problem.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// `isa::unknown-name` ...
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where, and what to say there; the first is the primary place.
    pub labels: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A problem at one place.
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { code, message: message.into(), labels: vec![(span, String::new())], help: None }
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Adds another place.
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Diagnostic {
        self.labels.push((span, label.into()));
        self
    }
}

/// All problems of a specification, with its sources.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// In the order found.
    pub all: Vec<Diagnostic>,
    /// Sources.
    pub files: Vec<File>,
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.all {
            f.write_str(&render(d, &self.files))?;
        }
        Ok(())
    }
}

/// Line (from 1), column (from 1, in characters) and text of the line of a span's beginning.
pub fn locate(files: &[File], span: Span) -> Option<(&str, usize, usize, &str)> {
    let file = files.get(span.file as usize)?;
    let at = (span.start as usize).min(file.text.len());
    let before = &file.text[..at];
    let begin = before.rfind('\n').map_or(0, |i| i + 1);
    let end = file.text[at..].find('\n').map_or(file.text.len(), |i| at + i);
    Some((&file.name, before.matches('\n').count() + 1, file.text[begin..at].chars().count() + 1, &file.text[begin..end]))
}

/// Plain text: message, places with their lines, help.
pub fn render(d: &Diagnostic, files: &[File]) -> String {
    let mut out = format!("error[{}]: {}\n", d.code, d.message);
    for (i, (span, label)) in d.labels.iter().enumerate() {
        let Some((file, line, column, text)) = locate(files, *span) else { continue };
        let length = (span.end.saturating_sub(span.start) as usize).clamp(1, text.chars().count().saturating_sub(column - 1).max(1));
        let mark = if i == 0 { "^" } else { "-" };
        let _ = writeln!(out, "  {file}:{line}:{column}");
        let _ = writeln!(out, "{line:5} | {text}");
        let _ = writeln!(out, "      | {}{} {label}", " ".repeat(column - 1), mark.repeat(length));
    }
    if let Some(help) = &d.help {
        let _ = writeln!(out, "  help: {help}");
    }
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}
