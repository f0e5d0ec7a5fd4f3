//! Register maps: `regs.kdl` beside a device -> Rust.
//!
//! KDL text -> [`Map`] (all problems reported at once, with places) -> the template `regs.rs.j2` -> a struct of plain data with
//! reset values, masks for each field, access rules, byte lanes, register names for traces and documentation, and a trait with
//! exactly the hooks the map names, so that the compiler tells a device's author what is missing.
//!
//! ```kdl
//! regs "cdns,uart" access="32,16,8" {
//!     reg "CR" at=0x00 reset=0x128 write="control" doc="Control" {
//!         field "TXEN" bits="4"
//!     }
//!     reg "ISR" at=0x14 access="w1c" write="update"
//!     reg "FIFO" at=0x30 read="pop" write="push"
//!     reg "MASK" at=0x100 count=4 stride=4
//! }
//! ```
//!
//! `access`: `rw` (default), `ro`, `wo` (reads 0), `w1c` (writing 1 clears), `w1s` (writing 1 sets), `rc` (reading clears), `const`. On a register, for its
//! unnamed bits and as the default of its fields; bits no field names are reserved (read 0, ignore writes) if there are fields.
//! `read="hook"`: what a read gives. `write="hook"`: called after the value was stored, with the value before.

use kdl::{KdlDocument, KdlNode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A register map.
#[derive(Clone, Debug, Serialize)]
struct Map {
    name: String,
    doc: String,
    sizes: Vec<u8>,
    regs: Vec<Reg>,
    hooks: Vec<Hook>,
}

#[derive(Clone, Debug, Serialize)]
struct Reg {
    name: String,
    ident: String,
    doc: String,
    at: u64,
    count: u64,
    stride: u64,
    reset: u32,
    readable: u32,
    writable: u32,
    w1c: u32,
    w1s: u32,
    rc: u32,
    read: Option<String>,
    write: Option<String>,
    fields: Vec<Field>,
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

/// Problems of a register map, each with its line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    errors: String,
}

impl Reader<'_> {
    fn fail(&mut self, node: &KdlNode, message: &str) {
        let at = node.span().offset().min(self.text.len());
        let line = self.text[..at].matches('\n').count() + 1;
        let _ = writeln!(
            self.errors,
            "error[regs]: {message}\n  {}:{line}: {}",
            self.file,
            self.text.lines().nth(line - 1).unwrap_or("").trim()
        );
    }

    fn text(&self, node: &KdlNode, key: &str) -> Option<String> {
        node.get(key).and_then(|v| v.as_string()).map(str::to_string)
    }

    fn int(&mut self, node: &KdlNode, key: &str, default: Option<i128>, max: i128) -> u64 {
        match node.get(key).map(|v| v.as_integer()) {
            Some(Some(v)) if (0..=max).contains(&v) => v as u64,
            None if default.is_some() => default.unwrap_or(0) as u64,
            Some(_) => {
                self.fail(node, &format!("`{key}` must be a number from 0 to {max:#x}"));
                0
            }
            None => {
                self.fail(node, &format!("`{key}=` is missing"));
                0
            }
        }
    }

    fn name(&mut self, node: &KdlNode) -> String {
        match node.entries().first().filter(|e| e.name().is_none()).and_then(|e| e.value().as_string()) {
            Some(n) => n.to_string(),
            None => {
                self.fail(node, "a name is missing");
                String::new()
            }
        }
    }

    fn keys(&mut self, node: &KdlNode, known: &[&str]) {
        for e in node.entries() {
            if let Some(k) = e.name()
                && !known.contains(&k.value())
            {
                self.fail(node, &format!("unknown key `{}`; known are {}", k.value(), known.join(", ")));
            }
        }
    }

    fn access(&mut self, node: &KdlNode, default: &str) -> String {
        let a = self.text(node, "access").unwrap_or_else(|| default.to_string());
        if !["rw", "ro", "wo", "w1c", "w1s", "rc", "const"].contains(&a.as_str()) {
            self.fail(node, &format!("unknown access `{a}`; one of rw, ro, wo, w1c, w1s, rc, const"));
        }
        a
    }

    fn register(&mut self, node: &KdlNode) -> Reg {
        self.keys(node, &["at", "reset", "access", "read", "write", "count", "stride", "doc"]);
        let name = self.name(node);
        let access = self.access(node, "rw");
        let count = self.int(node, "count", Some(1), 1024).max(1);
        let mut reg = Reg {
            ident: ident(&name),
            name,
            doc: self.text(node, "doc").unwrap_or_default(),
            at: self.int(node, "at", None, 0xff_ffff),
            count,
            stride: self.int(node, "stride", Some(4), 0x1_0000).max(4),
            reset: self.int(node, "reset", Some(0), 0xffff_ffff) as u32,
            readable: 0,
            writable: 0,
            w1c: 0,
            w1s: 0,
            rc: 0,
            read: self.text(node, "read"),
            write: self.text(node, "write"),
            fields: vec![],
        };
        if reg.at % 4 != 0 {
            self.fail(node, "registers are aligned to 4 bytes");
        }
        let mut named = 0u32;
        for f in node.children().map_or(&[][..], |d| d.nodes()) {
            if f.name().value() != "field" {
                self.fail(f, &format!("a register holds `field`s, not `{}`", f.name().value()));
                continue;
            }
            self.keys(f, &["bits", "access"]);
            let fname = self.name(f);
            let a = self.access(f, &access);
            let Some((hi, lo)) = f.get("bits").and_then(|v| match (v.as_integer(), v.as_string()) {
                (Some(n), _) => Some((n as u32, n as u32)),
                (None, Some(s)) => {
                    let (hi, lo) = s.split_once(':').unwrap_or((s, s));
                    Some((hi.trim().parse().ok()?, lo.trim().parse().ok()?))
                }
                _ => None,
            }) else {
                self.fail(f, "write the field's bits: bits=\"7:0\" or bits=4");
                continue;
            };
            if hi > 31 || lo > hi {
                self.fail(f, "a field's bits are from 31 to 0, the higher first");
                continue;
            }
            let mask = (((1u64 << (hi - lo + 1)) - 1) << lo) as u32;
            if named & mask != 0 {
                self.fail(f, &format!("`{fname}` overlaps another field"));
            }
            named |= mask;
            add(&mut reg, &a, mask);
            reg.fields.push(Field { ident: ident(&fname).to_uppercase(), name: fname, lo, len: hi - lo + 1, mask, access: a });
        }
        if reg.fields.is_empty() {
            add(&mut reg, &access, u32::MAX);
        }
        reg
    }
}

