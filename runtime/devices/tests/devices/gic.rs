//! `arm,gic-v1` (IHI 0048; Cortex-A9 MPCore TRM ch. 3).

use crate::bench::{Bench, device};
use emu_machine::Access;

const CPU: usize = 0;
const DIST: usize = 1;
const ICCICR: u64 = 0x00;
const ICCPMR: u64 = 0x04;
const ICCBPR: u64 = 0x08;
const ICCIAR: u64 = 0x0c;
const ICCEOIR: u64 = 0x10;
const ICCRPR: u64 = 0x14;
const ICCHPIR: u64 = 0x18;
const ICDDCR: u64 = 0x000;
const ICDICTR: u64 = 0x004;
const ICDISR: u64 = 0x080;
const ICDISER: u64 = 0x100;
const ICDICER: u64 = 0x180;
const ICDISPR: u64 = 0x200;
const ICDICPR: u64 = 0x280;
const ICDABR: u64 = 0x300;
const ICDIPR: u64 = 0x400;
const ICDIPTR: u64 = 0x800;
const ICDICFR: u64 = 0xc00;
const ICDSGIR: u64 = 0xf00;
const SPURIOUS: u32 = 1023;

/// Distributor and both interfaces on, all priorities let through.
fn gic() -> Bench {
    let mut g = device("arm,gic-v1", 0);
    g.write_cpu(0, DIST, ICDDCR, 1);
    for cpu in 0..2 {
        g.write_cpu(cpu, CPU, ICCPMR, 0xff);
        g.write_cpu(cpu, CPU, ICCICR, 1);
    }
    g
}

fn enable(g: &mut Bench, id: u32, priority: u8, targets: u8) {
    let byte = u64::from(id);
    g.try_write(DIST, ICDIPR + byte, 1, priority.into(), 0).unwrap();
    g.try_write(DIST, ICDIPTR + byte, 1, targets.into(), 0).unwrap();
    g.write_cpu(0, DIST, ICDISER + u64::from(id / 32 * 4), 1 << (id % 32));
}

fn acknowledge(g: &mut Bench, cpu: u8) -> u32 {
    g.read_cpu(cpu, CPU, ICCIAR)
}

fn end(g: &mut Bench, cpu: u8, id: u32) {
    g.write_cpu(cpu, CPU, ICCEOIR, id);
}

#[test]
fn says_what_it_is() {
    let mut g = gic();
    let kind = g.read_cpu(0, DIST, ICDICTR);
    assert_eq!((kind & 31, kind >> 5 & 7, kind >> 10 & 1), (2, 1, 1));
    assert_eq!((g.read_cpu(0, DIST, 0xfd0), g.read_cpu(0, DIST, 0xfe0), g.read_cpu(0, DIST, 0xffc)), (0x04, 0x90, 0xb1));
    assert_eq!(g.read_cpu(0, CPU, ICCPMR), 0xf8, "32 priorities");
    assert_eq!(g.read_cpu(0, CPU, ICCRPR), 0xff, "idle");
    assert_eq!(acknowledge(&mut g, 0), SPURIOUS);
    assert_eq!(g.read_cpu(1, DIST, ICDIPTR) & 0xff, 2, "SGIs go to the CPU that asks");
    assert_eq!(g.read_cpu(0, DIST, ICDISER) & 0xffff, 0xffff, "SGIs are always enabled");
}

#[test]
fn a_level_goes_to_its_target_until_it_drops() {
    let mut g = gic();
    enable(&mut g, 61, 0xa0, 2);
    g.drive("spi", 29, true);
    assert_eq!((g.line("irq", 0), g.line("irq", 1)), (false, true));
    assert_eq!(g.read_cpu(1, CPU, ICCHPIR), 61);
    assert_eq!(acknowledge(&mut g, 0), SPURIOUS);
    assert_eq!(acknowledge(&mut g, 1), 61);
    assert!(!g.line("irq", 1));
    assert_eq!(g.read_cpu(0, DIST, ICDABR + 4), 1 << 29);
    assert_eq!(g.read_cpu(1, CPU, ICCRPR), 0xa0);
    end(&mut g, 1, 61);
    assert!(g.line("irq", 1), "still high: pending again");
    assert_eq!(acknowledge(&mut g, 1), 61);
    g.drive("spi", 29, false);
    end(&mut g, 1, 61);
    assert!(!g.line("irq", 1));
    assert_eq!(g.read_cpu(0, DIST, ICDABR + 4), 0);
}

