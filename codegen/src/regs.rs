//! Register maps: the KDL file beside a device -> Rust.
//!
//! KDL text -> [`Map`] (all problems reported at once, with their places) -> the template `regs.rs.j2` -> a struct of plain data with
//! reset values, masks and accessors for each field, access rules, byte lanes, register names for traces and documentation, and a
//! trait with exactly the hooks the map names, so that the compiler tells a device's author what is missing.
//!
//! ```kdl
//! regs "acme,timer" access="32,16,8" lock="LOCK.ON" doc="Acme timer" {
//!     reg "CR" at=0x00 reset=0x8 write="control" doc="Control" {
//!         field "EN" bits=0
//!         field "MODE" bits="3:2"
//!         field "RESTART" bits=4 access="w1-self-clear"
//!         reserved bits="31:8"
//!     }
//!     reg "MASK" at=0x04 access="ro"
//!     reg "ENABLE" at=0x08 access="wo" sets="MASK" write="update"
//!     reg "DISABLE" at=0x0c access="wo" clears="MASK" write="update"
//!     reg "STATUS" at=0x10 access="w1c" write="update"
//!     reg "LOCK" at=0x14 reset=1 unlocked=#true { field "ON" bits=0; }
//!     reg "MATCH" at=0x20 count=4
//! }
//! ```
//!
//! | `access` | a read gives | a write |
//! |---|---|---|
//! | `rw` (default) | the value | stores |
//! | `ro`, `const` | the value | does nothing |
//! | `wo` | 0 | stores |
//! | `w1c`, `w0c`, `w1s` | the value | of 1 clears, of 0 clears, of 1 sets |
//! | `rc`, `rs` | the value, then clears or sets it | does nothing |
//! | `w1-self-clear` | 0 | is seen by the hook only |
//!
//! On a register, `access` is for all bits, or the default of its fields. Bits that no field names are reserved if there are
//! fields: they read as they reset and ignore writes. `read="hook"`: the hook gives what is read. `write="hook"`: called after the
//! value was stored, with the value before. `sets=`, `clears=`: bits written as 1 are set or cleared in another register.
//! `count=` (and `stride=`, in bytes): an array. `lock=`: while this field is 1, writes change only registers that are `unlocked=#true`.

use emu_dsl::diagnostic::{Diagnostic, Errors};
use emu_dsl::spec::{File, Span};
use kdl::{KdlDocument, KdlNode};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

const ACCESS: [&str; 10] = ["rw", "ro", "wo", "w1c", "w0c", "w1s", "rc", "rs", "w1-self-clear", "const"];

/// A register map.
#[derive(Clone, Debug, Serialize)]
struct Map {
    name: String,
    doc: String,
    /// Access sizes, bytes.
    sizes: Vec<i128>,
    /// The register and mask that lock the others.
    lock: Option<(String, u32)>,
    regs: Vec<Reg>,
    hooks: Vec<Hook>,
}

#[derive(Clone, Debug, Serialize)]
struct Reg {
    name: String,
    ident: String,
    doc: String,
    access: String,
    at: u64,
    count: u64,
    stride: u64,
    reset: u32,
    readable: u32,
    writable: u32,
    w1c: u32,
    w0c: u32,
    w1s: u32,
    rc: u32,
    rs: u32,
    read: Option<String>,
    write: Option<String>,
    /// Identifiers of the registers it sets or clears bits of.
    sets: Option<String>,
    clears: Option<String>,
    unlocked: bool,
    fields: Vec<Field>,
    #[serde(skip)]
    span: Span,
}

impl Reg {
    /// Offsets of its words.
    fn offsets(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count).map(|i| self.at + i * self.stride)
    }
}

#[derive(Clone, Debug, Serialize)]
struct Field {
    name: String,
    ident: String,
    lo: u32,
    len: u32,
    mask: u32,
    access: String,
}

#[derive(Clone, Debug, Serialize)]
struct Hook {
    name: String,
    reads: bool,
    indexed: bool,
    regs: String,
}

#[derive(Default)]
struct Reader {
    errors: Vec<Diagnostic>,
}

pub(crate) fn place(span: miette::SourceSpan) -> Span {
    Span { file: 0, start: span.offset() as u32, end: (span.offset() + span.len()) as u32 }
}

/// A node's first line, without children.
pub(crate) fn head(node: &KdlNode) -> Span {
    let last = node.entries().last().map_or(node.name().span(), |e| e.span());
    Span { end: (last.offset() + last.len()) as u32, ..place(node.span()) }
}

