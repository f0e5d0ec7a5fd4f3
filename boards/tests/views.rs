//! What the views print for a board: golden text, and a device tree that reads back.

mod common;

use emu_boards::{Board, Plan, Request, load, plan, view};

fn zynq(sets: &[&str]) -> (Board, Plan) {
    let sets = sets.iter().map(|s| s.to_string()).collect();
    let board = load(&Request { board: "../tests/board/views/board.kdl".into(), sets, ..Request::default() });
    let (plan, problems) = plan(&board, &common::registry());
    assert!(problems.is_empty() && board.problems.is_empty());
    (board, plan)
}

fn golden(name: &str, got: &str) {
    let got = &got.replace("../tests/board/", "");
    let path = format!("../tests/board/views/{name}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all("../tests/board/views").unwrap();
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(*got == want, "{name} differs; BLESS=1 takes the new text\n{got}");
}

#[test]
fn text_views() {
    let (board, plan) = zynq(&[]);
    golden("show.txt", &view::show(&board, &plan));
    golden("map.txt", &view::map(&board, &plan));
    golden("irqs.txt", &view::irqs(&board, &plan));
    golden("clocks.txt", &view::clocks(&board, &plan));
    golden("board.dts", &view::device_tree_source(&board, &plan).unwrap());
    golden("board.svg", &view::svg(&board, &plan));
}

#[test]
fn explain_tells_who_set_it() {
    let (board, plan) = zynq(&["ram=256M", "uart0.clock=ps-clk"]);
    let mut out = String::new();
    for path in ["ram", "ddr.size", "uart0.clock", "uart1", "gic.spis", "cpu0.midr", "boot.protocol.kernel-at", "uart0.irq"] {
        out += &format!("$ {path}\n{}\n", view::explain(&board, &plan, path).unwrap());
    }
    golden("explain.txt", &out);
    for path in ["uart9", "uart1.speed", "boot.protcol.x"] {
        assert!(view::explain(&board, &plan, path).is_err(), "{path}");
    }
}

#[test]
fn blob_begins_like_one() {
    let (board, plan) = zynq(&[]);
    let blob = view::device_tree_blob(&board, &plan).unwrap();
    assert_eq!(blob[..4], 0xd00d_feed_u32.to_be_bytes());
    if let Some(folder) = std::env::var_os("DTB_OUT") {
        std::fs::write(folder, blob).unwrap();
    }
}

/// A controller's nodes for its slots are there when something is on them, and the part's node is in them.
#[test]
fn slots_of_the_memory_controller() {
    let tree = |board: &str, adds: &[&str]| {
        let adds = adds.iter().map(|s| s.to_string()).collect();
        let board = load(&Request { board: board.into(), adds, ..Request::default() });
        let (plan, problems) = plan(&board, &common::real_registry());
        assert!(problems.is_empty() && board.problems.is_empty(), "{problems:?} {:?}", board.problems);
        let text = view::device_tree_source(&board, &plan).unwrap();
        let start = text.find("smc: memory-controller@e000e000 {").unwrap();
        text[start..start + text[start..].find("\n\t\t};").unwrap()].to_string()
    };
    let nand = tree("zynq7000", &[]);
    let controller = &nand[nand.find("nand-controller@0,0 {").unwrap()..];
    assert!(controller.contains("\t\t\t\tnand: nand@0 {") && controller.contains("reg = <0 0 0x1000000>;"), "{nand}");
    assert!(!nand.contains("flash@") && !nand.contains("status"), "{nand}");
    let none = tree("zc702", &[]);
    assert!(none.contains("status = \"disabled\";") && !none.contains("nand-controller"), "{none}");
    let nor = tree("zc702", &["device \"nor\" type=\"intel,28f128j3\" on=\"smc.nor1\""]);
    assert!(nor.contains("flash@2,0 {") && nor.contains("compatible = \"cfi-flash\"") && !nor.contains("status"), "{nor}");
}

/// A part with registers has an address for them, and its node is among the devices'; it sits on its controller all the same.
#[test]
fn a_part_with_registers_has_an_address() {
    let board = load(&Request { board: "petalogix-ml605".into(), sets: vec!["mac=02:00:00:00:00:09".into()], ..Request::default() });
    let (plan, problems) = plan(&board, &common::real_registry());
    assert!(problems.is_empty());
    let index = |name: &str| board.devices.iter().position(|d| d.name.text() == name).unwrap();
    assert_eq!(plan.devices[index("ethernet")].on.map(|on| (on.controller, on.slot, on.at)), Some((index("dma"), 0, 0)));
    let text = view::device_tree_source(&board, &plan).unwrap();
    let node = text.split("ethernet: ethernet@82780000 {").nth(1).unwrap().split("};").next().unwrap();
    for line in
        ["reg = <0x82780000 0x40000>;", "interrupts = <3 2>;", "axistream-connected = <&dma>;", "local-mac-address = [02 00 00 00 00 09];"]
    {
        assert!(node.contains(line), "{line}\n{node}");
    }
    let node = text.split("dma: dma@84600000 {").nth(1).unwrap().split("};").next().unwrap();
    assert!(node.contains("interrupts = <1 2 0 2>;") && !node.contains("ethernet"), "{node}");
}
