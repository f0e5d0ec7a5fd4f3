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

use crate::regs::{at, head, place};
use emu_dsl::diagnostic::{Diagnostic, Errors};
use emu_dsl::spec::{File, Span};
use kdl::{KdlDocument, KdlNode};
use layout::{Layout, Rules};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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

/// Reads the nodes of one file.
struct Reader<'a> {
    file: u32,
    errors: &'a mut Vec<Diagnostic>,
}

fn nodes(node: &KdlNode) -> &[KdlNode] {
    node.children().map_or(&[], |d| d.nodes())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Reader<'_> {
    fn here(&self, span: Span) -> Span {
        Span { file: self.file, ..span }
    }

    fn fail(&mut self, span: Span, message: impl Into<String>, help: &str) {
        let d = Diagnostic::new("abi", self.here(span), message);
        self.errors.push(if help.is_empty() { d } else { d.help(help) });
    }

    fn number(&mut self, node: &KdlNode, key: &str, default: Option<u64>) -> u64 {
        let given = node.get(key).map(|v| v.as_integer().and_then(|v| u64::try_from(v).ok()));
        match (given, default) {
            (Some(Some(v)), _) | (None, Some(v)) => v,
            (Some(None), _) => {
                self.fail(at(node, key), format!("`{key}` must be a number"), "");
                0
            }
            (None, None) => {
                self.fail(head(node), format!("`{key}=` is missing"), "");
                0
            }
        }
    }

    fn choice(&mut self, node: &KdlNode, key: &str, known: &[&'static str]) -> &'static str {
        let Some(value) = node.get(key) else { return known.first().copied().unwrap_or("") };
        match known.iter().find(|k| value.as_string() == Some(k)) {
            Some(k) => k,
            None => {
                self.fail(at(node, key), format!("`{key}` must be one of {}", known.join(", ")), "");
                ""
            }
        }
    }

    fn text(&mut self, node: &KdlNode, key: &str) -> Option<String> {
        let text = node.get(key)?.as_string().filter(|t| is_name(t));
        if text.is_none() {
            self.fail(at(node, key), format!("`{key}` must be a name"), "");
        }
        text.map(str::to_string)
    }

    /// The values without a key.
    fn given<'n>(&self, node: &'n KdlNode) -> Vec<&'n kdl::KdlEntry> {
        node.entries().iter().filter(|e| e.name().is_none()).collect()
    }

    /// The value at `index`, which must be a name.
    fn name(&mut self, node: &KdlNode, index: usize) -> String {
        let found = self.given(node).get(index).and_then(|e| e.value().as_string()).filter(|t| is_name(t)).map(str::to_string);
        found.unwrap_or_else(|| {
            self.fail(head(node), format!("this `{}` has no name", node.name().value()), "letters, digits and `_`");
            String::new()
        })
    }

    /// The value at `index`, which must be a number.
    fn value(&mut self, node: &KdlNode, index: usize, default: Option<u64>) -> u64 {
        match (self.given(node).get(index).map(|e| e.value().as_integer().and_then(|v| u64::try_from(v).ok())), default) {
            (Some(Some(v)), _) | (None, Some(v)) => v,
            _ => {
                self.fail(head(node), format!("this `{}` has no number", node.name().value()), "");
                0
            }
        }
    }

    fn keys(&mut self, node: &KdlNode, known: &[&str]) {
        for e in node.entries() {
            if let Some(k) = e.name()
                && !known.contains(&k.value())
            {
                self.fail(place(e.span()), format!("`{}` has no `{}`", node.name().value(), k.value()), "");
            }
        }
    }

    fn structure(&mut self, node: &KdlNode) -> Struct {
        self.keys(node, &["host", "packed"]);
        let mut members: Vec<Member> = vec![];
        for m in nodes(node) {
            self.keys(m, &["from"]);
            let member = Member {
                span: self.here(head(m)),
                kind: m.name().value().to_string(),
                name: self.name(m, 0),
                from: self.text(m, "from"),
                count: self.value(m, 1, Some(1)).clamp(1, 1 << 16),
            };
            if let Some(first) = members.iter().find(|o| o.name == member.name) {
                let d = Diagnostic::new("abi", member.span, format!("a second member `{}`", member.name));
                self.errors.push(d.also(first.span, "the first"));
            }
            members.push(member);
        }
        let packed = node.get("packed").and_then(kdl::KdlValue::as_bool).unwrap_or(false);
        Struct { span: self.here(head(node)), host: self.text(node, "host"), packed, members }
    }

    fn flags(&mut self, node: &KdlNode) -> Flags {
        let mut flags = vec![];
        for f in nodes(node) {
            self.keys(f, &["mask", "link"]);
            let value = self.value(f, 1, None);
            let mask = match f.name().value() {
                "bit" => value,
                "value" => self.number(f, "mask", Some(u64::MAX)),
                other => {
                    self.fail(head(f), format!("flags hold no `{other}`"), "they hold `bit NAME VALUE` and `value NAME VALUE mask=`");
                    continue;
                }
            };
            if value & !mask != 0 {
                self.fail(head(f), "the value is not within the mask", "");
            }
            let link = self.choice(f, "link", &["same", "follow", "nofollow"]);
            flags.push(Flag { span: self.here(head(f)), name: self.name(f, 0), value, mask, link });
        }
        Flags { span: self.here(head(node)), flags }
    }

    fn arg(&mut self, entry: &kdl::KdlEntry) -> Option<Arg> {
        let span = self.here(place(entry.span()));
        let text = entry.value().as_string().unwrap_or("");
        let (rest, count) = match text.split_once('*') {
            Some((rest, n)) => (rest, Some(n.parse::<usize>().ok()?)),
            None => (text, None),
        };
        let (kind, of) = rest.split_once(':').map_or((rest, None), |(k, o)| (k, Some(o.to_string())));
        let good = match kind {
            "in" | "out" | "inout" => of.is_some(),
            "rest" | "set" => of.is_some() && count.is_none(),
            "inbytes" | "outbytes" => of.is_none() && count.is_some(),
            _ => of.is_none() && count.is_none() && PLAIN.iter().any(|p| p.0 == kind),
        };
        good.then(|| Arg { span, kind: kind.to_string(), of, count })
    }

    fn args(&mut self, node: &KdlNode, from: usize) -> Vec<Arg> {
        let mut args = vec![];
        for e in self.given(node).into_iter().skip(from) {
            match self.arg(e) {
                Some(arg) => args.push(arg),
                None => self.fail(
                    place(e.span()),
                    format!("`{}` is no kind of argument", e.value().to_string().trim_matches('"')),
                    "a word such as `int`, or set:FLAGS, in:STRUCT, out:STRUCT, in:STRUCT*COUNT, inbytes*COUNT",
                ),
            }
        }
        for arg in &args {
            if let Some(n) = arg.count
                && !args.get(n).is_some_and(|a| PLAIN.iter().any(|p| p.0 == a.kind && p.2))
            {
                self.fail(arg.span, format!("argument {n} is no count"), "arguments are numbered from 0");
            }
        }
        args
    }

    fn call(&mut self, node: &KdlNode) -> Call {
        self.keys(node, &["host", "returns"]);
        let name = self.name(node, 0);
        let does = match node.name().value() {
            "hand" => Does::Hand,
            "process" => Does::Process,
            _ => Does::Host(self.text(node, "host").unwrap_or(name)),
        };
        let args = self.args(node, 1);
        if args.len() > MAX_ARGS {
            self.fail(head(node), format!("a call has at most {MAX_ARGS} arguments"), "");
        }
        Call { span: self.here(head(node)), does, args, returns: self.choice(node, "returns", &["int", "hex", "id16"]) }
    }

    fn ioctl(&mut self, node: &KdlNode) -> Option<Ioctl> {
        self.keys(node, &["host"]);
        let number = self.value(node, 0, None);
        let name = self.name(node, 1);
        let host = self.number(node, "host", Some(number));
        let args = self.args(node, 2);
        if args.len() != 1 {
            self.fail(head(node), "an ioctl has one argument", "write `none` if it has none");
        }
        Some(Ioctl { number, name, host, arg: args.into_iter().next()? })
    }

    fn abi(&mut self, node: &KdlNode) -> Abi {
        self.keys(node, &["machine", "uname", "long", "align64", "pairs"]);
        Abi {
            span: self.here(head(node)),
            name: self.name(node, 0),
            machine: self.number(node, "machine", None),
            uname: self.text(node, "uname").unwrap_or_default(),
            rules: Rules { long: self.number(node, "long", None), align64: self.number(node, "align64", None) },
            even_pairs: self.choice(node, "pairs", &["any", "even"]) == "even",
            numbers: BTreeMap::new(),
            structs: BTreeMap::new(),
            flags: BTreeMap::new(),
        }
    }
}