pub(crate) fn at(node: &KdlNode, key: &str) -> Span {
    node.entry(key).map_or_else(|| head(node), |e| place(e.span()))
}

impl Reader {
    fn fail(&mut self, span: Span, message: impl Into<String>, help: &str) {
        let d = Diagnostic::new("regs", span, message);
        self.errors.push(if help.is_empty() { d } else { d.help(help) });
    }

    fn text(&mut self, node: &KdlNode, key: &str) -> Option<String> {
        let value = node.get(key)?;
        let text = value.as_string().filter(|t| !t.contains(char::is_control));
        if text.is_none() {
            self.fail(at(node, key), format!("`{key}` must be text on one line"), "");
        }
        text.map(str::to_string)
    }

    fn flag(&mut self, node: &KdlNode, key: &str) -> bool {
        let Some(value) = node.get(key) else { return false };
        value.as_bool().unwrap_or_else(|| {
            self.fail(at(node, key), format!("`{key}` must be #true or #false"), "");
            false
        })
    }

    fn int(&mut self, node: &KdlNode, key: &str, default: Option<u64>, max: i128) -> u64 {
        match (node.get(key).map(|v| v.as_integer()), default) {
            (Some(Some(v)), _) if (0..=max).contains(&v) => v as u64,
            (None, Some(v)) => v,
            (Some(_), _) => {
                self.fail(at(node, key), format!("`{key}` must be a number from 0 to {max:#x}"), "");
                0
            }
            (None, None) => {
                self.fail(head(node), format!("`{key}=` is missing"), "");
                0
            }
        }
    }

    fn name(&mut self, node: &KdlNode) -> String {
        match node.entries().first().filter(|e| e.name().is_none()).and_then(|e| e.value().as_string()) {
            Some(n) if !n.is_empty() && !n.contains(char::is_control) => n.to_string(),
            _ => {
                self.fail(head(node), format!("this `{}` has no name", node.name().value()), "write its name first, in quotes");
                String::new()
            }
        }
    }

    fn keys(&mut self, node: &KdlNode, known: &[&str]) {
        for e in node.entries() {
            if let Some(k) = e.name()
                && !known.contains(&k.value())
            {
                self.fail(
                    place(e.span()),
                    format!("`{}` has no `{}`", node.name().value(), k.value()),
                    &format!("it has {}", known.join(", ")),
                );
            }
        }
    }

    fn access(&mut self, node: &KdlNode, default: &str) -> String {
        match self.text(node, "access") {
            Some(a) if ACCESS.contains(&a.as_str()) => a,
            Some(a) => {
                self.fail(at(node, "access"), format!("unknown access `{a}`"), &format!("one of {}", ACCESS.join(", ")));
                default.to_string()
            }
            None => default.to_string(),
        }
    }

    /// A hook's name: it becomes a method.
    fn hook(&mut self, node: &KdlNode, key: &str) -> Option<String> {
        let name = self.text(node, key)?;
        let good = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !good || ["regs", "writable", "fn", "match", "move", "self", "type", "loop"].contains(&name.as_str()) {
            self.fail(
                at(node, key),
                format!("`{name}` cannot be a hook's name"),
                "a hook becomes a Rust method: small letters, digits and `_`",
            );
            return None;
        }
        Some(name)
    }

    fn bits(&mut self, node: &KdlNode) -> Option<(u32, u32)> {
        let range = node.get("bits").and_then(|v| match (v.as_integer(), v.as_string()) {
            (Some(n), _) => u32::try_from(n).ok().map(|n| (n, n)),
            (None, Some(s)) => {
                let (hi, lo) = s.split_once(':').unwrap_or((s, s));
                Some((hi.trim().parse().ok()?, lo.trim().parse().ok()?))
            }
            _ => None,
        });
        match range {
            Some((hi, lo)) if hi <= 31 && lo <= hi => Some((hi, lo)),
            _ => {
                self.fail(at(node, "bits"), "bits are from 31 to 0, the higher first", "write bits=\"7:0\" or bits=4");
                None
            }
        }
    }

