//! `xlnx,zynq-gpio` (UG585 ch. 14).

use crate::bench::device;

const MASK_LSW: u64 = 0x00;
const MASK_MSW: u64 = 0x04;
const DATA: u64 = 0x40;
const DATA_RO: u64 = 0x60;
const DIRM: u64 = 0x204;
const OEN: u64 = 0x208;
const INT_MASK: u64 = 0x20c;
const INT_EN: u64 = 0x210;
const INT_DIS: u64 = 0x214;
const INT_STAT: u64 = 0x218;
const INT_TYPE: u64 = 0x21c;
const INT_POLARITY: u64 = 0x220;
const INT_ANY: u64 = 0x224;
const BANK: u64 = 0x40;

#[test]
fn drives_pins_that_are_outputs_and_enabled() {
    let mut g = device("xlnx,zynq-gpio", 0);
    g.write(DATA, 0x81);
    assert!(!g.line("out", 0));
    g.write(DIRM, 1);
    assert!(!g.line("out", 0));
    g.write(OEN, 1);
    assert!(g.line("out", 0) && !g.line("out", 7));
    assert_eq!(g.read(DATA_RO), 1);
    g.write(DATA, 0);
    assert!(!g.line("out", 0));
}

#[test]
fn masked_writes_change_only_their_bits() {
    let mut g = device("xlnx,zynq-gpio", 0);
    g.write(DATA, 0xffff_0000);
    g.write(MASK_LSW, !0x00f0 << 16 | 0xffff);
    assert_eq!(g.read(DATA), 0xffff_00f0);
    g.write(MASK_MSW, !0x8000 << 16);
    assert_eq!(g.read(DATA), 0x7fff_00f0);
}

#[test]
fn banks_have_their_pins() {
    let mut g = device("xlnx,zynq-gpio", 0);
    g.drive("in", 53, true);
    assert_eq!(g.read(DATA_RO + 4), 1 << 21);
    g.drive("in", 54, true);
    g.drive("in", 117, true);
    assert_eq!((g.read(DATA_RO + 8), g.read(DATA_RO + 12)), (1, 1 << 31));
    g.write(DIRM + BANK, u32::MAX);
    assert_eq!(g.read(DIRM + BANK), 0x3f_ffff, "bank 1 has 22 pins");
}

#[test]
fn edges_and_levels_interrupt() {
    let mut g = device("xlnx,zynq-gpio", 0);
    // Rising edge on pin 3; after reset all pins are edge-sensitive and falling.
    g.write(INT_TYPE, u32::MAX);
    g.write(INT_POLARITY, 1 << 3);
    g.write(INT_STAT, u32::MAX);
    g.write(INT_EN, 1 << 3);
    assert_eq!(g.read(INT_MASK) & 1 << 3, 0);
    g.drive("in", 3, true);
    assert!(g.line("irq", 0));
    g.write(INT_STAT, 1 << 3);
    assert!(!g.line("irq", 0));
    g.drive("in", 3, false);
    assert!(!g.line("irq", 0));
    g.write(INT_ANY, 1 << 3);
    g.drive("in", 3, true);
    g.write(INT_STAT, 1 << 3);
    g.drive("in", 3, false);
    assert!(g.line("irq", 0), "both edges");
    g.write(INT_ANY, 0);
    g.write(INT_DIS, 1 << 3);
    assert!(!g.line("irq", 0));
    // A level comes back for as long as it lasts.
    g.write(INT_TYPE, !(1 << 3));
    g.write(INT_STAT, u32::MAX);
    g.write(INT_EN, 1 << 3);
    assert!(!g.line("irq", 0));
    g.drive("in", 3, true);
    g.write(INT_STAT, 1 << 3);
    assert!(g.line("irq", 0));
    g.drive("in", 3, false);
    g.write(INT_STAT, 1 << 3);
    assert!(!g.line("irq", 0));
}
