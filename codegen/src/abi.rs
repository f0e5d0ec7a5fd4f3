//! System calls: the KDL files of `runtime/user/abi` -> Rust.
//!
//! KDL texts -> [`Data`] (all problems reported at once, with their places) -> for each ABI the offsets of its structures, its flags and its
//! calls -> the template `abi.rs.j2` -> tables of plain data. What the words mean is in `book/src/system-calls.md`.
//!
//! ```kdl
//! struct timespec { long tv_sec; long tv_nsec; }
//! flags open { value O_WRONLY 1 mask=3; bit O_NOFOLLOW 0x20000 link=nofollow; }
//! call openat dirfd path set:open octal
//! hand readv fd pointer int
//! process mmap2 pointer ulong
//! absent bpf
//! ioctl 0x5413 TIOCGWINSZ out:winsize
//! ```
//!
//! A file with a node `abi` describes one ABI: its word size and alignment, its numbers, and what differs from the common files.

mod layout;
mod made;
mod read;

use crate::regs::place;
use emu_dsl::diagnostic::{Diagnostic, Errors};
use emu_dsl::spec::{File, Span};
use kdl::KdlDocument;
use layout::Rules;
use std::collections::BTreeMap;

/// Arguments a call has at most, in registers of the guest or of the host.
const MAX_ARGS: usize = 6;

/// Kinds of arguments without a parameter, their variant in Rust, and whether they may be a count.
const PLAIN: [(&str, &str, bool); 16] = [
    ("int", "Int", true),
    ("uint", "Uint", true),
    ("long", "Long", true),
    ("ulong", "Ulong", true),
    ("octal", "Octal", false),
    ("id16", "Id16", false),
    ("fd", "Fd", false),
    ("dirfd", "DirFd", false),
    ("path", "Path", false),
    ("link", "Link", false),
    ("string", "Text", false),
    ("pointer", "Pointer", false),
    ("wide", "Wide", false),
    ("position", "Position", false),
    ("ignored", "Ignored", false),
    ("none", "None", false),
];

/// Everything the files say.
#[derive(Default)]
struct Data {
    structs: BTreeMap<String, Struct>,
    hosts: BTreeMap<String, Struct>,
    flags: BTreeMap<String, Flags>,
    calls: BTreeMap<String, Call>,
    ioctls: Vec<Ioctl>,
    abis: Vec<Abi>,
    errors: Vec<Diagnostic>,
}

/// A structure in C's words.
struct Struct {
    span: Span,
    /// The host's structure; `None`: the same members by the host's rules.
    host: Option<String>,
    packed: bool,
    members: Vec<Member>,
}

struct Member {
    span: Span,
    kind: String,
    name: String,
    /// The host's member it is, if not the one of its name.
    from: Option<String>,
    count: u64,
}

struct Flags {
    span: Span,
    flags: Vec<Flag>,
}

#[derive(Clone)]
struct Flag {
    span: Span,
    name: String,
    value: u64,
    mask: u64,
    link: &'static str,
}

struct Call {
    span: Span,
    does: Does,
    args: Vec<Arg>,
    returns: &'static str,
}

enum Does {
    /// The host's call.
    Host(String),
    Hand,
    Process,
    Absent,
}

/// An argument: kind, parameter, and the argument that counts its elements.
#[derive(Clone)]
struct Arg {
    span: Span,
    kind: String,
    of: Option<String>,
    count: Option<usize>,
}

struct Ioctl {
    number: u64,
    name: String,
    host: u64,
    arg: Arg,
}

struct Abi {
    span: Span,
    name: String,
    machine: u64,
    uname: String,
    rules: Rules,
    even_pairs: bool,
    numbers: BTreeMap<u64, Number>,
    structs: BTreeMap<String, Struct>,
    flags: BTreeMap<String, Flags>,
}

struct Number {
    span: Span,
    name: String,
    is: String,
}

/// `clock_gettime` -> `ClockGettime`.
fn camel(name: &str) -> String {
    name.split('_').filter(|p| !p.is_empty()).map(|p| p[..1].to_ascii_uppercase() + &p[1..]).collect()
}

/// The Rust of the data in `files` (name and text of each).
///
/// # Errors
/// All problems found, with their places.
pub fn generate(files: &[(String, String)]) -> Result<String, Errors> {
    let sources = || files.iter().map(|(name, text)| File { name: name.clone(), text: text.clone() }).collect();
    let fail = |all: Vec<Diagnostic>| Errors { all, files: sources() };
    let mut data = Data::default();
    for (i, (_, text)) in (0..).zip(files) {
        match KdlDocument::parse(text) {
            Ok(document) => data.read(i, &document),
            Err(e) => {
                // One mistake makes several messages; the first is the one that helps.
                let first = e.diagnostics.first();
                let span = Span { file: i, ..first.map_or_else(Span::default, |d| place(d.span)) };
                data.fail(span, first.map_or_else(|| "this is not KDL".into(), ToString::to_string));
            }
        }
    }
    let names = |does: fn(&Does) -> bool| -> Vec<String> { data.calls.iter().filter(|c| does(&c.1.does)).map(|c| camel(c.0)).collect() };
    let (hands, specials) = (names(|d| matches!(d, Does::Hand)), names(|d| matches!(d, Does::Process)));
    let (structs, flags) = (data.struct_names(), data.flags.keys().cloned().collect::<Vec<_>>());
    let abis = data.made();
    if !data.errors.is_empty() {
        return Err(fail(data.errors));
    }
    let internal = |e: minijinja::Error| fail(vec![Diagnostic::new("abi", Span::default(), e.to_string())]);
    let mut env = minijinja::Environment::new();
    env.add_filter("hex", |n: u64| format!("{n:#x}"));
    env.add_filter("quote", |s: &str| format!("{s:?}"));
    env.add_template("abi", include_str!("../templates/abi.rs.j2")).map_err(internal)?;
    let template = env.get_template("abi").map_err(internal)?;
    let context = minijinja::context! { abis => minijinja::value::Serde(&abis), hands, specials, structs, flags };
    template.render(context).map_err(internal)
}

#[cfg(test)]
mod tests;
