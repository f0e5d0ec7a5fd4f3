//! Offsets of structures: C's natural alignment, by the rules of a guest or of the host, and which member is which.

use super::{Abi, Data, Struct};
use emu_dsl::diagnostic::Diagnostic;
use emu_dsl::spec::Span;
use serde::Serialize;
use std::collections::BTreeMap;

/// Structures in structures at most.
const MAX_DEPTH: usize = 8;

/// Sizes and alignment of an ABI's types, bytes.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// `long` and pointers.
    pub long: u64,
    /// Alignment of 64-bit numbers.
    pub align64: u64,
}

/// x86-64.
const HOST: Rules = Rules { long: 8, align64: 8 };

/// Scalar types: name, size (0: that of `long`), sign, and what is special in their conversion.
pub(super) const SCALARS: [(&str, u64, bool, &str); 16] = [
    ("i8", 1, true, "Plain"),
    ("u8", 1, false, "Plain"),
    ("i16", 2, true, "Plain"),
    ("u16", 2, false, "Plain"),
    ("i32", 4, true, "Plain"),
    ("u32", 4, false, "Plain"),
    ("int", 4, true, "Plain"),
    ("uint", 4, false, "Plain"),
    ("i64", 8, true, "Plain"),
    ("u64", 8, false, "Plain"),
    ("long", 0, true, "Plain"),
    ("ulong", 0, false, "Plain"),
    ("ptr", 0, false, "Plain"),
    ("limit", 0, false, "Limit"),
    ("nanos64", 8, true, "Low"),
    ("id16", 2, false, "Id16"),
];

/// A structure of a guest, and the host's.
#[derive(Serialize)]
pub(super) struct Layout {
    name: String,
    size: u64,
    host_size: u64,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    guest: u64,
    size: u64,
    signed: bool,
    host: u64,
    host_size: u64,
    count: u64,
    how: String,
}

/// A scalar, or an array of them, in a structure.
#[derive(Clone)]
struct Flat {
    name: String,
    offset: u64,
    size: u64,
    signed: bool,
    count: u64,
    how: &'static str,
    span: Span,
}

/// Members in order, size and alignment.
struct Shape {
    flat: Vec<Flat>,
    size: u64,
    align: u64,
}

/// Which side is laid out.
#[derive(Clone, Copy)]
struct Side<'a> {
    data: &'a Data,
    abi: &'a Abi,
    host: bool,
}

impl<'a> Side<'a> {
    fn rules(&self) -> Rules {
        if self.host { HOST } else { self.abi.rules }
    }

    /// The structure `name` of this side.
    fn find(&self, name: &str) -> Option<&'a Struct> {
        let guest = self.abi.structs.get(name).or_else(|| self.data.structs.get(name));
        match guest {
            Some(Struct { host: Some(host), .. }) if self.host => self.data.hosts.get(host),
            None if self.host => self.data.hosts.get(name),
            other => other,
        }
    }

    fn shape(&self, name: &str, span: Span, depth: usize) -> Result<Shape, Diagnostic> {
        let rules = self.rules();
        if let Some((_, size, signed, how)) = SCALARS.iter().find(|s| s.0 == name) {
            // What is special is a guest's: the host has the widest of the kind.
            let size = match (self.host, *how, *size) {
                (true, "Id16", _) => 4,
                (_, _, 0) => rules.long,
                (_, _, size) => size,
            };
            let align = if size == 8 { rules.align64 } else { size };
            let flat = Flat { name: "value".into(), offset: 0, size, signed: *signed, count: 1, how, span };
            return Ok(Shape { flat: vec![flat], size, align });
        }
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new("abi", span, format!("the struct `{name}` contains itself")));
        }
        let whole = self.find(name).ok_or_else(|| Diagnostic::new("abi", span, format!("there is no type `{name}`")))?;
        let mut out = Shape { flat: vec![], size: 0, align: 1 };
        for m in &whole.members {
            let part = self.shape(&m.kind, m.span, depth + 1)?;
            let align = if whole.packed { 1 } else { part.align };
            let start = out.size.next_multiple_of(align.max(1));
            let scalar = SCALARS.iter().any(|s| s.0 == m.kind);
            for i in 0..if scalar { 1 } else { m.count } {
                let index = if m.count > 1 { format!("[{i}]") } else { String::new() };
                out.flat.extend(part.flat.iter().map(|f| Flat {
                    name: if scalar { m.from.as_ref().unwrap_or(&m.name).clone() } else { format!("{}{index}.{}", m.name, f.name) },
                    offset: start + i * part.size + f.offset,
                    count: if scalar { m.count } else { f.count },
                    span: m.span,
                    ..f.clone()
                }));
            }
            out.size = start + m.count * part.size;
            out.align = out.align.max(align);
        }
        out.size = out.size.next_multiple_of(out.align);
        Ok(out)
    }
}

/// A guest's structure beside the host's; problems are added to `data`.
pub(super) fn layout(data: &mut Data, abi: &Abi, name: &str) -> Option<Layout> {
    match make(data, abi, name) {
        Ok(layout) => Some(layout),
        Err(problems) => {
            for d in problems {
                // The same one comes again for each structure it is in, and each ABI.
                if !data.errors.iter().any(|o| o.message == d.message && o.labels == d.labels) {
                    data.errors.push(d);
                }
            }
            None
        }
    }
}

fn make(data: &Data, abi: &Abi, name: &str) -> Result<Layout, Vec<Diagnostic>> {
    let span = abi.structs.get(name).or_else(|| data.structs.get(name)).map_or(abi.span, |s| s.span);
    if let Some(host) = abi.structs.get(name).or_else(|| data.structs.get(name)).and_then(|s| s.host.as_ref())
        && !data.hosts.contains_key(host)
    {
        return Err(vec![Diagnostic::new("abi", span, format!("there is no host structure `{host}`"))]);
    }
    let guest = Side { data, abi, host: false }.shape(name, span, 0).map_err(|d| vec![d])?;
    let host = Side { data, abi, host: true }.shape(name, span, 0).map_err(|d| vec![d])?;
    let there: BTreeMap<&str, &Flat> = host.flat.iter().map(|f| (f.name.as_str(), f)).collect();
    let (mut fields, mut problems) = (vec![], vec![]);
    for g in guest.flat.iter().filter(|g| !g.name.starts_with('_') && !g.name.contains("._")) {
        match there.get(g.name.as_str()) {
            Some(h) if h.count == g.count => fields.push(Field {
                name: g.name.clone(),
                guest: g.offset,
                size: g.size,
                signed: g.signed,
                host: h.offset,
                host_size: h.size,
                count: g.count,
                how: g.how.into(),
            }),
            Some(_) => problems.push(Diagnostic::new("abi", g.span, format!("`{}` has another count in the host's structure", g.name))),
            None => problems.push(
                Diagnostic::new("abi", g.span, format!("the host's structure has no member `{}`", g.name))
                    .help("a name with `_` in front is the guest's alone"),
            ),
        }
    }
    if problems.is_empty() { Ok(Layout { name: name.to_string(), size: guest.size, host_size: host.size, fields }) } else { Err(problems) }
}
