//! What the language can say: each test a small board and what comes of it.

mod common;

use emu_boards::plan::{Pin, Unit};
use emu_boards::{Board, Plan, Request, check, diagnostic, load, load_text, plan};

const HEAD: &str = "bus \"ps\" width=32\nmem \"ram\" at=0 size=\"1M\"\ncpu \"cpu0\" isa=\"arm\" model=\"cortex-a9\"\n";

fn right(text: &str, request: Request) -> (Board, Plan) {
    let board = load_text(&Request { board: "test.kdl".into(), ..request }, text);
    let problems = check(&board, &common::registry());
    assert!(problems.is_empty(), "{}", diagnostic::render(&problems, &board.sources));
    let plan = plan(&board, &common::registry()).0;
    (board, plan)
}

fn board(body: &str) -> (Board, Plan) {
    right(&format!("board \"b\" {{\n{HEAD}{body}\n}}"), Request::default())
}

fn region(plan: &Plan, name: &str) -> (u64, u64) {
    plan.regions.iter().find(|r| r.name == name).map(|r| (r.start, r.size)).unwrap_or_else(|| panic!("no region {name}"))
}

#[test]
fn repeat_and_expressions() {
    let (board, plan) = board(
        r#"param "base" default=0x40000000
        repeat "i" count=3 from=1 {
            stub "s{i}" at="{base + (i << 16)}" size="{i == 2 ? 8K : 0x100}"
            repeat "j" count=2 { stub "s{i}-{j}" at="{base + (i << 16) + 0x8000 + j * 16}" size=16; }
        }"#,
    );
    assert_eq!(board.stubs.len(), 9);
    assert_eq!(region(&plan, "s2"), (0x4002_0000, 8192));
    assert_eq!(region(&plan, "s3-1"), (0x4003_8010, 16));
}

#[test]
fn order_never_matters() {
    let body = [
        "device \"u\" type=\"cdns,uart\" at=0x40000000 clock=\"half\" { irq to=\"gic.spi 3\"; }",
        "clock \"half\" from=\"full\" div=2",
        "clock \"full\" hz=\"{hz}\"",
        "param \"hz\" default=1000",
        "device \"gic\" type=\"arm,gic-v1\" { map \"dist\" at=0x50001000; map \"cpu-if\" at=0x50000000; set spis=32; irq \"irq\" to=\"cpu0.irq\"; irq \"fiq\" to=none; }",
    ];
    let forward = board(&body.join("\n"));
    let mut reversed = body;
    reversed.reverse();
    let backward = board(&reversed.join("\n"));
    let names = |(b, p): &(Board, Plan)| {
        let mut list: Vec<String> =
            p.links.iter().map(|l| format!("{}-{}", p.pin_name(b, l.from, true), p.pin_name(b, l.to, false))).collect();
        list.sort();
        (list, p.regions.iter().map(|r| (r.name.clone(), r.start)).collect::<Vec<_>>())
    };
    assert_eq!(names(&forward), names(&backward));
    assert_eq!(names(&forward).0, ["gic.irq-cpu0.irq", "u.irq-gic.spi 3"]);
}

#[test]
fn overrides_add_and_set_keep_history() {
    let text = format!(
        r#"board "b" {{
            param "at" default=0x40000000
            {HEAD}
            clock "c" hz=1
            device "u" type="cdns,uart" at="{{at}}" clock="c" {{ irq to=none; }}
            device "p" type="test,props" {{ set mode="slow" memory="2K"; }}
            override "u" clock=none {{ clock "ref" from="c"; }}
            override "p" {{ set memory="4K"; }}
            variant "big" {{
                set at=0x48000000
                override "p" {{ set memory="8K"; }}
                stub "extra" at=0x60000000 size=16
            }}
        }}"#
    );
    let request = Request {
        variants: vec!["big".into()],
        sets: vec!["p.memory=16K".into(), "p.title=0x10".into(), "ram.size=2M".into(), "u.chardev=stdio".into()],
        adds: vec!["override \"extra\" size=32".into()],
        ..Request::default()
    };
    let (board, plan) = right(&text, request);
    assert_eq!(region(&plan, "u").0, 0x4800_0000);
    assert_eq!(region(&plan, "ram").1, 2 << 20);
    assert_eq!(region(&plan, "extra").1, 32);
    assert_eq!(board.devices[0].chardev.as_ref().map(|c| c.text()), Some("stdio"));
    let props = &plan.devices[1].props;
    assert_eq!((props.int("memory"), props.text("title"), props.text("mode")), (16384, "0x10", "slow"));
    let mut chain = vec![];
    let mut value = board.devices[1].set.iter().find(|(n, _)| n.text == "memory").map(|(_, v)| v);
    while let Some(v) = value {
        chain.push(v.text().to_string());
        value = v.before.as_deref();
    }
    assert_eq!(chain, ["16K", "8K", "4K", "2K"]);
}

