//! `--qtest`: a machine that a client tests by QEMU's qtest protocol, see [`emu_debug::qtest`].

use emu_boards::{Board, Plan};
use emu_debug::qtest::{Port, Session, Unit, serve};
use emu_host::chardev::Backend;
use emu_host::connection::Connection;
use emu_machine::builder::port_lines;
use emu_machine::driven::Line;
use emu_machine::machine::Input;
use emu_machine::schema::{PortSpec, Props};
use emu_machine::{Exit, Machine};
use std::fs::File;
use std::io::{BufReader, Write};

/// Where a client is, or may connect, and the log of what it says.
pub struct Client {
    connection: Connection,
    log: Option<Box<dyn Write + Send>>,
}

impl Client {
    /// Connects, or listens; the log goes to the standard error stream if no file is given, and nowhere if that is `none`.
    ///
    /// # Errors
    /// What is wrong with the back end or the file, in words.
    pub fn new(backend: &str, log: Option<&str>) -> Result<Client, String> {
        let form = || format!("--qtest {backend}: it is no connection\n  help: stdio, unix:PATH[,server] or tcp:HOST:PORT[,server]");
        let parsed: Backend = backend.parse().map_err(|_| form())?;
        let log: Option<Box<dyn Write + Send>> = match log {
            None => Some(Box::new(std::io::stderr())),
            Some("none") => None,
            Some(file) => Some(Box::new(File::create(file).map_err(|e| format!("--qtest-log {file}: {e}"))?)),
        };
        let connection = Connection::new(&parsed).map_err(|e| format!("--qtest {backend}: {e}"))?.ok_or_else(form)?;
        Ok(Client { connection, log })
    }

    /// Does with the machine what the client says, until it leaves or the machine ends.
    ///
    /// # Errors
    /// As [`Machine::run_without_cpus`]; no thread for the connection.
    pub fn run(self, machine: &mut Machine, board: &Board, plan: &Plan) -> Result<Exit, String> {
        let (handle, units) = (machine.handle(), units(board, plan));
        let big_endian = machine.cpu(0).is_some_and(|cpu| cpu.big_endian());
        let serve = move || match self.connection.accept() {
            Ok((reader, writer)) => serve(&handle, Session::new(units, big_endian, writer, self.log), BufReader::new(reader)),
            Err(e) => {
                eprintln!("error: --qtest: {e}");
                handle.stop(2);
            }
        };
        std::thread::Builder::new().name("qtest".into()).spawn(serve).map_err(|e| format!("--qtest: {e}"))?;
        machine.run_without_cpus()
    }
}

/// The devices and CPUs of a board, with their names and lines.
fn units(board: &Board, plan: &Plan) -> Vec<Unit> {
    let names = |name: &str| {
        let aliases = board.aliases.iter().filter(|a| a.1.text() == name).map(|a| a.0.text.clone());
        [name.to_string()].into_iter().chain(aliases).collect()
    };
    let devices = board.devices.iter().zip(&plan.devices).enumerate().filter_map(|(device, (d, planned))| {
        let (kind, props) = (planned.kind?, &planned.props);
        Some(Unit {
            names: names(d.name.text()),
            inputs: ports(kind.inputs, props, |port, index| Line::Input(Input::Device { device, port, index })),
            outputs: ports(kind.outputs, props, |port, index| Line::DeviceOutput { device, port, index }),
        })
    });
    let cpus = board.cpus.iter().zip(&plan.cpus).enumerate().filter_map(|(cpu, (c, planned))| {
        let (kind, props) = (planned.kind?, &planned.props);
        let mut bits = 0..;
        let mut inputs = ports(kind.inputs, props, |_, _| Line::Input(Input::Cpu { cpu, bit: bits.next().unwrap_or(0) }));
        let one = |name: &str, input| Port { name: name.into(), lines: vec![Line::Input(input)] };
        inputs.extend([one("reset", Input::CpuReset(cpu)), one("stop", Input::CpuStop(cpu))]);
        let outputs = ports(kind.outputs, props, |port, index| Line::CpuOutput { cpu, port, index });
        Some(Unit { names: names(c.name.text()), inputs, outputs })
    });
    devices.chain(cpus).collect()
}

fn ports(specs: &[PortSpec], props: &Props, mut line: impl FnMut(usize, u32) -> Line) -> Vec<Port> {
    let mut lines = |port: usize, spec: &PortSpec| {
        let count = port_lines(spec.count, spec.per_cpu, props) as u32;
        Port { name: spec.name.into(), lines: (0..count).map(|index| line(port, index)).collect() }
    };
    specs.iter().enumerate().map(|(port, spec)| lines(port, spec)).collect()
}