    fn register(&mut self, node: &KdlNode) -> Reg {
        self.keys(node, &["at", "reset", "access", "read", "write", "sets", "clears", "unlocked", "count", "stride", "doc"]);
        let name = self.name(node);
        let access = self.access(node, "rw");
        let mut reg = Reg {
            ident: ident(&name),
            name,
            doc: self.text(node, "doc").unwrap_or_default(),
            at: self.int(node, "at", None, 0xff_ffff),
            count: self.int(node, "count", Some(1), 1024).max(1),
            stride: self.int(node, "stride", Some(4), 0x1_0000).max(4),
            reset: self.int(node, "reset", Some(0), 0xffff_ffff) as u32,
            readable: 0,
            writable: 0,
            w1c: 0,
            w0c: 0,
            w1s: 0,
            rc: 0,
            rs: 0,
            read: self.hook(node, "read"),
            write: self.hook(node, "write"),
            sets: self.text(node, "sets"),
            clears: self.text(node, "clears"),
            unlocked: self.flag(node, "unlocked"),
            fields: vec![],
            access,
            span: head(node),
        };
        if !reg.at.is_multiple_of(4) || !reg.stride.is_multiple_of(4) {
            self.fail(at(node, "at"), format!("`{}` is not aligned to 4 bytes", reg.name), "");
        }
        let mut taken: Vec<(u32, Span, String)> = vec![];
        for f in node.children().map_or(&[][..], |d| d.nodes()) {
            let reserved = f.name().value() == "reserved";
            let fname = match f.name().value() {
                "field" => {
                    self.keys(f, &["bits", "access"]);
                    self.name(f)
                }
                "reserved" => {
                    self.keys(f, &["bits"]);
                    "reserved".into()
                }
                other => {
                    self.fail(head(f), format!("a register holds no `{other}`"), "it holds `field`s and `reserved`");
                    continue;
                }
            };
            let access = self.access(f, &reg.access);
            let Some((hi, lo)) = self.bits(f) else { continue };
            let mask = (((1u64 << (hi - lo + 1)) - 1) << lo) as u32;
            for (_, span, other) in taken.iter().filter(|t| t.0 & mask != 0) {
                self.errors.push(
                    Diagnostic::new("regs", head(f), format!("`{fname}` overlaps `{other}` in {}", reg.name))
                        .also(*span, "has the same bits"),
                );
            }
            if !reserved && reg.fields.iter().any(|g| g.name == fname) {
                self.fail(head(f), format!("a second field `{fname}` in {}", reg.name), "");
            }
            taken.push((mask, head(f), fname.clone()));
            if !reserved {
                add(&mut reg, &access, mask);
                reg.fields.push(Field { ident: ident(&fname), name: fname, lo, len: hi - lo + 1, mask, access });
            }
        }
        if reg.fields.is_empty() {
            let access = reg.access.clone();
            add(&mut reg, &access, u32::MAX);
        } else {
            // Reserved bits read as they reset.
            let named = reg.fields.iter().fold(0, |all, f| all | f.mask);
            reg.readable |= !named & reg.reset;
        }
        if reg.count > 1 && (reg.rc | reg.rs) != 0 {
            self.fail(head(node), "an array cannot have `rc` or `rs`", "use a read hook");
        }
        reg
    }

    fn map(&mut self, node: &KdlNode) -> Map {
        self.keys(node, &["access", "doc", "lock"]);
        let name = self.name(node);
        let mut sizes = vec![];
        for size in self.text(node, "access").unwrap_or_else(|| "32".into()).split(',') {
            match size.trim() {
                "32" => sizes.push(4),
                "16" => sizes.push(2),
                "8" => sizes.push(1),
                other => self.fail(at(node, "access"), format!("there are no accesses of `{other}` bits"), "32, 16 and 8, with commas"),
            }
        }
        let doc = self.text(node, "doc").unwrap_or_default();
        let mut map = Map { name, doc, sizes, lock: None, regs: vec![], hooks: vec![] };
        let (mut words, mut idents) = (HashMap::<u64, usize>::new(), HashMap::<String, Span>::new());
        for child in node.children().map_or(&[][..], |d| d.nodes()) {
            if child.name().value() != "reg" {
                self.fail(head(child), format!("a register map holds no `{}`", child.name().value()), "it holds `reg`s");
                continue;
            }
            let reg = self.register(child);
            if let Some(other) = reg.offsets().find_map(|o| words.get(&o)).and_then(|i: &usize| map.regs.get(*i)) {
                let d = Diagnostic::new("regs", reg.span, format!("`{}` overlaps `{}`", reg.name, other.name));
                self.errors.push(d.also(other.span, "has the same offset"));
            }
            if let Some(first) = idents.insert(reg.ident.clone(), reg.span) {
                self.errors.push(Diagnostic::new("regs", reg.span, format!("a second register `{}`", reg.name)).also(first, "the first"));
            }
            words.extend(reg.offsets().map(|o| (o, map.regs.len())));
            map.regs.push(reg);
        }
        self.resolve(node, &mut map);
        map
    }

