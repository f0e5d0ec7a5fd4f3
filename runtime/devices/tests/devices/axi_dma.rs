//! `xlnx,axi-dma` (PG021): rings, tail pointers, interrupts, errors; a FIFO on its streams brings back what it sends.

use crate::bench::{Bench, kind};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

pub const MM2S: u64 = 0;
pub const S2MM: u64 = 0x30;
pub const DMACR: u64 = 0;
pub const DMASR: u64 = 4;
pub const CURDESC: u64 = 8;
pub const TAILDESC: u64 = 0x10;
const ADDRESS: u64 = 0x18;
const LENGTH: u64 = 0x28;

const RUN: u32 = 1;
const CYCLIC: u32 = 1 << 4;
const ALL_IRQS: u32 = 7 << 12;
const HALTED: u32 = 1;
const IDLE: u32 = 2;
const IOC: u32 = 1 << 12;
const DELAY: u32 = 1 << 13;
const ERROR: u32 = 1 << 14;
pub const FIRST: u32 = 1 << 27;
pub const LAST: u32 = 1 << 26;
pub const COMPLETE: u32 = 1 << 31;

impl Bench {
    pub fn poke(&mut self, at: u32, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            let at = at as usize + 4 * i;
            self.bench.memory()[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    pub fn peek(&mut self, at: u32) -> u32 {
        u32::from_le_bytes(self.bench.memory()[at as usize..at as usize + 4].try_into().unwrap())
    }

    /// A descriptor: next, buffer, control; its application words are 10, 11 ...
    pub fn descriptor(&mut self, at: u32, next: u32, buffer: u32, control: u32) {
        self.poke(at, &[next, 0, buffer, 0, 0, 0, control, 0, 10, 11, 12, 13, 14]);
    }

    pub fn status(&mut self, at: u32) -> u32 {
        self.peek(at + 0x1c)
    }

    /// Starts a channel at this descriptor, with a threshold of one packet.
    pub fn run_to(&mut self, channel: u64, first: u32, tail: u32) {
        self.write(channel + CURDESC, first);
        self.write(channel + DMACR, RUN | ALL_IRQS | 1 << 16);
        self.write(channel + TAILDESC, tail);
    }

    fn fill(&mut self, at: usize, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
        self.bench.memory()[at..at + len].copy_from_slice(&bytes);
        bytes
    }
}

/// A DMA with a part on its streams; 100 MHz.
pub fn dma(given: &[(&str, Value)], part: &str, its: &[(String, Value)]) -> Bench {
    let kind_of_dma = kind("xlnx,axi-dma");
    let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
    let mut bench = TestBench::with(&kind_of_dma, 100_000_000, &given);
    bench.attach(0, 0, &kind(part), its);
    Bench { bench, kind: kind_of_dma }
}

fn loopback(given: &[(&str, Value)]) -> Bench {
    dma(given, "xlnx,axis-data-fifo", &[])
}

#[test]
fn a_packet_of_several_buffers_comes_back_in_others() {
    let mut d = loopback(&[]);
    assert_eq!([d.read(DMACR), d.read(DMASR)], [0x0001_0002, 0x0001_0009]);
    let sent = d.fill(0x4000, 300);
    // Where they end does not matter, in which order they lie neither.
    d.descriptor(0x1000, 0x1080, 0x4000, FIRST | 100);
    d.descriptor(0x1080, 0x1040, 0x4064, 1);
    d.descriptor(0x1040, 0x1000, 0x4065, LAST | 199);
    d.descriptor(0x2000, 0x2040, 0x6000, 256);
    d.descriptor(0x2040, 0x2000, 0x6100, 256);
    d.run_to(S2MM, 0x2000, 0x2040);
    assert_eq!(d.read(S2MM + DMASR) & 0xffff, 8, "waits");
    d.run_to(MM2S, 0x1000, 0x1040);
    assert_eq!([0x1000, 0x1080, 0x1040].map(|at| d.status(at)), [100, 1, 199].map(|n| COMPLETE | n));
    assert_eq!([d.status(0x2000), d.status(0x2040)], [COMPLETE | FIRST | 256, COMPLETE | LAST | 44]);
    assert_eq!(d.bench.memory()[0x6000..0x612c], sent);
    assert_eq!(d.peek(0x2060), 0, "the FIFO has no words");
    assert_eq!(d.peek(0x2020), 10, "only a packet's last descriptor has words");
    for channel in [MM2S, S2MM] {
        assert_eq!(d.read(channel + DMASR), 0x0001_0008 | IOC | IDLE);
    }
    assert!(d.line("mm2s-irq", 0) && d.line("s2mm-irq", 0));
    d.write(DMASR, IOC);
    assert!(!d.line("mm2s-irq", 0) && d.line("s2mm-irq", 0));
    // The tail pointer starts it again where it was.
    assert_eq!(d.read(CURDESC), 0x1000);
    d.descriptor(0x1000, 0x1040, 0x4000, FIRST | LAST | 8);
    d.write(TAILDESC, 0x1000);
    assert_eq!(d.status(0x1000), COMPLETE | 8);
}

#[test]
fn thresholds_and_the_delay_raise_interrupts() {
    let mut d = loopback(&[]);
    for i in 0..8 {
        d.descriptor(0x1000 + 0x40 * i, 0x1040 + 0x40 * i, 0x4000, FIRST | LAST | 16);
    }
    d.write(CURDESC, 0x1000);
    // Three packets, or two units of 125 clocks behind the last: 2500 ns.
    d.write(DMACR, RUN | IOC | DELAY | 3 << 16 | 2 << 24);
    d.write(TAILDESC, 0x1040);
    assert_eq!(d.read(DMASR), 8 | IDLE | 1 << 16 | 2 << 24);
    assert!(!d.line("mm2s-irq", 0));
    d.write(TAILDESC, 0x1080);
    assert_eq!(d.read(DMASR), 8 | IDLE | IOC | 3 << 16, "the third; nothing waits");
    d.write(DMASR, IOC);
    d.write(TAILDESC, 0x10c0);
    d.bench.advance(1500);
    assert_eq!(d.read(DMASR) >> 24, 1);
    // A packet begins the delay anew.
    d.write(TAILDESC, 0x1100);
    d.bench.advance(2499);
    assert!(!d.line("mm2s-irq", 0));
    d.bench.advance(1);
    assert!(d.line("mm2s-irq", 0));
    assert_eq!(d.read(DMASR), 8 | IDLE | DELAY | 3 << 16, "and the count");
    // A threshold of 0 has no effect.
    d.write(DMACR, RUN | 5 << 16);
    d.write(DMACR, RUN);
    assert_eq!((d.read(DMACR) >> 16, d.read(DMASR) >> 16), (5, 5));
}

#[test]
fn errors_halt_a_channel_and_say_which() {
    const SG_INTERNAL: u32 = 1 << 8;
    const SG_DECODE: u32 = 1 << 10;
    const INTERNAL: u32 = 1 << 4;
    const DECODE: u32 = 1 << 6;
    let run = |d: &mut Bench, at: u32| {
        d.run_to(MM2S, at, at);
        assert!(d.line("mm2s-irq", 0));
        assert_eq!(d.read(DMACR) & RUN, 0);
        let status = d.read(DMASR) & 0xffff & !8;
        // It stays halted until it is started anew.
        d.write(TAILDESC, at);
        assert_eq!(d.read(DMASR) & 0xffff & !8, status);
        status
    };
    let mut d = loopback(&[]);
    d.descriptor(0x1000, 0x1000, 0x4000, FIRST | LAST | 16);
    d.poke(0x101c, &[COMPLETE]);
    assert_eq!(run(&mut d, 0x1000), HALTED | ERROR | SG_INTERNAL);
    assert_eq!(d.read(CURDESC), 0x1000);
    d.write(DMACR, 4);
    assert_eq!([d.read(DMACR), d.read(DMASR)], [0x0001_0002, 0x0001_0009]);
    assert_eq!(d.rises("reset", 0), 1);
    d.descriptor(0x1000, 0x1000, 0x4000, FIRST | LAST);
    assert_eq!(run(&mut d, 0x1000), HALTED | ERROR | INTERNAL);
    assert_eq!(d.status(0x1000), 1 << 28);
    d.write(DMACR, 4);
    assert_eq!(run(&mut d, 0x0800_0000), HALTED | ERROR | SG_DECODE);
    d.write(DMACR, 4);
    d.descriptor(0x1000, 0x1000, 0xfff0, FIRST | LAST | 17);
    assert_eq!(run(&mut d, 0x1000), HALTED | ERROR | DECODE);
    assert_eq!(d.status(0x1000), 1 << 30);
    // Running channels keep their pointer.
    d.write(DMACR, 4);
    d.descriptor(0x1000, 0x1040, 0x4000, FIRST | LAST | 16);
    d.run_to(MM2S, 0x1000, 0x1000);
    d.write(CURDESC, 0x2000);
    assert_eq!(d.read(CURDESC), 0x1040);
    d.write(DMACR, 0);
    assert_eq!(d.read(DMASR) & 3, HALTED);
}

#[test]
fn rings_without_an_end_get_their_turn_and_no_more() {
    let mut d = loopback(&[]);
    d.descriptor(0x1000, 0x1000, 0x4000, FIRST | LAST | 1024);
    d.descriptor(0x2000, 0x2000, 0x6000, 1024);
    for (channel, at) in [(S2MM, 0x2000), (MM2S, 0x1000)] {
        d.write(channel + CURDESC, at);
        d.write(channel + DMACR, RUN | CYCLIC | IOC | 1 << 16);
        d.write(channel + TAILDESC, 0x50);
    }
    // Both go on and on, each call for a while.
    for _ in 0..20 {
        d.write(S2MM + DMASR, IOC);
        d.poke(0x201c, &[0]);
        d.bench.advance(20_000);
        assert_eq!(d.status(0x2000), COMPLETE | FIRST | LAST | 1024);
        assert_eq!(d.read(S2MM + DMASR) & (IDLE | IOC), IOC);
    }
    d.write(DMACR, 0);
    d.write(S2MM + DMACR, 0);
    d.bench.advance(100_000);
    d.poke(0x201c, &[0]);
    d.bench.advance(100_000);
    assert_eq!(d.status(0x2000), 0);
}

#[test]
fn who_is_held_up_goes_on_where_it_was() {
    // 20 000 bytes through a FIFO of 4096.
    let mut d = loopback(&[("length-width", Value::Int(16))]);
    let sent = d.fill(0x4000, 20_000);
    d.descriptor(0x1000, 0x1000, 0x4000, FIRST | LAST | 20_000);
    d.run_to(MM2S, 0x1000, 0x1000);
    assert_eq!((d.status(0x1000), d.read(DMASR) & IDLE), (0, 0));
    let saved = d.bench.save();
    let mut copy = loopback(&[("length-width", Value::Int(16))]);
    copy.bench.load(&saved).unwrap();
    assert_eq!(copy.bench.save(), saved);
    d.descriptor(0x2000, 0x2040, 0xa000, 15_000);
    d.descriptor(0x2040, 0x2040, 0xdb00, 6_000);
    d.run_to(S2MM, 0x2000, 0x2040);
    d.bench.advance(1_000_000);
    assert_eq!(
        [d.status(0x1000), d.status(0x2000), d.status(0x2040)],
        [COMPLETE | 20_000, COMPLETE | FIRST | 15_000, COMPLETE | LAST | 5_000]
    );
    assert!(d.bench.memory()[0xa000..0xa000 + 15_000] == sent[..15_000] && d.bench.memory()[0xdb00..0xdb00 + 5_000] == sent[15_000..]);
}

#[test]
fn without_scatter_gather_registers_say_it_all() {
    let mut d = loopback(&[("scatter-gather", Value::Bool(false))]);
    let sent = d.fill(0x4000, 600);
    d.write(S2MM + LENGTH, 100);
    assert_eq!(d.read(S2MM + DMASR) & 0xffff, HALTED, "halted: nothing begins");
    for channel in [MM2S, S2MM] {
        d.write(channel + DMACR, RUN | ALL_IRQS);
        assert_eq!(d.read(channel + DMASR) & 0xffff, 0);
    }
    d.write(S2MM + ADDRESS, 0x6000);
    d.write(S2MM + LENGTH, 1000);
    d.write(ADDRESS, 0x4000);
    d.write(LENGTH, 600);
    assert_eq!([d.read(DMASR) & 0xffff, d.read(S2MM + DMASR) & 0xffff], [IDLE | IOC; 2]);
    assert_eq!(d.read(S2MM + LENGTH), 600, "what came");
    assert_eq!(d.bench.memory()[0x6000..0x6258], sent);
    // Longer than there is room for.
    d.write(S2MM + LENGTH, 500);
    d.write(LENGTH, 600);
    assert_eq!(d.read(S2MM + DMASR) & 0xffff & !(IOC | IDLE), HALTED | ERROR | 1 << 4);
    // Descriptors' registers start nothing.
    d.write(TAILDESC, 0x1000);
    assert_eq!(d.read(DMASR) & IDLE, IDLE);
}

#[test]
fn wide_addresses_start_by_their_upper_half() {
    let mut d = loopback(&[("addr-width", Value::Int(40))]);
    d.descriptor(0x1000, 0x1000, 0x4000, FIRST | LAST | 16);
    d.write(CURDESC, 0x1000);
    d.write(CURDESC + 4, u32::MAX);
    assert_eq!(d.read(CURDESC + 4), 0xff);
    d.write(CURDESC + 4, 0);
    d.write(DMACR, RUN | 1 << 16);
    d.write(TAILDESC, 0x1000);
    assert_eq!(d.status(0x1000), 0);
    d.write(TAILDESC + 4, 0);
    assert_eq!(d.status(0x1000), COMPLETE | 16);
    let mut d = loopback(&[]);
    d.write(CURDESC + 4, u32::MAX);
    assert_eq!(d.read(CURDESC + 4), 0);
}