/// Adds what may be there once.
fn once<T>(all: &mut BTreeMap<String, T>, errors: &mut Vec<Diagnostic>, what: &str, name: String, item: T, span: fn(&T) -> Span) {
    if let Some(first) = all.get(&name) {
        let d = Diagnostic::new("abi", span(&item), format!("a second {what} `{name}`"));
        errors.push(d.also(span(first), "the first"));
        return;
    }
    all.insert(name, item);
}

impl Data {
    fn read(&mut self, file: u32, document: &KdlDocument) {
        let mut errors = std::mem::take(&mut self.errors);
        let mut r = Reader { file, errors: &mut errors };
        let mut abi = document.nodes().iter().find(|n| n.name().value() == "abi").map(|n| r.abi(n));
        for node in document.nodes() {
            match node.name().value() {
                "abi" => {}
                "struct" => {
                    let (name, item) = (r.name(node, 0), r.structure(node));
                    let all = abi.as_mut().map_or(&mut self.structs, |a| &mut a.structs);
                    once(all, r.errors, "struct", name, item, |s| s.span);
                }
                "host" => {
                    let (name, item) = (r.name(node, 0), r.structure(node));
                    once(&mut self.hosts, r.errors, "host structure", name, item, |s| s.span);
                }
                "flags" => {
                    let (name, item) = (r.name(node, 0), r.flags(node));
                    let all = abi.as_mut().map_or(&mut self.flags, |a| &mut a.flags);
                    once(all, r.errors, "set of flags", name, item, |s| s.span);
                }
                "call" | "hand" | "process" => {
                    let (name, item) = (r.name(node, 0), r.call(node));
                    once(&mut self.calls, r.errors, "call", name, item, |c| c.span);
                }
                "absent" => {
                    for i in 0..r.given(node).len() {
                        let item = Call { span: r.here(head(node)), does: Does::Absent, args: vec![], returns: "int" };
                        let name = r.name(node, i);
                        once(&mut self.calls, r.errors, "call", name, item, |c| c.span);
                    }
                }
                "ioctl" => {
                    let ioctl = r.ioctl(node);
                    self.ioctls.extend(ioctl);
                }
                "number" => {
                    r.keys(node, &["is"]);
                    let (number, name) = (r.value(node, 0, None), r.name(node, 1));
                    let is = r.text(node, "is").unwrap_or_else(|| name.clone());
                    let span = r.here(head(node));
                    match &mut abi {
                        None => r.fail(head(node), "numbers belong into the file of an ABI", "one with a node `abi`"),
                        Some(abi) => {
                            if let Some(first) = abi.numbers.insert(number, Number { span, name, is }) {
                                let d = Diagnostic::new("abi", span, format!("a second call with the number {number}"));
                                r.errors.push(d.also(first.span, "the first"));
                            }
                        }
                    }
                }
                other => r.fail(
                    head(node),
                    format!("there is no `{other}` here"),
                    "struct, host, flags, call, hand, process, absent, ioctl, abi, number",
                ),
            }
        }
        self.abis.extend(abi);
        self.errors = errors;
    }