    /// Names of registers and fields -> what they name.
    fn resolve(&mut self, node: &KdlNode, map: &mut Map) {
        let known: HashMap<String, (String, u64)> = map.regs.iter().map(|r| (r.name.clone(), (r.ident.clone(), r.count))).collect();
        for reg in &mut map.regs {
            let (span, count) = (reg.span, reg.count);
            for target in [&mut reg.sets, &mut reg.clears].into_iter().flatten() {
                match known.get(target) {
                    Some((ident, 1)) if count == 1 => *target = ident.clone(),
                    Some(_) => self.fail(span, "`sets` and `clears` are for single registers", "use a write hook"),
                    None => self.fail(span, format!("there is no register `{target}`"), ""),
                }
            }
        }
        if let Some(lock) = self.text(node, "lock") {
            let field = lock.split_once('.').and_then(|(r, f)| {
                let reg = map.regs.iter().find(|reg| reg.name == r && reg.count == 1)?;
                Some((reg.ident.clone(), reg.fields.iter().find(|g| g.name == f)?.mask))
            });
            if field.is_none() {
                self.fail(at(node, "lock"), format!("there is no field `{lock}`"), "write lock=\"REGISTER.FIELD\"");
            }
            map.lock = field;
        }
        map.hooks = self.hooks(&map.regs);
    }

    /// The hooks of all registers, each once.
    fn hooks(&mut self, regs: &[Reg]) -> Vec<Hook> {
        let mut all: BTreeMap<String, (Hook, Span)> = BTreeMap::new();
        for r in regs {
            for (hook, reads) in [(&r.read, true), (&r.write, false)] {
                let Some(name) = hook else { continue };
                let indexed = r.count > 1;
                match all.get_mut(name) {
                    Some((h, first)) if h.reads != reads || h.indexed != indexed => {
                        let d = Diagnostic::new("regs", r.span, format!("the hook `{name}` cannot have two forms"));
                        let d = d.also(*first, "here it is for another");
                        self.errors.push(d.help("reads and writes, single registers and arrays each have their own form"));
                    }
                    Some((h, _)) => h.regs = format!("{}, {}", h.regs, r.name),
                    None => drop(all.insert(name.clone(), (Hook { name: name.clone(), reads, indexed, regs: r.name.clone() }, r.span))),
                }
            }
        }
        all.into_values().map(|h| h.0).collect()
    }
}

fn add(reg: &mut Reg, access: &str, mask: u32) {
    if !matches!(access, "wo" | "w1-self-clear") {
        reg.readable |= mask;
    }
    match access {
        "rw" | "wo" => reg.writable |= mask,
        "w1c" => reg.w1c |= mask,
        "w0c" => reg.w0c |= mask,
        "w1s" => reg.w1s |= mask,
        "rc" => reg.rc |= mask,
        "rs" => reg.rs |= mask,
        _ => {}
    }
}

fn ident(name: &str) -> String {
    let id: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let taken =
        ["type", "match", "loop", "move", "ref", "self", "fn", "in", "as", "if", "do", "mod", "use", "box", "final", "static", "const"];
    if id.starts_with(|c: char| c.is_ascii_digit()) || taken.contains(&id.as_str()) { format!("r_{id}") } else { id }
}

