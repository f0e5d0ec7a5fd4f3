//! Whatever a board file holds, the loader answers with messages, never with a panic.

mod common;

use emu_boards::{Request, check, diagnostic, load_text, plan, view};
use proptest::prelude::*;

/// Loads, checks and prints `text`.
fn swallow(text: &str, sets: Vec<String>, adds: Vec<String>) {
    let request = Request { board: "random.kdl".into(), sets, adds, variants: vec!["v".into()] };
    let board = load_text(&request, text);
    let registry = common::registry();
    let problems = check(&board, &registry);
    diagnostic::render(&problems, &board.sources);
    diagnostic::to_json(&problems, &board.sources);
    let (plan, _) = plan(&board, &registry);
    view::show(&board, &plan);
    view::map(&board, &plan);
    view::irqs(&board, &plan);
    view::clocks(&board, &plan);
    view::svg(&board, &plan);
    let _ = view::device_tree_source(&board, &plan);
    let _ = view::device_tree_blob(&board, &plan);
    for item in &board.items {
        let _ = view::explain(&board, &plan, item.name());
    }
    for item in &board.items {
        for (name, _) in &item.props {
            let _ = view::explain(&board, &plan, &format!("{}.{}", item.name(), name.text));
        }
    }
}

/// Pieces of board files, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "board",
        "soc",
        "device",
        "cpu",
        "mem",
        "bus",
        "clock",
        "stub",
        "code",
        "wire",
        "irq",
        "map",
        "set",
        "include",
        "param",
        "template",
        "use",
        "repeat",
        "variant",
        "override",
        "disable",
        "boot",
        "protocol",
        "firmware",
        "words",
        "secondary",
        "dt",
        "cells",
        "node",
        "alias",
        "aliases",
        "chardev",
        "{",
        "}",
        "{",
        "}",
        ";",
        "\n",
        "\n",
        "/-",
        "/*",
        "*/",
        "//",
        "\"",
        "\"\"\"",
        "#\"",
        "\"#",
        "\\",
        "at=0",
        "at=0xffffffffffffffff",
        "at=-1",
        "size=1",
        "size=\"16E\"",
        "size=\"512M\"",
        "size=512M",
        "count=3",
        "count=\"{n}\"",
        "to=\"gic.spi 5\"",
        "to=\"gic.spi 0..=99999999999\"",
        "to=\"gic.id 50..=70\"",
        "to=\"*.irq\"",
        "to=\"c*.reset\"",
        "to=none",
        "type=\"arm,gic-v1\"",
        "type=\"cdns,uart\"",
        "type=\"cdns,ttc\"",
        "type=\"xlnx,zynq-slcr\"",
        "type=\"test,props\"",
        "\"gic\"",
        "\"slcr\"",
        "\"u{i}\"",
        "\"{i * 99999999999999999999}\"",
        "\"{1 ? 2 : }\"",
        "\"soc/zynq7000.kdl\"",
        "\"uart\"",
        "\"v\"",
        "\"é\"",
        "clock=\"slcr.cpu-1x\"",
        "clock=\"c\"",
        "from=\"c\"",
        "hz=18446744073709551615",
        "mul=18446744073709551615",
        "div=3",
        "width=64",
        "isa=\"arm\"",
        "model=\"cortex-a9\"",
        "policy=\"poll-ready\"",
        "bit=63",
        "over=\"*\"",
        "priority=2147483647",
        "shared=#true",
        "spis=988",
        "ncpu=4",
        "n=1",
        "0..=2",
        "1.5",
        "#null",
        "#true",
        "0x",
        "=",
        "prefix=\"p-\"",
        "label=\"x\"",
        "compatible=\"a b\"",
        "\"&x\"",
        "\"n\"",
        "\"interrupt-cells\"",
        "default=1",
        "min=5",
    ];
    prop_oneof![8 => proptest::sample::select(WORDS).prop_map(|w| format!("{w} ")), 1 => "[ -~]{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}", set in "\\PC{0,20}") {
        swallow(&text, vec![set], vec![text.clone()]);
    }

    #[test]
    fn any_pieces(pieces in proptest::collection::vec(piece(), 0..60), set in "(ram|gic|uart0|boot|slcr|u0)(\\.[a-z]{1,6}){0,3}=?[0-9a-zGx]{0,8}") {
        let body = pieces.concat();
        swallow(&body, vec![set.clone()], vec![]);
        swallow(&format!("board \"b\" {{\n{body}\n}}\n"), vec![set.clone()], vec![body.clone()]);
        swallow(&format!("board \"b\" {{\ninclude \"soc/zynq7000.kdl\"\n{}\n}}\n", body.replace(['{', '}'], "")), vec![set], vec![]);
    }

    /// A right board with a stretch of it cut out, doubled or replaced.
    #[test]
    fn mutated_boards(from in 0usize..9000, length in 0usize..60, piece in piece(), double in any::<bool>()) {
        let soc = emu_boards::builtin::FILES.iter().find(|(name, _)| *name == "soc/zynq7000.kdl").unwrap().1;
        let text = soc.replacen("soc \"zynq7000\"", "board \"zynq7000\"", 1);
        let floor = |mut i: usize| { i = i.min(text.len()); while !text.is_char_boundary(i) { i -= 1; } i };
        let (a, b) = (floor(from), floor(from + length));
        let middle = if double { text[a..b].repeat(2) } else { String::new() };
        swallow(&format!("{}{middle}{piece}{}", &text[..a], &text[b..]), vec![], vec![]);
    }
}

/// Deep or endless input ends soon.
#[test]
fn bombs() {
    let cases = [
        "a {".repeat(5000),
        "/*".repeat(100_000),
        "/-".repeat(50_000),
        "#".repeat(100_000),
        "\"".repeat(99_999),
        "(".repeat(20_000),
        "a (".repeat(5000),
        "\\\n".repeat(20_000),
        format!("board \"b\" {{ {}{} }}", "repeat \"i\" count=4096 { ".repeat(10), "mem \"m\" at=0 size=1; } ".repeat(10)),
        format!("board \"b\" {{ x \"{{{}1\" }}", "(".repeat(50_000)),
        "board \"b\" { use \"t\"; }\ntemplate \"t\" { use \"t\"; use \"t\"; }".to_string(),
        format!("board \"b\" {{ {} }}", "a {".repeat(40) + &"}".repeat(40)),
        format!("board \"b\" {{ {}", "a { b \"".repeat(40)),
        "board \"b\" { bus \"p\" width=64; repeat \"i\" count=4096 { stub \"s{i}\" at=0 size=1; } }".to_string(),
    ];
    for (i, text) in cases.iter().enumerate() {
        let start = std::time::Instant::now();
        swallow(text, vec![], vec![]);
        eprintln!("{i}: {:?}", start.elapsed());
    }
}