    fn fail(&mut self, span: Span, message: String) {
        self.errors.push(Diagnostic::new("abi", span, message));
    }

    /// Names of all structures that any ABI has.
    fn struct_names(&self) -> BTreeSet<String> {
        let own = self.abis.iter().flat_map(|a| a.structs.keys());
        self.structs.keys().chain(own).cloned().chain(layout::SCALARS.iter().map(|s| s.0.to_string())).collect()
    }

    fn made(&mut self) -> Vec<Made> {
        let (structs, flags) = (self.struct_names(), self.flags.keys().cloned().collect::<Vec<_>>());
        let mut made = vec![];
        for abi in std::mem::take(&mut self.abis) {
            let layouts = structs.iter().filter_map(|name| layout::layout(self, &abi, name)).collect();
            let sets = flags.iter().filter_map(|name| self.set(&abi, name)).collect();
            for (name, own) in &abi.flags {
                if !self.flags.contains_key(name) {
                    self.fail(own.span, format!("there are no flags `{name}` to override"));
                }
            }
            let (calls, numbers) = self.numbers(&abi, &structs);
            let ioctls = std::mem::take(&mut self.ioctls);
            let made_ioctls = ioctls.iter().map(|i| self.made_ioctl(i, &abi, &structs)).collect();
            self.ioctls = ioctls;
            made.push(Made {
                upper: abi.name.to_ascii_uppercase(),
                name: abi.name,
                machine: abi.machine,
                uname: abi.uname,
                long: abi.rules.long,
                even_pairs: abi.even_pairs,
                numbers,
                calls,
                layouts,
                sets,
                ioctls: made_ioctls,
            });
        }
        made
    }

