//! Parts: devices on a peripheral bus (SPI, I2C, USB, a memory controller's lines), which have no addresses of their own in the machine's; and what a
//! DMA's streams lead to, which may also have registers.
//!
//! A part is a device like any other, with its lines, drives, timers, properties and state; the board says in which slot of its controller it sits
//! (`on="i2c0" at=0x50`). The buses form a tree, and calls go down it: during a call a controller reaches its parts by [`Cx::spi`], [`Cx::i2c`],
//! [`Cx::usb`], [`Cx::nand`], [`Cx::nor`] and [`Cx::stream`], under the part's own lock. A part never calls upwards; it raises its hand ([`Cx::notify`]), and its controller hears of that by
//! [`crate::device::Device::part_changed`] when no lock is held. This is the one exception from the rule that no device runs inside another's call.

use crate::cx::Cx;
use crate::device::Device;

/// What kind of bus a slot belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartBus {
    /// Serial Peripheral Interface, also with two or four data lines; `at` is the chip select.
    Spi,
    /// I2C and SMBus; `at` is the 7-bit address.
    I2c,
    /// USB; `at` is the port, from 1.
    Usb,
    /// The lines of a NAND flash chip; `at` is the chip select.
    Nand,
    /// Address and data lines, as NOR flash and SRAM chips have them; `at` is the chip select.
    Nor,
    /// A pair of AXI4-Streams, to the part and from it.
    Stream,
}

impl PartBus {
    /// As it is written in texts.
    pub fn name(self) -> &'static str {
        match self {
            PartBus::Spi => "SPI",
            PartBus::I2c => "I2C",
            PartBus::Usb => "USB",
            PartBus::Nand => "NAND",
            PartBus::Nor => "NOR",
            PartBus::Stream => "stream",
        }
    }
}

