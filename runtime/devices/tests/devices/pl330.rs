//! The DMA controller: its instructions, threads, faults and times.

use crate::bench::{Bench, device};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;
use emu_machine::{Access, Initiator};

const DSR: u64 = 0x000;
const DPC: u64 = 0x004;
const INTEN: u64 = 0x020;
const RIS: u64 = 0x024;
const MIS: u64 = 0x028;
const INTCLR: u64 = 0x02c;
const FSRD: u64 = 0x030;
const FSRC: u64 = 0x034;
const FTRD: u64 = 0x038;
const FTR: u64 = 0x040;
const CSR: u64 = 0x100;
const CPC: u64 = 0x104;
const SAR: u64 = 0x400;
const DAR: u64 = 0x404;
const CCR: u64 = 0x408;
const LC0: u64 = 0x40c;
const LC1: u64 = 0x410;
const WD: u64 = 0xe80;

// States.
const STOPPED: u32 = 0;
const EXECUTING: u32 = 1;
const WAITING_FOR_EVENT: u32 = 4;
const WAITING_FOR_PERIPHERAL: u32 = 7;
const FAULTING: u32 = 15;

// Fault types.
const UNDEFINED: u32 = 1;
const OPERAND: u32 = 2;
const DMAGO: u32 = 1 << 4;
const EVENT: u32 = 1 << 5;
const PERIPHERAL: u32 = 1 << 6;
const RDWR: u32 = 1 << 7;
const MFIFO: u32 = 1 << 12;
const NO_DATA: u32 = 1 << 13;
const FETCH: u32 = 1 << 16;
const WRITE: u32 = 1 << 17;
const READ: u32 = 1 << 18;
const DEBUG: u32 = 1 << 30;
const LOCKUP: u32 = 1 << 31;

// Instructions.
const END: &[u8] = &[0x00];
const KILL: &[u8] = &[0x01];
const LD: &[u8] = &[0x04];
const LDS: &[u8] = &[0x05];
const LDB: &[u8] = &[0x07];
const ST: &[u8] = &[0x08];
const STS: &[u8] = &[0x09];
const STB: &[u8] = &[0x0b];
const STZ: &[u8] = &[0x0c];
const RMB: &[u8] = &[0x12];
const WMB: &[u8] = &[0x13];
const NOP: &[u8] = &[0x18];

/// Where programs are, for each channel.
const PROGRAM: u32 = 0x1000;
const HZ: u64 = 100_000_000;

fn mov(register: u8, value: u32) -> Vec<u8> {
    [&[0xbc, register], &value.to_le_bytes()[..]].concat()
}
fn sar(value: u32) -> Vec<u8> {
    mov(0, value)
}
fn ccr(value: u32) -> Vec<u8> {
    mov(1, value)
}
fn dar(value: u32) -> Vec<u8> {
    mov(2, value)
}
fn sev(event: u8) -> Vec<u8> {
    vec![0x34, event << 3]
}
fn wfe(event: u8) -> Vec<u8> {
    vec![0x36, event << 3]
}
fn lp(counter: u8, times: u32) -> Vec<u8> {
    vec![0x20 | counter << 1, (times - 1) as u8]
}
fn lpend(counter: u8, back: u8) -> Vec<u8> {
    vec![0x38 | counter << 2, back]
}

/// Non-secure, both addresses increment: a burst of `beats` times `1 << size` bytes from and to memory.
fn copy(size: u32, beats: u32) -> u32 {
    half(size, beats, true) | half(size, beats, true) << 14
}
fn half(size: u32, beats: u32, increments: bool) -> u32 {
    u32::from(increments) | size << 1 | (beats - 1) << 4 | 1 << 9
}

struct Dma {
    b: Bench,
}

fn dma() -> Dma {
    Dma { b: device("arm,pl330", HZ) }
}

/// With these properties.
fn dma_with(given: &[(&str, i128)]) -> Dma {
    let kind = emu_devices::registry().into_iter().find(|k| k.name == "arm,pl330").unwrap();
    let given: Vec<_> = given.iter().map(|(name, value)| ((*name).to_string(), Value::Int(*value))).collect();
    Dma { b: Bench { bench: TestBench::with(&kind, HZ, &given), kind } }
}

