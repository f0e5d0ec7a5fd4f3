//! The words of a command line, and the numbers among them.

use super::Session;

/// What is left of a command's arguments.
#[derive(Clone, Debug)]
pub struct Args<'a>(&'a str);

impl<'a> Args<'a> {
    /// All of a text.
    pub fn new(text: &'a str) -> Args<'a> {
        Args(text.trim())
    }

    /// The next word; in double quotes it may hold spaces.
    pub fn word(&mut self) -> Option<&'a str> {
        let text = self.0;
        let (word, rest) = match text.strip_prefix('"').and_then(|text| text.split_once('"')) {
            Some(parts) => parts,
            None => text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())),
        };
        self.0 = rest.trim_start();
        (!text.is_empty()).then_some(word)
    }

    /// The next word.
    ///
    /// # Errors
    /// It is missing; `what` names it.
    pub fn need(&mut self, what: &str) -> Result<&'a str, String> {
        self.word().ok_or_else(|| format!("{what} is missing"))
    }

    /// What follows a slash, as in `x/4i` and `x /4i`: nothing without one.
    pub fn format(&mut self) -> &'a str {
        if self.0.starts_with('/') { self.word().unwrap_or("").trim_start_matches('/') } else { "" }
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a str {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("what is `{}`? it is one argument too many", self.0)) }
    }
}

/// A number: decimal, `0x`, `0b` or `0o`, with `_` between digits.
pub fn number(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => u64::from_str_radix(&text[2..], 16).ok(),
        Some("0b") => u64::from_str_radix(&text[2..], 2).ok(),
        Some("0o") => u64::from_str_radix(&text[2..], 8).ok(),
        _ => text.parse().ok(),
    }
}

impl Session {
    /// A value: numbers and registers of the CPU (`$pc`), added and subtracted, without spaces. It wraps at 64 bits.
    ///
    /// # Errors
    /// What is no number and no register.
    pub fn value(&self, text: &str) -> Result<u64, String> {
        let mut total = 0u64;
        let mut rest = text;
        let mut minus = false;
        loop {
            let (term, sign, after) = match rest.char_indices().find(|(_, c)| "+-".contains(*c)) {
                Some((at, sign)) => (&rest[..at], Some(sign), &rest[at + 1..]),
                None => (rest, None, ""),
            };
            if !(term.is_empty() && sign.is_some() && rest.len() == text.len()) {
                let value = self.term(term.trim())?;
                total = if minus { total.wrapping_sub(value) } else { total.wrapping_add(value) };
            }
            match sign {
                None => return Ok(total),
                Some(sign) => (minus, rest) = (sign == '-', after),
            }
        }
    }

    fn term(&self, text: &str) -> Result<u64, String> {
        let Some(name) = text.strip_prefix('$') else {
            return number(text).ok_or_else(|| format!("`{text}` is no number"));
        };
        let (cpu, wanted) = (self.cpu, name.to_string());
        self.machine(move |machine| super::registers::cpu_register(machine, cpu, &wanted))?
            .map(|(value, _)| value as u64)
            .ok_or_else(|| format!("CPU {cpu} has no register `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_one_by_one() {
        let mut args = Args::new("  /4xw  \"a b\" c  d ");
        assert_eq!((args.format(), args.word(), args.word()), ("4xw", Some("a b"), Some("c")));
        assert!(args.end().is_err());
        assert_eq!((args.rest(), args.word(), args.format()), ("d", None, ""));
        assert!(args.end().is_ok());
        assert_eq!(Args::new("\"open").word(), Some("\"open"));
    }

    #[test]
    fn numbers_have_bases() {
        assert_eq!(
            ["0x1F", "1_000", "0b101", "0o17", "", "0x", "x", "-1"].map(number),
            [Some(31), Some(1000), Some(5), Some(15), None, None, None, None]
        );
    }
}
