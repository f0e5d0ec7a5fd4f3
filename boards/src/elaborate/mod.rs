//! Files and arguments -> the effective tree: includes, parameters, templates, repeats, variants and overrides resolved.
//!
//! Order: parameters of a body first, then its includes (whose parameters it then sees), then the rest. Overrides apply
//! after everything exists, the innermost file's first, then variants, `--add` and `--set`; each leaves what it replaced in
//! the value's history. Everything is bounded: depth of includes and templates, repeat counts, the number of nodes.

mod overrides;
mod params;

pub(crate) use overrides::{glob, named, own_keys};

use crate::builtin::Origin;
use crate::diagnostic::{Diagnostic, suggest};
use crate::expr::{self, Env};
use crate::source::{FileId, Sources, Span};
use crate::syntax::{self, Name, Node, RawValue};
use crate::tree::{Data, Item, Value, number};
use kdl::KdlValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MAX_DEPTH: usize = 16;
const MAX_REPEAT: i128 = 4096;
const MAX_NODES: usize = 60_000;

/// What to load.
#[derive(Clone, Default, Debug)]
pub struct Request {
    /// A path, or the bare name of a built-in board.
    pub board: String,
    /// `--variant`
    pub variants: Vec<String>,
    /// `--set PATH=VALUE`
    pub sets: Vec<String>,
    /// `--add 'KDL'`
    pub adds: Vec<String>,
}

/// The elaborated tree.
#[derive(Default)]
pub(crate) struct Tree {
    pub name: Option<Value>,
    pub items: Vec<Item>,
    pub params: Vec<(String, Arc<Value>)>,
    pub sources: Sources,
    pub problems: Vec<Diagnostic>,
    /// `--set` paths whose first part names nothing.
    pub unknown_paths: Vec<Name>,
    /// A file or template is missing, so that names may be missing too: checking further would only give echoes.
    pub incomplete: bool,
}

struct Template {
    node: Node,
    origin: Origin,
}

/// What a node sees.
#[derive(Clone)]
struct Scope {
    env: Env,
    origin: Origin,
    prefix: String,
    via: Vec<Span>,
}

struct Elaborator<'r> {
    request: &'r Request,
    tree: Tree,
    templates: BTreeMap<String, Template>,
    /// Parameter values from outside, by full name, and whether something took them.
    forced: BTreeMap<String, (Value, bool)>,
    /// Overrides in the order they apply.
    overrides: Vec<Item>,
    variants_seen: BTreeSet<String>,
    including: Vec<Origin>,
    /// Files read so far; nothing for one that could not be.
    files: BTreeMap<Origin, Option<(FileId, Vec<Node>)>>,
    depth: usize,
    nodes: usize,
}

/// Elaborates a board.
pub(crate) fn elaborate(request: &Request, text: Option<&str>) -> Tree {
    let mut e = Elaborator {
        request,
        tree: Tree::default(),
        templates: BTreeMap::new(),
        forced: BTreeMap::new(),
        overrides: Vec::new(),
        variants_seen: BTreeSet::new(),
        including: Vec::new(),
        files: BTreeMap::new(),
        depth: 0,
        nodes: 0,
    };
    e.run(text);
    e.tree
}