impl Dma {
    fn read(&mut self, offset: u64) -> u32 {
        self.b.read(offset)
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.b.write(offset, value);
    }

    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.b.bench.memory()[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn bytes(&mut self, at: u32, len: usize) -> Vec<u8> {
        self.b.bench.memory()[at as usize..][..len].to_vec()
    }

    /// A debug instruction by one of the interfaces (0: secure), for the manager or a channel.
    fn debug_by(&mut self, region: usize, channel: Option<u32>, instruction: &[u8]) {
        let mut bytes = [0; 6];
        bytes[..instruction.len()].copy_from_slice(instruction);
        let thread = channel.map_or(0, |n| n << 8 | 1);
        self.b.write_cpu(0, region, 0xd08, u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 24 | thread);
        self.b.write_cpu(0, region, 0xd0c, u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]));
        self.b.write_cpu(0, region, 0xd04, 0);
    }

    fn debug(&mut self, channel: Option<u32>, instruction: &[u8]) {
        self.debug_by(0, channel, instruction);
    }

    fn go(&mut self, channel: u8, non_secure: bool, pc: u32) {
        let go = [&[0xa0 | u8::from(non_secure) << 1, channel], &pc.to_le_bytes()[..]].concat();
        self.debug(None, &go);
    }

    /// Starts a program; no time passes.
    fn start(&mut self, channel: u8, program: &[&[u8]]) {
        let at = PROGRAM + 0x400 * u32::from(channel);
        self.put(at, &program.concat());
        self.go(channel, false, at);
    }

    /// Runs a program on channel 0 to where it stays.
    fn run(&mut self, program: &[&[u8]]) {
        self.start(0, program);
        self.settle();
    }

    /// Lets what was begun go on to where it stays.
    fn settle(&mut self) {
        self.b.bench.advance(1_000_000);
    }

    fn drive(&mut self, port: &str, index: u32, level: bool) {
        self.b.drive(port, index, level);
        self.settle();
    }

    fn state(&mut self, channel: u64) -> u32 {
        self.read(CSR + 8 * channel) & 15
    }

    /// The program runs into this fault at its last instruction, and is stopped then.
    fn faults(&mut self, program: &[&[u8]], reasons: u32) {
        self.run(program);
        self.fault_is(0, reasons);
        let end = program[..program.len() - 1].iter().map(|i| i.len() as u32).sum::<u32>();
        assert_eq!(self.read(CPC), PROGRAM + end);
        self.debug(Some(0), KILL);
        assert_eq!((self.state(0), self.read(FTR), self.read(FSRC), self.b.line("abort", 0)), (STOPPED, 0, 0, false));
    }

    fn fault_is(&mut self, channel: u64, reasons: u32) {
        assert_eq!((self.state(channel), self.read(FTR + 4 * channel)), (FAULTING, reasons), "{reasons:#x}");
        assert!(self.read(FSRC) >> channel & 1 == 1 && self.b.line("abort", 0));
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]).collect()
}