#[test]
fn an_edge_is_delivered_once() {
    let mut g = gic();
    enable(&mut g, 40, 0, 1);
    g.write_cpu(0, DIST, ICDICFR + 8, 2 << 16);
    assert_eq!(g.read_cpu(0, DIST, ICDICFR + 8), 2 << 16);
    g.drive("spi", 8, true);
    g.drive("spi", 8, false);
    assert_eq!(g.read_cpu(0, DIST, ICDISPR + 4), 1 << 8);
    assert_eq!(acknowledge(&mut g, 0), 40);
    assert_eq!(g.read_cpu(0, DIST, ICDISPR + 4), 0);
    g.drive("spi", 8, true);
    assert!(!g.line("irq", 0), "active and pending: not before it ends");
    end(&mut g, 0, 40);
    assert!(g.line("irq", 0));
    assert_eq!(acknowledge(&mut g, 0), 40);
    end(&mut g, 0, 40);
    assert!(!g.line("irq", 0), "a level that stays is no edge");
}

#[test]
fn priorities_preempt_by_group() {
    let mut g = gic();
    enable(&mut g, 40, 0xa0, 1);
    enable(&mut g, 41, 0x20, 1);
    g.drive("spi", 8, true);
    assert_eq!(acknowledge(&mut g, 0), 40);
    g.drive("spi", 9, true);
    assert!(g.line("irq", 0));
    assert_eq!(acknowledge(&mut g, 0), 41);
    assert_eq!(g.read_cpu(0, CPU, ICCRPR), 0x20);
    end(&mut g, 0, 41);
    assert_eq!(g.read_cpu(0, CPU, ICCRPR), 0xa0);
    // With the binary point at 7 no priority bit preempts.
    g.write_cpu(0, CPU, ICCBPR, 7);
    assert!(!g.line("irq", 0));
    assert_eq!(acknowledge(&mut g, 0), SPURIOUS);
    assert_eq!(g.read_cpu(0, CPU, ICCHPIR), 41);
    g.drive("spi", 8, false);
    end(&mut g, 0, 40);
    assert_eq!(acknowledge(&mut g, 0), 41);
}

#[test]
fn equal_priorities_go_by_number_and_the_mask_holds_back() {
    let mut g = gic();
    enable(&mut g, 50, 0x80, 1);
    enable(&mut g, 45, 0x80, 1);
    g.drive("spi", 18, true);
    g.drive("spi", 13, true);
    g.write_cpu(0, CPU, ICCPMR, 0x80);
    assert!(!g.line("irq", 0), "a priority equal to the mask is not high enough");
    g.write_cpu(0, CPU, ICCPMR, 0x88);
    assert!(g.line("irq", 0));
    assert_eq!(acknowledge(&mut g, 0), 45);
    g.write_cpu(0, DIST, ICDICER + 4, 1 << 18);
    end(&mut g, 0, 45);
    g.drive("spi", 13, false);
    assert!(!g.line("irq", 0), "disabled");
    g.write_cpu(0, DIST, ICDISER + 4, 1 << 18);
    assert!(g.line("irq", 0));
    g.write_cpu(0, DIST, ICDDCR, 0);
    assert!(!g.line("irq", 0), "distributor off");
}