impl Elaborator<'_> {
    fn report(&mut self, d: Diagnostic) {
        if self.tree.problems.len() < 500 {
            self.tree.problems.push(d);
        }
    }

    fn fail(&mut self, d: Diagnostic) {
        self.tree.incomplete = true;
        self.report(d);
    }

    fn run(&mut self, text: Option<&str>) {
        let paths = self.read_sets();
        let origin = match text {
            Some(text) => Origin::Text(self.request.board.clone(), text.into()),
            None => match Origin::of_board(&self.request.board) {
                Ok(origin) => origin,
                Err(d) => return self.fail(d),
            },
        };
        let Some((_, nodes)) = self.read(&origin, None) else { return };
        self.including.push(origin.clone());
        let boards: Vec<&Node> = nodes.iter().filter(|n| n.name.text == "board").collect();
        match boards[..] {
            [] => {
                let mut d = Diagnostic::error("no-board", format!("{} has no `board` node", self.request.board));
                if let Some(soc) = nodes.iter().find(|n| n.name.text == "soc") {
                    d = d
                        .at(soc.name.span, "a `soc` is a part of a board")
                        .help(format!("write a board around it: `board \"mine\" {{ include \"{}\" }}`", self.request.board));
                } else {
                    d = d.help("a board file holds one `board \"NAME\" { ... }`");
                }
                return self.fail(d);
            }
            [_] => {}
            [first, second, ..] => {
                let d = Diagnostic::error("duplicate", "a board file holds one board")
                    .at(second.name.span, "another one")
                    .and(first.name.span, "the first")
                    .help("move it to a file of its own");
                self.fail(d);
            }
        }
        let mut scope = Scope { env: Env::new(), origin: origin.clone(), prefix: String::new(), via: Vec::new() };
        let mut items = Vec::new();
        self.file(&nodes, &mut scope, &mut items);
        for (i, text) in self.request.adds.iter().enumerate() {
            let name = if self.request.adds.len() > 1 { format!("--add #{}", i + 1) } else { "--add".to_string() };
            let file = self.tree.sources.add(name, text.as_str());
            match syntax::parse(file, text) {
                Ok(nodes) => self.body(&nodes, &mut scope, &mut items),
                Err(problems) => problems.into_iter().for_each(|d| self.fail(d)),
            }
        }
        self.tree.params = scope.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        for o in std::mem::take(&mut self.overrides) {
            self.apply_override(&o, &mut items);
        }
        for (path, value) in paths {
            self.apply_path(&path, value, &mut items);
        }
        self.leftovers(&items);
        self.tree.items = items;
    }

    /// Splits `--set` arguments into parameter values (kept in `forced`) and paths (returned).
    fn read_sets(&mut self) -> Vec<(Name, Value)> {
        let mut paths = Vec::new();
        for argument in &self.request.sets {
            let text = format!("--set {argument}");
            let file = self.tree.sources.add(text.clone(), text.as_str());
            let span = |start: usize, end: usize| Span { file, start: start as u32, end: end as u32 };
            let Some((path, value)) = argument.split_once('=') else {
                let d = Diagnostic::error("bad-set", format!("`--set {argument}` has no `=`"))
                    .at(span(6, text.len()), "")
                    .help("write `--set PATH=VALUE`, such as `--set ram=1G` or `--set uart0.chardev=stdio`");
                self.report(d);
                continue;
            };
            let data = match value {
                "true" | "#true" => Data::Bool(true),
                "false" | "#false" => Data::Bool(false),
                "#null" => Data::Null,
                _ if value.ends_with(|c: char| c.is_ascii_alphabetic()) && !value.starts_with("0x") => Data::Text(value.into()),
                _ => number(value).map_or_else(|| Data::Text(value.trim_matches('"').into()), Data::Int),
            };
            let value = Value::new(data, span(6 + path.len() + 1, text.len()));
            let name = Name { text: path.to_string(), span: span(6, 6 + path.len()) };
            if path.contains('.') {
                paths.push((name, value));
            } else {
                self.force(name.text, value);
            }
        }
        paths
    }

    fn force(&mut self, name: String, mut value: Value) {
        if let Some((old, _)) = self.forced.get(&name) {
            value.before = Some(Box::new(old.clone()));
        }
        self.forced.insert(name, (value, false));
    }

    fn read(&mut self, origin: &Origin, from: Option<Span>) -> Option<(FileId, Vec<Node>)> {
        if let Some(known) = self.files.get(origin) {
            return known.clone();
        }
        let read = self.read_new(origin, from);
        self.files.insert(origin.clone(), read.clone());
        read
    }

    fn read_new(&mut self, origin: &Origin, from: Option<Span>) -> Option<(FileId, Vec<Node>)> {
        let text = match origin.read() {
            Ok(text) => text,
            Err(message) => {
                let mut d = Diagnostic::error("bad-include", message);
                if let Some(span) = from {
                    d = d.at(span, "included here");
                }
                self.fail(d);
                return None;
            }
        };
        let file = self.tree.sources.add(origin.name(), text.as_str());
        match syntax::parse(file, &text) {
            Ok(nodes) => Some((file, nodes)),
            Err(problems) => {
                problems.into_iter().for_each(|d| self.fail(d));
                None
            }
        }
    }

    /// The top level of a file.
    fn file(&mut self, nodes: &[Node], scope: &mut Scope, out: &mut Vec<Item>) {
        let mut loose = Vec::new();
        let mut bodies = Vec::new();
        for node in nodes {
            match node.name.text.as_str() {
                "template" => self.template(node, &scope.origin),
                "soc" | "board" => bodies.push(node),
                _ => loose.push(node.clone()),
            }
        }
        self.body(&loose, scope, out);
        for node in bodies {
            if self.tree.name.is_none() && node.name.text == "board" {
                self.tree.name = match node.args.first() {
                    Some(raw) => Some(self.value(raw, &scope.env)),
                    None => {
                        let d = Diagnostic::error("missing", "a `board` has a name").at(node.name.span, "here");
                        self.report(d.help("write `board \"NAME\" { ... }`"));
                        None
                    }
                };
            }
            self.body(&node.children, scope, out);
        }
    }

    fn template(&mut self, node: &Node, origin: &Origin) {
        let Some(name) = node.args.first().and_then(|a| a.value.as_string()) else {
            let d = Diagnostic::error("missing", "a template has a name").at(node.name.span, "here");
            return self.report(d.help("write `template \"NAME\" { ... }`"));
        };
        if let Some(old) = self.templates.get(name)
            && old.node.name.span != node.name.span
            && old.origin != *origin
        {
            let d = Diagnostic::error("duplicate", format!("template `{name}` is defined twice"))
                .at(node.args[0].span, "again here")
                .and(old.node.args[0].span, "first here");
            return self.report(d.help("rename one of them"));
        }
        self.templates.insert(name.to_string(), Template { node: node.clone(), origin: origin.clone() });
    }

    /// The inside of a board, a soc or a variant.
    fn body(&mut self, nodes: &[Node], scope: &mut Scope, out: &mut Vec<Item>) {
        let kind = |k: &'static str| nodes.iter().filter(move |n| n.name.text == k);
        kind("template").for_each(|n| self.template(n, &scope.origin));
        let chosen: Vec<&Node> = kind("variant")
            .filter(|n| {
                let name = n.args.first().and_then(|a| a.value.as_string()).unwrap_or("");
                self.variants_seen.insert(name.to_string());
                self.request.variants.iter().any(|v| v == name)
            })
            .collect();
        for variant in &chosen {
            for (name, raw) in variant.children.iter().filter(|c| c.name.text == "set").flat_map(|c| &c.props) {
                let value = self.value(raw, &scope.env);
                let full = format!("{}{}", scope.prefix, name.text);
                if !name.text.contains('.') && !self.forced.contains_key(&full) {
                    self.force(full, value);
                }
            }
        }
        kind("param").for_each(|n| self.param(n, scope));
        kind("include").for_each(|n| self.include(n, scope, out));
        for node in nodes {
            match node.name.text.as_str() {
                "template" | "param" | "include" | "variant" => {}
                "soc" | "board" => {
                    let d = Diagnostic::error("unknown-node", format!("`{}` cannot stand inside another", node.name.text));
                    self.report(d.at(node.name.span, "here").help("`include` the file it is in"));
                }
                _ => self.node(node, scope, out, true),
            }
        }
        for variant in chosen {
            let rest: Vec<Node> = variant.children.iter().filter(|c| c.name.text != "set").cloned().collect();
            self.body(&rest, scope, out);
        }
    }

    fn include(&mut self, node: &Node, scope: &mut Scope, out: &mut Vec<Item>) {
        let Some(raw) = node.args.first() else {
            let d = Diagnostic::error("missing", "`include` wants a file").at(node.name.span, "here");
            return self.fail(d.help("write `include \"soc/zynq7000.kdl\"`"));
        };
        let path = self.value(raw, &scope.env);
        let origin = match scope.origin.join(path.text()) {
            Ok(origin) => origin,
            Err((message, help)) => return self.fail(Diagnostic::error("bad-include", message).at(raw.span, "").maybe_help(help)),
        };
        if self.including.contains(&origin) {
            let chain: Vec<String> = self.including.iter().chain([&origin]).map(Origin::name).collect();
            let d = Diagnostic::error("include-cycle", "a file includes itself").at(raw.span, "included again here");
            return self.fail(d.note(chain.join(" -> ")).help("move what both need to a third file"));
        }
        if self.depth >= MAX_DEPTH {
            let d = Diagnostic::error("nesting", format!("includes nest deeper than {MAX_DEPTH}"));
            return self.fail(d.at(raw.span, ""));
        }
        let Some((_, nodes)) = self.read(&origin, Some(raw.span)) else { return };
        let mut inner = Scope {
            env: Env::new(),
            origin: origin.clone(),
            prefix: scope.prefix.clone(),
            via: [node.name.span].into_iter().chain(scope.via.iter().copied()).collect(),
        };
        let mut own = String::new();
        let mut arguments = Vec::new();
        for (name, raw) in &node.props {
            let value = self.value(raw, &scope.env);
            if name.text == "prefix" {
                own = value.to_text();
            } else {
                inner.env.insert(name.text.clone(), Arc::new(value));
                arguments.push(name.clone());
            }
        }
        inner.prefix += &own;
        let declared: Vec<&str> = nodes
            .iter()
            .flat_map(|n| n.children.iter().chain([n]))
            .filter(|n| n.name.text == "param")
            .filter_map(|n| n.args.first().and_then(|a| a.value.as_string()))
            .collect();
        for name in &arguments {
            if !declared.contains(&name.text.as_str()) {
                let d = Diagnostic::error("unknown-param", format!("{} has no parameter `{}`", origin.name(), name.text))
                    .at(name.span, "")
                    .maybe_help(suggest(&name.text, "its parameters", declared.iter().copied()));
                self.report(d);
            }
        }
        self.including.push(origin);
        self.depth += 1;
        let first = out.len();
        let first_override = self.overrides.len();
        self.file(&nodes, &mut inner, out);
        self.depth -= 1;
        self.including.pop();
        if !own.is_empty() {
            let names: BTreeSet<String> = out[first..].iter().map(|i| i.name().to_string()).filter(|n| !n.is_empty()).collect();
            out[first..].iter_mut().for_each(|i| overrides::add_prefix(i, &own, &names, true));
            self.overrides[first_override..].iter_mut().for_each(|i| overrides::add_prefix(i, &own, &names, true));
        }
        for (name, value) in inner.env {
            scope.env.entry(format!("{own}{name}")).or_insert(value);
        }
    }

    /// One node that is not a declaration: expands `repeat` and `use`, sets overrides aside, computes the others.
    fn node(&mut self, node: &Node, scope: &Scope, out: &mut Vec<Item>, top: bool) {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            if self.nodes == MAX_NODES + 1 {
                let d = Diagnostic::error("too-many-nodes", format!("the board has more than {MAX_NODES} nodes"));
                self.fail(d.at(node.name.span, "the last one taken").help("look for a `repeat` inside a `repeat`"));
            }
            return;
        }
        match node.name.text.as_str() {
            "repeat" => self.repeat(node, scope, out, top),
            "use" => self.use_template(node, scope, out, top),
            _ => {
                let item = self.item(node, scope);
                // Top-level `override` and `disable` act on other nodes; inside a node `disable` is a plain child.
                if top && matches!(item.kind.text.as_str(), "override" | "disable") {
                    self.overrides.push(item);
                } else {
                    out.push(item);
                }
            }
        }
    }

    fn item(&mut self, node: &Node, scope: &Scope) -> Item {
        let args = node.args.iter().map(|raw| self.value(raw, &scope.env)).collect();
        let props = node.props.iter().map(|(name, raw)| (name.clone(), self.value(raw, &scope.env))).collect();
        let mut children = Vec::new();
        for child in &node.children {
            self.node(child, scope, &mut children, false);
        }
        Item { kind: node.name.clone(), args, props, children, via: scope.via.clone() }
    }

    fn repeat(&mut self, node: &Node, scope: &Scope, out: &mut Vec<Item>, top: bool) {
        self.known_props(node, &["count", "from"], 1);
        let name = node.args.first().and_then(|a| a.value.as_string()).unwrap_or("i").to_string();
        let prop = |k: &str| node.props.iter().find(|(n, _)| n.text == k).map(|(_, v)| v.clone());
        let from = prop("from").map(|raw| self.value(&raw, &scope.env)).and_then(|v| v.data.int()).unwrap_or(0);
        let Some(count) = prop("count").map(|raw| self.value(&raw, &scope.env)) else {
            let d = Diagnostic::error("missing", "`repeat` wants a `count`").at(node.name.span, "here");
            return self.report(d.help(format!("write `repeat \"{name}\" count=4 {{ ... }}`")));
        };
        let n = match count.data.int() {
            Some(n) if (0..=MAX_REPEAT).contains(&n) => n,
            _ if count.data == Data::Bad => return,
            _ => {
                let d = Diagnostic::error("repeat-count", format!("`count` must be 0 to {MAX_REPEAT}, this is {}", count.data));
                return self.report(d.at(count.span, "").because(&count));
            }
        };
        for i in 0..n {
            let mut inner = scope.clone();
            let value = from.checked_add(i).map_or(Data::Bad, Data::Int);
            inner.env.insert(name.clone(), Arc::new(Value::new(value, count.span)));
            for child in &node.children {
                self.node(child, &inner, out, top);
                if self.nodes > MAX_NODES {
                    return;
                }
            }
        }
    }

    /// Computes a value.
    fn value(&mut self, raw: &RawValue, env: &Env) -> Value {
        let mut used = Vec::new();
        let data = match &raw.value {
            KdlValue::Integer(v) => Data::Int(*v),
            KdlValue::Bool(b) => Data::Bool(*b),
            KdlValue::Null => Data::Null,
            KdlValue::Float(_) => {
                let d = Diagnostic::error("float", "board files use whole numbers only").at(raw.span, "");
                self.report(d.help("write frequencies in Hz, as in `33_333_333`"));
                Data::Bad
            }
            KdlValue::String(text) if raw.raw || !text.contains(['{', '}']) => Data::Text(text.clone()),
            KdlValue::String(text) => expr::expand(text, env, &mut used).unwrap_or_else(|error| {
                // Inside a plain quoted string the place can be told exactly.
                let source = self.tree.sources.slice(raw.span);
                let exact = source.strip_prefix('"').and_then(|s| s.strip_suffix('"')) == Some(text);
                let span = if exact {
                    let base = raw.span.start + 1;
                    Span { start: base + error.start as u32, end: base + error.end as u32, ..raw.span }
                } else {
                    raw.span
                };
                let help = match &error.unknown {
                    Some(name) => suggest(name, "parameters here", env.keys().map(String::as_str)),
                    None => None,
                };
                let mut d = Diagnostic::error("expression", error.message).at(span, "").maybe_help(help);
                for (name, value) in env.iter().filter(|(n, _)| used.contains(n)) {
                    d = d.and(value.span, format!("`{name}` is {} here", value.data));
                }
                // A parameter that is bad already has been reported.
                if !used.iter().any(|u| env.get(u).is_some_and(|v| v.data == Data::Bad)) {
                    self.report(d);
                }
                Data::Bad
            }),
        };
        let params = used.into_iter().filter_map(|name| env.get(&name).map(|v| (name, v.clone()))).collect();
        Value { params, ..Value::new(data, raw.span) }
    }
}