#[test]
fn reset_values_tell_the_configuration() {
    let mut d = dma();
    // UG585 app. B.17.
    for (offset, value) in [(0xe00, 0x001e_3071), (0xe04, 0x74), (0xe14, 0x07ff_7f73), (CCR, 0x0080_0200), (CCR + 0xe0, 0x0080_0200)] {
        assert_eq!(d.read(offset), value, "{offset:#x}");
    }
    let ids: Vec<u32> = (0..8).map(|i| d.read(0xfe0 + 4 * i)).collect();
    assert_eq!(ids, [0x30, 0x13, 0x24, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    for offset in [DSR, DPC, INTEN, RIS, MIS, FSRD, FSRC, FTRD, FTR, CSR, CPC, SAR, DAR, LC0, LC1, 0xd00, 0xe08, 0xe0c, 0xe10, WD] {
        assert_eq!(d.read(offset), 0, "{offset:#x}");
    }
    let mut small =
        dma_with(&[("channels", 2), ("events", 5), ("requests", 1), ("data-width", 32), ("mfifo-lines", 16), ("boot-irq-ns", 0xff)]);
    assert_eq!((small.read(0xe00), small.read(0xe14), small.read(0xe0c)), (1 | 1 << 4 | 4 << 17, 0x00ff_7f72, 0x1f));
    // Events that are not there cannot be enabled.
    small.write(INTEN, u32::MAX);
    assert_eq!(small.read(INTEN), 0x1f);
    small.write(WD, u32::MAX);
    assert_eq!(small.read(WD), 1);
}

#[test]
fn moves_and_adds_change_the_registers() {
    let mut d = dma();
    d.run(&[&sar(0x1111_2222), &dar(0x3333_4444), &ccr(copy(3, 16)), &wfe(0)]);
    assert_eq!((d.read(SAR), d.read(DAR), d.read(CCR)), (0x1111_2222, 0x3333_4444, copy(3, 16)));
    d.debug(Some(0), KILL);
    // DMAADDH, DMAADNH.
    d.run(&[&[0x54, 0x34, 0x12], &[0x56, 0xff, 0xff], &[0x5c, 0xff, 0xff], &[0x5e, 0x00, 0x80], &wfe(0)]);
    assert_eq!((d.read(SAR), d.read(DAR)), (0x1111_2222 + 0x1234 - 1, 0x3333_4444 + 0xffff - 0x8000));
    d.debug(Some(0), KILL);
    d.faults(&[&mov(3, 0)], OPERAND);
    // A beat wider than the bus, a swap that there is not.
    d.faults(&[&ccr(half(4, 1, true))], OPERAND);
    d.faults(&[&ccr(half(0, 1, true) | half(4, 1, true) << 14)], OPERAND);
    d.faults(&[&ccr(copy(0, 1) | 5 << 28)], OPERAND);
    dma_with(&[("data-width", 128)]).run(&[&ccr(half(4, 1, true)), END]);
}

#[test]
fn loops_nest_and_count() {
    let mut d = dma();
    // 3 times 5 times: add 1 to DAR; and once more for each of the outer loop to SAR.
    d.run(&[&lp(0, 3), &lp(1, 5), &[0x56, 1, 0], &lpend(1, 3), &[0x54, 1, 0], &lpend(0, 10), &wfe(0)]);
    assert_eq!((d.read(DAR), d.read(SAR), d.read(LC0), d.read(LC1)), (15, 3, 0, 0));
    d.debug(Some(0), KILL);
    // The longest.
    d.run(&[&dar(0), &lp(0, 256), &[0x56, 1, 0], &lpend(0, 3), &wfe(0)]);
    assert_eq!(d.read(DAR), 256);
    d.debug(Some(0), KILL);
    // Counters tell what is left.
    d.run(&[&lp(0, 7), &lp(1, 200), &wfe(0)]);
    assert_eq!((d.read(LC0), d.read(LC1)), (6, 199));
}

#[test]
fn bursts_copy_memory() {
    for (size, beats) in [(0, 1), (0, 16), (1, 3), (2, 4), (3, 1), (3, 16)] {
        let mut d = dma();
        let bytes = pattern(256);
        d.put(0x4000, &bytes);
        d.run(&[&sar(0x4000), &dar(0x8000), &ccr(copy(size, beats)), LD, RMB, ST, WMB, NOP, &sev(1), END]);
        let len = (beats << size) as usize;
        assert_eq!(d.bytes(0x8000, 256), [&bytes[..len], &vec![0; 256 - len]].concat(), "{size} {beats}");
        assert_eq!((d.read(SAR), d.read(DAR), d.state(0)), (0x4000 + len as u32, 0x8000 + len as u32, STOPPED));
    }
}

#[test]
fn addresses_that_are_not_aligned_make_the_first_beat_shorter() {
    let mut d = dma();
    let bytes = pattern(64);
    d.put(0x4000, &bytes);
    // 4 beats of 8 bytes from 3: 29 bytes. 32 bytes in two loads, the rest stays.
    d.run(&[&sar(0x4003), &dar(0x8000), &ccr(copy(3, 4)), LD, LD, ST, &wfe(0)]);
    assert_eq!((d.read(SAR), d.read(DAR)), (0x4040, 0x8020));
    assert_eq!(d.bytes(0x8000, 33), [&bytes[3..35], &[0][..]].concat());
    d.debug(Some(0), KILL);
    // From 0 to 5: three bytes first.
    d.run(&[&sar(0x4000), &dar(0x9005), &ccr(copy(3, 2)), LD, ST, END]);
    assert_eq!((d.read(DAR), d.bytes(0x9004, 13)), (0x9010, [&[0], &bytes[..11], &[0][..]].concat()));
}

#[test]
fn a_fixed_address_gives_and_takes_every_beat() {
    let mut d = dma();
    d.put(0x4000, &[1, 2, 3, 4, 5]);
    d.run(&[&sar(0x4000), &dar(0x8000), &ccr(half(2, 3, false) | half(2, 3, true) << 14), LD, ST, END]);
    assert_eq!((d.read(SAR), d.bytes(0x8000, 13)), (0x4000, vec![1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 0]));
    d.put(0x4000, &[1, 2, 3, 4, 5, 6]);
    d.run(&[&sar(0x4000), &dar(0x9000), &ccr(half(1, 3, true) | half(1, 3, false) << 14), LD, ST, END]);
    assert_eq!((d.read(DAR), d.bytes(0x9000, 3)), (0x9000, vec![5, 6, 0]));
}

#[test]
fn store_zero_needs_no_data() {
    let mut d = dma();
    d.put(0x8000, &[0xff; 40]);
    d.run(&[&dar(0x8004), &ccr(copy(2, 8)), STZ, END]);
    assert_eq!(
        (d.read(DAR), d.bytes(0x8000, 40)),
        (0x8024, [[0xff; 4], [0; 4]].concat().iter().copied().chain([0; 28]).chain([0xff; 4]).collect())
    );
}

#[test]
fn bytes_are_swapped() {
    for (swap, wanted) in
        [(0, 0x0706_0504_0302_0100u64), (1, 0x0607_0405_0203_0001), (2, 0x0405_0607_0001_0203), (3, 0x0001_0203_0405_0607)]
    {
        let mut d = dma();
        d.put(0x4000, &[0, 1, 2, 3, 4, 5, 6, 7]);
        d.run(&[&sar(0x4000), &dar(0x8000), &ccr(copy(2, 2) | swap << 28), LD, ST, END]);
        assert_eq!(d.bytes(0x8000, 8), wanted.to_le_bytes(), "{swap}");
    }
    // The copy of a loop, too.
    let mut d = dma();
    d.put(0x4000, &[1, 2, 3, 4, 5, 6, 7, 8]);
    d.run(&[&sar(0x4000), &dar(0x8000), &ccr(copy(1, 1) | 1 << 28), &lp(0, 4), LD, ST, &lpend(0, 2), END]);
    assert_eq!(d.bytes(0x8000, 8), [2, 1, 4, 3, 6, 5, 8, 7]);
}

/// What loops of loads and stores give must not depend on how they are executed: with a DMANOP in it, a loop is executed burst by burst.
#[test]
fn a_loop_copies_as_its_bursts_do() {
    for (from, to, size, beats, times) in [
        (0x4000, 0x8000, 3, 16, 64),
        (0x4000, 0x8000, 2, 5, 256),
        (0x4000, 0x8000, 0, 1, 256),
        // Unaligned, overlapping from below and from above, in place.
        (0x4001, 0x8000, 3, 4, 30),
        (0x4000, 0x4010, 2, 1, 100),
        (0x4010, 0x4000, 2, 1, 100),
        (0x4000, 0x4000, 3, 8, 20),
        (0x4000, 0x4780, 3, 16, 15),
        // Out of memory: the load, then the store fails.
        (0xfc00, 0x4000, 3, 16, 20),
        (0x4000, 0xfc00, 3, 16, 20),
    ] {
        let mut seen = vec![];
        for body in [&[LD, ST][..], &[LD, ST, LD, ST], &[LD, NOP, ST]] {
            let mut d = dma();
            d.put(0x4000, &pattern(0x4000));
            let pairs = body.len() as u32 / 2;
            let back = body.len() as u8;
            d.run(&[&sar(from), &dar(to), &ccr(copy(size, beats)), &lp(1, times / pairs), &body.concat(), &lpend(1, back), &wfe(3)]);
            let memory = d.bytes(0x4000, 0xc000);
            seen.push((memory, d.read(SAR), d.read(DAR), d.state(0), d.read(FTR), d.read(LC1) * pairs));
        }
        let again = seen[2].5;
        assert!(seen[0] == seen[2], "{from:#x} {to:#x}: {:x?} {:x?}", &seen[0].1, &seen[2].1);
        if times % 2 == 0 && again == 0 {
            assert!(seen[1] == seen[2], "{from:#x} {to:#x}, two a turn");
        }
    }
}

#[test]
fn time_is_in_proportion_to_bytes() {
    // 64 bursts of 8 beats: 64 times load, store (1 + 8 each) and loop end; before that, four instructions.
    let cycles = |times: u64| 4 + times * (9 + 9 + 1);
    for times in [64u32, 256] {
        for body in [&[LD, ST][..], &[LD, NOP, ST]] {
            let mut d = dma();
            d.write(INTEN, 1);
            let program = [
                &sar(0x4000),
                &dar(0x8000),
                &ccr(copy(3, 8)),
                &lp(0, times)[..],
                &body.concat(),
                &lpend(0, body.len() as u8),
                &sev(0),
                END,
            ];
            d.start(0, &program);
            let ns = (cycles(times.into()) + if body.len() == 3 { u64::from(times) } else { 0 }) * 10;
            assert_eq!(d.state(0), EXECUTING);
            d.b.bench.advance(ns - 1);
            assert!(!d.b.line("irq", 0), "{times}");
            d.b.bench.advance(1);
            assert!(d.b.line("irq", 0), "{times}");
            // The end follows at once: drivers look at the state when they are interrupted.
            assert_eq!(d.state(0), STOPPED);
        }
    }
}

#[test]
fn a_program_without_end_takes_its_time() {
    let mut d = dma();
    // A loop for ever: DMALPFE is no instruction of its own.
    d.start(0, &[NOP, &[0x2c, 1]]);
    d.start(1, &[&sev(2), &[0x2c, 2]]);
    for _ in 0..50 {
        d.settle();
        assert_eq!((d.state(0), d.state(1)), (EXECUTING, EXECUTING));
    }
    d.debug(Some(0), KILL);
    d.debug(Some(1), KILL);
    assert_eq!((d.state(0), d.state(1), d.read(RIS)), (STOPPED, STOPPED, 4));
}

#[test]
fn the_clock_moves_it() {
    let mut d = Dma { b: device("arm,pl330", 0) };
    d.run(&[&sev(1), END]);
    assert_eq!((d.state(0), d.read(RIS)), (EXECUTING, 0));
}

#[test]
fn events_are_interrupts_or_wake_threads() {
    let mut d = dma();
    d.write(INTEN, 1 << 3);
    d.run(&[&sev(3), &sev(4), END]);
    assert_eq!((d.read(RIS), d.read(MIS)), (0x18, 8));
    assert!(d.b.line("irq", 3) && !d.b.line("irq", 4));
    // Only an interrupt is cleared.
    d.write(INTCLR, u32::MAX);
    assert_eq!((d.read(RIS), d.read(MIS), d.b.line("irq", 3)), (0x10, 0, false));
    // The event that nobody waited for is taken by the first who waits.
    d.run(&[&wfe(4), &wfe(4), END]);
    assert_eq!((d.read(RIS), d.read(CSR), d.read(CPC)), (0, WAITING_FOR_EVENT | 4 << 4, PROGRAM + 2));
    // All who wait are woken, and nothing is left.
    d.start(1, &[&wfe(4), &sev(5), END]);
    d.start(2, &[&wfe(6), END]);
    d.start(3, &[&sev(4), END]);
    d.settle();
    assert_eq!((0..4).map(|i| d.state(i)).collect::<Vec<_>>(), [STOPPED, STOPPED, WAITING_FOR_EVENT, STOPPED]);
    assert_eq!(d.read(RIS), 0x20);
    // By the manager, by a debug instruction; an interrupt wakes nobody.
    d.debug(None, &sev(6));
    d.settle();
    assert_eq!((d.state(2), d.read(RIS)), (STOPPED, 0x20));
    d.run(&[&wfe(3), END]);
    d.debug(Some(1), &sev(3));
    assert_eq!((d.state(0), d.read(RIS)), (WAITING_FOR_EVENT, 0x28));
    d.debug(Some(0), KILL);
    for instruction in [sev(16), wfe(16), sev(31)] {
        d.faults(&[&instruction], OPERAND);
    }
}

#[test]
fn waking_finds_a_changed_program() {
    let mut d = dma();
    // Channel 1 stores 9 where channel 0 has executed 1, and wakes it by DMAWFE with its bit to invalidate the cache.
    d.put(0x4000, &[9]);
    d.start(1, &[&sar(0x4000), &dar(PROGRAM + 4), &ccr(copy(0, 1)), &wfe(3), LD, ST, &sev(1), END]);
    d.settle();
    d.run(&[&sev(3), &dar(1), &[0x36, 1 << 3 | 2], &[0x2c, 8]]);
    assert_eq!((d.state(0), d.state(1), d.read(DAR)), (WAITING_FOR_EVENT, STOPPED, 9));
}

#[test]
fn peripherals_request_single_transfers_and_bursts() {
    let mut d = dma();
    d.put(0x4000, &pattern(64));
    let setup = [&sar(0x4000), &dar(0x8000), &ccr(copy(2, 4))[..]].concat();
    let wait = |n: u8, how: u8| [0x30 | how, n << 3];
    // Peripheral 2, whatever it wants: S and B of load and store, and of the loop.
    let program = [&setup, &wait(2, 1)[..], LDS, STS, LDB, STB, &wfe(0)].concat();
    for (line, bytes) in [("single", 4), ("burst", 16)] {
        d.run(&[&program]);
        assert_eq!(d.read(CSR), WAITING_FOR_PERIPHERAL | 2 << 4 | 1 << 15);
        d.drive("burst", 1, true);
        assert_eq!(d.state(0), WAITING_FOR_PERIPHERAL);
        d.drive(line, 2, true);
        assert_eq!((d.state(0), d.read(SAR), d.read(DAR)), (WAITING_FOR_EVENT, 0x4000 + bytes, 0x8000 + bytes), "{line}");
        d.drive(line, 2, false);
        d.drive("burst", 1, false);
        d.debug(Some(0), KILL);
    }
    // Peripheral 1 requested a burst before, which it does not have to do again.
    d.run(&[&setup, &wait(1, 0), LDS, &wait(1, 2), LDB, &wfe(0)]);
    assert_eq!((d.read(CSR), d.read(SAR)), (WAITING_FOR_PERIPHERAL | 1 << 4 | 1 << 14, 0x4004));
    // A burst is waited for, and no single transfer.
    d.drive("single", 1, true);
    assert_eq!(d.state(0), WAITING_FOR_PERIPHERAL);
    d.drive("burst", 1, true);
    assert_eq!((d.state(0), d.read(SAR)), (WAITING_FOR_EVENT, 0x4014));
    d.debug(Some(0), KILL);
    for how in [0, 1, 2] {
        d.faults(&[&wait(4, how)], OPERAND);
    }
}

#[test]
fn peripherals_hear_of_their_transfers() {
    let mut d = dma();
    d.put(0x4000, &pattern(64));
    // A loop without end: burst by burst while the peripheral requests, until the last request.
    let body = [&[0x31, 3 << 3][..], &[0x27, 3 << 3], &[0x25, 3 << 3], ST].concat();
    let program = [&sar(0x4000), &dar(0x8000), &ccr(copy(2, 1)), &body[..], &[0x2c, 7], &sev(1), END];
    d.run(&program);
    assert_eq!((d.state(0), d.b.bench.rises(2, 3)), (WAITING_FOR_PERIPHERAL, 0));
    d.b.drive("burst", 3, true);
    // The level stays: it goes on.
    d.b.bench.advance(10_000);
    assert!(d.b.bench.rises(2, 3) > 3 && d.state(0) != STOPPED);
    d.drive("burst", 3, false);
    let (acks, at) = (d.b.bench.rises(2, 3), d.read(DAR));
    assert_eq!((d.state(0), at), (WAITING_FOR_PERIPHERAL, 0x8000 + 4 * acks));
    d.drive("last", 3, true);
    d.drive("single", 3, true);
    assert_eq!((d.state(0), d.read(DAR), d.b.bench.rises(2, 3), d.read(RIS)), (STOPPED, at + 4, acks + 1, 2));
    assert_eq!(d.bytes(0x8000, 16), pattern(16));
    // DMASTP tells it too; without a request that fits, neither does anything.
    d.drive("single", 3, false);
    d.drive("single", 3, true);
    d.run(&[&sar(0x4000), &dar(0x9000), LD, &[0x30, 3 << 3], &[0x2b, 3 << 3], &[0x27, 3 << 3], &[0x29, 3 << 3], &wfe(9)]);
    assert_eq!((d.b.bench.rises(2, 3), d.read(DAR), d.read(SAR)), (acks + 2, 0x9004, 0x4004));
    d.debug(Some(0), KILL);
    for opcode in [0x25, 0x27, 0x29, 0x2b, 0x35] {
        d.faults(&[&[opcode, 4 << 3]], OPERAND);
    }
}

#[test]
fn a_flushed_peripheral_requests_again() {
    let mut d = dma();
    d.drive("burst", 0, true);
    d.drive("burst", 0, false);
    // The request is forgotten.
    d.run(&[&[0x35, 0], &[0x32, 0], &sev(1), END]);
    assert_eq!((d.state(0), d.b.bench.rises(3, 0), d.b.bench.rises(2, 0)), (WAITING_FOR_PERIPHERAL, 1, 0));
    d.debug(Some(0), KILL);
    d.drive("burst", 0, true);
    d.run(&[&[0x35, 0], &[0x32, 0], &sev(1), END]);
    assert_eq!((d.state(0), d.read(RIS)), (STOPPED, 2));
}

#[test]
fn conditional_loop_ends_go_back_as_requested() {
    for (line, singles, bursts) in [("single", 3, 0), ("burst", 0, 3)] {
        let mut d = dma();
        d.b.drive(line, 0, true);
        // DMALPENDS adds to SAR, DMALPENDB to DAR: four times or once.
        d.run(&[&[0x31, 0], &lp(0, 4), &[0x54, 1, 0], &[0x39, 3], &lp(1, 4), &[0x56, 1, 0], &[0x3f, 3], &wfe(0)]);
        assert_eq!((d.read(SAR), d.read(DAR)), (1 + singles, 1 + bursts), "{line}");
    }
}

#[test]
fn undefined_instructions_and_fetches_fault() {
    let mut d = dma();
    for opcode in [0x02, 0x03, 0x06, 0x0a, 0x0d, 0x10, 0x21, 0x24, 0x2a, 0x33, 0x37, 0x3a, 0x55, 0x58, 0xa1, 0xbd, 0xff] {
        d.faults(&[NOP, &[opcode]], UNDEFINED);
    }
    // DMAGO is the manager's.
    d.faults(&[&[0xa0, 1, 0, 0, 0, 0]], UNDEFINED);
    d.go(0, false, 0x1_0000);
    d.settle();
    d.fault_is(0, FETCH);
    assert_eq!(d.read(CPC), 0x1_0000);
    d.debug(Some(0), KILL);
    // The first byte is there, the others are not.
    d.put(0xffff, &[0xbc]);
    d.go(0, false, 0xffff);
    d.settle();
    d.fault_is(0, FETCH);
}

#[test]
fn data_faults() {
    let mut d = dma();
    d.faults(&[&ccr(copy(3, 2)), &sar(0xfff8), LD], READ);
    d.faults(&[&ccr(half(3, 1, true) | half(3, 2, true) << 14), &sar(0x4000), &dar(0xfff8), LD, LD, ST], WRITE);
    assert_eq!((d.read(SAR), d.read(DAR)), (0x4010, 0xfff8));
    d.faults(&[&ccr(half(3, 2, false) << 14), &dar(0x2_0000), STZ], WRITE);
    d.faults(&[&ccr(copy(2, 2)), &sar(0x4000), ST], NO_DATA);
    // A load of 4 bytes for a store of 8.
    d.faults(&[&ccr(half(2, 1, true) | half(2, 2, true) << 14), LD, ST], NO_DATA);
    // 1 KiB of MFIFO: eight loads of 128 bytes.
    let load = [&sar(0x4000), &ccr(copy(3, 16))[..], &LD.repeat(8)].concat();
    d.faults(&[&load, LD], MFIFO);
    let mut small = dma_with(&[("mfifo-lines", 8)]);
    small.faults(&[&ccr(half(3, 9, true)), LD], MFIFO);
    small.faults(&[&ccr(half(3, 9, true) << 14), ST], MFIFO);
}

#[test]
fn threads_share_the_mfifo() {
    let mut d = dma();
    let load = |n: usize| [&sar(0x4000), &dar(0x8000), &ccr(copy(3, 16))[..], &LD.repeat(n)].concat();
    // Channel 0 holds 6 bursts and waits; channel 1 has room for 2.
    d.start(0, &[&load(6), &wfe(1), END]);
    d.start(1, &[&load(3), ST, &sev(2), END]);
    d.settle();
    assert_eq!((d.state(0), d.state(1), d.read(SAR + 0x20)), (WAITING_FOR_EVENT, EXECUTING, 0x4100));
    d.debug(None, &sev(1));
    d.settle();
    assert_eq!((d.state(0), d.state(1), d.read(RIS)), (STOPPED, STOPPED, 4));
    // Both hold half and want more: nobody goes on. The other channels do.
    for only_irq in [0, 1] {
        d.write(WD, only_irq);
        d.start(0, &[&load(4), &wfe(1), LD, END]);
        d.start(1, &[&load(4), &wfe(1), LD, END]);
        d.settle();
        assert!(!d.b.line("abort", 0));
        d.debug(None, &sev(1));
        d.settle();
        assert!(d.b.line("abort", 0));
        if only_irq == 0 {
            (0..2).for_each(|i| d.fault_is(i, LOCKUP));
            d.debug(Some(0), KILL);
        } else {
            assert_eq!((d.state(0), d.read(FSRC)), (EXECUTING, 0));
            // The other has room then.
            d.debug(Some(0), KILL);
            d.settle();
            assert_eq!(d.state(1), STOPPED);
        }
        d.debug(Some(1), KILL);
        assert!(!d.b.line("abort", 0));
    }
}

#[test]
fn debug_instructions() {
    let mut d = dma();
    // A channel that runs is not started again.
    d.run(&[&wfe(0), END]);
    d.go(0, false, 0x3000);
    assert_eq!((d.state(0), d.read(CPC)), (WAITING_FOR_EVENT, PROGRAM));
    // Others are ignored; undefined ones are not, and say where they came from.
    d.debug(None, NOP);
    d.debug(Some(0), LD);
    assert_eq!((d.read(FSRD), d.read(FSRC), d.b.bench.log().len()), (0, 0, 2));
    d.debug(Some(0), &[0x02]);
    d.fault_is(0, UNDEFINED | DEBUG);
    d.debug(Some(0), &[0xa0, 0, 0, 0, 0, 0]);
    d.debug(Some(0), KILL);
    d.debug(None, &sev(16));
    assert_eq!((d.read(DSR), d.read(FSRD), d.read(FTRD), d.b.line("abort", 0)), (FAULTING, 1, OPERAND | DEBUG, true));
    // A faulting thread hears DMAKILL only.
    d.go(1, false, PROGRAM);
    assert_eq!((d.state(1), d.read(FSRD)), (STOPPED, 1));
    d.debug(None, KILL);
    assert_eq!((d.read(DSR), d.read(FSRD), d.read(FTRD), d.b.line("abort", 0)), (STOPPED, 0, 0, false));
    // Channels that are not there.
    let mut small = dma_with(&[("channels", 2)]);
    small.go(2, false, PROGRAM);
    assert_eq!(small.read(FTRD), OPERAND | DEBUG);
    small.debug(Some(5), &sev(1));
    assert_eq!(small.read(RIS), 0);
}

#[test]
fn the_manager_boots_a_program() {
    let mut d = dma_with(&[("boot-from-pc", 1), ("boot-addr", 0x2000)]);
    assert_eq!((d.read(0xe00) & 2, d.read(0xe08), d.read(DSR), d.read(DPC)), (2, 0x2000, EXECUTING, 0x2000));
    let go = [0xa0, 4, 0, 0x30, 0, 0];
    d.put(0x2000, &[NOP, &go, &wfe(7), LD].concat());
    d.put(0x3000, &[&dar(5)[..], END].concat());
    d.b.bench.advance(1000);
    assert_eq!((d.read(DSR), d.read(DAR + 4 * 0x20), d.state(4)), (WAITING_FOR_EVENT | 7 << 4, 5, STOPPED));
    // Loads are not for managers.
    d.debug(Some(0), &sev(7));
    d.settle();
    assert_eq!((d.read(DSR), d.read(FTRD), d.read(DPC)), (FAULTING, UNDEFINED, 0x2009));
}

#[test]
fn a_secure_manager_takes_no_instructions_from_the_non_secure_side() {
    let mut d = dma_with(&[("boot-irq-ns", 2)]);
    d.put(PROGRAM, &[&sev(0)[..], &sev(1), END].concat());
    let go = [&[0xa2, 0], &PROGRAM.to_le_bytes()[..]].concat();
    d.debug_by(1, None, &go);
    assert_eq!((d.state(0), d.read(RIS)), (STOPPED, 0));
    // It changes only interrupts that are its own.
    d.b.write_cpu(0, 1, INTEN, 3);
    assert_eq!(d.read(INTEN), 2);
    d.write(INTEN, 3);
    d.go(0, false, PROGRAM);
    d.settle();
    assert_eq!(d.read(MIS), 3);
    d.b.write_cpu(0, 1, INTCLR, 3);
    assert_eq!(d.read(MIS), 1);
    // The secure registers are not for Non-secure accesses.
    let outside = Access { initiator: Initiator::Cpu(0), secure: false, privileged: true };
    assert!(d.b.bench.read_as(0, DSR, 4, outside).is_err() && d.b.bench.write_as(0, INTEN, 4, 0, outside).is_err());
    assert_eq!(d.b.bench.read_as(1, 0xfe0, 4, outside), Ok(0x30));
}

#[test]
fn non_secure_threads_keep_to_their_side() {
    let mut d = dma_with(&[("boot-irq-ns", 2), ("boot-periph-ns", 2)]);
    let mut fault = |program: &[&[u8]], reasons: u32| {
        d.put(PROGRAM, &program.concat());
        d.go(0, true, PROGRAM);
        d.settle();
        assert_eq!(d.read(CSR) >> 21, 1);
        assert_eq!(d.read(FTR), reasons, "{program:x?}");
        d.debug(Some(0), KILL);
    };
    fault(&[&sev(0)], EVENT);
    fault(&[&wfe(0)], EVENT);
    fault(&[&sev(1), &wfe(1), END], 0);
    for opcode in [0x30, 0x31, 0x32, 0x25, 0x27, 0x29, 0x2b, 0x35] {
        fault(&[&[opcode, 0]], PERIPHERAL);
        fault(&[&[opcode, 8]], 0);
    }
    // A Secure source, a Secure destination.
    fault(&[&ccr(copy(0, 1) & !(1 << 9))], RDWR);
    fault(&[&ccr(copy(0, 1) & !(1 << 23))], RDWR);
    fault(&[&ccr(copy(0, 1)), END], 0);
    // The manager on that side starts no Secure channel, and hears both interfaces.
    let mut d = dma_with(&[("boot-manager-ns", 1), ("boot-irq-ns", 2)]);
    assert_eq!((d.read(DSR), d.read(0xe00) & 4), (1 << 9, 4));
    d.go(0, false, PROGRAM);
    assert_eq!((d.read(DSR), d.read(FTRD)), (1 << 9 | FAULTING, DMAGO | DEBUG));
    d.debug_by(1, None, KILL);
    d.debug_by(1, None, &sev(0));
    assert_eq!(d.read(FTRD), EVENT | DEBUG);
    d.debug_by(1, None, KILL);
    d.put(PROGRAM, &wfe(1));
    d.go(0, true, PROGRAM);
    d.settle();
    assert_eq!(d.state(0), WAITING_FOR_EVENT);
}

#[test]
fn security_states_are_taken_when_the_reset_ends() {
    let mut d = dma();
    // Levels that come after the reset of the machine, before software does anything.
    d.b.drive("irq-ns", 5, true);
    assert_eq!(d.read(0xe0c), 0x20);
    d.write(INTEN, 0);
    d.b.drive("manager-ns", 0, true);
    d.b.drive("irq-ns", 5, false);
    d.b.drive("periph-ns", 2, true);
    assert_eq!((d.read(DSR), d.read(0xe0c), d.read(0xe10)), (0, 0x20, 0));
    d.run(&[&wfe(0), END]);
    d.b.drive("reset", 0, true);
    d.write(INTEN, 1);
    d.b.drive("reset", 0, false);
    assert_eq!((d.read(DSR), d.read(0xe0c), d.read(0xe10), d.state(0), d.read(INTEN)), (1 << 9, 0, 4, STOPPED, 0));
}

#[test]
fn a_snapshot_goes_on_where_it_was() {
    let mut d = dma();
    let bytes = pattern(0x2000);
    d.put(0x4000, &bytes);
    d.write(INTEN, 2);
    let outer = [&lp(0, 64)[..], LD, NOP, ST, &lpend(0, 3), &sev(1), END].concat();
    d.start(0, &[&sar(0x4000), &dar(0x8000), &ccr(copy(3, 16)), LD, &wfe(0), ST, &outer]);
    let saved = d.b.bench.save();
    let memory = d.b.bench.memory().clone();
    let mut other = dma();
    *other.b.bench.memory() = memory;
    other.b.bench.load(&saved).unwrap();
    other.debug(None, &sev(0));
    other.settle();
    assert_eq!((other.state(0), other.b.line("irq", 1)), (STOPPED, true));
    assert_eq!(other.bytes(0x8000, 0x2000), bytes);
    // Not one with more in the MFIFO than there is room for.
    let mut small = dma_with(&[("mfifo-lines", 4)]);
    assert!(small.b.bench.load(&saved).is_err());
}

/// Programs of anything, mostly instructions; each on its own channel, with requests, events and time.
#[test]
fn any_program_is_survived() {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = |n: u32| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % n
    };
    let opcodes = [
        0x00, 0x04, 0x05, 0x07, 0x08, 0x09, 0x0b, 0x0c, 0x12, 0x18, 0x20, 0x22, 0x25, 0x27, 0x29, 0x2b, 0x2c, 0x2d, 0x38, 0x3c, 0x3d, 0x3f,
        0x30, 0x31, 0x32, 0x34, 0x35, 0x36, 0x54, 0x56, 0x5c, 0x5e, 0xbc, 0xbc, 0xbc,
    ];
    let mut d = dma_with(&[("mfifo-lines", 16), ("boot-irq-ns", 0xff0f), ("boot-periph-ns", 5)]);
    for round in 0..400 {
        for channel in 0..8 {
            let program: Vec<u8> = (0..200)
                .flat_map(|_| {
                    let opcode = if random(50) == 0 { random(256) as u8 } else { opcodes[random(opcodes.len() as u32) as usize] };
                    let small = [random(6) as u8, random(4) as u8 | (random(5) as u8) << 3][random(2) as usize];
                    let word = match random(3) {
                        0 => random(0x1_0800),
                        1 => copy(random(4), 1 + random(16)) ^ random(2) << 14 | random(2) << 29,
                        _ => random(u32::MAX),
                    };
                    let all = [&[opcode, small], &word.to_le_bytes()[..]].concat();
                    let len = match opcode {
                        0x20..0x40 => 2,
                        0x54..0x60 => 3,
                        0xa0..0xc0 => 6,
                        _ => 1,
                    };
                    all[..len].to_vec()
                })
                .collect();
            let at = random(60) * 0x400;
            d.put(at, &program);
            d.debug(Some(channel), KILL);
            d.go(channel as u8, random(3) == 0, at);
        }
        for _ in 0..20 {
            let (port, line, level) = (["single", "burst", "last"][random(3) as usize], random(4), random(2) == 0);
            d.b.drive(port, line, level);
            d.debug(None, &sev(random(16) as u8));
            d.b.bench.advance(random(100_000).into());
        }
        let saved = d.b.bench.save();
        d.b.bench.load(&saved).unwrap_or_else(|e| panic!("round {round}: {e}"));
    }
}
