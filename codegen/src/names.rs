//! Rust names for the specification's.

use emu_dsl::spec::Local;
use std::collections::{BTreeMap, BTreeSet};

/// Rust's keywords.
const KEYWORDS: &[&str] = &[
    "as", "async", "await", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum", "extern", "false", "fn", "for",
    "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self",
    "Self", "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
    "yield", "abstract", "become", "final", "_",
];

/// What a local may not be called besides: the generator's own names, and the prelude's constructors (they would be patterns).
const GENERATED: &[&str] = &["Some", "None", "Ok", "Err", "b", "cx", "n", "code"];

/// The name of an item (function, constant, field): `name`, or with an underscore if it is a keyword.
pub fn safe(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_string() }
}

/// The name of a local.
fn local(name: &str) -> String {
    let name = &*name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let temporary = name.len() > 1 && name.starts_with('t') && name[1..].bytes().all(|c| c.is_ascii_digit());
    if GENERATED.contains(&name) || temporary { format!("{name}_") } else { safe(name) }
}

/// The Rust names of a body's locals: their own where unique.
pub fn locals(locals: &[Local]) -> Vec<String> {
    let mut count: BTreeMap<&str, u32> = BTreeMap::new();
    locals.iter().for_each(|l| *count.entry(&l.name).or_default() += 1);
    let mut used = BTreeSet::new();
    locals
        .iter()
        .enumerate()
        .map(|(i, l)| {
            let plain = local(if l.name.is_empty() { "x" } else { &l.name });
            let mut name = if count[l.name.as_str()] == 1 { plain.clone() } else { format!("{plain}_{i}") };
            while !used.insert(name.clone()) {
                name.push('_');
            }
            name
        })
        .collect()
}

/// A mode's or context's field of the translation's constants.
pub fn field(name: &str) -> String {
    match name {
        "features" | "pc" | "next_pc" | "token_bits" | "first" | "ends" | "mem" => format!("{name}_"),
        _ => safe(name),
    }
}

/// `CamelCase` from `snake_case`.
pub fn camel(name: &str) -> String {
    name.split('_')
        .map(|part| {
            let mut chars = part.chars();
            chars.next().map(|c| c.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
        })
        .collect()
}

/// `UPPER_CASE`, for the names of constants that hand-written code uses.
pub fn upper(name: &str) -> String {
    name.to_uppercase()
}
