//! A line editor for any stream of bytes that ends at a terminal: arrows, Home and End, Ctrl-A E K U W L, history, completion.
//!
//! Source: ECMA-48 control sequences, as xterm sends its keys. Bytes typed -> [`Editor::feed`] -> what to show, and finished lines.
//! A line longer than the terminal's is not scrolled; the cursor moves by characters, each of one column.

/// Lines of history that are kept.
const MOST_HISTORY: usize = 500;
/// Characters of a line; more are not taken.
const MOST_CHARS: usize = 4096;

/// What becomes of typed bytes, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    /// The terminal is to show this.
    Show(String),
    /// A line is complete.
    Line(String),
    /// Ctrl-D on an empty line: the user leaves.
    Leave,
}

/// Where in a key's sequence the input is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Key {
    #[default]
    Plain,
    /// After ESC.
    Escape,
    /// After ESC [ or ESC O, with the parameters so far.
    Sequence(String),
    /// In the middle of a character of several bytes.
    Utf8(Vec<u8>),
}

/// A line being typed.
#[derive(Clone, Debug, Default)]
pub struct Editor {
    prompt: String,
    line: Vec<char>,
    at: usize,
    history: Vec<String>,
    /// The place in the history that is shown; its length: the new line, which is kept meanwhile.
    shown: usize,
    new: Vec<char>,
    key: Key,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    cr: bool,
    tabbed: bool,
}

impl Editor {
    /// An editor with a prompt.
    pub fn new(prompt: &str) -> Editor {
        Editor { prompt: prompt.to_string(), ..Editor::default() }
    }

    /// Shows the prompt and what is typed so far: after other output.
    pub fn redraw(&self) -> String {
        let back = self.line.len() - self.at;
        let line: String = self.line.iter().collect();
        let mut text = format!("\r\x1b[K{}{line}", self.prompt);
        if back > 0 {
            text += &format!("\x1b[{back}D");
        }
        text
    }

    /// Takes typed bytes. `complete` gives what the part of the line before the cursor may go on with: where its last word begins, in
    /// bytes, and what that may become.
    pub fn feed(&mut self, bytes: &[u8], complete: &mut dyn FnMut(&str) -> (usize, Vec<String>)) -> Vec<Happened> {
        let mut all = Vec::new();
        for byte in bytes {
            let cr = std::mem::replace(&mut self.cr, *byte == b'\r');
            if cr && *byte == b'\n' {
                continue;
            }
            let tabbed = std::mem::take(&mut self.tabbed);
            match std::mem::take(&mut self.key) {
                Key::Plain => self.plain(*byte, tabbed, complete, &mut all),
                Key::Escape => match byte {
                    b'[' | b'O' => self.key = Key::Sequence(String::new()),
                    b'b' => self.go(self.word_before(), &mut all),
                    b'f' => self.go(self.word_after(), &mut all),
                    _ => {}
                },
                Key::Sequence(mut parameters) => match byte {
                    b'0'..=b'9' | b';' if parameters.len() < 8 => {
                        parameters.push(char::from(*byte));
                        self.key = Key::Sequence(parameters);
                    }
                    last => self.sequence(&parameters, *last, &mut all),
                },
                Key::Utf8(mut part) => {
                    part.push(*byte);
                    match std::str::from_utf8(&part) {
                        Ok(text) => text.chars().for_each(|c| self.insert(c, &mut all)),
                        Err(e) if e.error_len().is_none() => self.key = Key::Utf8(part),
                        Err(_) => {}
                    }
                }
            }
        }
        all
    }

    fn show(&self, all: &mut Vec<Happened>) {
        all.push(Happened::Show(self.redraw()));
    }

