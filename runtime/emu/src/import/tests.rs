use super::{dts, svd};
use crate::registry;
use emu_boards::{Request, board::Board, plan::Plan};
use emu_boot::fdt::Tree;
use emu_machine::parts::PartBus;

fn load(text: &str) -> (Board, Plan) {
    let board = emu_boards::load_text(&Request { board: "test".into(), ..Request::default() }, text);
    let problems = emu_boards::check(&board, &registry());
    assert!(problems.is_empty(), "{}\n{text}", emu_boards::diagnostic::render(&problems, &board.sources));
    let plan = emu_boards::plan(&board, &registry()).0;
    (board, plan)
}

fn tree_of(name: &str) -> Vec<u8> {
    let (board, plan) = load(emu_boards::builtin::FILES.iter().find(|(file, _)| *file == name).unwrap().1);
    emu_boards::view::device_tree_blob(&board, &plan).unwrap()
}

/// Where each device is, by type, and the interrupt lines that come from it.
fn hardware(board: &Board, plan: &Plan) -> Vec<(String, Vec<u64>, Vec<String>)> {
    let mut all: Vec<_> = (0..board.devices.len())
        .map(|i| {
            let device = &board.devices[i];
            let places = device.places.iter().map(|p| p.at.v).collect();
            let mut lines: Vec<String> = device.wires.iter().flat_map(|w| w.to.iter().map(|to| to.text().to_string())).collect();
            lines.retain(|to| to.starts_with("intc.") || to.starts_with("gic."));
            let on = plan.part_place(board, i).unwrap_or_default();
            let on = on.rsplit_once('.').map_or(String::new(), |(_, slot)| slot.into());
            // Which flash chip it is a tree need not say.
            let flash =
                |kind: &emu_machine::schema::DeviceType| !kind.drives.is_empty() && matches!(kind.part, Some(PartBus::Spi | PartBus::Nor));
            let kind = device.kind.text();
            let kind = if registry().device(kind).is_some_and(flash) { "flash" } else { kind };
            (format!("{kind} {on}"), places, lines)
        })
        .collect();
    all.sort();
    all
}

/// What a built-in board's own device tree says comes back as the same hardware.
#[test]
fn boards_come_back_from_their_trees() {
    for name in ["petalogix-s3adsp1800.kdl", "petalogix-ml605.kdl", "zc702.kdl"] {
        let blob = tree_of(name);
        let made = dts::import(&Tree::parse(&blob).unwrap(), "again", &registry()).unwrap();
        let (board, plan) = load(&made.text);
        let (first, first_plan) = load(emu_boards::builtin::FILES.iter().find(|(file, _)| *file == name).unwrap().1);
        // What the trees do not say: the system reset button, and the lights of the PetaLogix board.
        let listed = |(kind, places, lines): &(String, Vec<u64>, Vec<String>)| {
            let hidden = if name.starts_with("petalogix") { "gpio-" } else { "gpio-button" };
            !(kind.starts_with(hidden) && places.is_empty() && lines.is_empty())
        };
        let mut wanted = hardware(&first, &first_plan);
        let mut got = hardware(&board, &plan);
        wanted.retain(listed);
        got.retain(listed);
        assert_eq!(got, wanted, "{name}: {:?}\n{}", made.notes, made.text);
        assert_eq!(board.main_memory(), first.main_memory());
        assert_eq!(board.model.as_ref().map(|m| m.to_text()), first.model.as_ref().map(|m| m.to_text()));
    }
}