/// The Rust of the register map `text`, which stands in `file`.
///
/// # Errors
/// All problems found, with their places.
pub fn generate(file: &str, text: &str) -> Result<String, Errors> {
    let files = || vec![File { name: file.into(), text: text.into() }];
    let fail = |all: Vec<Diagnostic>| Errors { all, files: files() };
    let internal = |e: minijinja::Error| fail(vec![Diagnostic::new("regs", Span::default(), e.to_string())]);
    let document = KdlDocument::parse(text).map_err(|e| {
        // One mistake makes several messages; the first is the one that helps.
        let first = e.diagnostics.first();
        let span = first.map_or_else(Span::default, |d| place(d.span));
        fail(vec![Diagnostic::new("regs", span, first.map_or_else(|| "this is not KDL".into(), ToString::to_string))])
    })?;
    let mut reader = Reader::default();
    let mut maps = document.nodes().iter().map(|node| {
        if node.name().value() != "regs" {
            reader.fail(head(node), format!("`{}` is no register map", node.name().value()), "a register map begins with `regs \"name\"`");
        }
        reader.map(node)
    });
    let map = maps.next();
    let more = maps.next().is_some();
    drop(maps);
    let first = document.nodes().first().map_or_else(Span::default, head);
    if map.is_none() || more {
        reader.fail(first, "a file holds one register map", "");
    }
    if !reader.errors.is_empty() {
        return Err(fail(reader.errors));
    }
    let mut env = minijinja::Environment::new();
    env.add_filter("hex", |n: u64| format!("{n:#x}"));
    env.add_filter("quote", |s: &str| format!("{s:?}"));
    env.add_template("regs", include_str!("../templates/regs.rs.j2")).map_err(internal)?;
    let template = env.get_template("regs").map_err(internal)?;
    template.render(minijinja::context! { map => minijinja::value::Serde(&map), file }).map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_all_told_with_both_places() {
        let text = r#"regs "x" access="32,64" lock="A.NO" size=4 {
  reg "A" at=0 access="rx" { field "F" bits="3:0"; field "G" bits=2; field "F" bits="8:9"; }
  reg "B" at=0 write="go" sets="NOWHERE"
  reg "C" at=6 read="go" reset=0x1_0000_0000
  reg "a" at=8 write="Go!"
  reg at=12
  register "D"
}
"#;
        let error = generate("x.kdl", text).unwrap_err().to_string();
        let wanted = [
            "no accesses of `64` bits",
            "there is no field `A.NO`",
            "`regs` has no `size`",
            "unknown access `rx`",
            "`G` overlaps `F` in A",
            "x.kdl:2:52",
            "bits are from 31 to 0",
            "`B` overlaps `A`",
            "x.kdl:3:3",
            "no register `NOWHERE`",
            "`C` is not aligned",
            "`reset` must be a number from 0 to 0xffffffff",
            "the hook `go` cannot have two forms",
            "a second register `a`",
            "`Go!` cannot be a hook's name",
            "this `reg` has no name",
            "a register map holds no `register`",
        ];
        for wanted in wanted {
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn what_is_not_kdl_is_told_once() {
        let error = generate("x.kdl", "regs \"x\" {\n  reg \"A\" at=0..4\n}\n").unwrap_err().to_string();
        assert_eq!(error.matches("error[").count(), 1, "{error}");
        assert!(generate("x.kdl", "").is_err());
        assert!(generate("x.kdl", "regs \"x\"\nregs \"y\"\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(at in 0usize..700, cut in 0usize..40, put in "[\\PC\n\"{};=#0-9a-fx:.]{0,12}") {
            let mut text: Vec<char> = EXAMPLE.chars().collect();
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
            let text: String = text.into_iter().collect();
            if let Err(e) = generate("x.kdl", &text) {
                proptest::prop_assert!(e.to_string().starts_with("error[regs]: "));
            }
        }
    }

    const EXAMPLE: &str = r#"regs "acme,timer" access="32,16,8" lock="LOCK.ON" doc="Acme timer" {
    reg "CR" at=0x00 reset=0x8 write="control" doc="Control" {
        field "EN" bits=0
        field "MODE" bits="3:2"
        field "RESTART" bits=4 access="w1-self-clear"
        reserved bits="31:8"
    }
    reg "MASK" at=0x04 access="ro"
    reg "ENABLE" at=0x08 access="wo" sets="MASK" write="update"
    reg "DISABLE" at=0x0c access="wo" clears="MASK" write="update"
    reg "STATUS" at=0x10 access="w1c" write="update"
    reg "LOCK" at=0x14 reset=1 unlocked=#true { field "ON" bits=0; }
    reg "MATCH" at=0x20 count=4
}
"#;

    #[test]
    fn the_example_works() {
        let made = generate("x.kdl", EXAMPLE).unwrap();
        for wanted in
            ["fn control(", "fn update(", "pub fn cr_en(&self) -> bool", "pub fn cr_mode(&self) -> u32", "pub const CR_RESTART: u32 = 0x10"]
        {
            assert!(made.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn the_same_map_gives_the_same_text() {
        let text = "regs \"x\" {\n  reg \"A\" at=0 write=\"go\" { field \"EN\" bits=0; }\n}\n";
        let made = generate("x.kdl", text).unwrap();
        assert_eq!(made, generate("x.kdl", text).unwrap());
        assert!(made.contains("fn go(&mut self, old: u32") && made.contains("A_EN"), "{made}");
    }
}
