//! The monitor's commands, each written once.

use super::{Args, Session, info, input, memory};
use emu_machine::control::Cause;
use emu_machine::snapshot::{LoadError, is_snapshot};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What completes a command's arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complete {
    /// Nothing.
    Nothing,
    /// Commands.
    Commands,
    /// Topics of `info`.
    Topics,
    /// CPUs, by number.
    Cpus,
    /// Drives.
    Drives,
    /// Network ports.
    Nics,
    /// Keys.
    Keys,
    /// Buttons.
    Buttons,
}

/// A command.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name, then others for the same.
    pub names: &'static [&'static str],
    /// Its arguments, as `help` shows them.
    pub args: &'static str,
    /// One line.
    pub help: &'static str,
    /// What completes its arguments.
    pub complete: Complete,
    /// Executes it: what it answers, or why not.
    pub run: fn(&mut Session, &mut Args<'_>) -> Result<String, String>,
}

type Answer = Result<String, String>;

/// All commands, in the order of `help`.
pub const COMMANDS: &[Command] = &[
    Command { names: &["help", "?"], args: "[COMMAND]", help: "all commands, or one", complete: Complete::Commands, run: help },
    Command { names: &["quit", "q"], args: "", help: "end the machine", complete: Complete::Nothing, run: quit },
    Command { names: &["stop", "s"], args: "", help: "hold the machine: guest time stands still", complete: Complete::Nothing, run: stop },
    Command { names: &["cont", "c"], args: "", help: "let it go on", complete: Complete::Nothing, run: cont },
    Command { names: &["reset", "system_reset"], args: "", help: "reset the machine", complete: Complete::Nothing, run: reset },
    Command {
        names: &["powerdown", "system_powerdown"],
        args: "",
        help: "press the power button",
        complete: Complete::Nothing,
        run: powerdown,
    },
    Command { names: &["cpu"], args: "N", help: "have commands be about this CPU", complete: Complete::Cpus, run: cpu },
    Command { names: &["info"], args: "[TOPIC]", help: "what there is, and how it is", complete: Complete::Topics, run: info::info },
    Command {
        names: &["x"],
        args: "/[COUNT][FORMAT][SIZE] ADDRESS",
        help: "memory at a virtual address; formats x d u o c i s, sizes b h w g",
        complete: Complete::Nothing,
        run: memory::dump_virtual,
    },
    Command {
        names: &["xp"],
        args: "/[COUNT][FORMAT][SIZE] ADDRESS",
        help: "memory at a physical address",
        complete: Complete::Nothing,
        run: memory::dump_physical,
    },
    Command {
        names: &["peek"],
        args: "/[SIZE] ADDRESS",
        help: "one access to a virtual address, of size b h w or g",
        complete: Complete::Nothing,
        run: memory::peek_virtual,
    },
    Command {
        names: &["poke"],
        args: "/[SIZE] ADDRESS VALUE",
        help: "write to a virtual address",
        complete: Complete::Nothing,
        run: memory::poke_virtual,
    },
    Command {
        names: &["peekp"],
        args: "/[SIZE] ADDRESS",
        help: "one access to a physical address",
        complete: Complete::Nothing,
        run: memory::peek_physical,
    },
    Command {
        names: &["pokep"],
        args: "/[SIZE] ADDRESS VALUE",
        help: "write to a physical address",
        complete: Complete::Nothing,
        run: memory::poke_physical,
    },
    Command {
        names: &["memsave"],
        args: "ADDRESS SIZE FILE",
        help: "copy memory at a virtual address to a file",
        complete: Complete::Nothing,
        run: memory::save_virtual,
    },
    Command {
        names: &["pmemsave"],
        args: "ADDRESS SIZE FILE",
        help: "copy memory at a physical address to a file",
        complete: Complete::Nothing,
        run: memory::save_physical,
    },
    Command {
        names: &["drive", "change"],
        args: "SLOT FILE[,OPTION]...|none",
        help: "put a disk image into a drive, or take it out",
        complete: Complete::Drives,
        run: drive,
    },
    Command { names: &["eject"], args: "SLOT", help: "take a disk image out of a drive", complete: Complete::Drives, run: eject },
    Command {
        names: &["net", "set_link"],
        args: "NIC up|down",
        help: "plug a network cable in, or out",
        complete: Complete::Nics,
        run: net,
    },
    Command {
        names: &["sendkey"],
        args: "KEY[-KEY]... [MS]",
        help: "press keys together for 100 ms, or as long as said, such as ctrl-alt-delete",
        complete: Complete::Keys,
        run: input::sendkey,
    },
    Command {
        names: &["mouse_move"],
        args: "DX DY [NOTCHES]",
        help: "move a relative pointer right and down, and turn the wheel",
        complete: Complete::Nothing,
        run: input::mouse_move,
    },
    Command {
        names: &["mouse_button"],
        args: "STATE",
        help: "the pointer's buttons: the sum of 1 (left), 2 (middle), 4 (right)",
        complete: Complete::Nothing,
        run: input::mouse_button,
    },
    Command {
        names: &["press"],
        args: "BUTTON [MILLISECONDS]",
        help: "press a button, for 100 ms if nothing else is said",
        complete: Complete::Buttons,
        run: press,
    },
    Command { names: &["savevm"], args: "FILE", help: "save the machine", complete: Complete::Nothing, run: save },
    Command { names: &["loadvm"], args: "FILE", help: "go on from a saved machine", complete: Complete::Nothing, run: load },
    Command { names: &["delvm"], args: "FILE", help: "delete a saved machine", complete: Complete::Nothing, run: delete },
    Command {
        names: &["trace", "log"],
        args: "FILTER",
        help: "what to log, a filter such as dev=trace",
        complete: Complete::Nothing,
        run: trace,
    },
];

