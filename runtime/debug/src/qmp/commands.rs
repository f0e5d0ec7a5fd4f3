//! The control socket's commands, each written once.
//!
//! Source: QEMU QMP Reference Manual 7.2; members of answers that it calls required are all there, with the values of a machine without that feature.

use super::{After, input, version};
use crate::monitor::{Session, Space, commands as monitor, save_memory};
use emu_machine::control::Cause;
use emu_machine::inspect::Mapped;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Classes of errors that clients tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// Most errors.
    Generic,
    /// There is no such command, or not now.
    CommandNotFound,
    /// There is no such device.
    DeviceNotFound,
}

impl ErrorClass {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::Generic => "GenericError",
            ErrorClass::CommandNotFound => "CommandNotFound",
            ErrorClass::DeviceNotFound => "DeviceNotFound",
        }
    }
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QmpError {
    /// Its class.
    pub class: ErrorClass,
    /// In words.
    pub text: String,
}

impl QmpError {
    /// An error of no special class.
    pub fn generic(text: impl Into<String>) -> QmpError {
        QmpError { class: ErrorClass::Generic, text: text.into() }
    }

    fn no_device(name: &str) -> QmpError {
        QmpError { class: ErrorClass::DeviceNotFound, text: format!("Device '{name}' not found") }
    }
}

impl From<String> for QmpError {
    fn from(text: String) -> QmpError {
        QmpError::generic(text)
    }
}

/// A command's arguments; those that nobody takes are errors.
pub struct Arguments(Map<String, Value>);

