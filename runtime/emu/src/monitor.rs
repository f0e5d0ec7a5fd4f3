//! `--monitor`, `--qmp` and Ctrl-A c: the monitor and the control socket of a machine that runs.
//!
//! Sockets and pseudo-terminals have their own threads. On the terminal the monitor shares keys and screen with a serial port: keys -> `terminal::Escape` ->
//! the guest, or [`Keys`] -> the monitor's thread -> standard output. What the guest writes is shown all the time.

use crate::backends::Connected;
use crate::{Run, cpus};
use emu_boards::{Board, Plan};
use emu_debug::monitor::{CpuName, Host, Monitor, Names, Session, serve};
use emu_debug::qmp::Qmp;
use emu_host::chardev::Backend;
use emu_host::{clients, disk};
use emu_machine::Machine;
use emu_machine::backend::Disk;
use emu_machine::schema::Count;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

/// Logs by another filter.
pub static FILTER: OnceLock<Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>> = OnceLock::new();

/// What this program does for monitors.
#[derive(Default)]
struct Program {
    /// Disassemblers, by instruction set.
    isas: Mutex<BTreeMap<String, Option<emu_asm::Isa>>>,
}

impl Host for Program {
    fn disassemble(&self, cpu: &CpuName, key: u64, pc: u64, bytes: &[u8]) -> Option<(usize, String, String)> {
        let mut isas = self.isas.lock().unwrap_or_else(|e| e.into_inner());
        let isa = isas.entry(cpu.isa.clone()).or_insert_with(|| cpus::assembler(&cpu.isa)).as_ref()?;
        let mut setting = isa.setting(&cpu.model);
        isa.set_key(&mut setting, key);
        // What only holds for one instruction, such as those behind Thumb's IT, is not known elsewhere.
        setting.contexts.fill(0);
        setting.pc = pc;
        let (bits, code) = isa.fetch(&setting, bytes)?;
        let text = isa.disassemble(&setting, bits, code).unwrap_or_else(|| "undefined".into());
        Some((usize::from(bits / 8), format!("{code:0width$x}", width = usize::from(bits / 4)), text))
    }

    fn open_disk(&self, image: &str) -> Result<Box<dyn Disk>, String> {
        let spec: disk::Spec = image.parse().map_err(|e: disk::Error| e.to_string())?;
        disk::open(&spec).map_err(|e| e.to_string())
    }

    fn trace(&self, filter: &str) -> Result<(), String> {
        FILTER.get().map_or(Err("nothing is logged by this program".into()), |set| set(filter))
    }
}

/// What the board calls things.
fn names(board: &Board, plan: &Plan, machine: &Machine, connected: Connected) -> Names {
    let cpu = |(i, cpu): (usize, &emu_boards::board::Cpu)| {
        let ports = plan.cpus.get(i).and_then(|c| c.kind).map_or(&[][..], |k| k.inputs);
        let lines = ports.iter().flat_map(|p| {
            let count = if let Count::Fixed(n) = p.count { n } else { 1 };
            (0..count).map(move |n| if count == 1 { p.name.to_string() } else { format!("{} {n}", p.name) })
        });
        CpuName {
            name: cpu.name.text().to_string(),
            isa: cpu.isa.text().to_string(),
            model: cpu.model.text().to_string(),
            lines: lines.collect(),
        }
    };
    Names {
        board: board.name.clone(),
        doc: board.doc.iter().map(|line| line.text()).collect::<Vec<_>>().join(" "),
        buses: board.buses.iter().map(|b| b.name.text().to_string()).collect(),
        clocks: board.clocks.iter().map(|c| c.name.text().to_string()).collect(),
        cpus: board.cpus.iter().enumerate().map(cpu).collect(),
        aliases: board.aliases.iter().map(|(name, target)| (name.text.clone(), target.text().to_string())).collect(),
        chardevs: connected.chardevs,
        media: Mutex::new(connected.media),
        networks: connected.networks,
        snapshots: connected.snapshots,
        ..Names::new(machine)
    }
}

