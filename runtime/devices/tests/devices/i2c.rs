//! `cdns,i2c-r1p10` (UG585 ch. 20) and the parts on its bus, all driven through the controller.

use crate::bench::{Bench, device};
use emu_machine::Access;
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

const CONTROL: u64 = 0x00;
const STATUS: u64 = 0x04;
const ADDRESS: u64 = 0x08;
const DATA: u64 = 0x0c;
const ISR: u64 = 0x10;
const SIZE: u64 = 0x14;
const PAUSE: u64 = 0x18;
const TIME_OUT: u64 = 0x1c;
const IMR: u64 = 0x20;
const IER: u64 = 0x24;
const IDR: u64 = 0x28;

const CLR_FIFO: u32 = 0x40;
const SLVMON: u32 = 0x20;
const HOLD: u32 = 0x10;
const RW: u32 = 1;
/// Master, acknowledging, 7-bit addresses; dividers 1 and 10.
const MASTER: u32 = 9 << 8 | 0xe;

const BA: u32 = 0x100;
const RXOVF: u32 = 0x80;
const TXDV: u32 = 0x40;
const RXDV: u32 = 0x20;

const RX_UNF: u32 = 0x80;
const TX_OVF: u32 = 0x40;
const RX_OVF: u32 = 0x20;
const SLV_RDY: u32 = 0x10;
const TO: u32 = 8;
const NACK: u32 = 4;
const MORE: u32 = 2;
const COMP: u32 = 1;

/// 22 MHz / 22 / 10: a bit takes 10 us.
const HZ: u64 = 22_000_000;
const BIT: u64 = 10_000;
const MS: u64 = 1_000_000;

fn kind(name: &str) -> emu_machine::schema::DeviceType {
    emu_devices::registry().into_iter().find(|k| k.name == name).unwrap()
}

fn controller() -> Bench {
    let mut b = device("cdns,i2c-r1p10", HZ);
    b.write(CONTROL, MASTER);
    b
}

fn with(name: &str, at: u32) -> Bench {
    let mut b = controller();
    b.bench.attach(0, at, &kind(name), &[]);
    b
}

/// Begins a transfer to the parts.
fn send(b: &mut Bench, address: u32, bytes: &[u8], hold: u32) {
    b.write(CONTROL, MASTER | hold | CLR_FIFO);
    b.write(ISR, 0x2ff);
    bytes.iter().for_each(|byte| b.write(DATA, (*byte).into()));
    b.write(ADDRESS, address);
}

/// Writes; true: all was acknowledged.
fn write(b: &mut Bench, address: u32, bytes: &[u8]) -> bool {
    send(b, address, bytes, 0);
    b.bench.advance(BIT * (11 + 9 * bytes.len() as u64));
    assert_eq!(b.read(STATUS) & BA, 0, "the transfer is over");
    b.read(ISR) & (COMP | NACK) == COMP
}

/// Writes, and waits for a write cycle.
fn store(b: &mut Bench, address: u32, bytes: &[u8]) {
    assert!(write(b, address, bytes));
    b.bench.advance(5 * MS);
}

/// Reads up to 16 bytes, after a repeated start if something was written before that is still held.
fn read(b: &mut Bench, address: u32, n: u32) -> Vec<u8> {
    let hold = b.read(CONTROL) & HOLD;
    b.write(CONTROL, MASTER | RW | CLR_FIFO | hold);
    b.write(ISR, 0x2ff);
    b.write(SIZE, n);
    b.write(ADDRESS, address);
    b.write(CONTROL, MASTER | RW);
    b.bench.advance(BIT * (11 + 9 * u64::from(n)));
    assert_eq!((b.read(ISR) & (COMP | NACK), b.read(SIZE), b.read(STATUS) & BA), (COMP, 0, 0));
    (0..n).map(|_| b.read(DATA) as u8).collect()
}

/// Writes where to read, and reads after a repeated start.
fn read_from(b: &mut Bench, address: u32, from: &[u8], n: u32) -> Vec<u8> {
    send(b, address, from, HOLD);
    b.bench.advance(BIT * (10 + 9 * from.len() as u64));
    assert_eq!((b.read(ISR) & (COMP | NACK), b.read(STATUS) & BA), (COMP, BA));
    read(b, address, n)
}

