//! Changes to what is there already: `override`, `disable`, `--set NAME.KEY=VALUE`, `prefix=` of an include.

use super::Elaborator;
use crate::diagnostic::{Diagnostic, suggest};
use crate::source::Span;
use crate::syntax::Name;
use crate::tree::{Data, Item, Value};
use std::collections::BTreeSet;

impl Elaborator<'_> {
    pub(super) fn apply_override(&mut self, o: &Item, items: &mut [Item]) {
        for target in &o.args {
            let pattern = target.text();
            let mut found = false;
            for item in items.iter_mut().filter(|i| named(i) && glob(pattern, i.name())) {
                found = true;
                if o.kind.text == "disable" {
                    item.children.push(Item { kind: o.kind.clone(), args: vec![], props: vec![], children: vec![], via: o.via.clone() });
                } else {
                    merge(item, o);
                }
            }
            if !found && target.data != Data::Bad {
                let names = items.iter().filter(|i| named(i)).map(Item::name);
                let d = Diagnostic::error("unknown-name", format!("`{}` of `{pattern}`: there is no such thing", o.kind.text))
                    .at(target.span, "")
                    .maybe_help(suggest(pattern, "names", names));
                self.report(d);
            }
        }
        if o.args.is_empty() {
            let d = Diagnostic::error("missing", format!("`{}` wants the name of what it changes", o.kind.text));
            self.report(d.at(o.kind.span, "here").help(format!("write `{} \"NAME\"`", o.kind.text)));
        }
    }

    /// One `--set NAME.KEY=VALUE`.
    pub(super) fn apply_path(&mut self, path: &Name, value: Value, items: &mut [Item]) {
        let parts: Vec<&str> = path.text.split('.').collect();
        let found = items.iter_mut().find(|i| if named(i) { i.name() == parts[0] } else { i.kind.text == parts[0] });
        let Some(mut item) = found else {
            // Said later, when the types tell which things have such a key.
            self.tree.unknown_paths.push(path.clone());
            return;
        };
        for part in &parts[1..parts.len() - 1] {
            let Some(i) = item.children.iter().position(|c| c.kind.text == *part || c.name() == *part) else {
                let known: Vec<&str> = item.children.iter().map(|c| c.kind.text.as_str()).collect();
                let d = Diagnostic::error("unknown-path", format!("--set {}: nothing called `{part}` there", path.text))
                    .at(path.span, "")
                    .and(item.span(), "in this")
                    .maybe_help(suggest(part, "it has", known));
                return self.report(d);
            };
            item = &mut item.children[i];
        }
        let key = Name { text: parts[parts.len() - 1].to_string(), span: path.span };
        set_key(item, &key, value);
    }

    /// What was asked for from outside and found no use.
    pub(super) fn leftovers(&mut self, items: &[Item]) {
        let params: Vec<String> = self.tree.params.iter().map(|(n, _)| n.clone()).collect();
        for (name, (value, taken)) in std::mem::take(&mut self.forced) {
            if taken || self.tree.incomplete {
                continue;
            }
            let is_set = self.tree.sources.name(value.span.file).starts_with("--set");
            let span = if is_set { Span { start: 6, end: 6 + name.len() as u32, ..value.span } } else { value.span };
            let mut d = Diagnostic::error("unknown-path", format!("no parameter `{name}` on this board")).at(span, "");
            d = match items.iter().find(|i| named(i) && i.name() == name) {
                Some(item) => {
                    d.and(item.span(), format!("`{name}` is a {}", item.kind.text)).help(format!("name what to set: `{name}.PROPERTY=...`"))
                }
                None => d.maybe_help(suggest(&name, "parameters", params.iter().map(String::as_str))),
            };
            self.report(d);
        }
        for variant in &self.request.variants {
            if !self.variants_seen.contains(variant) && !self.tree.incomplete {
                let file = self.tree.sources.add("--variant", format!("--variant {variant}"));
                let span = Span { file, start: 10, end: 10 + variant.len() as u32 };
                let d = Diagnostic::error("unknown-variant", format!("this board has no variant `{variant}`")).at(span, "");
                let help =
                    suggest(variant, "variants", self.variants_seen.iter().map(String::as_str)).or_else(|| Some("it has none".to_string()));
                self.report(d.maybe_help(help));
            }
        }
    }
}