    /// An ABI's flags: the common ones with its own values.
    fn set(&mut self, abi: &Abi, name: &str) -> Option<MadeSet> {
        let common: Vec<Flag> = self.flags.get(name)?.flags.clone();
        let own = abi.flags.get(name).map_or(&[][..], |f| &f.flags);
        for f in own.iter().filter(|f| !common.iter().any(|c| c.name == f.name)) {
            self.fail(f.span, format!("there is no flag `{}` in `{name}` to override", f.name));
        }
        let flags: Vec<MadeFlag> = common
            .iter()
            .map(|c| {
                let guest = own.iter().find(|f| f.name == c.name).unwrap_or(c);
                MadeFlag {
                    name: c.name.clone(),
                    value: guest.value,
                    mask: guest.mask,
                    host: c.value,
                    host_mask: c.mask,
                    link: c.link.into(),
                }
            })
            .collect();
        let same = flags.iter().all(|f| f.value == f.host && f.mask == f.host_mask);
        Some(MadeSet { name: name.to_string(), same, flags })
    }

    /// The calls an ABI has, each once, and its numbers.
    fn numbers(&mut self, abi: &Abi, structs: &BTreeSet<String>) -> (Vec<MadeCall>, Vec<MadeNumber>) {
        let (mut calls, mut numbers, mut index) = (vec![], vec![], BTreeMap::new());
        for (number, n) in &abi.numbers {
            let Some((name, call)) = self.calls.remove_entry(&n.is) else {
                self.fail(n.span, format!("there is no call `{}`", n.is));
                continue;
            };
            let i = *index.entry(name.clone()).or_insert_with(|| {
                calls.push(self.made_call(&name, &call, abi, structs));
                calls.len() - 1
            });
            numbers.push(MadeNumber { number: *number, name: n.name.clone(), call: i });
            self.calls.insert(name, call);
        }
        (calls, numbers)
    }

