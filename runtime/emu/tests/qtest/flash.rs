//! Serial flash behind the Zynq-7000's controllers: the same transfers on QEMU's machine and on ours.

use crate::client::Qtest;

const SPI: u64 = 0xe000_6000;
const QSPI: u64 = 0xe000_d000;
const LINEAR: u64 = 0xfc00_0000;

/// One of the two emulators, and whether its time is ours to move.
struct Side {
    q: Qtest,
    ours: bool,
}

impl Side {
    fn pass(&mut self, nanos: u64) {
        if self.ours {
            self.q.clock_step(nanos);
        }
    }

    /// A command over the SPI controller's first chip select: bytes out, then so many in.
    fn spi(&mut self, out: &[u8], n: usize) -> Vec<u8> {
        // Master, divided by 4, manual chip select.
        let config = 0x2_4009;
        self.q.writel(SPI, config);
        self.q.writel(SPI + 0x14, 1);
        let all: Vec<u8> = out.iter().copied().chain(std::iter::repeat_n(0, n)).collect();
        let mut back = vec![];
        for part in all.chunks(100) {
            part.iter().for_each(|byte| self.q.writel(SPI + 0x1c, u32::from(*byte)));
            self.pass(100_000);
            back.extend(part.iter().map(|_| self.q.readl(SPI + 0x20) as u8));
        }
        self.q.writel(SPI, config | 0x3c00);
        back.split_off(out.len())
    }

    /// The same over the Quad-SPI controller: the command byte by byte, the data in words.
    fn qspi(&mut self, out: &[u8], words: usize) -> Vec<u32> {
        let config = 0x8000_40c1;
        self.q.writel(QSPI, config);
        self.q.writel(QSPI + 0x14, 1);
        for byte in out {
            self.q.writel(QSPI + 0x80, u32::from(*byte));
            self.pass(10_000);
            self.q.readl(QSPI + 0x20);
        }
        let mut back = vec![];
        for _ in 0..words {
            self.q.writel(QSPI + 0x1c, 0);
            self.pass(10_000);
            back.push(self.q.readl(QSPI + 0x20));
        }
        self.q.writel(QSPI, config | 0x400);
        back
    }
}

/// What both say, or QEMU's absence.
fn same<T: PartialEq + std::fmt::Debug>(run: impl Fn(&mut Side) -> T) -> Option<T> {
    let Some(qemu) = Qtest::qemu("qemu-system-arm", "xilinx-zynq-a9") else {
        eprintln!("skipped: there is no qemu-system-arm");
        return None;
    };
    let theirs = run(&mut Side { q: qemu, ours: false });
    let ours = run(&mut Side { q: Qtest::start("zynq7000"), ours: true });
    assert_eq!(ours, theirs, "ours, QEMU's");
    Some(ours)
}

#[test]
fn spi_flash_is_as_qemus() {
    let answers = same(|s| {
        let id = s.spi(&[0x9f], 3);
        let mut log = vec![id, s.spi(&[0x05], 1), s.spi(&[0x03, 0, 0, 0], 4)];
        // Not without WRITE ENABLE; then; bits are only cleared.
        for (enable, first) in [(false, 0x0f), (true, 0x3c), (true, 0x2a)] {
            if enable {
                s.spi(&[0x06], 0);
                log.push(s.spi(&[0x05], 1));
            }
            s.spi(&[&[0x02, 0, 0x12, 0x34, first][..], &(1..100).collect::<Vec<u8>>()].concat(), 0);
            s.pass(1_000_000);
            // Not busy. WRITE ENABLE is used up then (N25Q128A, "Write Enable"), but not in QEMU.
            log.push(vec![s.spi(&[0x05], 1)[0] & 1]);
            log.push(s.spi(&[0x03, 0, 0x12, 0x30], 110));
        }
        for erase in [0x20, 0xd8] {
            s.spi(&[0x06], 0);
            s.spi(&[erase, 0, 0x12, 0x34], 0);
            s.pass(1_000_000_000);
            log.push(s.spi(&[0x03, 0, 0x12, 0x30], 16));
        }
        log
    });
    assert!(answers.is_none_or(|a| a[0] == [0x20, 0xba, 0x18]));
}

#[test]
fn quad_flash_is_as_qemus() {
    let answers = same(|s| {
        s.q.writel(QSPI + 0xa0, 3);
        let mut log = vec![s.qspi(&[0x9f], 1)[0] & 0xff_ffff];
        s.qspi(&[0x06], 0);
        s.qspi(&[0x02, 0x01, 0x00, 0x00, 1, 2, 3, 4, 5, 6, 7, 8], 0);
        s.pass(1_000_000);
        log.extend(s.qspi(&[0x03, 0x01, 0, 0], 3));
        // Read linearly without dummy cycles, QEMU's controller gives zeros.
        s.q.writel(QSPI + 0xa0, 0x8000_0003);
        if s.ours {
            assert_eq!([0x1_0000, 0x1_0004].map(|at| s.q.readl(LINEAR + at)), [0x0403_0201, 0x0807_0605]);
        }
        log
    });
    assert!(answers.is_none_or(|a| a[..2] == [0x18_ba20, 0x0403_0201]));
}
