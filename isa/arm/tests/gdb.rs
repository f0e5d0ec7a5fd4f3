//! The debugger's registers: their numbers, and that the composed ones are what the architecture says.

mod common;

use common::Random;
use emu_isa_arm::{CELLS, GDB, LAYOUT, vectors};

#[test]
fn composed_registers_are_the_architecture_s() {
    let mut random = Random(7);
    let reg = |name: &str| GDB.regs().find(|r| r.name == name).unwrap();
    for _ in 0..1000 {
        let mut cells: Vec<u64> = vec![0; CELLS];
        let value = random.next() as u32;
        for (name, read) in [("cpsr", vectors::cpsr as fn(&[u64]) -> u32), ("fpscr", vectors::fpscr)] {
            reg(name).write(&LAYOUT, &mut cells, value.into());
            assert_eq!(reg(name).read(&LAYOUT, &cells), u128::from(read(&cells)), "{name} {value:#x}");
        }
        assert_eq!(vectors::cpsr(&cells) | 0x00f0_0000, value | 0x00f0_0000);
        reg("d17").write(&LAYOUT, &mut cells, value.into());
        assert_eq!(emu_isa_arm::state::d(&cells, 17), u64::from(value));
    }
}

#[test]
fn the_description_numbers_registers_as_gdb_does() {
    let names: Vec<&str> = GDB.regs().map(|r| r.name).collect();
    assert_eq!(&names[..17], ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc", "cpsr"]);
    assert_eq!((names[17], names[48], names[49]), ("d0", "d31", "fpscr"));
    assert!(GDB.xml().contains("<reg name=\"sp\" bitsize=\"32\" type=\"data_ptr\"/>"));
}
