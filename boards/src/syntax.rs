//! KDL text -> nodes with the span of every name and value.
//!
//! The `kdl` crate parses; what it cannot say well is found here first by a light scan of the words: bare ranges and sizes,
//! braces that do not match, nesting deep enough to hurt. Of its own errors only the first of each top-level node is kept,
//! since the rest are echoes.

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use kdl::{KdlDocument, KdlNode, KdlValue};

/// Deepest nesting of braces or comments.
const MAX_NESTING: usize = 48;

/// Longest line, bytes: the parser recovers from errors by recursion, as deep as a line has words.
const MAX_LINE: usize = 4096;

/// A name and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Name {
    /// The text.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A value as written.
#[derive(Clone, PartialEq, Debug)]
pub struct RawValue {
    /// The KDL value.
    pub value: KdlValue,
    /// Where it stands, without the property's name.
    pub span: Span,
    /// True for `#"raw strings"#`, in which `{` means itself.
    pub raw: bool,
}

/// A node as written.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What kind of node.
    pub name: Name,
    /// Arguments.
    pub args: Vec<RawValue>,
    /// Properties in order.
    pub props: Vec<(Name, RawValue)>,
    /// Children.
    pub children: Vec<Node>,
}

/// Parses `text`.
pub fn parse(file: FileId, text: &str) -> Result<Vec<Node>, Vec<Diagnostic>> {
    let scan = Scan::run(file, text);
    if !scan.problems.is_empty() {
        return Err(scan.problems);
    }
    match KdlDocument::parse_v2(text) {
        Ok(document) => {
            let mut problems = Vec::new();
            let nodes = document.nodes().iter().map(|n| convert(file, text, n, &mut problems)).collect();
            if problems.is_empty() { Ok(nodes) } else { Err(problems) }
        }
        Err(error) => Err(syntax_errors(file, text, &error.diagnostics, &scan.top_ends)),
    }
}

fn convert(file: FileId, text: &str, node: &KdlNode, problems: &mut Vec<Diagnostic>) -> Node {
    let at = |s: miette::SourceSpan| Span { file, start: s.offset() as u32, end: (s.offset() + s.len()) as u32 };
    let mut out = Node {
        name: Name { text: node.name().value().to_string(), span: at(node.name().span()) },
        args: Vec::new(),
        props: Vec::new(),
        children: Vec::new(),
    };
    for entry in node.entries() {
        let mut span = at(entry.span());
        if let Some(name) = entry.name() {
            // The entry covers `name = value`; the value begins after the equals sign.
            let from = at(name.span()).end as usize;
            let rest = text.get(from..span.end as usize).unwrap_or("");
            let skip = rest.find('=').map_or(0, |i| i + 1);
            let blank = rest[skip..].len() - rest[skip..].trim_start().len();
            span.start = (from + skip + blank) as u32;
        }
        let raw = text.get(span.start as usize..).is_some_and(|t| t.starts_with("#\"") || t.starts_with("##"));
        let value = RawValue { value: entry.value().clone(), span, raw };
        match entry.name() {
            None => out.args.push(value),
            Some(name) => {
                let name = Name { text: name.value().to_string(), span: at(name.span()) };
                if let Some((first, _)) = out.props.iter().find(|(n, _)| n.text == name.text) {
                    problems.push(
                        Diagnostic::error("duplicate", format!("`{}` is given twice in this node", name.text))
                            .at(name.span, "again here")
                            .and(first.span, "first here")
                            .help("remove one of them"),
                    );
                }
                out.props.push((name, value));
            }
        }
    }
    if let Some(children) = node.children() {
        out.children = children.nodes().iter().map(|n| convert(file, text, n, problems)).collect();
    }
    out
}

