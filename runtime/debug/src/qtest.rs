//! QEMU's qtest protocol: a client reads and writes registers and memory as the first CPU would, lets guest time pass and hears of lines, while no
//! CPU executes anything.
//!
//! Source: QEMU 7.2, the description of the protocol in `softmmu/qtest.c`; `irq_intercept_out_named` is of QEMU 8.2.
//! Data path: a line of the connection -> [`serve`], on a thread of its own -> a task of the machine -> [`Session::command`] -> the answer. A line of
//! a device that is intercepted -> the machine's watcher -> `IRQ raise N`, at once, so before the answer of the command it comes of.
//! Not modelled: I/O ports (no board has them), `rtas`, modules, buses other than the first CPU's.

mod base64;
mod wire;

use emu_machine::device::Nanos;
use emu_machine::driven::Line;
use emu_machine::machine::Input as Pin;
use emu_machine::{Access, Handle, Machine};
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use wire::{Input, Wire};

/// The most bytes one command may move.
pub const MOST: usize = 16 << 20;

/// The accesses are the first CPU's.
const ACCESS: Access = Access::cpu(0);

/// A group of lines of a device or a CPU.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name in the device's type.
    pub name: String,
    /// Its lines, from 0.
    pub lines: Vec<Line>,
}

/// A device or a CPU that a client may name.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Its names: the board's, and aliases.
    pub names: Vec<String>,
    /// Input ports in the order of its type.
    pub inputs: Vec<Port>,
    /// Output ports in the order of its type.
    pub outputs: Vec<Port>,
}

/// All commands and their arguments.
const COMMANDS: &[(&str, &str)] = &[
    ("clock_step", "[NS]"),
    ("clock_set", "NS"),
    ("irq_intercept_in", "PATH"),
    ("irq_intercept_out", "PATH"),
    ("irq_intercept_out_named", "PATH NAME"),
    ("set_irq_in", "PATH NAME NUM LEVEL"),
    ("readb", "ADDR"),
    ("readw", "ADDR"),
    ("readl", "ADDR"),
    ("readq", "ADDR"),
    ("writeb", "ADDR VALUE"),
    ("writew", "ADDR VALUE"),
    ("writel", "ADDR VALUE"),
    ("writeq", "ADDR VALUE"),
    ("read", "ADDR SIZE"),
    ("write", "ADDR SIZE DATA"),
    ("b64read", "ADDR SIZE"),
    ("b64write", "ADDR SIZE DATA"),
    ("memset", "ADDR SIZE VALUE"),
    ("inb", "ADDR"),
    ("inw", "ADDR"),
    ("inl", "ADDR"),
    ("outb", "ADDR VALUE"),
    ("outw", "ADDR VALUE"),
    ("outl", "ADDR VALUE"),
    ("endianness", ""),
    ("module_load", "PREFIX NAME"),
];

/// Which lines are intercepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Inputs,
    Outputs,
    /// Of one output port.
    Named(usize),
}

/// The levels of the intercepted lines as the client knows them, by number.
type Levels = Arc<Mutex<Vec<bool>>>;

/// What a client does with a machine.
pub struct Session {
    units: Vec<Unit>,
    big_endian: bool,
    wire: Arc<Mutex<Wire>>,
    /// The unit whose lines are intercepted.
    intercepted: Option<(usize, Side)>,
    levels: Levels,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Says that a line took a level, if the client does not know.
fn tell(wire: &Mutex<Wire>, levels: &Levels, number: usize, level: bool) {
    if let Some(known) = lock(levels).get_mut(number)
        && std::mem::replace(known, level) != level
    {
        lock(wire).send(&format!("IRQ {} {number}", if level { "raise" } else { "lower" }));
    }
}

/// A number as C writes it: decimal, hexadecimal after `0x`, octal after `0`. A negative one is its two's complement.
fn number(text: &str) -> Result<u64, String> {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let (digits, base) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    // `from_str_radix` would take a sign.
    let value = if digits.starts_with('+') { None } else { u64::from_str_radix(digits, base).ok() };
    let value = value.ok_or_else(|| format!("`{}` is no number", shown(text)))?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// A size in bytes.
fn size(text: &str) -> Result<usize, String> {
    let size = number(text)?;
    usize::try_from(size).ok().filter(|size| *size <= MOST).ok_or_else(|| format!("{size} bytes are too many: at most {MOST}"))
}

/// A time that a clock may show.
fn time(text: &str) -> Result<u64, String> {
    number(text).ok().filter(|ns| i64::try_from(*ns).is_ok()).ok_or_else(|| format!("`{}` is no time in nanoseconds", shown(text)))
}

/// What of a client's word fits into an answer.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

/// The bytes of `0x0123...`.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() % 2 == 0)?.as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// Bytes as `0x0123...`.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    text
}

impl Session {
    /// For a machine with these units, whose first CPU has this byte order; answers and lines go to `out`, and with what was asked into `log`.
    pub fn new(units: Vec<Unit>, big_endian: bool, out: Box<dyn Write + Send>, log: Option<Box<dyn Write + Send>>) -> Session {
        let wire = Arc::new(Mutex::new(Wire::new(out, log)));
        Session { units, big_endian, wire, intercepted: None, levels: Levels::default() }
    }

