//! Watches a serial port for texts that end the run: `--exit-on` and `--fail-on`.

/// Finds texts in a stream of bytes.
#[derive(Clone, Debug)]
pub struct Watch {
    texts: Vec<(Vec<u8>, i32)>,
    tail: Vec<u8>,
}

impl Watch {
    /// `exit` ends with 0, `fail` with 1.
    pub fn new(exit: Option<&str>, fail: Option<&str>) -> Watch {
        let texts = exit.map(|t| (t.as_bytes().to_vec(), 0)).into_iter().chain(fail.map(|t| (t.as_bytes().to_vec(), 1)));
        Watch { texts: texts.filter(|t| !t.0.is_empty()).collect(), tail: vec![] }
    }

    /// Takes bytes; gives the exit code if one of the texts is complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<i32> {
        if self.texts.is_empty() {
            return None;
        }
        for byte in bytes {
            self.tail.push(*byte);
            if let Some(found) = self.texts.iter().find(|t| self.tail.ends_with(&t.0)) {
                return Some(found.1);
            }
            let longest = self.texts.iter().map(|t| t.0.len()).max().unwrap_or(0);
            if self.tail.len() > 2 * longest + 64 {
                self.tail.drain(..self.tail.len() - longest);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_across_pieces() {
        let mut w = Watch::new(Some("SHELL"), Some("panic"));
        assert_eq!(w.feed(b"GUEST-SH"), None);
        assert_eq!(w.feed(&[b'x'; 500]), None);
        assert_eq!(w.feed(b"SHE"), None);
        assert_eq!(w.feed(b"LL"), Some(0));
        assert_eq!(Watch::new(None, Some("panic")).feed(b"kernel panic"), Some(1));
    }
}