/// Kinds whose first argument is a name others may use.
pub(crate) fn named(item: &Item) -> bool {
    matches!(item.kind.text.as_str(), "device" | "cpu" | "mem" | "bus" | "clock" | "stub" | "code")
}

/// Keys of each kind that are properties of the node itself rather than of its type.
pub(crate) fn own_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "device" => &["type", "on", "at", "size", "bus", "clock", "over", "priority", "master", "chardev"],
        "cpu" => &["isa", "model", "bus", "clock"],
        "mem" => &["at", "size", "kind", "bus", "over", "priority", "file", "when", "unless"],
        "bus" => &["width", "endian"],
        "clock" => &["hz", "from", "mul", "div"],
        "stub" => &["at", "size", "policy", "bit", "value", "quiet", "bus", "over", "priority"],
        "code" => &["at", "isa", "model", "bus"],
        _ => &[],
    }
}

fn set_key(item: &mut Item, key: &Name, mut value: Value) {
    let own = own_keys(&item.kind.text).contains(&key.text.as_str());
    if own || item.prop(&key.text).is_some() {
        return item.set_prop(key, value);
    }
    if let Some(child) = item.children.iter_mut().find(|c| c.kind.text == key.text && c.props.is_empty() && c.args.len() <= 1) {
        value.before = child.args.first().cloned().map(Box::new);
        child.args = vec![value];
        return;
    }
    if !matches!(item.kind.text.as_str(), "device" | "cpu") {
        return item.set_prop(key, value);
    }
    if let Some(set) = item.children.iter_mut().find(|c| c.kind.text == "set" && c.prop(&key.text).is_some()) {
        return set.set_prop(key, value);
    }
    let kind = Name { text: "set".into(), span: key.span };
    item.children.push(Item { kind, args: vec![], props: vec![(key.clone(), value)], children: vec![], via: vec![] });
}

/// Puts an override's properties and children over an item's.
fn merge(item: &mut Item, o: &Item) {
    for (name, value) in &o.props {
        item.set_prop(name, value.clone());
    }
    for child in &o.children {
        if child.kind.text == "set" {
            for (name, value) in &child.props {
                match item.children.iter_mut().find(|c| c.kind.text == "set" && c.prop(&name.text).is_some()) {
                    Some(set) => set.set_prop(name, value.clone()),
                    None => {
                        let props = vec![(name.clone(), value.clone())];
                        item.children.push(Item {
                            kind: child.kind.clone(),
                            args: vec![],
                            props,
                            children: vec![],
                            via: child.via.clone(),
                        });
                    }
                }
            }
            continue;
        }
        let same = |c: &Item| c.kind.text == child.kind.text && c.args.first().map(|a| &a.data) == child.args.first().map(|a| &a.data);
        match item.children.iter_mut().find(|c| same(c)) {
            Some(old) => {
                let mut new = child.clone();
                for (name, value) in &mut new.props {
                    value.before = old.prop(&name.text).cloned().map(Box::new);
                }
                *old = new;
            }
            None => item.children.push(child.clone()),
        }
    }
}

/// `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| rest.len() >= tail.len() && rest.ends_with(tail)),
    }
}

/// Renames what an include with `prefix=` defines, and its references to what it defines.
pub(super) fn add_prefix(item: &mut Item, prefix: &str, names: &BTreeSet<String>, top: bool) {
    let rename = |v: &mut Value| {
        if let Data::Text(text) = &mut v.data {
            let head = text.split(['.', ' ']).next().unwrap_or("");
            if names.contains(head) || (head.contains('*') && names.iter().any(|n| glob(head, n))) {
                text.insert_str(0, prefix);
            }
        }
    };
    if top && (named(item) || matches!(item.kind.text.as_str(), "wire" | "override" | "disable" | "chardev")) {
        item.args.iter_mut().take(if item.kind.text == "disable" { usize::MAX } else { 1 }).for_each(rename);
    }
    for (name, value) in &mut item.props {
        if matches!(name.text.as_str(), "clock" | "bus" | "to" | "from" | "over" | "master") || item.kind.text == "aliases" {
            rename(value);
        }
    }
    item.children.iter_mut().for_each(|c| add_prefix(c, prefix, names, false));
}
