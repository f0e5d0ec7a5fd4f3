//! Where the values in a stream of JSON end.
//!
//! Commands may be split over packets, or several be in one; there need be nothing between them. Brackets are counted outside strings; what a value is, is left
//! to the parser. After nonsense the next line is looked at afresh where possible: a string does not go over the end of its line.

/// Bytes of a value at most, and how deep it may be nested.
const LONGEST: usize = 1 << 20;
const DEEPEST: usize = 100;

/// What was found in the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The text of what may be a value.
    Value(Vec<u8>),
    /// What came so far is no command, and was dropped.
    Refused(&'static str),
}

/// Cuts a stream into values.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    value: Vec<u8>,
    depth: usize,
    string: bool,
    escaped: bool,
    /// Drops everything to the end of the line.
    skipping: bool,
}

impl Framer {
    /// Takes bytes; gives the values that are complete now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut found = Vec::new();
        for byte in bytes {
            self.byte(*byte, &mut found);
        }
        found
    }

    fn refuse(&mut self, why: &'static str, skipping: bool, found: &mut Vec<Frame>) {
        *self = Framer { skipping, ..Framer::default() };
        found.push(Frame::Refused(why));
    }

    fn complete(&mut self, found: &mut Vec<Frame>) {
        if !self.value.is_empty() {
            found.push(Frame::Value(std::mem::take(&mut self.value)));
        }
        *self = Framer::default();
    }

    fn byte(&mut self, byte: u8, found: &mut Vec<Frame>) {
        if self.skipping {
            self.skipping = byte != b'\n';
            return;
        }
        // Never in UTF-8: clients send it so that whatever was there before is forgotten.
        if byte == 0xff {
            return self.refuse("a byte that is no UTF-8", false, found);
        }
        if self.string {
            if byte == b'\n' {
                return self.refuse("a string that does not end", false, found);
            }
            self.value.push(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                _ => {}
            }
        } else {
            let outside = self.depth == 0;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' if outside => return self.complete(found),
                b'{' | b'[' => {
                    if outside {
                        self.complete(found);
                    }
                    self.depth += 1;
                }
                b'}' | b']' if outside => return self.refuse("a bracket that closes nothing", true, found),
                b'}' | b']' => self.depth -= 1,
                b'"' => self.string = true,
                _ => {}
            }
            self.value.push(byte);
            if matches!(byte, b'}' | b']') && self.depth == 0 {
                return self.complete(found);
            }
        }
        if self.value.len() > LONGEST || self.depth > DEEPEST {
            self.refuse("it is too long or too deep", true, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Frame {
        Frame::Value(text.as_bytes().to_vec())
    }

    #[test]
    fn values_are_found_however_they_are_cut() {
        let text = r#"{"a":"}\"{"} {"b":[1,{}]}{"c":"\\"}7 "x" "#;
        let wanted = [value(r#"{"a":"}\"{"}"#), value(r#"{"b":[1,{}]}"#), value(r#"{"c":"\\"}"#), value("7"), value("\"x\"")];
        assert_eq!(Framer::default().feed(text.as_bytes()), wanted);
        let mut framer = Framer::default();
        let one: Vec<Frame> = text.bytes().flat_map(|b| framer.feed(&[b])).collect();
        assert_eq!(one, wanted);
    }

    #[test]
    fn nonsense_is_refused_and_the_next_command_found() {
        let mut framer = Framer::default();
        for nonsense in ["}", "{\"a", "\u{7f}{]]]]", &"[".repeat(200), &format!("\"{}", "x".repeat(LONGEST + 9))] {
            let mut found = framer.feed(nonsense.as_bytes());
            found.extend(framer.feed(b"\n\xff{\"ok\":1}\n"));
            assert_eq!(found.last(), Some(&value("{\"ok\":1}")), "{}", &nonsense[..nonsense.len().min(20)]);
            assert!(framer.value.capacity() <= 4 * LONGEST);
            framer = Framer::default();
        }
    }
}