/// A part on an SPI bus.
pub trait SpiPart {
    /// Its chip select was asserted (`true`), or released: a command begins, or ends.
    fn select(&mut self, selected: bool, cx: &mut Cx<'_>);
    /// Eight bits go out to the part while eight come back, most significant bit first. It is the same byte however many data lines carry it.
    fn transfer(&mut self, byte: u8, cx: &mut Cx<'_>) -> u8;
}

/// A part on an I2C bus. A transfer is a start, then bytes in one direction, then another start or a stop.
pub trait I2cPart {
    /// A (repeated) start with a 7-bit address, for reading or writing. True: it acknowledges, and what follows is for it. `at` is where the board put
    /// it; it may answer to other addresses, too, and a multiplexer hands them on.
    fn start(&mut self, at: u8, address: u8, read: bool, cx: &mut Cx<'_>) -> bool;
    /// A byte from the controller; true: acknowledged.
    fn write(&mut self, byte: u8, cx: &mut Cx<'_>) -> bool;
    /// A byte for the controller.
    fn read(&mut self, cx: &mut Cx<'_>) -> u8;
    /// The controller acknowledged (`true`) the byte read last, or not: then it wants no more.
    fn acknowledged(&mut self, ack: bool, cx: &mut Cx<'_>) {
        let _ = (ack, cx);
    }
    /// A stop, also instead of an answer to a start of others.
    fn stop(&mut self, cx: &mut Cx<'_>);
}

/// How fast a USB part is (USB 2.0 ch. 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum UsbSpeed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
}

/// One transaction on a USB (USB 2.0 ch. 8.4, 8.5), or a run of them with the same endpoint: a token with its data. Bytes are as many packets as
/// they fill, of the endpoint's size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UsbToken<'a> {
    /// The eight bytes of a request.
    Setup([u8; 8]),
    /// Data to the part.
    Out(&'a [u8]),
    /// Data from the part, at most so many bytes. If they are less and the last packet is a whole one, more may follow.
    In(usize),
}

/// What a USB part answers to a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UsbReply {
    /// Taken, all of it.
    Ack,
    /// Data.
    Data(Vec<u8>),
    /// Not now; it raises its hand ([`Cx::notify`]) when asking again is worth it.
    Nak,
    /// The endpoint is halted, or the request is not supported.
    Stall,
}

/// A part on a USB.
pub trait UsbPart {
    /// Its speed; `None`: nothing is plugged in there.
    fn speed(&self) -> Option<UsbSpeed>;
    /// The port it hangs on is reset: it has address 0 and no configuration.
    fn reset(&mut self, cx: &mut Cx<'_>);
    /// A transaction for a function at `address` (0 to 127). `None`: nobody has that address here, so nobody answers. A hub hands it on.
    fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply>;
}

/// A NAND flash chip with 8 data lines (ONFI 1.0 ch. 4), selected during all these calls.
pub trait NandPart {
    /// A command cycle.
    fn command(&mut self, command: u8, cx: &mut Cx<'_>);
    /// An address cycle.
    fn address(&mut self, byte: u8, cx: &mut Cx<'_>);
    /// Data cycles to the chip.
    fn write(&mut self, bytes: &[u8], cx: &mut Cx<'_>);
    /// Data cycles from the chip.
    fn read(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>);
    /// The level of its ready/busy pin; when that rises, it raises its hand ([`Cx::notify`]).
    fn is_ready(&self) -> bool;
}

/// A chip with address and data lines: NOR flash, SRAM. `at` is in bytes from its chip select's start, and may lie beyond its end: a chip does not see
/// address lines that it does not have.
pub trait NorPart {
    /// Reads bytes that lie side by side.
    fn read(&mut self, at: u64, buffer: &mut [u8], cx: &mut Cx<'_>);
    /// Writes bytes that lie side by side.
    fn write(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>);
}

/// What a pair of AXI4-Streams leads to, with the streams of control and status words beside them: a network controller, a FIFO. Its controller is a
/// DMA. The streams hold each other up: who cannot take or has nothing says so, and the part raises its hand ([`Cx::notify`]) when asking again
/// is worth it.
pub trait StreamPart {
    /// Bytes to the part, at least one: gives how many it takes now. `begins`: a packet begins with them, with these control words. `ends`: it ends with
    /// them, if all are taken. What is not taken is offered again, and `begins` if nothing was taken.
    fn push(&mut self, bytes: &[u8], begins: Option<[u32; 5]>, ends: bool, cx: &mut Cx<'_>) -> usize;
    /// Bytes from the part: gives how many; 0: there are none now. With the last ones of a packet come its status words; a packet does not go on behind
    /// them.
    fn pull(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>) -> (usize, Option<[u32; 5]>);
}

impl Cx<'_> {
    /// Where parts sit in slot `slot`, in ascending order.
    pub fn parts(&self, slot: usize) -> Vec<u32> {
        self.outside.parts(slot)
    }
    fn part<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> Option<R>) -> Option<R> {
        let (mut f, mut result) = (Some(f), None);
        self.outside.part(slot, at, &mut |device, cx| result = f.take().and_then(|f| f(device, cx)));
        result
    }
    /// Calls the part at `at` of an SPI slot; `None`: there is none.
    pub fn spi<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn SpiPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.spi().map(|part| f(part, cx)))
    }
    /// Calls the part at `at` of an I2C slot; `None`: there is none.
    pub fn i2c<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn I2cPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.i2c().map(|part| f(part, cx)))
    }
    /// Calls the part at `at` of a USB slot; `None`: there is none.
    pub fn usb<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn UsbPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.usb().map(|part| f(part, cx)))
    }
    /// Calls the part at `at` of a NAND slot; `None`: there is none.
    pub fn nand<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn NandPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.nand().map(|part| f(part, cx)))
    }
    /// Calls the part at `at` of a stream slot; `None`: there is none.
    pub fn stream<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn StreamPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.stream().map(|part| f(part, cx)))
    }
    /// Calls the part at `at` of a NOR slot; `None`: there is none.
    pub fn nor<R>(&mut self, slot: usize, at: u32, f: impl FnOnce(&mut dyn NorPart, &mut Cx<'_>) -> R) -> Option<R> {
        self.part(slot, at, |device, cx| device.nor().map(|part| f(part, cx)))
    }
}