/// Keeps the first telling error of each top-level node.
fn syntax_errors(file: FileId, text: &str, found: &[kdl::KdlDiagnostic], top_ends: &[usize]) -> Vec<Diagnostic> {
    let echo = |m: &str| m.starts_with("No closing") || m.starts_with("Closing '}'") || m.starts_with("Expected end of document");
    let mut list: Vec<(usize, bool, Diagnostic)> = found
        .iter()
        .map(|d| {
            let message = d.message.clone().unwrap_or_else(|| "not KDL".into());
            let (start, end) = (d.span.offset(), d.span.offset() + d.span.len());
            // For a bad value the parser's span runs from the node's start up to the value.
            let (start, end) = if d.span.len() > 1 && message.contains("property value") { word_at(text, end) } else { (start, end) };
            let mut start = start;
            let value = message.contains("property value");
            if value {
                let before = text[..floor(text, start)].rfind(|c: char| c.is_whitespace() || c == '=').map_or(0, |i| i + 1);
                start = before.min(start);
            }
            let line_end = text[floor(text, start)..].find('\n').map_or(text.len(), |i| floor(text, start) + i);
            let span = Span { file, start: start as u32, end: end.min(line_end.max(start + 1)) as u32 };
            let mut out =
                Diagnostic::error("syntax", format!("not KDL: {}", lower_first(&message))).at(span, d.label.clone().unwrap_or_default());
            out.help = d.help.clone();
            if value {
                let word = text.get(start..span.end as usize).unwrap_or("").trim();
                out.message = if word.is_empty() { "a value is missing after `=`".into() } else { format!("`{word}` is no KDL value") };
                out.primary = Some(crate::diagnostic::Label { span, text: String::new() });
                out.help = Some("numbers are `12`, `0x7f` or `0b101`; put text in quotes".into());
            }
            (start, echo(&message), out)
        })
        .collect();
    list.sort_by_key(|(start, echo, _)| (top_ends.partition_point(|e| e <= start), *echo, *start));
    list.dedup_by_key(|(start, _, _)| top_ends.partition_point(|e| e <= start));
    list.into_iter().map(|(_, _, d)| d).collect()
}