    /// Does what a line says, and answers it.
    pub fn line(&mut self, machine: &mut Machine, line: &str) {
        lock(&self.wire).log('R', line.trim_end());
        let answer = match self.command(machine, line) {
            Ok(value) if value.is_empty() => "OK".into(),
            Ok(value) => format!("OK {value}"),
            Err(reason) => format!("FAIL {reason}"),
        };
        lock(&self.wire).send(&answer);
    }

    /// Does what a line says: the value it answers, or why not. What devices and timers do at once has been done then.
    ///
    /// # Errors
    /// In one line: the machine has not changed, or what is not memory or was reached before an error of the bus has.
    pub fn command(&mut self, machine: &mut Machine, line: &str) -> Result<String, String> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().ok_or("There is no command in this line")?;
        let arguments: Vec<&str> = words.collect();
        let result = self.perform(machine, name, &arguments);
        machine.catch_up()?;
        result
    }

    fn perform(&mut self, machine: &mut Machine, name: &str, arguments: &[&str]) -> Result<String, String> {
        let done = |()| String::new();
        match (name, arguments) {
            ("clock_step", []) => {
                let next = machine.next_timer().map_or(0, |at| at.0);
                clock(machine, next)
            }
            ("clock_step", [ns]) => {
                let to = machine.now().0.saturating_add(time(ns)?);
                clock(machine, to)
            }
            ("clock_set", [ns]) => clock(machine, time(ns)?),
            ("irq_intercept_in", [path]) => self.intercept(machine, path, |_| Ok(Side::Inputs)).map(done),
            ("irq_intercept_out", [path]) => self.intercept(machine, path, |_| Ok(Side::Outputs)).map(done),
            ("irq_intercept_out_named", [path, port]) => {
                self.intercept(machine, path, |unit| Ok(Side::Named(port_named(&unit.outputs, port, "output")?))).map(done)
            }
            ("set_irq_in", [path, port, index, level]) => {
                self.set_input(machine, path, port, number(index)?, number(level)? != 0).map(done)
            }
            ("readb", [at]) => self.load(machine, at, 1),
            ("readw", [at]) => self.load(machine, at, 2),
            ("readl", [at]) => self.load(machine, at, 4),
            ("readq", [at]) => self.load(machine, at, 8),
            ("writeb", [at, value]) => self.store(machine, at, value, 1).map(done),
            ("writew", [at, value]) => self.store(machine, at, value, 2).map(done),
            ("writel", [at, value]) => self.store(machine, at, value, 4).map(done),
            ("writeq", [at, value]) => self.store(machine, at, value, 8).map(done),
            ("read", [at, n]) => read(machine, at, n).map(|bytes| to_hex(&bytes)),
            ("b64read", [at, n]) => read(machine, at, n).map(|bytes| base64::encode(&bytes)),
            ("write", [at, n, data]) => {
                let mut bytes = hex(data).ok_or_else(|| format!("`{}` is no hexadecimal data", shown(data)))?;
                bytes.resize(size(n)?, 0);
                write(machine, number(at)?, &bytes).map(done)
            }
            ("b64write", [at, n, data]) => {
                let mut bytes = base64::decode(data).ok_or_else(|| format!("`{}` is no base64 data", shown(data)))?;
                bytes.truncate(size(n)?);
                write(machine, number(at)?, &bytes).map(done)
            }
            ("memset", [at, n, value]) => write(machine, number(at)?, &vec![number(value)? as u8; size(n)?]).map(done),
            ("inb" | "inw" | "inl", [_]) | ("outb" | "outw" | "outl", [_, _]) => Err("This board has no I/O ports".into()),
            ("endianness", []) => Ok(if self.big_endian { "big" } else { "little" }.into()),
            ("module_load", [_, _]) => Ok(String::new()),
            _ => match COMMANDS.iter().find(|c| c.0 == name) {
                Some((name, wanted)) => Err(format!("Usage: {name} {wanted}").trim_end().into()),
                None => Err(format!("Unknown command '{}'", shown(name))),
            },
        }
    }

    /// The unit a path means: the last name of it, `uart0` as well as `/machine/soc/uart0`.
    fn unit(&self, path: &str) -> Result<usize, String> {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.units.iter().position(|u| u.names.iter().any(|n| n == name)).ok_or_else(|| format!("Unknown device '{}'", shown(path)))
    }