/// A node that nobody knows becomes a stub with its name, and is reported.
#[test]
fn what_is_not_known_is_a_stub() {
    let mut tree = Tree::parse(&tree_of("petalogix-ml605.kdl")).unwrap();
    let mut node = emu_boot::fdt::Node { name: "wombat@7f000000".into(), ..Default::default() };
    node.set_text("compatible", "acme,wombat");
    node.set("reg", [0x7f00_0000u32, 0x2000].iter().flat_map(|c| c.to_be_bytes()).collect());
    let bus = tree.root.children.iter_mut().find(|c| c.strings("compatible").iter().any(|c| c == "simple-bus")).unwrap();
    bus.children.push(node);
    let made = dts::import(&tree, "b", &registry()).unwrap();
    assert!(made.text.contains("stub \"wombat\" at=0x7f000000 size=0x2000"), "{}", made.text);
    assert!(made.notes.iter().any(|n| n.contains("acme,wombat")), "{:?}", made.notes);
    tree.root.children.retain(|c| !c.name.starts_with("cpus"));
    assert!(dts::import(&tree, "b", &registry()).is_err());
}

/// Damaged trees are refused, or make some board; nothing panics.
#[test]
fn damaged_trees() {
    let blob = tree_of("zc702.kdl");
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..60 {
        let mut bytes = blob.clone();
        for _ in 0..=random(8) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if let Ok(tree) = Tree::parse(&bytes) {
            let _ = dts::import(&tree, "b", &registry());
        }
    }
}

const SVD: &str = r#"<?xml version="1.0"?>
<device schemaVersion="1.3"><name>ACME1</name><version>1</version><description>d</description><addressUnitBits>8</addressUnitBits><width>32</width>
<size>32</size><access>read-write</access><resetValue>0</resetValue>
<peripherals>
 <peripheral><name>TIMER</name><description>A "timer"</description><baseAddress>0x40000000</baseAddress>
  <registers>
   <register><name>CR</name><description>Control</description><addressOffset>0</addressOffset><resetValue>0x8</resetValue>
    <fields><field><name>EN</name><bitRange>[0:0]</bitRange></field><field><name>MODE</name><bitOffset>2</bitOffset><bitWidth>2</bitWidth></field></fields></register>
   <register><name>SR</name><addressOffset>4</addressOffset><modifiedWriteValues>oneToClear</modifiedWriteValues>
    <fields><field><name>DONE</name><bitRange>[1:1]</bitRange><access>read-only</access></field><field><name>OVER</name><bitRange>[0:0]</bitRange></field></fields></register>
   <register><name>LO</name><addressOffset>8</addressOffset><size>8</size><resetValue>0x12</resetValue></register>
   <register><name>HI</name><addressOffset>10</addressOffset><size>16</size><access>read-only</access><resetValue>0x3456</resetValue></register>
   <register><dim>3</dim><dimIncrement>4</dimIncrement><name>MATCH%s</name><addressOffset>0x10</addressOffset></register>
   <register><name>BIG</name><addressOffset>0x20</addressOffset><size>64</size></register>
   <register><name>OTHER</name><addressOffset>0</addressOffset></register>
  </registers></peripheral>
 <peripheral derivedFrom="TIMER"><name>TIMER2</name><baseAddress>0x40001000</baseAddress></peripheral>
</peripherals></device>"#;

#[test]
fn register_maps_from_svd() {
    let made = svd::import(SVD).unwrap();
    for line in [
        "regs \"timer\" access=\"32,16,8\" doc=\"A \\\"timer\\\"\" {",
        "    reg \"CR\" at=0x0 reset=0x8 doc=\"Control\" {",
        "        field \"MODE\" bits=\"3:2\"",
        "    reg \"SR\" at=0x4 access=\"w1c\" {",
        "        field \"DONE\" bits=1 access=\"ro\"",
        "    reg \"LO_HI\" at=0x8 reset=0x34560012 {",
        "        field \"HI\" bits=\"31:16\" access=\"ro\"",
        "    reg \"MATCH2\" at=0x18",
        "// TIMER2 at 0x40001000 is as TIMER.",
    ] {
        assert!(made.text.lines().any(|l| l == line), "no `{line}` in\n{}", made.text);
    }
    assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
    // And it is what a device's build takes.
    emu_codegen::regs::generate("timer.kdl", &made.text).unwrap_or_else(|e| panic!("{e:?}\n{}", made.text));
    assert!(svd::import("<device>").is_err());
}
