//! Parameters and the templates that take them.

use super::{Elaborator, MAX_DEPTH, Scope};
use crate::diagnostic::{Diagnostic, suggest};
use crate::expr::Env;
use crate::syntax::Node;
use crate::tree::{Data, Item, Value};
use std::sync::Arc;

impl Elaborator<'_> {
    pub(super) fn param(&mut self, node: &Node, scope: &mut Scope) {
        let Some(name) = node.args.first().and_then(|a| a.value.as_string()).map(str::to_string) else {
            let d = Diagnostic::error("missing", "a parameter has a name").at(node.name.span, "here");
            return self.report(d.help("write `param \"NAME\" default=VALUE`"));
        };
        self.known_props(node, &["default", "min", "max", "type", "doc", "values"], 1);
        let full = format!("{}{name}", scope.prefix);
        // An include or use argument stands in the scope already.
        let given = scope.env.get(&name).cloned();
        let prop = |k: &str| node.props.iter().find(|(n, _)| n.text == k).map(|(_, v)| v.clone());
        let default = prop("default").map(|raw| self.value(&raw, &scope.env));
        let mut value = match (given, default) {
            (Some(given), default) => {
                let mut v = (*given).clone();
                v.before = v.before.or(default.map(Box::new));
                v
            }
            (None, Some(default)) => default,
            (None, None) if self.forced.contains_key(&full) => Value::new(Data::Null, node.args[0].span),
            (None, None) => {
                let d = Diagnostic::error("missing-param", format!("parameter `{name}` has no value and no default"))
                    .at(node.args[0].span, "declared here")
                    .help(format!("add `default=...` here, or give it with `--set {full}=VALUE`"));
                self.report(d);
                Value::new(Data::Bad, node.args[0].span)
            }
        };
        if let Some((forced, taken)) = self.forced.get_mut(&full) {
            *taken = true;
            let mut forced = forced.clone();
            let mut last = &mut forced;
            while last.before.is_some() {
                last = last.before.as_mut().unwrap_or_else(|| unreachable!());
            }
            last.before = Some(Box::new(value));
            value = forced;
        }
        if value.data != Data::Bad
            && let Err(d) = self.check_param(&name, node, &mut value, &scope.env)
        {
            self.report(*d);
            // Going on with the default keeps one mistake from looking like many.
            value.data = Data::Bad;
            if let Some(mut d) = prop("default").map(|raw| self.value(&raw, &scope.env))
                && self.check_param(&name, node, &mut d, &scope.env).is_ok()
            {
                value.data = d.data;
            }
        }
        scope.env.insert(name, Arc::new(value));
    }

    /// Brings a parameter to its declared type and range.
    pub(super) fn check_param(&mut self, name: &str, node: &Node, value: &mut Value, env: &Env) -> Result<(), Box<Diagnostic>> {
        let prop = |k: &str| node.props.iter().find(|(n, _)| n.text == k).map(|(_, v)| v.clone());
        let declared = node.args[0].span;
        let kind = prop("type").and_then(|v| v.value.as_string().map(str::to_string));
        let bound = |e: &mut Self, k: &str| prop(k).map(|raw| e.value(&raw, env)).and_then(|v| v.data.int().map(|n| (n, v.span)));
        let (min, max) = (bound(self, "min"), bound(self, "max"));
        let wrong = |what: &str| {
            Err(Box::new(
                Diagnostic::error("param-type", format!("parameter `{name}` wants {what}, this is {}", value.data.kind()))
                    .at(value.span, format!("{}", value.data))
                    .and(declared, "declared here"),
            ))
        };
        match kind.as_deref() {
            Some("int" | "size") => match value.data.int() {
                Some(n) => value.data = Data::Int(n),
                None if kind.as_deref() == Some("size") => return wrong("a size such as `512M`"),
                None => return wrong("a number"),
            },
            Some("text") if !matches!(value.data, Data::Text(_)) => return wrong("text"),
            Some("bool") if !matches!(value.data, Data::Bool(_)) => return wrong("`#true` or `#false`"),
            None | Some("text" | "bool") => {}
            Some(other) => {
                let span = prop("type").map_or(declared, |v| v.span);
                return Err(Box::new(
                    Diagnostic::error("param-type", format!("no parameter type `{other}`")).at(span, "").maybe_help(suggest(
                        other,
                        "types",
                        ["int", "size", "text", "bool"],
                    )),
                ));
            }
        }
        if let Some(n) = value.data.int() {
            let size = kind.as_deref() == Some("size");
            let show = |n: i128| if size { crate::tree::size_text(n) } else { Data::Int(n).to_string() };
            for (bound, low) in [(min, true), (max, false)] {
                if let Some((limit, span)) = bound
                    && (if low { n < limit } else { n > limit })
                {
                    let (rule, word) = if low { ("less than its least value", "min") } else { ("more than its greatest value", "max") };
                    return Err(Box::new(
                        Diagnostic::error("param-range", format!("`{name}` = {} is {rule}, {}", show(n), show(limit)))
                            .at(value.span, "out of range")
                            .and(span, format!("`{word}` is set here"))
                            .help(format!("choose a value {} {}", if low { "from" } else { "up to" }, show(limit))),
                    ));
                }
            }
        }
        if let Some(values) = prop("values").and_then(|v| v.value.as_string().map(str::to_string)) {
            let text = value.to_text();
            let known: Vec<&str> = values.split_whitespace().collect();
            if !known.contains(&text.as_str()) {
                return Err(Box::new(
                    Diagnostic::error("param-range", format!("`{name}` cannot be `{text}`"))
                        .at(value.span, "")
                        .and(declared, "declared here")
                        .maybe_help(suggest(&text, "it may be", known)),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn known_props(&mut self, node: &Node, known: &[&str], args: usize) {
        for (name, _) in &node.props {
            if !known.contains(&name.text.as_str()) {
                let d = Diagnostic::error("unknown-property", format!("`{}` has no property `{}`", node.name.text, name.text))
                    .at(name.span, "")
                    .maybe_help(suggest(&name.text, "it has", known.iter().copied()));
                self.report(d);
            }
        }
        if let Some(extra) = node.args.get(args) {
            let d =
                Diagnostic::error("extra-argument", format!("`{}` takes {args} argument(s)", node.name.text)).at(extra.span, "one more");
            self.report(d);
        }
    }

    pub(super) fn use_template(&mut self, node: &Node, scope: &Scope, out: &mut Vec<Item>, top: bool) {
        let name = node.args.first().map(|raw| self.value(raw, &scope.env));
        let (text, span) = name.as_ref().map_or(("", node.name.span), |v| (v.text(), v.span));
        let Some(template) = self.templates.get(text) else {
            let d = Diagnostic::error("unknown-template", format!("no template `{text}`"));
            let help = suggest(text, "templates", self.templates.keys().map(String::as_str));
            return self.fail(d.at(span, "").maybe_help(help));
        };
        let (body, origin) = (template.node.clone(), template.origin.clone());
        if self.depth >= MAX_DEPTH {
            let d = Diagnostic::error("nesting", format!("templates nest deeper than {MAX_DEPTH}; does `{text}` use itself?"));
            return self.fail(d.at(span, ""));
        }
        let params: Vec<&Node> = body.children.iter().filter(|c| c.name.text == "param").collect();
        let declared: Vec<&str> = params.iter().filter_map(|n| n.args.first().and_then(|a| a.value.as_string())).collect();
        let mut env = Env::new();
        for (given, raw) in &node.props {
            let value = self.value(raw, &scope.env);
            if !declared.contains(&given.text.as_str()) {
                let d = Diagnostic::error("unknown-param", format!("template `{text}` has no parameter `{}`", given.text))
                    .at(given.span, "")
                    .and(body.args.first().map_or(body.name.span, |a| a.span), "the template")
                    .maybe_help(suggest(&given.text, "its parameters", declared.iter().copied()));
                self.report(d);
            }
            env.insert(given.text.clone(), Arc::new(value));
        }
        let mut inner = Scope { env, origin, prefix: "\0".into(), via: scope.via.clone() };
        inner.via.insert(0, node.name.span);
        for p in params {
            let Some(param) = p.args.first().and_then(|a| a.value.as_string()) else { continue };
            if !inner.env.contains_key(param) && !p.props.iter().any(|(n, _)| n.text == "default") {
                let d = Diagnostic::error("missing-param", format!("template `{text}` wants `{param}`"))
                    .at(span, "used here")
                    .and(p.args[0].span, "declared here, without a default")
                    .help(format!("add `{param}=...` to this `use`"));
                self.report(d);
                inner.env.insert(param.to_string(), Arc::new(Value::new(Data::Bad, span)));
                continue;
            }
            self.param(p, &mut inner);
        }
        inner.prefix = scope.prefix.clone();
        self.depth += 1;
        for child in body.children.iter().filter(|c| c.name.text != "param") {
            self.node(child, &inner, out, top);
        }
        self.depth -= 1;
    }
}