#[test]
fn software_interrupts_know_their_senders() {
    let mut g = gic();
    // CPU 0 to all others, CPU 1 to itself: twice interrupt 5 for CPU 1.
    g.write_cpu(0, DIST, ICDSGIR, 1 << 24 | 5);
    g.write_cpu(1, DIST, ICDSGIR, 2 << 24 | 5);
    assert_eq!((g.line("irq", 0), g.line("irq", 1)), (false, true));
    let first = acknowledge(&mut g, 1);
    assert_eq!(first, 5);
    end(&mut g, 1, first);
    assert!(g.line("irq", 1));
    let second = acknowledge(&mut g, 1);
    assert_eq!(second, 5 | 1 << 10);
    end(&mut g, 1, second);
    assert_eq!(acknowledge(&mut g, 1), SPURIOUS);
    // By list, to both.
    g.write_cpu(1, DIST, ICDSGIR, 3 << 16 | 2);
    assert_eq!(acknowledge(&mut g, 0), 2 | 1 << 10);
    assert_eq!(acknowledge(&mut g, 1), 2 | 1 << 10);
}

#[test]
fn private_interrupts_are_banked() {
    let mut g = gic();
    g.write_cpu(1, DIST, ICDISER, 1 << 29);
    g.drive("ppi", 29 - 16, true);
    assert_eq!(acknowledge(&mut g, 0), SPURIOUS, "CPU 0 has not enabled its own");
    g.drive("ppi", 16 + 29 - 16, true);
    assert_eq!((g.line("irq", 0), g.line("irq", 1)), (false, true));
    assert_eq!(acknowledge(&mut g, 1), 29);
    assert_eq!((g.read_cpu(0, DIST, ICDABR), g.read_cpu(1, DIST, ICDABR)), (0, 1 << 29));
}

#[test]
fn pending_by_software() {
    let mut g = gic();
    enable(&mut g, 33, 0, 1);
    g.write_cpu(0, DIST, ICDISPR + 4, 2);
    assert!(g.line("irq", 0));
    g.write_cpu(0, DIST, ICDICPR + 4, 2);
    assert!(!g.line("irq", 0));
    g.drive("spi", 1, true);
    g.write_cpu(0, DIST, ICDICPR + 4, 2);
    assert!(g.line("irq", 0), "a level cannot be cleared");
}

#[test]
fn groups_choose_irq_or_fiq() {
    let mut g = gic();
    g.write_cpu(0, DIST, ICDDCR, 3);
    // FIQEn, both groups enabled; without AckCtl a secure reader is not given group 1.
    g.write_cpu(0, CPU, ICCICR, 0b1011);
    enable(&mut g, 40, 0x80, 1);
    enable(&mut g, 41, 0x10, 1);
    g.write_cpu(0, DIST, ICDISR + 4, 1 << 8);
    g.drive("spi", 8, true);
    assert_eq!((g.line("irq", 0), g.line("fiq", 0)), (true, false));
    assert_eq!(acknowledge(&mut g, 0), 1022);
    g.drive("spi", 9, true);
    assert_eq!((g.line("irq", 0), g.line("fiq", 0)), (false, true));
    assert_eq!(acknowledge(&mut g, 0), 41);
    end(&mut g, 0, 41);
    g.drive("spi", 9, false);
    g.write_cpu(0, CPU, ICCICR, 0b1111);
    assert_eq!(acknowledge(&mut g, 0), 40);
}

#[test]
fn a_debugger_acknowledges_nothing() {
    let mut g = gic();
    enable(&mut g, 33, 0, 1);
    g.drive("spi", 1, true);
    assert_eq!(g.bench.read_as(CPU, ICCIAR, 4, Access::DEBUG).unwrap(), 33);
    assert_eq!(acknowledge(&mut g, 0), 33);
}

#[test]
fn only_priorities_and_targets_take_bytes() {
    let mut g = gic();
    assert!(g.try_write(DIST, ICDISER, 1, 1, 0).is_err());
    assert!(g.try_write(CPU, ICCPMR, 2, 1, 0).is_err());
    g.try_write(DIST, ICDIPR + 34, 1, 0x58, 0).unwrap();
    assert_eq!(g.read_cpu(0, DIST, ICDIPR + 32), 0x58 << 16);
    assert_eq!(g.try_read(DIST, ICDIPR + 34, 1, 0).unwrap(), 0x58);
}
