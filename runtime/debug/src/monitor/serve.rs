//! The text monitor: a session and the lines that are typed, with the line editor on terminals, plain on pipes and sockets.

use super::Session;
use super::complete::complete;
use super::edit::{Editor, Happened};
use std::io::{Read, Write};

const PROMPT: &str = "(emu) ";
/// Bytes of a line that does not come from a terminal; what is longer is refused.
const LONGEST_LINE: usize = 64 << 10;

/// A text monitor and who types.
pub struct Monitor {
    session: Session,
    /// On a terminal.
    editor: Option<Editor>,
    /// Elsewhere: the line so far.
    line: Vec<u8>,
}

impl Monitor {
    /// A monitor; `terminal`: keys come, and are echoed.
    pub fn new(session: Session, terminal: bool) -> Monitor {
        Monitor { session, editor: terminal.then(|| Editor::new(PROMPT)), line: Vec::new() }
    }

    /// What is shown first, also when the user comes back to it.
    pub fn greeting(&self) -> String {
        let hello = format!("emu {} monitor, type `help` for the commands", env!("CARGO_PKG_VERSION"));
        match &self.editor {
            Some(editor) => format!("\r\n{hello}\r\n{}", editor.redraw()),
            None => format!("{hello}\n{PROMPT}"),
        }
    }

    /// Takes bytes; what there is to show is given to `show`. False: the user leaves.
    pub fn feed(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) -> bool {
        let Some(editor) = &mut self.editor else {
            self.feed_plain(bytes, show);
            return true;
        };
        let session = &self.session;
        let all = editor.feed(bytes, &mut |line| complete(session, line));
        for happened in all {
            match happened {
                Happened::Show(text) => show(&text),
                Happened::Leave => return false,
                Happened::Line(line) => {
                    let text = answer(self.session.execute(&line)).replace('\n', "\r\n");
                    show(&(text + PROMPT));
                }
            }
        }
        true
    }

    fn feed_plain(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) {
        for byte in bytes {
            if *byte != b'\n' {
                // One more than may be, so that it is known to be too long.
                if self.line.len() <= LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let text = match std::str::from_utf8(&line) {
                _ if line.len() > LONGEST_LINE => "error: the line is too long\n".into(),
                Ok(line) => answer(self.session.execute(line)),
                Err(_) => "error: the line is no UTF-8\n".into(),
            };
            show(&(text + PROMPT));
        }
    }
}

/// What a command answered, as text that ends with its line.
pub(crate) fn answer(result: Result<String, String>) -> String {
    match result {
        Ok(text) => text,
        Err(e) => format!("error: {}\n", e.trim_end()),
    }
}

/// Serves one client until it leaves.
pub fn serve(session: Session, mut reader: impl Read, mut writer: impl Write, terminal: bool) {
    let mut monitor = Monitor::new(session, terminal);
    let mut gone = writer.write_all(monitor.greeting().as_bytes()).and_then(|()| writer.flush()).is_err();
    let mut bytes = [0; 4096];
    while !gone {
        let n = match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        monitor.feed(&bytes[..n], &mut |text| {
            gone |= writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).is_err();
        });
    }
}
