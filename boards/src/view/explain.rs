//! `explain PATH`: the value, who set it, what it replaced, and the parameters it was computed from.

use crate::board::Board;
use crate::diagnostic::{Diagnostic, suggest};
use crate::elaborate::named;
use crate::plan::Plan;
use crate::tree::{Data, Item, Value, size_text};
use emu_machine::schema;
use std::fmt::Write;

/// Explains `path`: a parameter (`ram`), a thing (`uart1`), or one of its values (`uart1.clock`, `boot.protocol.kernel-at`).
///
/// # Errors
/// Nothing on the board is called so.
pub fn explain(board: &Board, plan: &Plan, path: &str) -> Result<String, Diagnostic> {
    let mut out = String::new();
    let parts: Vec<&str> = path.split('.').collect();
    if let Some((name, value)) = board.params.iter().find(|(n, _)| n == path) {
        history(&mut out, board, name, value, 0);
        return Ok(out);
    }
    let found = board.items.iter().find(|i| if named(i) { i.name() == parts[0] } else { i.kind.text == parts[0] });
    let Some(item) = found else {
        let names = crate::lower::names(board);
        let known = names.iter().map(String::as_str).chain(board.params.iter().map(|(n, _)| n.as_str()));
        let d = Diagnostic::error("unknown-path", format!("`{path}`: nothing on this board is called `{}`", parts[0]));
        return Err(d.maybe_help(suggest(parts[0], "names", known)));
    };
    if parts.len() == 1 {
        whole(&mut out, board, plan, item);
        return Ok(out);
    }
    let mut at = item;
    for part in &parts[1..parts.len() - 1] {
        let next = at.children.iter().find(|c| c.kind.text == *part || (!c.name().is_empty() && c.name() == *part));
        at = next.ok_or_else(|| unknown(board, plan, item, at, path, part))?;
    }
    let key = parts[parts.len() - 1];
    let mut seen = false;
    let mut say = |name: String, value: &Value| {
        history(&mut out, board, &name, value, 0);
        seen = true;
    };
    if let Some(value) = at.prop(key) {
        say(path.to_string(), value);
    }
    for set in at.all("set") {
        if let Some(value) = set.prop(key) {
            say(path.to_string(), value);
        }
    }
    for child in at.children.iter().filter(|c| c.kind.text == key || (c.kind.text != "set" && c.name() == key)) {
        for (i, value) in child.args.iter().enumerate() {
            say(if i == 0 { path.to_string() } else { format!("{path} [{i}]") }, value);
        }
        for (name, value) in &child.props {
            say(format!("{path}.{}", name.text), value);
        }
    }
    if seen {
        return Ok(out);
    }
    if let Some((value, kind)) = type_default(board, plan, item, key) {
        let _ =
            writeln!(out, "{path} = {value}\n    the default of {kind}; change it with `--set {path}=...` or `set {key}=...` in the file");
        return Ok(out);
    }
    Err(unknown(board, plan, item, at, path, key))
}

fn unknown(board: &Board, plan: &Plan, item: &Item, at: &Item, path: &str, key: &str) -> Diagnostic {
    let mut known: Vec<String> = at.props.iter().map(|(n, _)| n.text.clone()).collect();
    known.extend(at.all("set").flat_map(|s| s.props.iter().map(|(n, _)| n.text.clone())));
    known.extend(at.children.iter().filter(|c| c.kind.text != "set").map(|c| c.kind.text.clone()));
    if std::ptr::eq(item, at) {
        known.extend(
            board
                .devices
                .iter()
                .zip(&plan.devices)
                .filter(|(d, _)| d.name.text() == item.name())
                .flat_map(|(_, p)| p.props.0.keys().cloned()),
        );
    }
    Diagnostic::error(
        "unknown-path",
        format!("`{path}`: `{}` has no `{key}`", if at.name().is_empty() { &at.kind.text } else { at.name() }),
    )
    .at(at.span(), "this one")
    .maybe_help(suggest(key, "it has", known.iter().map(String::as_str)))
}

fn type_default(board: &Board, plan: &Plan, item: &Item, key: &str) -> Option<(String, String)> {
    let show = |v: &schema::Value| match v {
        schema::Value::Int(n) => Data::Int(*n).to_string(),
        schema::Value::Bool(b) => Data::Bool(*b).to_string(),
        schema::Value::Text(t) => Data::Text(t.clone()).to_string(),
    };
    let device = board.devices.iter().position(|d| d.name.text() == item.name());
    let cpu = board.cpus.iter().position(|c| c.name.text() == item.name());
    match (device, cpu) {
        (Some(i), _) => plan.devices[i].props.0.get(key).map(|v| (show(v), format!("type `{}`", board.devices[i].kind.text()))),
        (_, Some(i)) => plan.cpus[i].props.0.get(key).map(|v| (show(v), format!("CPU `{}`", board.cpus[i].model.text()))),
        _ => None,
    }
}

/// Everything about a thing.
fn whole(out: &mut String, board: &Board, plan: &Plan, item: &Item) {
    let _ = writeln!(out, "{} {}    {}", item.kind.text, item.name(), board.sources.place(item.span()));
    for span in &item.via {
        let _ = writeln!(out, "    through `{}` at {}", board.sources.slice(*span), board.sources.place(*span));
    }
    if board.disabled.iter().any(|d| d == item.name()) && named(item) {
        let _ = writeln!(out, "    disabled");
    }
    for region in plan.regions.iter().filter(|r| r.name == item.name() || r.name.starts_with(&format!("{}.", item.name()))) {
        let _ = writeln!(out, "    at {:#x}..={:#x} ({})", region.start, region.last(), size_text(region.size.into()));
    }
    fn values(out: &mut String, board: &Board, item: &Item, prefix: &str, depth: usize) {
        for (name, value) in &item.props {
            history(out, board, &format!("{prefix}{}", name.text), value, depth);
        }
        for child in &item.children {
            if matches!(child.kind.text.as_str(), "dt" | "asm") {
                continue;
            }
            let named = child.args.first().map_or(String::new(), |a| format!(" {}", a.data));
            let prefix = if child.kind.text == "set" { String::new() } else { format!("{}{named} ", child.kind.text) };
            if child.props.is_empty() && child.kind.text != "set" {
                let _ = writeln!(out, "{}{}    {}", "    ".repeat(depth), prefix.trim_end(), board.sources.place(child.span()));
            }
            values(out, board, child, &prefix, depth);
        }
    }
    values(out, board, item, "", 1);
}

/// One value: `name = value    place`, then what it replaced and what it was computed from.
fn history(out: &mut String, board: &Board, name: &str, value: &Value, depth: usize) {
    let pad = "    ".repeat(depth);
    let written = board.sources.slice(value.span);
    let written = if value.params.is_empty() { String::new() } else { format!(" {written}") };
    let _ = writeln!(out, "{pad}{name} = {}    {}{written}", pretty(&value.data), board.sources.place(value.span));
    for (param, source) in &value.params {
        if depth < 8 {
            history(out, board, &format!("where {param}"), source, depth + 1);
        }
    }
    let mut before = value.before.as_deref();
    for _ in 0..32 {
        let Some(old) = before else { break };
        let _ = writeln!(out, "{pad}    replaces {}    {}", pretty(&old.data), board.sources.place(old.span));
        before = old.before.as_deref();
    }
}

fn pretty(data: &Data) -> String {
    match data {
        Data::Int(n) if *n >= 1 << 20 && n % (1 << 20) == 0 => format!("{data} ({})", size_text(*n)),
        _ => data.to_string(),
    }
}
