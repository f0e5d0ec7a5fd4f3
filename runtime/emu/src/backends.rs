//! What the command line connects to a board: serial ports, drives, networks.

use crate::monitor::{self, Keys};
use crate::{Run, console};
use emu_boards::{Board, Plan};
use emu_host::chardev::{self, Backend, Ends, Output};
use emu_host::terminal::{self, Command as Key};
use emu_host::{disk, net};
use emu_machine::Machine;
use emu_machine::backend::SerialLine;
use emu_machine::control::Cause;
use emu_machine::schema::{DeviceType, Network};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The devices of a board that have something to connect.
struct Slots<'a> {
    board: &'a Board,
    /// By the board's number.
    devices: Vec<usize>,
    /// What they have, for messages.
    what: &'static str,
}

impl<'a> Slots<'a> {
    fn new(board: &'a Board, plan: &Plan, what: &'static str, has: impl Fn(&DeviceType) -> bool) -> Slots<'a> {
        let devices = (0..board.devices.len()).filter(|i| plan.devices[*i].kind.is_some_and(|k| has(&k))).collect();
        Slots { board, devices, what }
    }

    /// The device called so, by its own name or an alias of the board.
    fn find(&self, name: &str) -> Result<usize, String> {
        let named = |name: &str| self.devices.iter().copied().find(|i| self.board.devices[*i].name.text() == name);
        let alias = || named(self.board.aliases.iter().find(|a| a.0.text == name)?.1.text());
        named(name).or_else(alias).ok_or_else(|| {
            let names: Vec<&str> = self.devices.iter().map(|i| self.board.devices[*i].name.text()).collect();
            let help = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("there is no {} `{name}`\n  help: this board has {help}", self.what)
        })
    }
}

/// What is connected, in words, for monitors.
#[derive(Default)]
pub struct Connected {
    /// Back ends of serial ports, by device.
    pub chardevs: BTreeMap<usize, String>,
    /// Images in drives, by device and port.
    pub media: BTreeMap<(usize, usize), String>,
    /// Back ends of network ports, by device and port.
    pub networks: BTreeMap<(usize, usize), String>,
    /// Where snapshots are that have only a name.
    pub snapshots: PathBuf,
}

/// The standard streams, or who takes their place.
pub struct Terminal<'a> {
    /// Its keys go to a serial port or to the monitor.
    pub keys: &'a Keys,
    /// Somebody else has the serial port that would be there.
    pub console: Option<Console>,
}

/// Connects what the command line names, and the rest as the board says.
///
/// # Errors
/// One clear message: the flag, the rule, the fix.
pub fn connect(run: &Run, board: &Board, plan: &Plan, machine: &mut Machine, terminal: Terminal<'_>) -> Result<Connected, String> {
    let mut connected = Connected { snapshots: run.snapshot_dir.clone(), ..Connected::default() };
    drives(run, board, plan, machine, &mut connected)?;
    networks(run, board, plan, machine, &mut connected)?;
    serials(run, board, plan, machine, terminal, &mut connected)?;
    Ok(connected)
}

/// Takes the place of the standard streams: makes a sink for the serial port whose line it gets.
pub type Console = Box<dyn FnOnce(SerialLine) -> Box<dyn FnMut(&[u8]) + Send>>;

fn drives(run: &Run, board: &Board, plan: &Plan, machine: &mut Machine, connected: &mut Connected) -> Result<(), String> {
    let slots = Slots::new(board, plan, "drive", |kind| !kind.drives.is_empty());
    for text in &run.drive {
        let said = |e: String| format!("--drive {text}: {e}");
        let (slot, words) = text.split_once('=').ok_or_else(|| said("no slot\n  help: --drive SLOT=FILE".into()))?;
        let device = slots.find(slot).map_err(said)?;
        let spec: disk::Spec = words.parse().map_err(|e: disk::Error| said(e.to_string()))?;
        let disk = disk::open(&spec).map_err(|e| said(e.to_string()))?;
        machine.insert(device, 0, Some(Arc::new(Mutex::new(disk)))).map_err(|e| said(e.to_string()))?;
        connected.media.insert((device, 0), words.to_string());
    }
    Ok(())
}

fn networks(run: &Run, board: &Board, plan: &Plan, machine: &mut Machine, connected: &mut Connected) -> Result<(), String> {
    let slots = Slots::new(board, plan, "network port", |kind| !kind.nics.is_empty());
    for text in &run.net {
        let said = |e: String| format!("--net {text}: {e}");
        let (slot, spec) = text.split_once('=').ok_or_else(|| said("no network port\n  help: --net NIC=BACKEND".into()))?;
        let device = slots.find(slot).map_err(said)?;
        let spec: net::Spec = spec.parse().map_err(|e: net::Error| said(e.to_string()))?;
        let network = |device: usize| plan.devices[device].kind.map_or(Network::Ethernet, |k| k.network);
        let Some(cable) = machine.cable(device, 0).filter(|_| spec.kind != net::Kind::None) else { continue };
        let sink = if let net::Kind::Cable(other) = &spec.kind {
            let far = slots.find(other).map_err(said)?;
            let (here, there) = (network(device), network(far));
            if far == device || [device, far].iter().any(|d| connected.networks.contains_key(&(*d, 0))) {
                return Err(said(format!(
                    "a cable is between two ports, each of which has no other\n  help: --net {slot}=cable:NIC, and no --net for NIC"
                )));
            } else if here != there {
                return Err(said(format!(
                    "`{slot}` is a port for {here}, and `{other}` one for {there}\n  help: two ports of the same kind"
                )));
            }
            let Some(end) = machine.cable(far, 0) else { continue };
            let (sink, back) = net::join(&spec, here, cable, end).map_err(|e| said(e.to_string()))?;
            machine.connect_network(far, 0, Some(back));
            connected.networks.insert((far, 0), format!("cable:{slot}"));
            sink
        } else {
            net::open(&spec, network(device), cable).map_err(|e| said(e.to_string()))?
        };
        machine.connect_network(device, 0, Some(sink));
        connected.networks.insert((device, 0), spec.to_string());
    }
    Ok(())
}

