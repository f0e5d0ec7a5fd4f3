//! CAN controllers of the Zynq-7000 on buses: the other of the same machine, another machine.

use crate::client::Qtest;
use std::time::Duration;

const SLCR: u64 = 0xf800_0000;
const CAN: [u64; 2] = [0xe000_8000, 0xe000_9000];
const SRR: u64 = 0x00;
const BRPR: u64 = 0x08;
const BTR: u64 = 0x0c;
const SR: u64 = 0x18;
const ISR: u64 = 0x1c;
const IER: u64 = 0x20;
const TX: u64 = 0x30;
const RX: u64 = 0x50;
const TXOK: u32 = 1 << 1;
const RXNEMP: u32 = 1 << 7;

/// PS_CLK times the I/O PLL's 30, by CAN_CLK_CTRL's 10 and 1, Hz; a bit is ten times ten clocks.
const CAN_REF: u64 = 33_333_333 * 30 / 10;

fn enable(q: &mut Qtest, at: u64) {
    q.writel(at + BRPR, 9);
    q.writel(at + BTR, 1 << 7 | 2 << 4 | 5);
    q.writel(at + SRR, 2);
}

fn send(q: &mut Qtest, at: u64, words: [u32; 4]) {
    (0..4).for_each(|i| q.writel(at + TX + 4 * i, words[i as usize]));
}

#[test]
fn a_cable_joins_two_controllers_of_a_machine() {
    let mut q = Qtest::with(&["--board", "zynq7000", "--net", "can0=cable:can1"]);
    CAN.iter().for_each(|at| enable(&mut q, *at));
    q.ok("irq_intercept_in gic");
    q.writel(CAN[1] + IER, RXNEMP);
    for (from, to) in [(0, 1), (1, 0)] {
        let words = [0x123 << 21, 8 << 28, 0x0102_0304, 0x0506_0708 + from as u32];
        send(&mut q, CAN[from], words);
        // 111 bits without stuff bits, which are 24 at most.
        let bit = 100 * 1_000_000_000 / CAN_REF;
        q.clock_step(111 * bit - 10);
        assert_eq!(q.readl(CAN[from] + ISR) & TXOK, 0);
        q.clock_step(24 * (bit + 1) + 111);
        assert_eq!((q.readl(CAN[from] + ISR) & TXOK, q.readl(CAN[to] + ISR) & RXNEMP), (TXOK, RXNEMP));
        let got = [0, 4, 8, 12].map(|i| q.readl(CAN[to] + RX + i));
        assert_eq!([got[0], got[1] >> 28, got[2], got[3]], [words[0], 8, words[2], words[3]]);
    }
    // can1's interrupt is SPI 51.
    assert_eq!(q.irqs(), [(51, true)]);
    // CAN_RST_CTRL: the reference clock domain of can0.
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x220, 4);
    assert_eq!((q.readl(CAN[0] + SR), q.readl(CAN[1] + SR) & 9), (1, 8));
}

#[test]
fn sockets_join_two_machines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let net = |way: &str| format!("can1=socket:{way}=unix:{},dump={}", path.display(), folder.path().join(way).display());
    let mut a = Qtest::with(&["--board", "zynq7000", "--net", &net("listen")]);
    let mut b = Qtest::with(&["--board", "zynq7000", "--net", &net("connect")]);
    enable(&mut a, CAN[1]);
    enable(&mut b, CAN[1]);
    let words = [0x123 << 21, 3 << 28, 0x1122_3300, 0];
    // What is sent before the other has come is lost.
    let arrived = (0..200).any(|_| {
        send(&mut a, CAN[1], words);
        a.clock_step(1_000_000);
        std::thread::sleep(Duration::from_millis(50));
        b.readl(CAN[1] + ISR) & RXNEMP != 0
    });
    assert!(arrived);
    assert_eq!([0, 8, 12].map(|i| b.readl(CAN[1] + RX + i)), [words[0], words[2], words[3]]);
    drop((a, b));
    // Link type SocketCAN; the identifier stands in network order.
    let dump = std::fs::read(folder.path().join("connect")).unwrap();
    assert_eq!((&dump[20..24], &dump[40..51]), (&[227, 0, 0, 0][..], &[0, 0, 1, 0x23, 3, 0, 0, 0, 0x11, 0x22, 0x33][..]));
}

#[test]
fn wrong_pairs_are_refused() {
    for (nets, says) in [
        (&["can0=user"][..], "network back end `user` carries Ethernet, and this is a port for CAN\n  help: cable:NIC or socket:"),
        (&["can0=tap:tap0"], "carries Ethernet"),
        (&["can0=cable:gem0"], "`can0` is a port for CAN, and `gem0` one for Ethernet"),
        (&["can0=cable:can0"], "a cable is between two ports"),
        (&["can0=cable:can1", "can1=cable:can0"], "a cable is between two ports"),
        (&["can0=cable:can2"], "there is no network port `can2`"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_emu"));
        command.args(["--board", "zynq7000", "--qtest", "stdio"]);
        nets.iter().for_each(|net| _ = command.args(["--net", net]));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(says), "{nets:?}: {text}");
    }
}
