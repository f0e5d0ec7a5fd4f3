//! What a command line may go on with: commands, their arguments, devices, registers and fields.

use super::commands::{COMMANDS, Complete, find};
use super::info::TOPICS;
use super::{Names, Session};

/// Where the last word of a line begins, in bytes, and what it may become.
pub fn complete(session: &Session, line: &str) -> (usize, Vec<String>) {
    let names = session.names();
    let start = line.rfind(char::is_whitespace).map_or(0, |i| i + line[i..].chars().next().map_or(1, char::len_utf8));
    let (before, word) = (line[..start].trim(), &line[start..]);
    let mut ways = match before {
        "" => {
            let commands = COMMANDS.iter().flat_map(|c| c.names.iter().map(move |name| (*name, c.args)));
            // What takes arguments is followed by a space; a device may be by a dot.
            let commands = commands.map(|(name, args)| format!("{name}{}", if args.is_empty() { "" } else { " " }));
            commands.filter(|name| name.starts_with(word)).chain(registers(names, word)).collect()
        }
        command => match find(command) {
            Some(command) => arguments(names, command.complete, word),
            None => vec![],
        },
    };
    ways.sort();
    ways.dedup();
    (start, ways)
}

fn arguments(names: &Names, what: Complete, word: &str) -> Vec<String> {
    let place = |places: Vec<(String, usize, usize)>| places.into_iter().map(|p| p.0).collect();
    let all: Vec<String> = match what {
        Complete::Nothing => vec![],
        Complete::Commands => COMMANDS.iter().map(|c| c.names[0].to_string()).collect(),
        Complete::Topics => TOPICS.iter().map(|t| t.names[0].to_string()).collect(),
        Complete::Cpus => (0..names.cpus.len()).map(|cpu| cpu.to_string()).collect(),
        Complete::Drives => place(names.drives()),
        Complete::Nics => place(names.nics()),
        Complete::Keys => {
            let (before, last) = word.rsplit_once('-').map_or(("", word), |(before, last)| (&word[..=before.len()], last));
            emu_machine::input::keys().filter(|key| key.starts_with(last)).map(|key| format!("{before}{key}")).collect()
        }
        Complete::Buttons => names.buttons().into_iter().map(|b| b.0).collect(),
    };
    all.into_iter().filter(|name| name.starts_with(word)).collect()
}

/// Devices, and behind a dot their registers and the registers' fields.
fn registers(names: &Names, word: &str) -> Vec<String> {
    let mut parts = word.split('.');
    let (Some(device), rest) = (parts.next(), parts.collect::<Vec<_>>()) else { return vec![] };
    let begins = |name: &str, part: &str| name.get(..part.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(part));
    let docs = names.device(device).map_or(&[][..], |i| names.devices[i].kind.registers);
    match rest[..] {
        [] => names.devices.iter().map(|d| d.name.clone()).filter(|name| name.starts_with(device)).collect(),
        [register] => docs.iter().filter(|d| begins(d.name, register)).map(|d| format!("{device}.{}", d.name)).collect(),
        [register, field] => {
            let plain = register.split('[').next().unwrap_or("");
            let doc = docs.iter().find(|d| d.name.eq_ignore_ascii_case(plain));
            let fields = doc.map_or(&[][..], |d| d.fields).iter().filter(|f| begins(f.0, field));
            fields.map(|f| format!("{device}.{register}.{}", f.0)).collect()
        }
        _ => vec![],
    }
}