/// Connects the serial ports; gives nothing back, as outputs live in the machine.
fn serials(
    run: &Run,
    board: &Board,
    plan: &Plan,
    machine: &mut Machine,
    terminal: Terminal<'_>,
    connected: &mut Connected,
) -> Result<(), String> {
    let Terminal { keys, mut console } = terminal;
    let slots = Slots::new(board, plan, "serial port", |kind| !kind.chardevs.is_empty());
    let mut backends: Vec<Option<Backend>> = vec![None; board.devices.len()];
    for s in &run.serial {
        let (name, backend) = s.split_once('=').unwrap_or(("serial0", s));
        let backend = backend.parse().map_err(|e: chardev::Error| e.to_string())?;
        backends[slots.find(name).map_err(|e| format!("--serial {name}: {e}"))?] = Some(backend);
    }
    let stdio_given = backends.iter().flatten().any(|b| *b == Backend::Stdio);
    if stdio_given && run.qtest.as_deref() == Some("stdio") {
        return Err("--serial and --qtest cannot both be stdio".into());
    }
    let terminal = console.is_none() && rustix::termios::isatty(std::io::stdin());
    let monitor = monitor::backends("--monitor", &run.monitor)?.contains(&Backend::Stdio);
    if stdio_given && monitor && !terminal {
        return Err("--monitor stdio: a serial port is on the standard streams, which only a terminal can share\n  \
                    help: put one of them elsewhere, such as --monitor unix:PATH,server"
            .into());
    }
    // A test says itself what its serial ports are connected to. Without a terminal all of the standard streams are the monitor's.
    let stdio_taken = stdio_given || run.qtest.is_some() || monitor && !terminal;
    let mut on_terminal = false;
    for i in slots.devices {
        let default = board.devices[i].chardev.as_ref().map(|c| c.text().to_string());
        let backend = match (backends[i].take(), default) {
            (Some(b), _) => b,
            (None, Some(d)) => match d.parse::<Backend>() {
                Ok(Backend::Stdio) if stdio_taken => Backend::Null,
                Ok(b) => b,
                Err(e) => return Err(e.to_string()),
            },
            (None, None) => Backend::Null,
        };
        let Some(line) = machine.serial_line(i, 0) else { continue };
        if backend == Backend::Stdio
            && let Some(console) = console.take()
        {
            let mut sink = console(line);
            machine.connect(
                i,
                0,
                Some(Box::new(move |bytes| {
                    sink(bytes);
                    true
                })),
            );
            continue;
        }
        connected.chardevs.insert(i, backend.to_string());
        let mut output = match backend {
            Backend::Stdio => {
                on_terminal = terminal;
                open_terminal(machine, keys, Some(line))
            }
            _ => {
                let room = line.clone();
                let ends = Ends {
                    input: Arc::new(move |bytes| line.receive(bytes)),
                    commands: Arc::new(|_| {}),
                    drained: Arc::new(move || room.drained()),
                };
                chardev::open(&backend, ends)
            }
        }
        .map_err(|e| e.to_string())?;
        let mut watch = console::Watch::new(run.exit_on.as_deref(), run.fail_on.as_deref());
        let handle = machine.handle();
        let sink = move |bytes: &[u8]| {
            if let Some(code) = watch.feed(bytes) {
                handle.stop(code);
            }
            output.send(bytes)
        };
        machine.connect(i, 0, Some(Box::new(sink)));
    }
    if monitor && terminal {
        if !on_terminal {
            // The monitor alone; what it shows does not go this way.
            open_terminal(machine, keys, None).map_err(|e| e.to_string())?;
        }
        keys.switch();
    }
    Ok(())
}

/// The standard streams, for a serial port and the monitor.
fn open_terminal(machine: &Machine, keys: &Keys, line: Option<SerialLine>) -> Result<Output, chardev::Error> {
    let (monitor, switch, handle, room) = (keys.clone(), keys.clone(), machine.handle(), line.clone());
    let ends = Ends {
        input: Arc::new(move |bytes| monitor.take(bytes) || line.as_ref().is_none_or(|line| line.receive(bytes))),
        commands: Arc::new(move |key| match key {
            Key::Quit => handle.stop_for(0, Cause::User),
            Key::Help => eprint!("{}", terminal::HELP),
            Key::Monitor => switch.switch(),
        }),
        drained: Arc::new(move || room.iter().for_each(SerialLine::drained)),
    };
    chardev::open(&Backend::Stdio, ends)
}
