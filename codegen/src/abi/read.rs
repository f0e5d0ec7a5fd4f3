//! KDL nodes -> [`Data`].

use super::*;
use crate::regs::{at, head, place};
use kdl::KdlNode;

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
    /// Adds what a file says.
    pub(super) fn read(&mut self, file: u32, document: &KdlDocument) {
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
}
