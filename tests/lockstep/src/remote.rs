//! QEMU through its gdbstub: the client's side of the GDB remote protocol (Debugging with GDB, appendix E), as far as stepping needs it.

use emu_ir::gdb::{GdbDesc, GdbReg, number};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A register both sides have.
#[derive(Clone, Copy)]
pub struct Shared {
    /// Ours.
    pub reg: &'static GdbReg,
    /// Its number in QEMU.
    pub number: usize,
    /// Its place in QEMU's descriptions.
    place: usize,
}

/// QEMU, stopped between two instructions.
pub struct Qemu {
    child: Child,
    stream: UnixStream,
    waiting: Vec<u8>,
    big: bool,
    /// Bytes of each register in the reply to `g`.
    widths: Vec<usize>,
    /// Registers that are in the reply to `g`.
    pub core: Vec<Shared>,
    /// Those that must be asked for singly.
    pub others: Vec<Shared>,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks_exact(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

/// Values of `attribute="..."` in a piece of XML.
fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let from = text.find(&format!("{name}=\""))? + name.len() + 2;
    text[from..].split('"').next()
}

impl Qemu {
    /// Starts QEMU, stopped at its first instruction.
    ///
    /// # Errors
    /// A message: it does not start, or does not speak the protocol.
    pub fn start(command: &[String], folder: &Path, desc: &'static GdbDesc, big: bool) -> Result<Qemu, String> {
        let path = folder.join("gdb");
        let (program, arguments) = command.split_first().ok_or("no command for QEMU")?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["-S", "-display", "none", "-monitor", "none", "-gdb", &format!("unix:{},server=on,wait=off", path.display())])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start {program}: {e}"))?;
        let end = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() > end => return Err(format!("no gdbstub: {e}")),
                Err(_) => {}
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("QEMU ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
        let mut qemu = Qemu { child, stream, waiting: vec![], big, widths: vec![], core: vec![], others: vec![] };
        qemu.ask("qSupported:xmlRegisters=arm")?;
        qemu.numbers(desc)?;
        // Interrupts and timers go on while it steps.
        qemu.expect("Qqemu.sstep=1")?;
        qemu.expect("Qqemu.PhyMemMode:1")?;
        Ok(qemu)
    }

    /// Asks; the reply without its frame.
    fn ask(&mut self, text: &str) -> Result<String, String> {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${text}#{sum:02x}").as_bytes()).map_err(|e| format!("QEMU is gone: {e}"))?;
        loop {
            if let Some(from) = self.waiting.iter().position(|b| *b == b'$')
                && let Some(len) = self.waiting[from..].iter().position(|b| *b == b'#')
                && self.waiting.len() >= from + len + 3
            {
                let reply = String::from_utf8_lossy(&self.waiting[from + 1..from + len]).into_owned();
                self.waiting.drain(..from + len + 3);
                self.stream.write_all(b"+").map_err(|e| format!("QEMU is gone: {e}"))?;
                return Ok(reply);
            }
            let mut buffer = [0; 8192];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("QEMU is gone".into()),
                Ok(n) => self.waiting.extend(&buffer[..n]),
                Err(e) => return Err(format!("QEMU does not answer `{text}`: {e}")),
            }
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        match self.ask(text)?.as_str() {
            "OK" => Ok(()),
            other => Err(format!("QEMU answers `{text}` with `{other}`")),
        }
    }

    fn document(&mut self, name: &str) -> Result<String, String> {
        let mut all = String::new();
        loop {
            let part = self.ask(&format!("qXfer:features:read:{name}:{:x},7ff", all.len()))?;
            let Some(kind) = part.chars().next() else { return Ok(String::new()) };
            all.push_str(&part[1..]);
            if kind != 'm' {
                return Ok(if kind == 'l' { all } else { String::new() });
            }
        }
    }

    /// Finds the registers both have: by QEMU's description, or, where it has none, by GDB's own numbers, which ours are.
    fn numbers(&mut self, desc: &'static GdbDesc) -> Result<(), String> {
        let target = self.document("target.xml")?;
        // Name, bytes, number: one more than the one before, if the description does not say it.
        let mut theirs: Vec<(String, usize, usize)> = Vec::new();
        for part in target.split("<xi:include").skip(1) {
            let Some(name) = attribute(part, "href") else { continue };
            let text = self.document(name)?;
            for reg in text.split("<reg ").skip(1) {
                let width = attribute(reg, "bitsize").and_then(|b| b.parse::<usize>().ok()).unwrap_or(32) / 8;
                let own = reg.split('>').next().and_then(|r| attribute(r, "regnum")?.parse().ok());
                let number = own.unwrap_or(theirs.last().map_or(0, |t| t.2 + 1));
                theirs.push((attribute(reg, "name").unwrap_or_default().to_lowercase(), width, number));
            }
        }
        if theirs.is_empty() {
            theirs = desc.regs().enumerate().map(|(i, r)| (r.name.to_lowercase(), r.bits as usize / 8, i)).collect();
        }
        let reply = self.ask("g")?.len() / 2;
        let mut room = reply;
        self.widths = theirs.iter().map(|t| t.1).take_while(|w| room.checked_sub(*w).map(|left| room = left).is_some()).collect();
        let same = |ours: &str, theirs: &str| ours == theirs || theirs.strip_suffix("_el1") == Some(ours) || theirs == format!("{ours}_s");
        for reg in desc.regs() {
            let name = reg.name.to_lowercase();
            if let Some(place) = theirs.iter().position(|t| same(&name, &t.0) && t.1 == reg.bits as usize / 8) {
                let list = if place < self.widths.len() { &mut self.core } else { &mut self.others };
                list.push(Shared { reg, place, number: theirs[place].2 });
            }
        }
        if self.core.is_empty() { Err("QEMU and this program have no register in common".into()) } else { Ok(()) }
    }

    /// The values of [`Qemu::core`].
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn registers(&mut self) -> Result<Vec<u128>, String> {
        let all = hex(&self.ask("g")?);
        let mut at = 0;
        let values: Vec<u128> = self
            .widths
            .iter()
            .map(|w| {
                at += w;
                number(all.get(at - w..at).unwrap_or(&[]), self.big)
            })
            .collect();
        Ok(self.core.iter().map(|s| values[s.place]).collect())
    }

    /// The value of one register; `None` if QEMU does not tell.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn register(&mut self, of: &Shared) -> Result<Option<u128>, String> {
        let reply = self.ask(&format!("p{:x}", of.number))?;
        Ok((reply.len() == of.reg.bits as usize / 4).then(|| number(&hex(&reply), self.big)))
    }

    /// Physical memory.
    ///
    /// # Errors
    /// QEMU is gone, or has no memory there.
    pub fn memory(&mut self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let part = (len - all.len()).min(1024);
            let bytes = hex(&self.ask(&format!("m{:x},{part:x}", at + all.len() as u64))?);
            if bytes.len() != part {
                return Err(format!("QEMU has no memory at {at:#x}"));
            }
            all.extend(bytes);
        }
        Ok(all)
    }

    /// Runs to a virtual address.
    ///
    /// # Errors
    /// QEMU is gone, or does not get there within a minute.
    pub fn run_to(&mut self, at: u64) -> Result<(), String> {
        self.expect(&format!("Z1,{at:x},4"))?;
        self.ask("c")?;
        self.expect(&format!("z1,{at:x},4"))
    }

    /// One instruction, or one interrupt.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn step(&mut self) -> Result<(), String> {
        match self.ask("s")?.chars().next() {
            Some('T' | 'S') => Ok(()),
            other => Err(format!("QEMU ended its run: {other:?}")),
        }
    }
}