    fn plain(&mut self, byte: u8, tabbed: bool, complete: &mut dyn FnMut(&str) -> (usize, Vec<String>), all: &mut Vec<Happened>) {
        let control = |c: u8| c & 0x1f;
        match byte {
            b'\r' | b'\n' => self.enter(all),
            0x1b => self.key = Key::Escape,
            b'\t' => self.tab(tabbed, complete, all),
            0x7f | 0x08 => self.erase(self.at.saturating_sub(1), self.at, all),
            c if c == control(b'A') => self.go(0, all),
            c if c == control(b'B') => self.go(self.at.saturating_sub(1), all),
            c if c == control(b'C') => {
                (self.at, self.shown) = (0, self.history.len());
                self.line.clear();
                all.push(Happened::Show("^C\r\n".into()));
                self.show(all);
            }
            c if c == control(b'D') && self.line.is_empty() => all.push(Happened::Leave),
            c if c == control(b'D') => self.erase(self.at, self.at + 1, all),
            c if c == control(b'E') => self.go(self.line.len(), all),
            c if c == control(b'F') => self.go(self.at + 1, all),
            c if c == control(b'K') => self.erase(self.at, self.line.len(), all),
            c if c == control(b'L') => {
                all.push(Happened::Show("\x1b[H\x1b[2J".into()));
                self.show(all);
            }
            c if c == control(b'N') => self.look(self.shown + 1, all),
            c if c == control(b'P') => self.look(self.shown.wrapping_sub(1), all),
            c if c == control(b'U') => self.erase(0, self.at, all),
            c if c == control(b'W') => self.erase(self.word_before(), self.at, all),
            0x20..=0x7e => self.insert(char::from(byte), all),
            0xc2..=0xf4 => self.key = Key::Utf8(vec![byte]),
            _ => {}
        }
    }

    fn sequence(&mut self, parameters: &str, last: u8, all: &mut Vec<Happened>) {
        match (parameters, last) {
            (_, b'A') => self.look(self.shown.wrapping_sub(1), all),
            (_, b'B') => self.look(self.shown + 1, all),
            ("1;5", b'C') => self.go(self.word_after(), all),
            ("1;5", b'D') => self.go(self.word_before(), all),
            (_, b'C') => self.go(self.at + 1, all),
            (_, b'D') => self.go(self.at.saturating_sub(1), all),
            (_, b'H') | ("1" | "7", b'~') => self.go(0, all),
            (_, b'F') | ("4" | "8", b'~') => self.go(self.line.len(), all),
            ("3", b'~') => self.erase(self.at, self.at + 1, all),
            _ => {}
        }
    }

