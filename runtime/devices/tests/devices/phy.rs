//! The PHY of `cdns,gem` (IEEE 802.3 clause 22; 88E1116R), by the MAC's management port.

use crate::bench::{Bench, device};
use crate::gem::{INTR_EN, INTR_STATUS, NET_CTRL, NET_STATUS};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

const PHY_MAINT: u64 = 0x34;

impl Bench {
    fn mdio(&mut self, phy: u32, register: u32) -> u32 {
        self.write(PHY_MAINT, 0x6002_0000 | phy << 23 | register << 18);
        assert_eq!(self.read(NET_STATUS) & 4, 4, "done");
        self.read(PHY_MAINT) & 0xffff
    }

    fn set_mdio(&mut self, register: u32, value: u32) {
        self.write(PHY_MAINT, 0x5002_0000 | 7 << 23 | register << 18 | value);
    }
}

fn phy() -> Bench {
    let mut g = device("cdns,gem", 100_000_000);
    g.write(NET_CTRL, 0x10);
    g
}

#[test]
fn answers_where_it_is() {
    let mut g = phy();
    assert_eq!((g.mdio(7, 2), g.mdio(7, 3)), (0x0141, 0x0e40));
    assert_eq!((g.mdio(0, 2), g.mdio(8, 3)), (0xffff, 0xffff));
    g.write(PHY_MAINT, 0x2002_0000 | 7 << 23 | 2 << 18);
    assert_eq!(g.read(PHY_MAINT) & 0xffff, 0xffff, "clause 45");
    g.write(NET_CTRL, 0);
    assert_eq!(g.mdio(7, 2), 0xffff, "the port is off");
    let kind = emu_devices::registry().into_iter().find(|k| k.name == "cdns,gem").unwrap();
    let at = [("phy-addr".to_string(), Value::Int(0))];
    let mut g = Bench { bench: TestBench::with(&kind, 1, &at), kind };
    g.write(NET_CTRL, 0x10);
    assert_eq!((g.mdio(0, 2), g.mdio(7, 2)), (0x0141, 0xffff));
}

#[test]
fn an_operation_interrupts() {
    let mut g = phy();
    g.write(INTR_EN, 1);
    g.mdio(7, 1);
    assert!(g.line("irq", 0));
    g.write(INTR_STATUS, 1);
    g.set_mdio(4, 0x0de1);
    assert!(g.line("irq", 0));
    assert_eq!(g.mdio(7, 4), 0x0de1);
}

#[test]
fn the_link_is_negotiated() {
    let mut g = phy();
    assert_eq!(g.mdio(7, 0), 0x1140);
    assert_eq!(g.mdio(7, 1) & 4, 0, "it was down until now");
    assert_eq!(g.mdio(7, 1), 0x796d);
    assert_eq!([5, 6, 10].map(|r| g.mdio(7, r)), [0xc1e1, 0xf, 0x7800]);
    assert_eq!(g.mdio(7, 17) & 0xec00, 0xac00, "1000, full duplex, resolved, up");
    g.set_mdio(9, 0);
    assert_eq!(g.mdio(7, 17) & 0xe000, 0x6000, "100, full duplex");
    assert_eq!(g.mdio(7, 10), 0);
    g.set_mdio(4, 0x0081);
    assert_eq!(g.mdio(7, 17) & 0xe000, 0x4000, "100, half duplex");
    g.set_mdio(0, 0x0100);
    assert_eq!(g.mdio(7, 17) & 0xe000, 0x2000, "10, full duplex, forced");
    assert_eq!((g.mdio(7, 5), g.mdio(7, 1) & 0x24), (0, 4));
}

#[test]
fn a_lost_link_is_told_once() {
    let mut g = phy();
    g.mdio(7, 1);
    assert_eq!(g.mdio(7, 1) & 0x24, 0x24);
    g.bench.set_link(false);
    g.bench.set_link(true);
    assert_eq!(g.mdio(7, 1) & 4, 0);
    assert_eq!(g.mdio(7, 1) & 4, 4);
    g.bench.set_link(false);
    assert_eq!([5, 6, 10, 17].map(|r| g.mdio(7, r)), [0, 4, 0, 0]);
    assert_eq!((g.mdio(7, 1) & 0x24, g.mdio(7, 1) & 0x24), (0, 0));
}

#[test]
fn link_changes_interrupt() {
    let mut g = phy();
    g.mdio(7, 19);
    g.set_mdio(18, 0x0400);
    assert!(!g.line("phy-irq", 0));
    g.bench.set_link(false);
    assert!(g.line("phy-irq", 0));
    assert_eq!(g.mdio(7, 19), 0x0400);
    assert!(!g.line("phy-irq", 0), "a read clears");
    g.bench.set_link(true);
    assert_eq!(g.mdio(7, 19), 0x0c00);
}

#[test]
fn control_bits() {
    let mut g = phy();
    g.set_mdio(0, 0x1940);
    assert_eq!(g.mdio(7, 1) & 0x24, 0, "powered down");
    g.set_mdio(0, 0x9140);
    assert_eq!(g.mdio(7, 0), 0x1140, "a reset clears itself");
    g.mdio(7, 1);
    assert_eq!(g.mdio(7, 1) & 0x24, 0x24);
    g.set_mdio(0, 0x1340);
    assert_eq!(g.mdio(7, 0), 0x1140, "so does a restart");
    g.set_mdio(2, 0);
    assert_eq!(g.mdio(7, 2), 0x0141);
}

#[test]
fn pages() {
    let mut g = phy();
    g.set_mdio(22, 2);
    assert_eq!(g.mdio(7, 21), 0x1046);
    g.set_mdio(21, 0x1076);
    g.set_mdio(22, 0);
    assert_eq!(g.mdio(7, 21), 0);
    g.set_mdio(22, 2);
    assert_eq!((g.mdio(7, 21), g.mdio(7, 2)), (0x1076, 0x0141));
    g.set_mdio(22, 200);
    g.set_mdio(21, 1);
    assert_eq!((g.mdio(7, 22), g.mdio(7, 21)), (200, 0));
}

#[test]
fn its_loopback_and_isolation() {
    let mut g = phy();
    // One descriptor in each ring, for a frame to the station itself.
    let words = [(0x1000, 0x4002), (0x1004, 0), (0x2000, 0x3000), (0x2004, 0x8000 | 60), (0x2008, 0), (0x200c, 0x8000_0000)];
    let ready = |g: &mut Bench| {
        for (at, word) in words {
            g.bench.memory()[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
        }
        g.bench.memory()[0x3000..0x3006].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        g.write(NET_CTRL, 0x10);
        g.write(0x10, 0x0018_0010);
        g.write(0x18, 0x1000);
        g.write(0x1c, 0x2000);
        g.write(NET_CTRL, 0x1c | 0x200);
    };
    ready(&mut g);
    assert_eq!((g.bench.transmitted().len(), g.bench.memory()[0x1000] & 1), (1, 0));
    g.set_mdio(0, 0x5140);
    ready(&mut g);
    assert_eq!((g.bench.transmitted().len(), g.bench.memory()[0x1000] & 1), (0, 1), "loopback");
    g.set_mdio(0, 0x1540);
    ready(&mut g);
    g.bench.frame(&[0xff; 60]);
    assert_eq!((g.bench.transmitted().len(), g.bench.memory()[0x1000] & 1, g.bench.frames_waiting()), (0, 0, 0), "isolated");
}
