//! The map of generated code for Linux `perf`. One test: the file's name is the process's.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::*;
use emu_ir::interp::{Engine, PerfMap};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

#[test]
fn blocks_are_entered_and_links_not_followed() {
    let (path, victim) = (PerfMap::path(), PerfMap::path().with_extension("victim"));
    std::fs::write(&victim, "mine").unwrap();
    symlink(&victim, &path).unwrap();
    let map = PerfMap::create().unwrap();
    let kind = std::fs::symlink_metadata(&path).unwrap();
    assert!(kind.is_file() && kind.permissions().mode() & 0o777 == 0o600, "{kind:?}");

    let bus = Bus::new(&[asm(I::Li, 1, 0, 5), asm(I::B, 0, 0, 0)]);
    let mut engine = Engine::new(Arc::new(Toy), 0);
    engine.use_quick_tier();
    engine.set_perf_map(&map);
    LAYOUT.write(engine.state_mut(), PC, 0x1000);
    bus.limit.set(100);
    engine.run(&bus);

    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<(u64, u64, &str)> = text
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut number = || u64::from_str_radix(words.next().unwrap(), 16).unwrap();
            (number(), number(), words.next().unwrap())
        })
        .collect();
    assert!(lines.windows(2).all(|pair| pair[0].1 > 0 && pair[0].0 + pair[0].1 <= pair[1].0), "{text}");
    for name in ["toy:enter", "toy:store64", "toy:0x00001000", "toy:0x00001004"] {
        assert!(lines.iter().any(|line| line.2 == name), "{name} is missing in\n{text}");
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
    [path, victim].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}