    fn enter(&mut self, all: &mut Vec<Happened>) {
        let line: String = std::mem::take(&mut self.line).into_iter().collect();
        self.at = 0;
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
            if self.history.len() > MOST_HISTORY {
                self.history.remove(0);
            }
        }
        self.shown = self.history.len();
        self.new.clear();
        all.push(Happened::Show("\r\n".into()));
        all.push(Happened::Line(line));
    }

    fn insert(&mut self, c: char, all: &mut Vec<Happened>) {
        if self.line.len() >= MOST_CHARS || c.is_control() {
            return;
        }
        self.line.insert(self.at, c);
        self.at += 1;
        if self.at == self.line.len() {
            // The common case needs no redraw.
            all.push(Happened::Show(c.to_string()));
        } else {
            self.show(all);
        }
    }

    fn erase(&mut self, from: usize, to: usize, all: &mut Vec<Happened>) {
        let to = to.min(self.line.len());
        if from < to {
            self.line.drain(from..to);
            self.at = from;
            self.show(all);
        }
    }

    fn go(&mut self, to: usize, all: &mut Vec<Happened>) {
        let to = to.min(self.line.len());
        if to != self.at {
            self.at = to;
            self.show(all);
        }
    }

    fn word_before(&self) -> usize {
        let before = &self.line[..self.at];
        let end = before.iter().rposition(|c| *c != ' ').map_or(0, |i| i + 1);
        before[..end].iter().rposition(|c| *c == ' ').map_or(0, |i| i + 1)
    }

    fn word_after(&self) -> usize {
        let after = &self.line[self.at..];
        let start = after.iter().position(|c| *c != ' ').unwrap_or(after.len());
        self.at + start + after[start..].iter().position(|c| *c == ' ').unwrap_or(after.len() - start)
    }

    /// Shows another line of the history.
    fn look(&mut self, at: usize, all: &mut Vec<Happened>) {
        if at > self.history.len() || at == self.shown {
            return;
        }
        if self.shown == self.history.len() {
            self.new = std::mem::take(&mut self.line);
        }
        self.shown = at;
        self.line = self.history.get(at).map_or_else(|| self.new.clone(), |line| line.chars().collect());
        self.at = self.line.len();
        self.show(all);
    }

    /// Completes the word before the cursor as far as there is one way; a second Tab shows all ways.
    fn tab(&mut self, again: bool, complete: &mut dyn FnMut(&str) -> (usize, Vec<String>), all: &mut Vec<Happened>) {
        let before: String = self.line[..self.at].iter().collect();
        let (start, ways) = complete(&before);
        let Some((first, others)) = ways.split_first() else { return };
        let mut common = first.clone();
        for way in others {
            let same: usize = common.chars().zip(way.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
            common.truncate(same);
        }
        let typed = before.get(start..).unwrap_or("");
        let goes_on = common.get(..typed.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(typed));
        if let Some(more) = common.strip_prefix(typed).filter(|more| !more.is_empty()) {
            more.chars().for_each(|c| self.insert(c, all));
        } else if goes_on && common != typed {
            self.erase(self.at - typed.chars().count(), self.at, all);
            common.chars().for_each(|c| self.insert(c, all));
        } else if ways.len() > 1 && again {
            all.push(Happened::Show(format!(
                "\r\n{}\r\n",
                ways.iter().map(|way| way.trim()).collect::<Vec<_>>().join("  ").replace(['\r', '\n'], " ")
            )));
            self.show(all);
        }
        self.tabbed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> (usize, Vec<String>) {
        (0, vec![])
    }

    /// The lines that come of typed bytes.
    fn lines(editor: &mut Editor, typed: &str) -> Vec<String> {
        let all = editor.feed(typed.as_bytes(), &mut none);
        all.into_iter().filter_map(|h| if let Happened::Line(line) = h { Some(line) } else { None }).collect()
    }

    #[test]
    fn keys_edit_the_line() {
        let mut e = Editor::new("> ");
        assert_eq!(lines(&mut e, "abd\x1b[Dc\r\n"), ["abcd"]);
        assert_eq!(lines(&mut e, "one two\x17three\r"), ["one three"]);
        assert_eq!(lines(&mut e, "bc\x01a\x05d\x7f\r"), ["abc"]);
        assert_eq!(lines(&mut e, "abc\x1b[D\x1b[D\x0b\r"), ["a"]);
        assert_eq!(lines(&mut e, "abc\x1b[D\x15\n"), ["c"]);
        assert_eq!(lines(&mut e, "abc\x1b[H\x1b[3~\x1b[4~d\r"), ["bcd"]);
        assert_eq!(lines(&mut e, "a b\x1b[1;5D\x1b[1;5Dx\r"), ["xa b"]);
        assert_eq!(lines(&mut e, "lost\x03kept\r"), ["kept"]);
        assert_eq!(lines(&mut e, "gr\u{fc}n\x7f\x7fo\r"), ["gro"]);
    }

    #[test]
    fn the_history_keeps_the_line_that_is_being_typed() {
        let mut e = Editor::new("> ");
        lines(&mut e, "first\rsecond\rsecond\r");
        assert_eq!(lines(&mut e, "new\x1b[A\x1b[A\r"), ["first"]);
        assert_eq!(lines(&mut e, "new\x1b[A\x1b[A\x1b[A\x1b[A\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B!\r"), ["new!"]);
    }

    #[test]
    fn tab_completes_and_lists() {
        let mut e = Editor::new("> ");
        let ways = |before: &str| {
            let start = before.rfind(' ').map_or(0, |i| i + 1);
            let all = ["info", "inject", "x"].iter().filter(|w| w.starts_with(&before[start..]));
            (start, all.map(|w| (*w).to_string()).collect())
        };
        let mut complete = ways;
        let shown = e.feed(b"x i\t", &mut complete);
        assert_eq!(shown.last(), Some(&Happened::Show("n".into())));
        let shown = e.feed(b"\t", &mut complete);
        assert!(shown.contains(&Happened::Show("\r\ninfo  inject\r\n".into())), "{shown:?}");
        let done = e.feed(b"f\t\r", &mut complete);
        assert_eq!(done.last(), Some(&Happened::Line("x info".into())));
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm() {
        let mut e = Editor::new("> ");
        let all: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        e.feed(&all, &mut |before| (before.len() + 9, vec!["a".into(), "\u{fc}".into()]));
        assert!(e.line.len() <= MOST_CHARS && e.at <= e.line.len());
        assert_eq!(e.feed(b"\x03", &mut none).len(), 2);
        assert_eq!(e.feed(b"\x04", &mut none), [Happened::Leave]);
    }
}