/// The command called so.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.names.contains(&name))
}

/// How the command is called, as `help` shows it.
fn usage(name: &str, args: &str) -> String {
    // A format follows the name without a space.
    let space = if args.is_empty() || args.starts_with('/') { "" } else { " " };
    format!("{name}{space}{args}")
}

fn help(_: &mut Session, args: &mut Args<'_>) -> Answer {
    if let Some(name) = args.word() {
        let command = find(name).ok_or_else(|| format!("there is no command `{name}`"))?;
        let mut text = format!("{}: {}\n", usage(command.names[0], command.args), command.help);
        if command.names.len() > 1 {
            text += &format!("also called {}\n", command.names[1..].join(", "));
        }
        if command.complete == Complete::Topics {
            text += &info::topics();
        }
        return Ok(text);
    }
    let lines = COMMANDS.iter().map(|c| format!("{:<34} {}\n", usage(c.names[0], c.args), c.help));
    let registers = [
        ("DEVICE", "all registers of a device, such as uart0"),
        ("DEVICE.REGISTER[.FIELD]", "one of them, or a field"),
        ("DEVICE.REGISTER[.FIELD] = VALUE", "write it; the other fields keep their values"),
        ("CPU.REGISTER [= VALUE]", "a register of a CPU, such as cpu0.pc"),
    ];
    Ok(lines.chain(registers.map(|(name, help)| format!("{name:<34} {help}\n"))).collect())
}

fn quit(session: &mut Session, args: &mut Args<'_>) -> Answer {
    args.end()?;
    session.handle().stop_for(0, Cause::Quit);
    Ok(String::new())
}

fn stop(session: &mut Session, args: &mut Args<'_>) -> Answer {
    args.end()?;
    session.machine(|machine| machine.hold())?;
    Ok(String::new())
}

fn cont(session: &mut Session, args: &mut Args<'_>) -> Answer {
    args.end()?;
    session.machine(|machine| machine.resume())?;
    Ok(String::new())
}

fn reset(session: &mut Session, args: &mut Args<'_>) -> Answer {
    args.end()?;
    session.machine(|machine| machine.reset_for(Cause::Reset))??;
    Ok(String::new())
}

fn powerdown(session: &mut Session, args: &mut Args<'_>) -> Answer {
    args.end()?;
    press_power_button(session)?;
    Ok(String::new())
}

/// Presses the board's power button.
///
/// # Errors
/// It has none.
pub fn press_power_button(session: &Session) -> Result<(), String> {
    let pressed = session.machine(|machine| machine.press_power_button())?;
    if pressed { Ok(()) } else { Err(format!("the board `{}` has no power button", session.names().board)) }
}

fn cpu(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let text = args.need("the CPU's number")?;
    args.end()?;
    let cpu = super::args::number(text).and_then(|n| usize::try_from(n).ok());
    session.set_cpu(cpu.ok_or_else(|| format!("`{text}` is no number"))?)?;
    Ok(String::new())
}