/// The keys of the terminal: a serial port's or the monitor's.
#[derive(Clone)]
pub struct Keys {
    to_monitor: Arc<AtomicBool>,
    typed: Sender<Key>,
}

enum Key {
    /// The monitor has the keys from now on.
    Begin,
    Bytes(Vec<u8>),
}

impl Keys {
    /// Keys that are a serial port's, and what the monitor gets of them.
    pub fn new() -> (Keys, Typed) {
        let (typed, keys) = channel();
        let to_monitor = Arc::<AtomicBool>::default();
        (Keys { to_monitor: to_monitor.clone(), typed }, Typed { to_monitor, keys })
    }

    /// Takes bytes if they are the monitor's; false: they are not.
    pub fn take(&self, bytes: &[u8]) -> bool {
        self.to_monitor.load(Ordering::Acquire) && self.typed.send(Key::Bytes(bytes.to_vec())).is_ok()
    }

    /// Ctrl-A c: the keys go to the other.
    pub fn switch(&self) {
        if !self.to_monitor.fetch_xor(true, Ordering::AcqRel) {
            _ = self.typed.send(Key::Begin);
        } else {
            show("\r\n");
        }
    }
}

/// The monitor's end of [`Keys`].
pub struct Typed {
    to_monitor: Arc<AtomicBool>,
    keys: Receiver<Key>,
}

fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Typed {
    fn serve(self, session: Session) {
        let mut monitor = Monitor::new(session, true);
        for key in self.keys {
            match key {
                Key::Begin => show(&monitor.greeting()),
                Key::Bytes(bytes) => {
                    if !monitor.feed(&bytes, &mut |text| show(text)) {
                        self.to_monitor.store(false, Ordering::Release);
                        show("\r\n");
                    }
                }
            }
        }
    }
}

/// The back ends of `--monitor` or `--qmp`.
///
/// # Errors
/// One clear message: the flag, the rule, the fix.
pub fn backends(flag: &str, given: &[String]) -> Result<Vec<Backend>, String> {
    let parse = |text: &String| text.parse().map_err(|e: emu_host::chardev::Error| format!("{flag} {text}: {e}"));
    given.iter().map(parse).collect()
}

/// Starts monitors and control sockets; the latter are to be finished when the machine has ended.
///
/// # Errors
/// One clear message: the flag, the rule, the fix.
pub fn start(run: &Run, board: &Board, plan: &Plan, machine: &Machine, connected: Connected, typed: Typed) -> Result<Vec<Qmp>, String> {
    let names = Arc::new(names(board, plan, machine, connected));
    let session = Session::new(machine.handle(), names, Arc::new(Program::default()));
    let terminal = rustix::termios::isatty(std::io::stdin());
    for backend in backends("--monitor", &run.monitor)? {
        if backend == Backend::Stdio && terminal {
            continue;
        }
        let (session, keys) = (session.clone(), backend == Backend::Pty);
        clients::serve(&backend, Box::new(move |reader, writer| serve(session.clone(), reader, writer, keys)))
            .map_err(|e| format!("--monitor {backend}: {e}"))?;
    }
    let mut sockets = Vec::new();
    for backend in backends("--qmp", &run.qmp)? {
        if !matches!(backend, Backend::Socket(..)) {
            return Err(format!("--qmp {backend}: it speaks through sockets\n  help: unix:PATH[,server] or tcp:HOST:PORT[,server]"));
        }
        let qmp = Qmp::new(session.clone());
        sockets.push(qmp.clone());
        clients::serve(&backend, Box::new(move |reader, writer| qmp.talk(reader, writer))).map_err(|e| format!("--qmp {backend}: {e}"))?;
    }
    std::thread::spawn(move || typed.serve(session));
    Ok(sockets)
}
