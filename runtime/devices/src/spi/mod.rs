//! Controllers of SPI buses.

pub mod cdns_spi;
pub mod xps_spi;
pub mod zynq_qspi;

use cdns_spi::regs::Regs;

/// How long so many cycles of a clock are, ns, at least one; a stopped clock's are for ever.
fn nanos(cycles: u64, hz: u64) -> Option<u64> {
    let nanos = (u128::from(cycles) * 1_000_000_000).checked_div(hz.into())?;
    Some(u64::try_from(nanos).unwrap_or(u64::MAX).max(1))
}

/// How full the two FIFOs of a controller are, in entries, and what of that its status tells; the bits are those of both maps.
struct Levels {
    tx: usize,
    rx: usize,
    tx_threshold: u32,
    rx_threshold: u32,
    /// Entries of each.
    size: usize,
}

const _: () = {
    use zynq_qspi::regs::Regs as Quad;
    assert!(Regs::STATUS_RX_OVERFLOW == Quad::STATUS_RX_OVERFLOW && Regs::STATUS_TX_NOT_FULL == Quad::STATUS_TX_NOT_FULL);
    assert!(Regs::STATUS_TX_FULL == Quad::STATUS_TX_FULL && Regs::STATUS_RX_FULL == Quad::STATUS_RX_FULL);
    assert!(Regs::STATUS_RX_NOT_EMPTY == Quad::STATUS_RX_NOT_EMPTY);
};

impl Levels {
    /// The status bits that follow from the levels.
    fn status(&self) -> u32 {
        let flags = [
            (Regs::STATUS_RX_FULL, self.rx >= self.size),
            (Regs::STATUS_RX_NOT_EMPTY, self.rx as u64 >= self.rx_threshold.into()),
            (Regs::STATUS_TX_FULL, self.tx >= self.size),
            (Regs::STATUS_TX_NOT_FULL, (self.tx as u64) < self.tx_threshold.into()),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    /// After how many entries on the bus something changes that an interrupt of `mask` tells, or the transmit FIFO is empty.
    fn next(&self, mask: u32) -> Option<u64> {
        let (tx, rx, size) = (self.tx as u64, self.rx as u64, self.size as u64);
        let enabled = |bit: u32| mask & bit != 0;
        let events = [
            (true, tx),
            (enabled(Regs::STATUS_TX_NOT_FULL), (tx + 1).saturating_sub(self.tx_threshold.into())),
            (enabled(Regs::STATUS_RX_NOT_EMPTY), u64::from(self.rx_threshold).saturating_sub(rx)),
            (enabled(Regs::STATUS_RX_FULL), size.saturating_sub(rx)),
            (enabled(Regs::STATUS_RX_OVERFLOW), (size + 1).saturating_sub(rx)),
        ];
        events.iter().filter(|e| e.0 && e.1 > 0).map(|e| e.1).min()
    }
}

/// Nobody drives the line: it is pulled up.
const IDLE: u8 = 0xff;