/// Puts an image into a drive, or takes it out.
///
/// # Errors
/// What is wrong with the image, in words.
pub fn insert(session: &Session, (device, port): (usize, usize), image: Option<&str>) -> Result<(), String> {
    let disk = image.map(|image| session.host().open_disk(image)).transpose()?.map(|disk| Arc::new(Mutex::new(disk)));
    session.machine(move |machine| machine.insert(device, port, disk).map_err(|e| e.to_string()))??;
    let mut media = session.names().media();
    match image {
        Some(image) => _ = media.insert((device, port), image.to_string()),
        None => _ = media.remove(&(device, port)),
    }
    Ok(())
}

/// One of a list of names was meant; what there is instead.
fn no_such(what: &str, name: &str, places: &[(String, usize, usize)]) -> String {
    let names: Vec<&str> = places.iter().map(|p| p.0.as_str()).collect();
    format!("there is no {what} `{name}`; this board has {}", if names.is_empty() { "none".into() } else { names.join(", ") })
}

fn slot(session: &Session, args: &mut Args<'_>) -> Result<(usize, usize), String> {
    let name = args.need("the drive's name")?;
    session.names().drive(name).ok_or_else(|| no_such("drive", name, &session.names().drives()))
}

fn drive(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let slot = slot(session, args)?;
    let image = args.need("the image (or `none`)")?;
    args.end()?;
    insert(session, slot, (image != "none").then_some(image))?;
    Ok(String::new())
}

fn eject(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let slot = slot(session, args)?;
    args.end()?;
    insert(session, slot, None)?;
    Ok(String::new())
}

/// Plugs a network cable in, or out.
///
/// # Errors
/// The machine has ended.
pub fn set_link(session: &Session, (device, port): (usize, usize), up: bool) -> Result<(), String> {
    session.machine(move |machine| machine.cable(device, port).map(|cable| cable.set_link(up)))?;
    Ok(())
}

fn net(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let name = args.need("the network port's name")?;
    let nic = session.names().nic(name).ok_or_else(|| no_such("network port", name, &session.names().nics()))?;
    let up = match args.need("up or down")? {
        "up" | "on" => true,
        "down" | "off" => false,
        other => return Err(format!("`{other}` is neither up nor down")),
    };
    args.end()?;
    set_link(session, nic, up)?;
    Ok(String::new())
}

/// Presses a button: a device with a register for that.
fn press(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let name = args.need("the button's name")?;
    let time = args.word().map_or(Ok(100), |time| super::args::number(time).ok_or_else(|| format!("`{time}` is no number")))?;
    args.end()?;
    let buttons = session.names().buttons();
    let (_, device, doc) = buttons.iter().find(|b| b.0 == name).ok_or_else(|| {
        let known: Vec<&str> = buttons.iter().map(|b| b.0.as_str()).collect();
        format!("there is no button `{name}`; this board has {}", if known.is_empty() { "none".into() } else { known.join(", ") })
    })?;
    let (device, doc) = (*device, *doc);
    session.machine(move |machine| machine.write_register(device, doc.region, doc.offset, 4, time))?.map_err(|e| e.to_string())?;
    Ok(String::new())
}

/// A snapshot's file; a name alone is in the directory of snapshots.
fn snapshot(session: &Session, args: &mut Args<'_>) -> Result<PathBuf, String> {
    let file = args.need("the file")?;
    args.end()?;
    Ok(if file.contains('/') { file.into() } else { session.names().snapshots.join(file) })
}

fn save(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let file = snapshot(session, args)?;
    session.machine(move |machine| machine.save_to_file(&file))??;
    Ok(String::new())
}

fn load(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let file = snapshot(session, args)?;
    let load = move |machine: &mut emu_machine::Machine| {
        machine.load_from_file(&file).map_err(|e| {
            if let LoadError::Lost(_) = e {
                machine.handle().stop(2);
            }
            e.to_string()
        })
    };
    session.machine(load)??;
    Ok(String::new())
}

fn delete(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let file = snapshot(session, args)?;
    let said = |e: std::io::Error| format!("{}: {e}", file.display());
    if !is_snapshot(&file).map_err(said)? {
        return Err(format!("{} is no snapshot", file.display()));
    }
    std::fs::remove_file(&file).map_err(said)?;
    Ok(String::new())
}

fn trace(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let filter = args.need("the filter")?;
    args.end()?;
    session.host().trace(filter)?;
    Ok(String::new())
}