#[test]
fn registers_reset_and_mask() {
    let mut b = device("cdns,i2c-r1p10", HZ);
    let all: Vec<u32> = (0..0x2c).step_by(4).map(|at| b.read(at)).collect();
    assert_eq!(all, [0, 0, 0, 0, 0x80, 0, 0, 0x1f, 0x2ff, 0, 0], "the read of DATA is an underflow");
    assert!(!b.line("irq", 0));
    b.write(IER, RX_UNF | 1);
    assert_eq!(b.read(IMR), 0x27e);
    assert!(b.line("irq", 0));
    b.write(IDR, RX_UNF);
    assert_eq!((b.read(IMR), b.line("irq", 0)), (0x2fe, false));
    b.write(IER, 0xffff);
    b.write(ISR, 0xffff);
    assert_eq!((b.read(IMR), b.read(ISR), b.line("irq", 0)), (0, 0, false));
    b.write(CONTROL, 0xffff_ffff);
    assert_eq!(b.read(CONTROL), 0xff3f, "CLR_FIFO clears itself");
}

#[test]
fn a_transfer_takes_its_time_on_the_bus() {
    let mut b = with("atmel,24c02", 0x50);
    send(&mut b, 0x50, &[0, 1, 2], 0);
    b.write(IER, COMP);
    assert_eq!((b.read(STATUS), b.read(SIZE)), (BA | TXDV, 3));
    // A start, an address with its acknowledge; then the first byte is on its way, and two wait.
    b.bench.advance(10 * BIT);
    assert_eq!((b.read(STATUS), b.read(SIZE)), (BA | TXDV, 2));
    b.bench.advance(27 * BIT);
    assert_eq!((b.read(STATUS), b.read(ISR)), (BA, 0));
    b.bench.advance(BIT - 1);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert_eq!((b.read(STATUS), b.read(ISR), b.line("irq", 0)), (0, COMP, true));
    // Other dividers: 4 * 64 instead of 10.
    b.bench.advance(5 * MS);
    b.write(CONTROL, 0xff0e);
    b.write(ISR, COMP);
    b.write(ADDRESS, 0x50);
    b.bench.advance(11 * BIT * 256 / 10 - 1);
    assert_eq!(b.read(ISR), 0);
    b.bench.advance(1);
    assert_eq!(b.read(ISR), COMP);
}

#[test]
fn nobody_acknowledges() {
    let mut b = with("atmel,24c02", 0x50);
    send(&mut b, 0x51, &[1], 0);
    b.bench.advance(11 * BIT);
    assert_eq!((b.read(ISR), b.read(STATUS), b.read(SIZE)), (NACK, TXDV, 1), "the byte was not sent");
    // A mode that is not there does nothing.
    b.write(CONTROL, MASTER & !4);
    b.write(ADDRESS, 0x50);
    b.write(CONTROL, MASTER & !2);
    b.write(ADDRESS, 0x50);
    assert_eq!(b.read(STATUS) & BA, 0);
    assert_eq!(b.bench.log().len(), 2);
}

#[test]
fn hold_keeps_the_bus_for_more() {
    let mut b = with("atmel,24c512", 0x50);
    send(&mut b, 0x50, &[0, 0], HOLD);
    b.bench.advance(28 * BIT);
    assert_eq!((b.read(ISR), b.read(STATUS)), (COMP | MORE, BA));
    b.write(ISR, COMP | MORE);
    (0..20).for_each(|n| b.write(DATA, n));
    assert_eq!(b.read(ISR) & TX_OVF, TX_OVF, "one is on its way, 16 wait");
    b.write(ISR, TX_OVF);
    b.bench.advance(17 * 9 * BIT);
    assert_eq!((b.read(ISR) & COMP, b.read(STATUS)), (COMP, BA));
    // COMP comes again with the stop.
    b.write(ISR, 0x2ff);
    b.write(CONTROL, MASTER);
    b.bench.advance(BIT);
    assert_eq!((b.read(ISR), b.read(STATUS)), (COMP, 0));
    b.bench.advance(5 * MS);
    assert_eq!(read_from(&mut b, 0x50, &[0, 14], 4), [14, 15, 16, 0xff]);
}