fn lower_first(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or(String::new(), |f| f.to_lowercase().collect::<String>() + c.as_str())
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn word_at(text: &str, at: usize) -> (usize, usize) {
    let at = floor(text, at);
    let word = text[at..].find(|c: char| c.is_whitespace() || "{};".contains(c)).unwrap_or(text.len() - at);
    (at, at + word.max(1))
}

/// The light scan: words outside strings and comments, and braces.
struct Scan {
    problems: Vec<Diagnostic>,
    /// Byte offsets at which a top-level node with children ends.
    top_ends: Vec<usize>,
}

impl Scan {
    fn run(file: FileId, text: &str) -> Scan {
        let span = |start: usize, end: usize| Span { file, start: start as u32, end: end as u32 };
        let mut scan = Scan { problems: Vec::new(), top_ends: Vec::new() };
        let bytes = text.as_bytes();
        if let Some(line) = text.lines().find(|l| l.len() > MAX_LINE) {
            let start = line.as_ptr() as usize - text.as_ptr() as usize;
            let d = Diagnostic::error("long-line", format!("this line has {} bytes; the limit is {MAX_LINE}", line.len()));
            scan.problems.push(d.at(span(start, start + 1), "").help("end lines within a node with `\\`, or use several nodes"));
            return scan;
        }
        let mut open: Vec<usize> = Vec::new();
        let mut dashes = 0;
        // The `{` of the first block whose `}` stands further left than its line: likely the one that is not closed.
        let mut suspect = None;
        let indent = |at: usize| {
            let line = text[..at].rfind('\n').map_or(0, |i| i + 1);
            text[line..].bytes().take_while(|b| *b == b' ' || *b == b'\t').count()
        };
        let mut i = 0;
        while i < bytes.len() {
            let rest = &text[i..];
            let c = bytes[i];
            if rest.starts_with("/-") {
                dashes += 1;
                if dashes > MAX_NESTING {
                    scan.problems.push(Diagnostic::error("nesting", "too many `/-` in a row").at(span(i, i + 2), "here"));
                    return scan;
                }
                i += 2;
                continue;
            }
            if !c.is_ascii_whitespace() {
                dashes = 0;
            }
            if rest.starts_with("//") {
                i += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match comment_end(rest) {
                    Some(n) => i += n,
                    None => {
                        let d = Diagnostic::error("syntax", format!("this comment is not closed, or nests deeper than {MAX_NESTING}"));
                        scan.problems.push(d.at(span(i, i + 2), "opened here").help("close it with `*/`"));
                        return scan;
                    }
                }
            } else if c == b'"' || c == b'#' {
                let hashes = rest.len() - rest.trim_start_matches('#').len();
                i += hashes;
                if text[i..].starts_with('"') {
                    let n = string_end(&text[i..], hashes);
                    let string = &text[i..floor(text, i + n)];
                    let line = string.lines().next().unwrap_or("");
                    if !string.starts_with("\"\"\"") && line.len() < string.trim_end_matches(['\n', '\r']).len() && !line.ends_with('\\') {
                        let d = Diagnostic::error("syntax", "this string does not end on its line")
                            .at(span(i, i + line.len().max(1)), "begins here")
                            .help("a `\"` is missing, here or before; text of several lines stands between `\"\"\"` lines");
                        scan.problems.push(d);
                        return scan;
                    }
                    i = (i + n).min(text.len());
                }
                i = floor(text, i);
            } else if c == b'{' {
                open.push(i);
                if open.len() > MAX_NESTING {
                    let d = Diagnostic::error("nesting", format!("nodes nest deeper than {MAX_NESTING}"));
                    scan.problems.push(d.at(span(i, i + 1), "one level too many"));
                    return scan;
                }
                i += 1;
            } else if c == b'}' {
                i += 1;
                let closed = open.pop();
                if let Some(o) = closed
                    && suspect.is_none()
                    && indent(i - 1) < indent(o)
                {
                    suspect = Some(o);
                }
                let after = text[i..].trim_start_matches([' ', '\t']);
                if closed.is_some() && after.starts_with(|c: char| c == '"' || is_word(c)) {
                    let at = text.len() - after.len();
                    let d = Diagnostic::error("syntax", "a node that follows a `}` on its line needs a `;` between");
                    scan.problems
                        .push(d.at(span(at, at + word_length(after).max(1)), "the next node").help("write `};`, or begin a new line"));
                    return scan;
                }
                match closed {
                    Some(_) if open.is_empty() => scan.top_ends.push(i),
                    Some(_) => {}
                    None => {
                        let d = Diagnostic::error("syntax", "this `}` closes nothing");
                        scan.problems.push(d.at(span(i - 1, i), "no `{` is open").help("remove it, or look for a `}` too many above"));
                        return scan;
                    }
                }
            } else if is_word(rest.chars().next().unwrap_or(' ')) {
                let n = word_length(rest);
                scan.word(text, span(i, i + n));
                i += n;
            } else {
                i += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        if let Some(at) = open.last().filter(|_| scan.problems.is_empty()).map(|last| suspect.unwrap_or(*last)) {
            let d = Diagnostic::error("syntax", "this `{` is never closed");
            scan.problems.push(d.at(span(at, at + 1), "opened here").help("add the missing `}`, or look for one missing inside"));
        }
        scan
    }

    /// A bare word that begins like a number but is none: what people write before they know KDL.
    fn word(&mut self, text: &str, span: Span) {
        let word = &text[span.start as usize..span.end as usize];
        if !word.starts_with(|c: char| c.is_ascii_digit()) {
            return;
        }
        let before = &text[floor(text, (span.start as usize).saturating_sub(200))..span.start as usize];
        let before = before.rsplit(['\n', ';', '{']).next().unwrap_or("");
        let key = before.rsplit(char::is_whitespace).next().unwrap_or("");
        let node = before.split_whitespace().last().filter(|_| key.is_empty()).unwrap_or("");
        let written = if key.is_empty() { format!("{node} {word}") } else { format!("{key}{word}") };
        let fixed = if key.is_empty() { format!("{node} \"{word}\"") } else { format!("{key}\"{word}\"") };
        let (written, fixed) = (written.trim(), fixed.trim());
        if word.contains("..") {
            self.problems.push(
                Diagnostic::error("bad-range", format!("`{written}` is not KDL: a range must be quoted"))
                    .at(span, "a bare range")
                    .help(format!("quote it: `{fixed}`")),
            );
        } else if word.bytes().last().is_some_and(|b| b"KMGTkmgt".contains(&b))
            && word[..word.len() - 1].bytes().all(|b| b.is_ascii_digit() || b == b'_')
        {
            self.problems.push(
                Diagnostic::error("bad-size", format!("`{written}` is not KDL: a size with a unit must be quoted"))
                    .at(span, "a bare size")
                    .help(format!("quote it: `{fixed}`")),
            );
        }
    }
}

fn is_word(c: char) -> bool {
    !c.is_whitespace() && !"{}()[]/\\\"#;=".contains(c)
}

/// The length of the word at the start of `text`; `..=` belongs to it.
fn word_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    text.char_indices().find(|&(i, c)| !(is_word(c) || c == '=' && i >= 2 && &bytes[i - 2..i] == b"..")).map_or(text.len(), |(i, _)| i)
}

fn comment_end(text: &str) -> Option<usize> {
    let (mut depth, mut i) = (0usize, 0usize);
    let bytes = text.as_bytes();
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => {
                depth += 1;
                i += 2;
            }
            b"*/" => {
                depth -= 1;
                i += 2;
            }
            _ => i += 1,
        }
        if depth == 0 {
            return Some(i);
        }
        if depth > MAX_NESTING {
            return None;
        }
    }
    None
}

/// The length of the string at the start of `text` (which begins with a quote), with its closing hashes.
fn string_end(text: &str, hashes: usize) -> usize {
    let quote = if text.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
    let close = format!("{quote}{}", "#".repeat(hashes.min(256)));
    let mut i = quote.len();
    while i < text.len() {
        if !text.is_char_boundary(i) {
            i += 1;
        } else if hashes == 0 && text.as_bytes()[i] == b'\\' {
            i += 2;
        } else if text[i..].starts_with(&close) {
            return i + close.len();
        } else {
            i += 1;
        }
    }
    text.len()
}