fn add(reg: &mut Reg, access: &str, mask: u32) {
    let (r, w, c, s, rc) = match access {
        "rw" => (mask, mask, 0, 0, 0),
        "wo" => (0, mask, 0, 0, 0),
        "w1c" => (mask, 0, mask, 0, 0),
        "w1s" => (mask, 0, 0, mask, 0),
        "rc" => (mask, 0, 0, 0, mask),
        _ => (mask, 0, 0, 0, 0),
    };
    reg.readable |= r;
    reg.writable |= w;
    reg.w1c |= c;
    reg.w1s |= s;
    reg.rc |= rc;
}

fn ident(name: &str) -> String {
    let id: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if id.starts_with(|c: char| c.is_ascii_digit()) { format!("r{id}") } else { id }
}

/// The Rust of the register map `text`, which stands in `file`.
///
/// # Errors
/// All problems found, with their lines.
pub fn generate(file: &str, text: &str) -> Result<String, Error> {
    let document = KdlDocument::parse(text).map_err(|e| {
        let first = e.diagnostics.first();
        let at = first.map_or(0, |d| d.span.offset()).min(text.len());
        let line = text[..at].matches('\n').count() + 1;
        Error(format!("error[regs]: {}\n  {file}:{line}\n", first.map_or(String::new(), ToString::to_string)))
    })?;
    let mut r = Reader { file, text, errors: String::new() };
    let mut maps = Vec::new();
    for node in document.nodes() {
        if node.name().value() != "regs" {
            r.fail(node, "a register map begins with `regs`");
            continue;
        }
        r.keys(node, &["access", "doc"]);
        let name = r.name(node);
        let sizes = r.text(node, "access").unwrap_or_else(|| "32".into());
        let sizes = sizes.split(',').filter_map(|s| s.trim().parse::<u8>().ok()).map(|bits| bits / 8).collect();
        let mut map = Map { name, doc: r.text(node, "doc").unwrap_or_default(), sizes, regs: vec![], hooks: vec![] };
        for reg in node.children().map_or(&[][..], |d| d.nodes()) {
            if reg.name().value() != "reg" {
                r.fail(reg, &format!("a register map holds `reg`s, not `{}`", reg.name().value()));
                continue;
            }
            let made = r.register(reg);
            for other in &map.regs {
                let (a, b) =
                    (made.at..made.at + made.stride * (made.count - 1) + 4, other.at..other.at + other.stride * (other.count - 1) + 4);
                if a.start < b.end && b.start < a.end && made.stride == 4 && other.stride == 4 {
                    r.fail(reg, &format!("`{}` overlaps `{}`", made.name, other.name));
                }
                if made.ident == other.ident {
                    r.fail(reg, &format!("a second register `{}`", made.name));
                }
            }
            map.regs.push(made);
        }
        map.hooks = hooks(&map.regs);
        maps.push(map);
    }
    if !r.errors.is_empty() {
        return Err(Error(r.errors));
    }
    let mut env = minijinja::Environment::new();
    env.add_template("regs", include_str!("../templates/regs.rs.j2")).map_err(|e| Error(e.to_string()))?;
    let template = env.get_template("regs").map_err(|e| Error(e.to_string()))?;
    let map = maps.first().ok_or_else(|| Error(format!("{file}: there is no `regs`")))?;
    template.render(minijinja::context! { map => minijinja::value::Serde(map), file }).map_err(|e| Error(e.to_string()))
}

/// The hooks of all registers, each once.
fn hooks(regs: &[Reg]) -> Vec<Hook> {
    let mut all: BTreeMap<(String, bool), Hook> = BTreeMap::new();
    for r in regs {
        for (hook, reads) in [(&r.read, true), (&r.write, false)] {
            let Some(name) = hook else { continue };
            let entry = all.entry((name.clone(), reads)).or_insert(Hook { name: name.clone(), reads, indexed: false, regs: String::new() });
            entry.indexed |= r.count > 1;
            if !entry.regs.is_empty() {
                entry.regs.push_str(", ");
            }
            entry.regs.push_str(&r.name);
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_all_told_with_their_lines() {
        let text = "regs \"x\" {\n  reg \"A\" at=0 access=\"rx\"\n  reg \"B\" at=0\n  reg \"C\" at=8 { field \"F\" bits=\"3:0\"; field \"G\" bits=2; }\n}\n";
        let error = generate("x.kdl", text).unwrap_err().to_string();
        for wanted in ["unknown access `rx`", "x.kdl:2", "`B` overlaps `A`", "x.kdl:3", "`G` overlaps another field", "x.kdl:4"] {
            assert!(error.contains(wanted), "{wanted}: {error}");
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
