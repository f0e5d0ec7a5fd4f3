//! Serial EEPROMs 24C02 to 24C512 (Microchip AT24C02D to AT24C512C data sheets, "Device Addressing", "Write Operations", "Read Operations").
//!
//! Bus -> page buffer -> with the stop, memory of the device and the drive's image, if there is one: what is in it at the start is the contents,
//! and what the guest writes is written there, too. For 5 ms after that the chip does not acknowledge. Up to 24C16 one address byte, the rest of the
//! address is in the device address, of which the chip then answers several; above two. A chip without an image is blank: all ones. An image that is
//! smaller or larger than the chip is used as far as both reach. Not modelled: the address pins (the board says where it sits), power that fails
//! within a write.

use emu_machine::backend::DiskRequest;
use emu_machine::device::{Cx, Device};
use emu_machine::parts::{I2cPart, PartBus};
use emu_machine::schema::{Count, DeviceType, MemorySpec, PortSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `atmel,24c02` to `atmel,24c512`.
pub const TYPES: [DeviceType; 9] = [
    kind::<256, 8>("atmel,24c02", "Serial EEPROM, 256 bytes (AT24C02)"),
    kind::<512, 16>("atmel,24c04", "Serial EEPROM, 512 bytes (AT24C04)"),
    kind::<{ 1 << 10 }, 16>("atmel,24c08", "Serial EEPROM, 1 KiB (AT24C08)"),
    kind::<{ 2 << 10 }, 16>("atmel,24c16", "Serial EEPROM, 2 KiB (AT24C16)"),
    kind::<{ 4 << 10 }, 32>("atmel,24c32", "Serial EEPROM, 4 KiB (AT24C32)"),
    kind::<{ 8 << 10 }, 32>("atmel,24c64", "Serial EEPROM, 8 KiB (AT24C64)"),
    kind::<{ 16 << 10 }, 64>("atmel,24c128", "Serial EEPROM, 16 KiB (AT24C128)"),
    kind::<{ 32 << 10 }, 64>("atmel,24c256", "Serial EEPROM, 32 KiB (AT24C256)"),
    kind::<{ 64 << 10 }, 128>("atmel,24c512", "Serial EEPROM, 64 KiB (AT24C512)"),
];

const fn kind<const SIZE: u32, const PAGE: u32>(name: &'static str, doc: &'static str) -> DeviceType {
    DeviceType {
        part: Some(PartBus::I2c),
        inputs: const { &[PortSpec::one("wp", "write-protected while high")] },
        drives: &["eeprom"],
        memories: const { &[MemorySpec { name: "array", size: Count::Fixed(SIZE as u64) }] },
        ..DeviceType::new(name, doc, |_| Ok(Box::new(Eeprom { s: State::default(), size: SIZE, page: PAGE })))
    }
}

/// The write cycle, ns.
const WRITE_CYCLE: u64 = 5_000_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// It has contents: they are an image's, or all ones.
    filled: bool,
    protected: bool,
    /// Where the next byte is read or written.
    address: u32,
    /// Address bytes that are still to come in this write.
    awaited: u8,
    /// What a stop writes.
    page: BTreeMap<u32, u8>,
    /// It does not answer before this guest time.
    busy_until: u64,
}

impl State {
    fn is_sound(&self) -> bool {
        true
    }
}

struct Eeprom {
    s: State,
    size: u32,
    page: u32,
}

impl Eeprom {
    fn has_wide_addresses(&self) -> bool {
        self.size > 2048
    }

    /// Copies as much of the drive's image as fits; the rest is blank.
    fn fill(&mut self, cx: &mut Cx<'_>) {
        let Some(array) = cx.memory(0) else { return };
        let mut bytes = vec![0xff; self.size as usize];
        if let Some(medium) = cx.medium(0) {
            let len = medium.size.min(self.size.into()) as usize;
            if cx.disk_read_now(0, 0, &mut bytes[..len]).is_err() {
                bytes.fill(0xff);
            }
        }
        array.copy_in(0, &bytes);
        self.s.filled = true;
    }

    /// Writes the page buffer, and begins the write cycle.
    fn program(&mut self, cx: &mut Cx<'_>) {
        let page = std::mem::take(&mut self.s.page);
        let Some((first, array)) = page.keys().next().copied().zip(cx.memory(0)) else { return };
        if self.s.protected {
            return;
        }
        for (address, byte) in &page {
            array.copy_in((address % self.size).into(), &[*byte]);
        }
        self.s.busy_until = cx.now().0.saturating_add(WRITE_CYCLE);
        // The image gets whole pages.
        let at = u64::from((first % self.size) & !(self.page - 1));
        if let Some(medium) = cx.medium(0).filter(|m| !m.read_only && m.size > at) {
            let mut bytes = vec![0; (medium.size - at).min(self.page.into()) as usize];
            array.copy_out(at, &mut bytes);
            cx.disk_submit(0, 0, DiskRequest::Write { at, bytes });
        }
    }
}

impl I2cPart for Eeprom {
    fn start(&mut self, at: u8, address: u8, read: bool, cx: &mut Cx<'_>) -> bool {
        // Without a stop nothing is written.
        self.s.page.clear();
        self.s.awaited = 0;
        // Up to 24C16 the least bits of the device address are the greatest of the byte's.
        let blocks = if self.has_wide_addresses() { 1 } else { (self.size / 256).max(1) as u8 };
        if address & !(blocks - 1) != at & !(blocks - 1) || cx.now().0 < self.s.busy_until {
            return false;
        }
        if blocks > 1 {
            self.s.address = self.s.address & 0xff | u32::from(address & (blocks - 1)) << 8;
        }
        if !read {
            self.s.awaited = if self.has_wide_addresses() { 2 } else { 1 };
        }
        true
    }

    fn write(&mut self, byte: u8, _: &mut Cx<'_>) -> bool {
        if self.s.awaited > 0 {
            self.s.awaited -= 1;
            self.s.address = match self.has_wide_addresses() {
                true => self.s.address << 8 | u32::from(byte),
                false => self.s.address & !0xff | u32::from(byte),
            } % self.size;
        } else {
            self.s.page.insert(self.s.address, byte);
            // The address goes round in its page.
            let within = self.page - 1;
            self.s.address = self.s.address & !within | self.s.address.wrapping_add(1) & within;
        }
        true
    }

    fn read(&mut self, cx: &mut Cx<'_>) -> u8 {
        let mut byte = [0xff];
        if let Some(array) = cx.memory(0) {
            array.copy_out((self.s.address % self.size).into(), &mut byte);
        }
        self.s.address = self.s.address.wrapping_add(1) % self.size;
        byte[0]
    }

    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.s.awaited = 0;
        self.program(cx);
    }
}

impl Device for Eeprom {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        // The chip has no reset; what was on the bus is over.
        self.s.page.clear();
        self.s.awaited = 0;
        if !self.s.filled {
            self.fill(cx);
        }
    }

    fn medium_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        // Without an image it keeps what it has.
        if cx.medium(0).is_some() {
            self.fill(cx);
        }
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        self.s.protected = level;
    }

    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        Some(self)
    }

    crate::snapshot!(s);
}
