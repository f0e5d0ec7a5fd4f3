//! The monitor: commands about a running machine, in words. The text monitor ([`serve`]) and the control socket ([`crate::qmp`]) use the same table.
//!
//! Source: the commands and their output follow QEMU's monitor where that is good (QEMU manual, "QEMU Monitor").
//! Data path: a line -> [`Session::execute`] -> the table [`COMMANDS`], or a device's register by name -> [`Handle::call`], which does it on the
//! machine's thread between instructions -> text.
//! Not modelled: adding devices.

mod args;
pub(crate) mod commands;
mod complete;
pub mod edit;
mod info;
pub mod input;
mod memory;
mod registers;
mod serve;

pub use args::Args;
pub use commands::{COMMANDS, Command, Complete};
pub use info::{TOPICS, Topic};
pub use memory::{Space, save_memory};
pub(crate) use serve::answer;
pub use serve::{Monitor, serve};

use emu_machine::backend::Disk;
use emu_machine::schema::{DeviceType, RegisterDoc};
use emu_machine::{Handle, Machine};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// A device as the board calls it.
#[derive(Clone)]
pub struct DeviceName {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: DeviceType,
}

/// A CPU as the board calls it.
#[derive(Clone, Default, Debug)]
pub struct CpuName {
    /// Its name.
    pub name: String,
    /// Instruction set.
    pub isa: String,
    /// Model.
    pub model: String,
    /// Its input lines, by bit.
    pub lines: Vec<String>,
}

/// What a board calls things, by the machine's numbers, and what is connected to it.
#[derive(Default)]
pub struct Names {
    /// The board.
    pub board: String,
    /// What it is, in a line.
    pub doc: String,
    /// Buses.
    pub buses: Vec<String>,
    /// Clocks.
    pub clocks: Vec<String>,
    /// CPUs.
    pub cpus: Vec<CpuName>,
    /// Devices.
    pub devices: Vec<DeviceName>,
    /// Other names of devices: the name, the device's.
    pub aliases: Vec<(String, String)>,
    /// Back ends of serial ports, by device.
    pub chardevs: BTreeMap<usize, String>,
    /// Back ends of network ports, by device and port.
    pub networks: BTreeMap<(usize, usize), String>,
    /// Where snapshots are that have only a name.
    pub snapshots: PathBuf,
    /// Files in drives, by device and port.
    pub media: Mutex<BTreeMap<(usize, usize), String>>,
}

impl Names {
    /// What the machine itself knows of names.
    pub fn new(machine: &Machine) -> Names {
        let device = |(i, name): (usize, &str)| Some(DeviceName { name: name.to_string(), kind: *machine.device_type(i)? });
        Names {
            buses: (0..machine.buses()).map(|bus| format!("bus{bus}")).collect(),
            clocks: (0..machine.clocks()).map(|clock| format!("clock{clock}")).collect(),
            cpus: machine.cpu_names().into_iter().map(|name| CpuName { name: name.to_string(), ..CpuName::default() }).collect(),
            devices: machine.device_names().into_iter().enumerate().filter_map(device).collect(),
            ..Names::default()
        }
    }

    /// The device of this name, or alias.
    pub fn device(&self, name: &str) -> Option<usize> {
        let named = |name: &str| self.devices.iter().position(|d| d.name == name);
        named(name).or_else(|| named(&self.aliases.iter().find(|a| a.0 == name)?.1))
    }