#[test]
fn a_disabled_device_takes_its_wires_along() {
    let (board, plan) = board(
        r#"clock "c" hz=1
        device "gic" type="arm,gic-v1" { map "dist" at=0x50001000; map "cpu-if" at=0x50000000; set spis=32; irq "irq" to="cpu0.irq"; irq "fiq" to="cpu0.fiq"; }
        device "u" type="cdns,uart" at=0x40000000 clock="c" { irq to="gic.spi 3"; }
        device "v" type="cdns,uart" at=0x40001000 clock="c" { irq to="gic.spi 4"; }
        disable "gic" "v""#,
    );
    assert_eq!(board.disabled, ["gic", "v"]);
    assert!(plan.links.is_empty());
    assert_eq!(plan.regions.len(), 2);
}

#[test]
fn prefixed_includes() {
    let folder = tempfile();
    std::fs::write(
        folder.join("part.kdl"),
        "soc \"part\" { param \"base\" default=0; clock \"c\" hz=5; device \"u\" type=\"cdns,uart\" at=\"{base}\" clock=\"c\" { irq to=none; }; override \"u\" chardev=\"null\" }",
    )
    .unwrap();
    std::fs::write(
        folder.join("main.kdl"),
        format!("board \"b\" {{ {HEAD} include \"part.kdl\" prefix=\"a-\" base=0x40000000; include \"part.kdl\" prefix=\"b-\" base=\"{{a-base + 0x1000}}\" }}"),
    )
    .unwrap();
    let board = load(&Request {
        board: folder.join("main.kdl").display().to_string(),
        sets: vec!["b-base=0x70000000".into()],
        ..Request::default()
    });
    let problems = check(&board, &common::registry());
    assert!(problems.is_empty(), "{}", diagnostic::render(&problems, &board.sources));
    let plan = plan(&board, &common::registry()).0;
    assert_eq!((region(&plan, "a-u").0, region(&plan, "b-u").0), (0x4000_0000, 0x7000_0000));
    assert_eq!(plan.devices[0].clocks, [Some(emu_boards::plan::ClockSource::Clock(0))]);
    assert_eq!(plan.devices[1].clocks, [Some(emu_boards::plan::ClockSource::Clock(1))]);
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("emu-boards-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn private_lines_go_to_each_cpu() {
    let board = load(&Request { board: "zynq7000".into(), ..Request::default() });
    let plan = plan(&board, &common::real_registry()).0;
    let index = |name: &str| board.devices.iter().position(|d| d.name.text() == name).unwrap();
    let pins: Vec<(Pin, Pin)> =
        plan.links.iter().filter(|l| l.from.unit == Unit::Device(index("ptimer"))).map(|l| (l.from, l.to)).collect();
    let gic = Unit::Device(index("gic"));
    let timer = Unit::Device(index("ptimer"));
    // PPI 29 is line 13 of the 16 each CPU has.
    let pin = |unit, port, index| Pin { unit, port, index };
    assert_eq!(pins, [(pin(timer, 0, 0), pin(gic, 1, 13)), (pin(timer, 0, 1), pin(gic, 1, 29))]);
}

#[test]
fn aliases_of_memory_and_overlays() {
    let (_, plan) = board(
        r#"mem "ocm" at=0xfffc0000 size="256K" { alias at=0x20000000; }
        stub "hole" at=0x40000000 size="64K"
        stub "patch" at=0x40001000 size=16 over="hole"
        stub "top" at=0x40001000 size=4 priority=9"#,
    );
    let places: Vec<u64> = plan.regions.iter().filter(|r| r.name == "ocm").map(|r| r.start).collect();
    assert_eq!(places, [0x2000_0000, 0xfffc_0000]);
    let priority = |name: &str| plan.regions.iter().find(|r| r.name == name).unwrap().priority;
    assert_eq!((priority("hole"), priority("patch"), priority("top")), (0, 1, 9));
}

#[test]
fn firmware_words() {
    let board = load(&Request { board: "zynq7000".into(), ..Request::default() });
    let plan = plan(&board, &common::real_registry()).0;
    let boot = board.boot.as_ref().unwrap();
    let words: Vec<Option<u64>> = boot.words.iter().map(|w| plan.word(w)).collect();
    assert_eq!(words[0], Some(0xe000_1000));
    assert_eq!(words[7], Some(192 << 10));
    assert!(words.iter().all(Option::is_some));
    assert_eq!(plan.words(&board)[8], 29);
    assert_eq!(boot.protocol("arm-linux").unwrap().int("kernel-at"), Some(0x8000));
    let bad = boot.protocol("arm-linux").unwrap().check(&["machine-id"], &["dtb"]);
    assert_eq!(bad.len(), 1);
}
