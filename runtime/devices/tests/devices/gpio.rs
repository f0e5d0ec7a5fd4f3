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

#[test]
fn emio_outputs_are_other_wires_than_the_inputs() {
    let mut g = device("xlnx,zynq-gpio", 0);
    g.write(DATA + 8, 3);
    g.write(DIRM + 2 * BANK, 1);
    // Without OEN, and not to be read back.
    assert!(g.line("out", 54) && !g.line("out", 55));
    assert_eq!(g.read(DATA_RO + 8), 0);
    g.drive("in", 54, true);
    assert_eq!(g.read(DATA_RO + 8), 1);
    // DATA has what was written of outputs, and the level of inputs.
    g.drive("in", 56, true);
    assert_eq!(g.read(DATA + 8), 5);
}

#[test]
fn interrupts_have_five_modes() {
    // Type, polarity, any edge -> after low, rising, high, falling, low again.
    for (kind, polarity, any, wanted) in [
        (1, 1, 0, [false, true, false, false, false]),
        (1, 0, 0, [false, false, false, true, false]),
        (1, 0, 1, [false, true, false, true, false]),
        (1, 1, 1, [false, true, false, true, false]),
        (0, 1, 0, [false, true, true, false, false]),
        (0, 0, 0, [true, false, false, true, true]),
    ] {
        let mut g = device("xlnx,zynq-gpio", 0);
        g.write(INT_TYPE + BANK, kind << 4);
        g.write(INT_POLARITY + BANK, polarity << 4);
        g.write(INT_ANY + BANK, any << 4);
        g.write(INT_EN + BANK, 1 << 4);
        let mut seen = vec![];
        for level in [None, Some(true), None, Some(false), None] {
            // What is left of before; a level comes back by itself.
            match level {
                Some(level) => {
                    g.drive("in", 36, level);
                    let before = g.read(INT_STAT + BANK);
                    if before & 1 << 4 != 0 && kind == 0 {
                        g.write(INT_STAT + BANK, 1 << 4);
                    }
                }
                None => g.write(INT_STAT + BANK, 1 << 4),
            }
            assert_eq!(g.line("irq", 0), g.read(INT_STAT + BANK) & 1 << 4 != 0);
            seen.push(g.line("irq", 0));
        }
        assert_eq!(seen, wanted, "type {kind}, polarity {polarity}, any {any}");
    }
}

#[test]
fn the_reset_input_holds_it() {
    let mut g = device("xlnx,zynq-gpio", 0);
    g.write(DIRM, 1);
    g.write(OEN, 1);
    g.write(DATA, 1);
    g.write(INT_EN, 2);
    g.write(INT_TYPE, 0);
    assert!(g.line("out", 0) && g.line("irq", 0));
    g.drive("reset", 0, true);
    assert!(!g.line("out", 0) && !g.line("irq", 0));
    g.write(DIRM, 1);
    g.drive("in", 1, true);
    g.drive("in", 1, false);
    g.drive("reset", 0, false);
    assert_eq!((g.read(DIRM), g.read(INT_STAT), g.read(INT_TYPE)), (0, 0, u32::MAX));
}

#[test]
fn lights_and_buttons() {
    use emu_machine::Access;
    use emu_machine::schema::Value;
    let kind = |name: &str| emu_devices::registry().into_iter().find(|k| k.name == name).unwrap();
    let with = |name: &str, prop: &str, value: Value| emu_machine::testing::TestBench::with(&kind(name), 0, &[(prop.into(), value)]);
    let see = |b: &mut emu_machine::testing::TestBench| b.read_as(0, 0, 1, Access::DEBUG).unwrap();
    for low in [false, true] {
        let mut led = with("gpio-led", "active-low", Value::Bool(low));
        assert_eq!(see(&mut led), u64::from(low));
        led.set_input(0, 0, true);
        assert_eq!(see(&mut led), u64::from(!low));
        let mut switch = with("gpio-switch", "active-low", Value::Bool(low));
        assert_eq!(switch.line(0, 0), low);
        switch.write_as(0, 0, 1, 1, Access::DEBUG).unwrap();
        switch.reset();
        assert_eq!((switch.line(0, 0), see(&mut switch)), (!low, 1), "it stays as it is set");
    }
    let mut button = with("gpio-button", "action", Value::Text("reset".into()));
    button.write_as(0, 4, 4, 100, Access::DEBUG).unwrap();
    assert!(button.line(0, 0));
    button.advance(99_999_999);
    assert!(button.line(0, 0));
    button.advance(1);
    assert!(!button.line(0, 0));
    assert_eq!(button.resets, 1);
    button.write_as(0, 0, 1, 1, Access::DEBUG).unwrap();
    button.write_as(0, 0, 1, 1, Access::DEBUG).unwrap();
    assert_eq!(button.resets, 2, "held is not pressed again");
    button.reset();
    assert!(!button.line(0, 0), "a reset lets go");
    let mut button = with("gpio-button", "action", Value::Text("power-off".into()));
    button.write_as(0, 0, 1, 1, Access::DEBUG).unwrap();
    assert_eq!(button.power_off, Some(0));
}