    /// What is in the drives.
    pub fn media(&self) -> MutexGuard<'_, BTreeMap<(usize, usize), String>> {
        self.media.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// All places of one kind, such as drives: their names, devices and ports. The only one of a device is called as that.
    fn places(&self, of: fn(&DeviceType) -> &'static [&'static str]) -> Vec<(String, usize, usize)> {
        let name = |d: &DeviceName, port: usize| match of(&d.kind) {
            [_] => d.name.clone(),
            ports => format!("{}.{}", d.name, ports[port]),
        };
        let ports = |(i, d): (usize, &DeviceName)| (0..of(&d.kind).len()).map(|port| (name(d, port), i, port)).collect::<Vec<_>>();
        self.devices.iter().enumerate().flat_map(ports).collect()
    }

    /// All drives: name, device and port.
    pub fn drives(&self) -> Vec<(String, usize, usize)> {
        self.places(|kind| kind.drives)
    }

    /// All network ports: name, device and port.
    pub fn nics(&self) -> Vec<(String, usize, usize)> {
        self.places(|kind| kind.nics)
    }

    /// All buttons: name, device, and the register that takes the time they are pressed for.
    pub fn buttons(&self) -> Vec<(String, usize, &'static RegisterDoc)> {
        let press = |d: &DeviceName| d.kind.registers.iter().find(|r| r.name == "PRESS");
        self.devices.iter().enumerate().filter_map(|(i, d)| Some((d.name.clone(), i, press(d)?))).collect()
    }

    /// The place called so, by its own name or its device's alias.
    fn place(&self, places: Vec<(String, usize, usize)>, name: &str) -> Option<(usize, usize)> {
        let device = self.device(name);
        places.into_iter().find(|p| p.0 == name || Some(p.1) == device).map(|p| (p.1, p.2))
    }

    /// The drive called so.
    pub fn drive(&self, name: &str) -> Option<(usize, usize)> {
        self.place(self.drives(), name)
    }

    /// The network port called so.
    pub fn nic(&self, name: &str) -> Option<(usize, usize)> {
        self.place(self.nics(), name)
    }
}

/// What the program around the machine does for a monitor.
pub trait Host: Send + Sync {
    /// The instruction at `pc`, of which `bytes` are in memory, as the CPU executes it with a block key: its bytes, its code and its text.
    /// `None`: there is no disassembler for this CPU, or too few bytes.
    fn disassemble(&self, cpu: &CpuName, key: u64, pc: u64, bytes: &[u8]) -> Option<(usize, String, String)>;

    /// Opens a disk image, as `--drive` names it behind the slot.
    ///
    /// # Errors
    /// Why not, in words.
    fn open_disk(&self, image: &str) -> Result<Box<dyn Disk>, String>;

    /// Logs by this filter from now on.
    ///
    /// # Errors
    /// What is wrong with it.
    fn trace(&self, filter: &str) -> Result<(), String>;
}

/// Somebody who gives commands.
#[derive(Clone)]
pub struct Session {
    handle: Handle,
    names: Arc<Names>,
    host: Arc<dyn Host>,
    /// The CPU that commands are about.
    cpu: usize,
}

impl Session {
    /// A session about CPU 0.
    pub fn new(handle: Handle, names: Arc<Names>, host: Arc<dyn Host>) -> Session {
        Session { handle, names, host, cpu: 0 }
    }

    /// The machine's handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The board's names.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The program's services.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// The CPU that commands are about.
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// Has commands be about this CPU.
    ///
    /// # Errors
    /// There is no such CPU.
    pub fn set_cpu(&mut self, cpu: usize) -> Result<(), String> {
        if cpu >= self.names.cpus.len() {
            return Err(format!("there is no CPU {cpu}"));
        }
        self.cpu = cpu;
        Ok(())
    }

    /// Has something done with the machine between instructions.
    ///
    /// # Errors
    /// The machine has ended.
    pub fn machine<R: Send + 'static>(&self, f: impl FnOnce(&mut Machine) -> R + Send + 'static) -> Result<R, String> {
        self.handle.call(f).ok_or_else(|| "the machine has ended".to_string())
    }

    /// Executes a command line: what it answers, or why not.
    ///
    /// # Errors
    /// One message, in words.
    pub fn execute(&mut self, line: &str) -> Result<String, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(String::new());
        }
        let ends = |c: char| !(c.is_alphanumeric() || "_-.[]?".contains(c));
        let (name, rest) = line.split_at(line.find(ends).unwrap_or(line.len()));
        match commands::find(name) {
            Some(command) => (command.run)(self, &mut Args::new(rest)),
            None => registers::access(self, name, rest.trim()),
        }
    }
}