    fn made_call(&mut self, name: &str, call: &Call, abi: &Abi, structs: &BTreeSet<String>) -> MadeCall {
        let mut register = 0;
        for arg in &call.args {
            register += match arg.kind.as_str() {
                "wide" if abi.rules.long == 8 => 1,
                "wide" if abi.even_pairs => 2 + register % 2,
                "wide" | "position" => 2,
                _ => 1,
            };
        }
        if register > MAX_ARGS {
            self.fail(call.span, format!("`{name}` needs {register} registers of {}, which has {MAX_ARGS}", abi.name));
        }
        let args = call.args.iter().map(|a| self.made_arg(a, abi, structs)).collect();
        let does = match &call.does {
            Does::Host(host) => format!("Does::Host(libc::SYS_{host})"),
            Does::Hand => format!("Does::Hand(Hand::{})", camel(name)),
            Does::Process => format!("Does::Process(Special::{})", camel(name)),
            Does::Absent => "Does::Absent".into(),
        };
        MadeCall { name: name.to_string(), does, args, returns: camel(call.returns) }
    }

    /// An argument as Rust.
    fn made_arg(&mut self, arg: &Arg, abi: &Abi, structs: &BTreeSet<String>) -> String {
        let upper = abi.name.to_ascii_uppercase();
        let count = format!("{:?}", arg.count);
        let known = |all: &mut Data, there: bool, what: &str| {
            if !there {
                all.fail(arg.span, format!("there is no {what} `{}`", arg.of.as_deref().unwrap_or("")));
            }
        };
        let of = arg.of.as_deref().unwrap_or("");
        match arg.kind.as_str() {
            "set" => {
                let there = self.flags.contains_key(of);
                known(self, there, "set of flags");
                format!("Arg::Set(&{upper}_FLAGS.{of})")
            }
            "in" | "out" | "inout" => {
                known(self, structs.contains(of), "struct");
                format!("Arg::{}(&{upper}_LAYOUTS.{of}, {count})", camel(&arg.kind))
            }
            "rest" => {
                known(self, structs.contains(of), "struct");
                format!("Arg::Rest(&{upper}_LAYOUTS.{of})")
            }
            "inbytes" => format!("Arg::InBytes({})", arg.count.unwrap_or(0)),
            "outbytes" => format!("Arg::OutBytes({})", arg.count.unwrap_or(0)),
            other => format!("Arg::{}", PLAIN.iter().find(|p| p.0 == other).map_or("None", |p| p.1)),
        }
    }

    fn made_ioctl(&mut self, ioctl: &Ioctl, abi: &Abi, structs: &BTreeSet<String>) -> MadeIoctl {
        let arg = self.made_arg(&ioctl.arg, abi, structs);
        MadeIoctl { number: ioctl.number, name: ioctl.name.clone(), host: ioctl.host, arg }
    }
}

/// `clock_gettime` -> `ClockGettime`.
fn camel(name: &str) -> String {
    name.split('_').filter(|p| !p.is_empty()).map(|p| p[..1].to_ascii_uppercase() + &p[1..]).collect()
}

#[derive(Serialize)]
struct Made {
    name: String,
    upper: String,
    machine: u64,
    uname: String,
    long: u64,
    even_pairs: bool,
    numbers: Vec<MadeNumber>,
    calls: Vec<MadeCall>,
    layouts: Vec<Layout>,
    sets: Vec<MadeSet>,
    ioctls: Vec<MadeIoctl>,
}

#[derive(Serialize)]
struct MadeNumber {
    number: u64,
    name: String,
    call: usize,
}

#[derive(Serialize)]
struct MadeCall {
    name: String,
    does: String,
    args: Vec<String>,
    returns: String,
}

#[derive(Serialize)]
struct MadeSet {
    name: String,
    same: bool,
    flags: Vec<MadeFlag>,
}

#[derive(Serialize)]
struct MadeFlag {
    name: String,
    value: u64,
    mask: u64,
    host: u64,
    host_mask: u64,
    link: String,
}

#[derive(Serialize)]
struct MadeIoctl {
    number: u64,
    name: String,
    host: u64,
    arg: String,
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