    fn intercept(&mut self, machine: &mut Machine, path: &str, side: impl FnOnce(&Unit) -> Result<Side, String>) -> Result<(), String> {
        let n = self.unit(path)?;
        let unit = &self.units[n];
        let side = side(unit)?;
        match self.intercepted {
            Some(other) if other == (n, side) => return Ok(()),
            Some(_) => return Err("IRQ intercept already enabled".into()),
            None => self.intercepted = Some((n, side)),
        }
        let ports = match side {
            Side::Inputs => &unit.inputs[..],
            Side::Outputs => &unit.outputs[..],
            Side::Named(port) => &unit.outputs[port..=port],
        };
        let lines: Vec<Line> = ports.iter().flat_map(|p| &p.lines).copied().collect();
        *lock(&self.levels) = vec![false; lines.len()];
        let (wire, levels) = (self.wire.clone(), self.levels.clone());
        machine.watch(&lines, Box::new(move |number, level| tell(&wire, &levels, number, level)));
        Ok(())
    }

    fn set_input(&mut self, machine: &mut Machine, path: &str, port: &str, index: u64, level: bool) -> Result<(), String> {
        let n = self.unit(path)?;
        let lines: Vec<Line> = match port {
            "unnamed-gpio-in" => self.units[n].inputs.iter().flat_map(|p| &p.lines).copied().collect(),
            _ => self.units[n].inputs[port_named(&self.units[n].inputs, port, "input")?].lines.clone(),
        };
        let line = usize::try_from(index).ok().and_then(|i| lines.get(i)).copied();
        let line = line.ok_or_else(|| format!("'{}' has {} lines", shown(port), lines.len()))?;
        let Line::Input(Pin::Device { device, port, index }) = line else {
            return Err("CPUs do not run: their inputs cannot be set".into());
        };
        if self.intercepted == Some((n, Side::Inputs))
            && let Some(number) = self.units[n].inputs.iter().flat_map(|p| &p.lines).position(|l| *l == line)
        {
            tell(&self.wire, &self.levels, number, level);
        }
        machine.set_input(device, port, index, level);
        Ok(())
    }

    fn load(&self, machine: &Machine, at: &str, size: u8) -> Result<String, String> {
        let at = number(at)?;
        let value = machine.read(bus(machine)?, at, size, ACCESS).map_err(|e| failed(at, e))?;
        Ok(format!("{:#018x}", self.turned(value, size)))
    }

    fn store(&self, machine: &Machine, at: &str, value: &str, size: u8) -> Result<(), String> {
        let (at, value) = (number(at)?, number(value)? & (u64::MAX >> (64 - 8 * size)));
        machine.write(bus(machine)?, at, size, self.turned(value, size), ACCESS).map_err(|e| failed(at, e))
    }

    /// Between the order of addresses and the CPU's.
    fn turned(&self, value: u64, size: u8) -> u64 {
        if self.big_endian { value.swap_bytes() >> (64 - 8 * size) } else { value }
    }
}

fn port_named(ports: &[Port], name: &str, what: &str) -> Result<usize, String> {
    ports.iter().position(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        format!("There is no {what} '{}': it has {names}", shown(name))
    })
}

fn clock(machine: &mut Machine, to: u64) -> Result<String, String> {
    machine.advance(Nanos(to))?;
    Ok(machine.now().0.to_string())
}

fn bus(machine: &Machine) -> Result<usize, String> {
    machine.cpu_bus(0).ok_or_else(|| "This board has no CPU, and so no bus".into())
}

fn failed(at: u64, e: emu_machine::BusError) -> String {
    format!("{at:#x}: {e}")
}

fn read(machine: &Machine, at: &str, n: &str) -> Result<Vec<u8>, String> {
    let (at, mut bytes) = (number(at)?, vec![0; size(n)?]);
    machine.read_bytes(bus(machine)?, at, &mut bytes, ACCESS).map_err(|e| failed(at, e))?;
    Ok(bytes)
}

fn write(machine: &Machine, at: u64, bytes: &[u8]) -> Result<(), String> {
    machine.write_bytes(bus(machine)?, at, bytes, ACCESS).map_err(|e| failed(at, e))
}

/// Serves a client until it leaves or the machine ends; then ends the machine, with 0. Not on the machine's own thread.
pub fn serve(handle: &Handle, session: Session, mut from: impl BufRead) {
    let wire = session.wire.clone();
    let session = Arc::new(Mutex::new(session));
    lock(&wire).log('I', "OPENED");
    loop {
        match wire::line(&mut from) {
            Input::Line(line) => {
                let session = session.clone();
                if handle.call(move |machine| lock(&session).line(machine, &line)).is_none() {
                    break;
                }
            }
            Input::TooLong => lock(&wire).send("FAIL The line is too long"),
            Input::End => break,
        }
    }
    lock(&wire).log('I', "CLOSED");
    handle.stop(0);
}
