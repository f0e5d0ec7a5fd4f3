//! Lines of Rust with indentation.

/// Collects lines; blocks indent.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    /// An empty text whose lines are indented `depth` times.
    pub fn at(depth: usize) -> Writer {
        Writer { text: String::new(), depth }
    }

    /// One line at the current depth.
    pub fn line(&mut self, line: impl AsRef<str>) {
        for _ in 0..self.depth {
            self.text.push_str("    ");
        }
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A line that opens a block.
    pub fn open(&mut self, line: impl AsRef<str>) {
        self.line(line);
        self.depth += 1;
    }

    /// A line that closes one block and opens another.
    pub fn middle(&mut self, line: impl AsRef<str>) {
        self.depth = self.depth.saturating_sub(1);
        self.open(line);
    }

    /// A line that closes a block.
    pub fn close(&mut self, line: impl AsRef<str>) {
        self.depth = self.depth.saturating_sub(1);
        self.line(line);
    }

    /// Text that is indented already.
    pub fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The current depth.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }
}