#[test]
fn long_reads_wait_for_room() {
    let mut b = with("atmel,24c02", 0x50);
    store(&mut b, 0x50, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    store(&mut b, 0x50, &[8, 9, 10, 11, 12, 13, 14, 15, 16]);
    store(&mut b, 0x50, &[16, 17, 18, 19, 20]);
    send(&mut b, 0x50, &[0], HOLD);
    b.bench.advance(19 * BIT);
    b.write(CONTROL, MASTER | RW | HOLD | CLR_FIFO);
    b.write(ISR, 0x2ff);
    b.write(SIZE, 20);
    b.write(ADDRESS, 0x50);
    b.bench.advance((10 + 13 * 9) * BIT);
    assert_eq!((b.read(ISR), b.read(STATUS), b.read(SIZE)), (0, BA | RXDV, 7));
    b.bench.advance(9 * BIT);
    assert_eq!(b.read(ISR), MORE, "14 bytes");
    b.bench.advance(100 * BIT);
    assert_eq!((b.read(SIZE), b.read(ISR)), (4, MORE | TO), "the FIFO is full, the clock is held");
    assert_eq!((1..=15).map(|_| b.read(DATA)).collect::<Vec<_>>(), (1..=15).collect::<Vec<_>>());
    b.bench.advance(36 * BIT);
    // All is there; with HOLD there is neither a stop nor COMP.
    assert_eq!((b.read(SIZE), b.read(ISR) & COMP, b.read(STATUS) & BA), (0, 0, BA));
    b.write(CONTROL, MASTER | RW);
    b.bench.advance(BIT);
    assert_eq!((b.read(ISR) & COMP, b.read(STATUS)), (COMP, RXDV));
    assert_eq!((16..=20).map(|_| b.read(DATA)).collect::<Vec<_>>(), (16..=20).collect::<Vec<_>>());
    assert_eq!(b.read(ISR) & RX_UNF, 0);
    assert_eq!((b.read(DATA), b.read(ISR) & RX_UNF), (0, RX_UNF));
}

#[test]
fn without_hold_a_full_fifo_overflows() {
    let mut b = with("atmel,24c02", 0x50);
    b.write(CONTROL, MASTER | RW);
    b.write(SIZE, 20);
    b.write(ADDRESS, 0x50);
    b.bench.advance((10 + 17 * 9 + 1) * BIT);
    assert_eq!((b.read(ISR), b.read(STATUS)), (RX_OVF | MORE | COMP, RXOVF | RXDV));
    b.write(CONTROL, MASTER | RW | CLR_FIFO);
    assert_eq!((b.read(STATUS), b.read(SIZE)), (0, 0));
}

#[test]
fn a_held_clock_times_out() {
    let mut b = with("atmel,24c02", 0x50);
    b.write(TIME_OUT, 40);
    send(&mut b, 0x50, &[0], HOLD);
    b.bench.advance((19 + 40) * BIT - 1);
    assert_eq!(b.read(ISR) & TO, 0);
    b.bench.advance(1);
    assert_eq!(b.read(ISR) & TO, TO);
    // The reset of the chip lets go of the bus.
    b.drive("reset", 0, true);
    assert_eq!((b.read(STATUS), b.read(IMR)), (0, 0x2ff));
    b.write(CONTROL, MASTER);
    b.write(ADDRESS, 0x50);
    assert_eq!(b.read(STATUS), 0, "it stays in reset");
    b.drive("reset", 0, false);
    assert!(write(&mut b, 0x50, &[0]));
}

#[test]
fn the_slave_monitor_waits_for_an_acknowledge() {
    let mut b = with("atmel,24c02", 0x50);
    assert!(write(&mut b, 0x50, &[0, 1]));
    b.write(PAUSE, 9);
    b.write(ISR, 0x2ff);
    b.write(CONTROL, MASTER | SLVMON);
    b.write(ADDRESS, 0x50);
    b.bench.advance(5 * MS - BIT);
    assert_eq!((b.read(ISR), b.read(STATUS)), (0, BA), "no NACK while it monitors");
    // Tried each 20 bits.
    b.bench.advance(22 * BIT);
    assert_eq!((b.read(ISR), b.read(STATUS)), (SLV_RDY, 0));
    // It is given up with SLVMON.
    b.write(ADDRESS, 0x33);
    b.bench.advance(15 * BIT);
    assert_eq!(b.read(STATUS), BA);
    b.write(CONTROL, MASTER);
    assert_eq!(b.read(STATUS), 0);
}

#[test]
fn eeproms_write_pages_and_take_their_time() {
    let mut b = with("atmel,24c08", 0x50);
    // The address goes round in its page of 16 bytes.
    assert!(write(&mut b, 0x50, &[0x1c, 1, 2, 3, 4, 5]));
    assert!(!write(&mut b, 0x50, &[0]), "a write cycle");
    b.bench.advance(5 * MS - 32 * BIT);
    assert!(!write(&mut b, 0x50, &[]));
    b.bench.advance(BIT);
    assert_eq!(read_from(&mut b, 0x50, &[0x1b], 5), [0xff, 1, 2, 3, 4]);
    assert_eq!(read_from(&mut b, 0x50, &[0x10], 2), [5, 0xff]);
    // The current address; block 3 is at 0x53, and behind the last byte is the first.
    assert_eq!(read(&mut b, 0x50, 1), [0xff]);
    store(&mut b, 0x53, &[0xff, 9]);
    store(&mut b, 0x50, &[0, 7]);
    assert_eq!(read_from(&mut b, 0x53, &[0xff], 2), [9, 7]);
    assert!(!write(&mut b, 0x54, &[]), "the next chip");
    // Only a stop writes.
    send(&mut b, 0x50, &[0, 8], HOLD);
    b.bench.advance(28 * BIT);
    assert_eq!(read_from(&mut b, 0x50, &[0], 1), [7]);
    // Write-protected.
    b.bench.part(0, 0x50).set_input(0, 0, true);
    assert!(write(&mut b, 0x50, &[0, 8]));
    assert_eq!(read_from(&mut b, 0x50, &[0], 1), [7]);
    // It has no reset.
    b.bench.part(0, 0x50).reset();
    assert_eq!(read_from(&mut b, 0x50, &[0], 1), [7]);
}

#[test]
fn large_eeproms_have_two_address_bytes() {
    let mut b = with("atmel,24c256", 0x57);
    store(&mut b, 0x57, &[0x7f, 0xfe, 1, 2, 3]);
    assert_eq!(read_from(&mut b, 0x57, &[0x7f, 0xc0], 1), [3], "pages have 64 bytes");
    store(&mut b, 0x57, &[0, 0, 4]);
    assert_eq!(read_from(&mut b, 0x57, &[0xff, 0xfe], 3), [1, 2, 4], "the greatest address bit does not count");
}

#[test]
fn an_image_has_what_is_written() {
    let mut b = with("atmel,24c02", 0x50);
    b.bench.part(0, 0x50).insert((0..100).collect(), false);
    assert_eq!(read_from(&mut b, 0x50, &[98], 3), [98, 99, 0xff]);
    store(&mut b, 0x50, &[97, 0xaa]);
    store(&mut b, 0x50, &[120, 0xbb]);
    assert_eq!(b.bench.part(0, 0x50).on_disk(96, 4), [96, 0xaa, 98, 99]);
    assert_eq!(read_from(&mut b, 0x50, &[120], 1), [0xbb], "behind the end of the image");
    b.bench.part(0, 0x50).insert(vec![5; 256], true);
    store(&mut b, 0x50, &[0, 1]);
    assert_eq!(b.bench.part(0, 0x50).on_disk(0, 1), [5]);
    b.bench.part(0, 0x50).eject();
    assert_eq!(read_from(&mut b, 0x50, &[0], 2), [1, 5]);
}

#[test]
fn multiplexers_switch_at_the_stop() {
    let mut b = with("nxp,pca9548", 0x74);
    let mux = b.bench.part(0, 0x74);
    mux.attach(2, 0x50, &kind("atmel,24c02"), &[]);
    mux.attach(4, 0x50, &kind("atmel,24c02"), &[]);
    assert!(!write(&mut b, 0x50, &[]));
    assert_eq!(read(&mut b, 0x74, 1), [0]);
    // Not before the stop.
    send(&mut b, 0x74, &[4], HOLD);
    b.bench.advance(19 * BIT);
    b.write(CONTROL, MASTER | HOLD | CLR_FIFO);
    b.write(ADDRESS, 0x50);
    b.bench.advance(11 * BIT);
    assert_eq!(b.read(ISR) & NACK, NACK);
    store(&mut b, 0x50, &[0, 0x5f]);
    assert!(write(&mut b, 0x74, &[0x10]));
    assert_eq!(read_from(&mut b, 0x50, &[0], 1), [0xff]);
    store(&mut b, 0x50, &[0, 0xf3]);
    // Both at once: a zero wins.
    assert!(write(&mut b, 0x74, &[0x14]));
    assert_eq!(read_from(&mut b, 0x50, &[0], 1), [0x53]);
    assert_eq!(read(&mut b, 0x74, 1), [0x14]);
    b.bench.part(0, 0x74).set_input(0, 0, true);
    assert!(!write(&mut b, 0x74, &[]), "in reset it does not answer");
    b.bench.part(0, 0x74).set_input(0, 0, false);
    assert_eq!(read(&mut b, 0x74, 1), [0]);
}

#[test]
fn the_pca9544_has_one_channel_at_a_time_and_interrupts() {
    let mut b = with("nxp,pca9544", 0x70);
    b.bench.part(0, 0x70).attach(3, 0x50, &kind("atmel,24c02"), &[]);
    assert!(write(&mut b, 0x70, &[3]));
    assert!(!write(&mut b, 0x50, &[]), "bit 2 enables");
    assert!(write(&mut b, 0x70, &[0xf7]));
    assert!(write(&mut b, 0x50, &[]));
    b.bench.part(0, 0x70).set_input(0, 1, true);
    assert!(b.bench.part(0, 0x70).line(0, 0));
    assert_eq!(read(&mut b, 0x70, 1), [0x27]);
    b.bench.part(0, 0x70).set_input(0, 1, false);
    assert!(!b.bench.part(0, 0x70).line(0, 0));
}

fn clock(date: &str) -> Bench {
    let mut b = controller();
    b.bench.attach(0, 0x51, &kind("nxp,pcf8563"), &[("date".into(), Value::Text(date.into()))]);
    b
}

/// Seconds, minutes, hours, days, weekdays, months, years.
fn time(b: &mut Bench) -> Vec<u8> {
    read_from(b, 0x51, &[2], 7)
}

#[test]
fn the_clock_tells_the_date() {
    let mut b = clock("host");
    assert_eq!(time(&mut b), [0, 0, 0, 1, 6, 1, 0], "a bench begins with 2000");
    let mut b = clock("2024-02-28T23:59:58");
    assert_eq!(time(&mut b), [0x58, 0x59, 0x23, 0x28, 3, 2, 0x24]);
    b.bench.advance(2_000 * MS);
    assert_eq!(time(&mut b), [0, 0, 0, 0x29, 4, 2, 0x24]);
    b.bench.advance(86_400_000 * MS);
    assert_eq!(time(&mut b), [0, 0, 0, 1, 5, 3, 0x24]);
    // A reset of the machine changes nothing.
    b.bench.part(0, 0x51).reset();
    assert_eq!(time(&mut b), [0, 0, 0, 1, 5, 3, 0x24]);
    // The century, and a weekday of the guest's.
    assert!(write(&mut b, 0x51, &[2, 0x59, 0x59, 0x23, 0x31, 6, 0x12, 0x99]));
    b.bench.advance(1_000 * MS);
    assert_eq!(time(&mut b), [0, 0, 0, 1, 0, 0x81, 0]);
    // STOP: time stands still.
    assert!(write(&mut b, 0x51, &[0, 0x20]));
    b.bench.advance(10_000 * MS);
    assert!(write(&mut b, 0x51, &[0, 0]));
    b.bench.advance(2_000 * MS);
    assert_eq!(time(&mut b)[..2], [2, 0]);
    // The pointer goes round.
    assert_eq!(read_from(&mut b, 0x51, &[0xf], 2), [0, 0]);
    let refused = (kind("nxp,pcf8563").create)(&emu_machine::schema::Props([("date".into(), Value::Text("x".into()))].into()));
    assert!(refused.err().is_some_and(|e| e.contains("date")));
}

#[test]
fn the_clock_has_an_alarm() {
    let mut b = clock("2024-05-05T10:00:30");
    // At minute 2 of any hour; the interrupt is enabled.
    assert!(write(&mut b, 0x51, &[1, 2]));
    assert!(write(&mut b, 0x51, &[9, 2]));
    b.bench.advance(89_000 * MS);
    assert!(b.bench.part(0, 0x51).line(0, 0));
    b.bench.advance(1_000 * MS);
    assert!(!b.bench.part(0, 0x51).line(0, 0));
    assert_eq!(read_from(&mut b, 0x51, &[1], 1), [0x0a]);
    // A one keeps the flag, a zero clears it.
    assert!(write(&mut b, 0x51, &[1, 0x0a]));
    assert!(!b.bench.part(0, 0x51).line(0, 0));
    assert!(write(&mut b, 0x51, &[1, 2]));
    assert!(b.bench.part(0, 0x51).line(0, 0));
    // With an hour that is past: not in an hour.
    assert!(write(&mut b, 0x51, &[9, 2, 0x10]));
    b.bench.advance(3_700_000 * MS);
    assert!(b.bench.part(0, 0x51).line(0, 0));
    b.bench.advance(23 * 3_600_000 * MS);
    assert!(!b.bench.part(0, 0x51).line(0, 0));
}

#[test]
fn the_clock_counts_down() {
    let mut b = clock("2024-05-05");
    assert!(write(&mut b, 0x51, &[1, 1]));
    // 10 periods of 1/64 s.
    assert!(write(&mut b, 0x51, &[0xe, 0x81, 10]));
    b.bench.advance(100 * MS);
    let left = read_from(&mut b, 0x51, &[0xf], 1);
    assert!((3..=4).contains(&left[0]), "{left:?}");
    assert!(b.bench.part(0, 0x51).line(0, 0));
    b.bench.advance(57 * MS);
    assert!(!b.bench.part(0, 0x51).line(0, 0));
    // It goes on, and periods of before are not told again.
    b.bench.advance(1_000 * MS);
    assert!(write(&mut b, 0x51, &[1, 1]));
    assert!(b.bench.part(0, 0x51).line(0, 0));
    b.bench.advance(157 * MS);
    assert!(!b.bench.part(0, 0x51).line(0, 0));
}

fn heat(b: &mut TestBench, thousandths: i64) {
    b.write_as(0, 0x10, 8, thousandths as u64, Access::DEBUG).unwrap();
}

#[test]
fn the_sensor_measures_and_compares() {
    let mut b = with("national,lm75", 0x48);
    assert_eq!(read_from(&mut b, 0x48, &[0], 2), [25, 0]);
    assert_eq!(read_from(&mut b, 0x48, &[2], 2), [75, 0]);
    assert_eq!(read_from(&mut b, 0x48, &[3], 2), [80, 0]);
    for (thousandths, bytes) in [(25_500, [25, 0x80]), (25_499, [25, 0]), (-500, [0xff, 0x80]), (-55_000, [0xc9, 0]), (125_000, [125, 0])] {
        heat(b.bench.part(0, 0x48), thousandths);
        assert_eq!(read_from(&mut b, 0x48, &[0], 2), bytes, "{thousandths}");
    }
    // Comparison: on at TOS, off below THYST.
    heat(b.bench.part(0, 0x48), 25_000);
    assert!(write(&mut b, 0x48, &[3, 40, 0x80]));
    assert!(write(&mut b, 0x48, &[2, 35, 0]));
    b.bench.advance(200 * MS);
    for (thousandths, os) in [(40_000, false), (40_500, true), (35_000, true), (34_999, false)] {
        heat(b.bench.part(0, 0x48), thousandths);
        assert_eq!(b.bench.part(0, 0x48).line(0, 0), !os, "{thousandths}");
    }
    // Four measurements in a row.
    assert!(write(&mut b, 0x48, &[1, 0x10]));
    heat(b.bench.part(0, 0x48), 50_000);
    b.bench.advance(299 * MS);
    assert!(b.bench.part(0, 0x48).line(0, 0));
    b.bench.advance(MS);
    assert!(!b.bench.part(0, 0x48).line(0, 0));
    // As an interrupt: a read ends it, and so with the way back.
    assert!(write(&mut b, 0x48, &[1, 2]));
    assert!(b.bench.part(0, 0x48).line(0, 0));
    heat(b.bench.part(0, 0x48), 30_000);
    assert!(!b.bench.part(0, 0x48).line(0, 0));
    assert_eq!(read_from(&mut b, 0x48, &[1], 1), [2]);
    assert!(b.bench.part(0, 0x48).line(0, 0));
    // The other polarity.
    assert!(write(&mut b, 0x48, &[1, 6]));
    assert!(!b.bench.part(0, 0x48).line(0, 0));
    // Shut down it does not measure.
    assert!(write(&mut b, 0x48, &[1, 1]));
    heat(b.bench.part(0, 0x48), 60_000);
    b.bench.advance(1_000 * MS);
    assert_eq!(read_from(&mut b, 0x48, &[0], 2), [30, 0]);
    assert!(write(&mut b, 0x48, &[1, 0]));
    b.bench.advance(100 * MS);
    assert_eq!(read_from(&mut b, 0x48, &[0], 2), [60, 0]);
}
