//! `emu isa doc`: the instruction reference of an instruction set, as Markdown, from its tables.

use emu_asm::tables::{EncodingTable, Piece, Tables};
use std::fmt::Write;

/// The reference: instructions by specification file, each with its encodings, its assembly text and its specification.
pub fn reference(tables: &Tables) -> String {
    let mut out = format!("# Instructions of {}\n", tables.name);
    let mut file = "";
    for (number, insn) in tables.insns.iter().enumerate() {
        let of = insn.place.split(':').next().unwrap_or("");
        if of != file {
            file = of;
            _ = writeln!(out, "\n## {file}");
        }
        let title = if insn.title.is_empty() { &insn.name } else { &insn.title };
        _ = writeln!(out, "\n### {title}\n\n`{}`, {}\n\n| encoding | bits | text |\n|---|---|---|", insn.name, insn.place);
        for e in tables.encodings.iter().filter(|e| e.insn as usize == number) {
            let text: Vec<String> = e.asm.iter().map(|(_, pieces)| format!("`{}`", syntax(e, pieces))).collect();
            _ = writeln!(out, "| {} | `{}` | {} |", e.name, bits(e), text.join("<br>"));
        }
        _ = writeln!(out, "\n```isa\n{}\n```", insn.source);
    }
    out
}

/// The bit string, most significant first: 0, 1, field names, `.` for bits that are ignored.
fn bits(e: &EncodingTable) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut at = i32::from(e.bits) - 1;
    while at >= 0 {
        let bit = at as u8;
        let field = e.fields.iter().find_map(|f| f.pieces.iter().find(|(lo, w)| lo + w == bit + 1).map(|p| (f, p.1)));
        match field {
            Some((field, width)) => {
                out.push(format!("{}:{width}", e.locals[field.local as usize]));
                at -= i32::from(width);
            }
            None => {
                let c = match (e.mask >> bit & 1, e.value >> bit & 1, e.should_be >> bit & 1) {
                    (1, value, _) => char::from(b'0' + value as u8),
                    (_, _, 1) => '1',
                    _ => '.',
                };
                match out.last_mut().filter(|l| !l.contains(':')) {
                    Some(last) => last.push(c),
                    None => out.push(c.to_string()),
                }
                at -= 1;
            }
        }
    }
    out.join(" ")
}

/// A template as one reads it: names for what is printed, alternatives in braces.
fn syntax(e: &EncodingTable, pieces: &[Piece]) -> String {
    use emu_asm::tables::Op;
    pieces
        .iter()
        .map(|p| match p {
            Piece::Text(t) => t.replace('|', "\\|"),
            Piece::Value(x, _) => match &*x.op {
                Op::Local(l) => format!("<{}>", e.locals[*l as usize]),
                _ => "<value>".to_string(),
            },
            Piece::Choice(_, a, b) => format!("{{{}/{}}}", syntax(e, a), syntax(e, b)),
        })
        .collect()
}