impl Arguments {
    pub(super) fn take<T>(&mut self, name: &str, kind: &str, get: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, QmpError> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let wrong = || QmpError::generic(format!("Invalid parameter type for '{name}', expected: {kind}"));
        get(&value).map(Some).ok_or_else(wrong)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, QmpError> {
        self.take(name, "string", |v| v.as_str().map(str::to_string))
    }

    pub(super) fn int(&mut self, name: &str) -> Result<Option<u64>, QmpError> {
        self.take(name, "integer", |v| v.as_u64().or_else(|| v.as_i64().map(|i| i as u64)))
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, QmpError> {
        self.take(name, "boolean", Value::as_bool)
    }

    pub(super) fn end(&self) -> Result<(), QmpError> {
        self.0.keys().next().map_or(Ok(()), |name| Err(QmpError::generic(format!("Parameter '{name}' is unexpected"))))
    }
}

pub(super) fn need<T>(name: &str, value: Option<T>) -> Result<T, QmpError> {
    value.ok_or_else(|| QmpError::generic(format!("Parameter '{name}' is missing")))
}

pub(super) type Answer = Result<Value, QmpError>;

/// A command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Takes its arguments and executes it.
    run: fn(&mut Session, &mut Arguments) -> Answer,
}

/// All commands but `qmp_capabilities`, which belongs to the protocol.
pub const COMMANDS: &[Command] = &[
    Command { name: "blockdev-change-medium", run: change_medium },
    Command { name: "cont", run: cont },
    Command { name: "eject", run: eject },
    Command { name: "human-monitor-command", run: human },
    Command { name: "input-send-event", run: input::send_events },
    Command { name: "memsave", run: memsave },
    Command { name: "pmemsave", run: pmemsave },
    Command { name: "query-block", run: query_block },
    Command { name: "query-chardev", run: query_chardev },
    Command { name: "query-commands", run: query_commands },
    Command { name: "query-cpus-fast", run: query_cpus },
    Command { name: "query-kvm", run: query_kvm },
    Command { name: "query-machines", run: query_machines },
    Command { name: "query-memory-size-summary", run: query_memory },
    Command { name: "query-name", run: query_name },
    Command { name: "query-named-block-nodes", run: query_nodes },
    Command { name: "query-status", run: query_status },
    Command { name: "query-target", run: query_target },
    Command { name: "query-uuid", run: query_uuid },
    Command { name: "query-version", run: query_version },
    Command { name: "quit", run: |_, arguments| arguments.end().map(|()| json!({})) },
    Command { name: "send-key", run: input::send_key },
    Command { name: "set_link", run: set_link },
    Command { name: "stop", run: stop },
    Command { name: "system_powerdown", run: powerdown },
    Command { name: "system_reset", run: reset },
];

/// The command called so.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

/// Executes a command.
pub fn run(command: &Command, session: &mut Session, arguments: Map<String, Value>) -> Result<(Value, Option<After>), QmpError> {
    let mut arguments = Arguments(arguments);
    let value = (command.run)(session, &mut arguments)?;
    // The answer comes first.
    let quits = command.name == "quit";
    let handle = session.handle().clone();
    Ok((value, quits.then(|| -> After { Box::new(move || handle.stop_for(0, Cause::Quit)) })))
}

/// `qmp_capabilities`: nothing may be enabled, as nothing is offered.
pub fn negotiate(arguments: Map<String, Value>) -> Result<(), QmpError> {
    let mut arguments = Arguments(arguments);
    let wanted = arguments.take("enable", "array", |v| v.as_array().cloned())?.unwrap_or_default();
    arguments.end()?;
    match wanted.first() {
        Some(Value::String(name)) if name == "oob" => Err(QmpError::generic("Capability oob not available")),
        Some(other) => Err(QmpError::generic(format!("Invalid parameter {other}"))),
        None => Ok(()),
    }
}

fn done(result: Result<(), String>) -> Answer {
    result?;
    Ok(json!({}))
}

fn stop(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    done(session.machine(|machine| machine.hold()))
}

fn cont(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    done(session.machine(|machine| machine.resume()))
}

fn reset(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    done(session.machine(|machine| machine.reset_for(Cause::Reset))?)
}

fn powerdown(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    done(monitor::press_power_button(session))
}

fn human(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let line = need("command-line", arguments.text("command-line")?)?;
    let cpu = arguments.int("cpu-index")?;
    arguments.end()?;
    let mut session = session.clone();
    if let Some(cpu) = cpu {
        session.set_cpu(usize::try_from(cpu).unwrap_or(usize::MAX))?;
    }
    Ok(crate::monitor::answer(session.execute(&line)).replace('\n', "\r\n").into())
}

fn memsave(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let cpu = arguments.int("cpu-index")?.map_or(session.cpu(), |cpu| usize::try_from(cpu).unwrap_or(usize::MAX));
    if cpu >= session.names().cpus.len() {
        return Err(QmpError::generic("Invalid parameter 'cpu-index'"));
    }
    save(session, arguments, Space::Virtual(cpu))
}

fn pmemsave(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let space = Space::Physical(session.cpu());
    save(session, arguments, space)
}

fn save(session: &mut Session, arguments: &mut Arguments, space: Space) -> Answer {
    let at = need("val", arguments.int("val")?)?;
    let size = need("size", arguments.int("size")?)?;
    let file = need("filename", arguments.text("filename")?)?;
    arguments.end()?;
    done(save_memory(session, space, at, size, &file))
}

/// The drive that `id` or `device` names.
fn drive(session: &Session, arguments: &mut Arguments) -> Result<(usize, usize), QmpError> {
    let (device, id) = (arguments.text("device")?, arguments.text("id")?);
    let name = device.or(id).ok_or_else(|| QmpError::generic("Need exactly one of 'device' and 'id'"))?;
    session.names().drive(&name).ok_or_else(|| QmpError::no_device(&name))
}

fn change_medium(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let slot = drive(session, arguments)?;
    let mut image = need("filename", arguments.text("filename")?)?;
    if let Some(format) = arguments.text("format")? {
        image += &format!(",format={format}");
    }
    arguments.flag("force")?;
    match arguments.text("read-only-mode")?.as_deref() {
        None | Some("retain" | "read-write") => {}
        Some("read-only") => image += ",readonly",
        Some(other) => return Err(QmpError::generic(format!("Invalid parameter '{other}'"))),
    }
    arguments.end()?;
    done(monitor::insert(session, slot, Some(&image)))
}

fn eject(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let slot = drive(session, arguments)?;
    arguments.flag("force")?;
    arguments.end()?;
    done(monitor::insert(session, slot, None))
}

fn set_link(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let name = need("name", arguments.text("name")?)?;
    let up = need("up", arguments.flag("up")?)?;
    arguments.end()?;
    let nic = session.names().nic(&name).ok_or_else(|| QmpError::no_device(&name))?;
    done(monitor::set_link(session, nic, up))
}

fn query_status(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let held = session.machine(|machine| machine.is_held())?;
    Ok(json!({ "running": !held, "singlestep": false, "status": if held { "paused" } else { "running" } }))
}

fn query_version(_: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    Ok(version())
}

fn query_commands(_: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let names = COMMANDS.iter().map(|c| c.name).chain(["qmp_capabilities"]);
    Ok(names.map(|name| json!({ "name": name })).collect())
}

fn query_name(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    Ok(json!({ "name": session.names().board }))
}

fn query_kvm(_: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    Ok(json!({ "enabled": false, "present": false }))
}

fn query_uuid(_: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    Ok(json!({ "UUID": "00000000-0000-0000-0000-000000000000" }))
}

/// QEMU's name of what CPU 0 executes.
fn target(session: &Session) -> String {
    session.names().cpus.first().map_or("none", |c| if c.model.starts_with(&c.isa) { &c.model } else { &c.isa }).to_string()
}

fn query_target(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    Ok(json!({ "arch": target(session) }))
}

fn query_cpus(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let target = target(session);
    let cpu = |(index, cpu): (usize, &crate::monitor::CpuName)| {
        json!({
            "cpu-index": index,
            "qom-path": format!("/machine/{}", cpu.name),
            "thread-id": std::process::id(),
            "props": { "core-id": index },
            "target": target,
        })
    };
    Ok(session.names().cpus.iter().enumerate().map(cpu).collect())
}

fn query_machines(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let names = session.names();
    Ok(json!([{
        "name": names.board,
        "is-default": true,
        "cpu-max": names.cpus.len(),
        "hotpluggable-cpus": false,
        "numa-mem-supported": false,
        "deprecated": false,
    }]))
}

fn query_memory(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let sizes = session.machine(|machine| {
        let mut sizes = BTreeMap::new();
        for entry in (0..machine.buses()).flat_map(|bus| machine.map(bus)) {
            if let Mapped::Memory(name, true) = entry.what {
                let size = sizes.entry(name).or_insert(0);
                *size = (entry.last - entry.start).saturating_add(1).max(*size);
            }
        }
        sizes
    })?;
    Ok(json!({ "base-memory": sizes.values().fold(0u64, |all, size| all.saturating_add(*size)) }))
}

fn query_chardev(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let names = session.names();
    let ports = names.devices.iter().enumerate().filter(|(_, d)| !d.kind.chardevs.is_empty());
    let backend = |i: usize| names.chardevs.get(&i).map_or("null", |b| b.as_str());
    Ok(ports.map(|(i, d)| json!({ "label": d.name, "filename": backend(i), "frontend-open": true })).collect())
}

/// A drive's medium as `BlockDeviceInfo`: its file, then what was asked about it behind commas.
fn medium_of(file: &str, size: u64, read_only: bool) -> Value {
    let mut options = file.split(',');
    let name = options.next().unwrap_or("");
    let format = options.find_map(|o| o.strip_prefix("format=")).unwrap_or("raw");
    json!({
        "file": name,
        "node-name": name,
        "ro": read_only,
        "drv": format,
        "encrypted": false,
        "detect_zeroes": "off",
        "backing_file_depth": 0,
        "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0,
        "write_threshold": 0,
        "cache": { "writeback": true, "direct": false, "no-flush": false },
        "image": { "filename": name, "format": format, "virtual-size": size },
    })
}

/// All drives: their names, and what is in them.
fn media(session: &Session) -> Result<Vec<(String, Option<Value>)>, QmpError> {
    let names = session.names().clone();
    let media = session.machine(move |machine| {
        let drive = |(name, device, port): (String, usize, usize)| {
            let file = names.media().get(&(device, port)).cloned().unwrap_or_default();
            let medium = machine.medium(device, port);
            (name, medium.map(|m| medium_of(&file, m.size, m.read_only)))
        };
        names.drives().into_iter().map(drive).collect()
    })?;
    Ok(media)
}

fn query_block(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.end()?;
    let drive = |(name, medium): (String, Option<Value>)| {
        let mut all = json!({
            "device": name,
            "qdev": format!("/machine/{name}"),
            "type": "unknown",
            "locked": false,
            "removable": true,
            "tray_open": false,
        });
        if let Some(medium) = medium {
            all["inserted"] = medium;
        }
        all
    };
    Ok(media(session)?.into_iter().map(drive).collect())
}

fn query_nodes(session: &mut Session, arguments: &mut Arguments) -> Answer {
    arguments.flag("flat")?;
    arguments.end()?;
    Ok(media(session)?.into_iter().filter_map(|(_, medium)| medium).collect())
}
