//! The texts a board came from: files, built-in files and command-line arguments, each addressed by [`Span`]s.

use std::sync::Arc;

/// Which source text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u32);

/// A stretch of a source text, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Span {
    /// The text.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// One source text.
#[derive(Clone, Debug)]
pub struct Source {
    /// What to call it in messages: a path, or the argument as typed (`--set ddr.size=1G`).
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// All texts of one board.
#[derive(Clone, Default, Debug)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        self.0.push(Source { name: name.into(), text: text.into() });
        FileId(self.0.len() as u32 - 1)
    }
    /// All of them, in the order they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
    /// The text of `file`; empty if there is no such file.
    pub fn text(&self, file: FileId) -> &str {
        self.0.get(file.0 as usize).map_or("", |s| &s.text)
    }
    /// The name of `file`.
    pub fn name(&self, file: FileId) -> &str {
        self.0.get(file.0 as usize).map_or("?", |s| &s.name)
    }
    /// What `span` covers.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or("")
    }
    /// Line and column of the first byte, both from 1; columns count characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = self.text(span.file);
        let mut at = (span.start as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
    /// `file:line`, as `explain` prints it; only the name for one-line sources such as arguments.
    pub fn place(&self, span: Span) -> String {
        let name = self.name(span.file);
        if name.starts_with("--") { name.to_string() } else { format!("{name}:{}", self.line_column(span).0) }
    }
}
