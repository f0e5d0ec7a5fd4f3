//! SD host controller: SD Host Controller Simplified Specification 2.00, as Arasan's 8.9a core in the Zynq-7000 (UG585 ch. 13 and app. B).
//!
//! Command register -> the card answers at once -> response registers, command complete. Data: guest memory (SDMA, ADMA2: `sdhci_transfer`) or the
//! data port <-> a buffer of up to 256 KiB <-> card -> drive; so the drive gets few and large requests. A command with its data is over
//! when the drive has answered. Interrupt: STATUS & SIGNAL.
//! Not modelled: times and timeouts (an error where no answer or no data will come), CRC errors but those of a wrong block length, bus power and
//! voltages, wakeup, suspend and resume, SDIO interrupts, SPI mode, boot mode, what version 3 adds (auto CMD23, tuning).

use super::sd_card::{Kind, SdCard};
use super::sdhci_transfer::Transfer;
use super::{Card, Data, Flow, Response};
use emu_machine::backend::DiskResult;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("sdhci");

/// `arasan,sdhci-8.9a`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    props: &[
        PropSpec {
            name: "card",
            kind: PropKind::Choice(&["sd", "emmc"]),
            default: Some("sd"),
            doc: "what is in its slot: an SD memory card, or an eMMC",
        },
        PropSpec {
            name: "card-serial",
            kind: PropKind::Int { min: 0, max: 0xffff_ffff },
            default: Some("1"),
            doc: "serial number of the card in its slot, so that the guest can tell two",
        },
    ],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "ref", required: true, doc: "SDIO_REF_CLK: base of the SD clock" }],
    drives: &["card"],
    dma: true,
    ..DeviceType::new("arasan,sdhci-8.9a", "SD host controller, Arasan 8.9a (UG585 ch. 13)", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) regs: Regs,
    pub(super) transfer: Option<Transfer>,
    /// Transfer complete comes when the card is not busy any more.
    pub(super) busy: bool,
    /// The card detect line, as it was when last told.
    inserted: bool,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.transfer.as_ref().is_none_or(Transfer::is_sound)
    }
}

/// The controller.
pub(super) struct Sdhci {
    pub(super) s: State,
    pub(super) card: Box<dyn Card>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let kind = if props.text("card") == "emmc" { Kind::Mmc } else { Kind::Sd };
    Ok(Box::new(Sdhci { s: State::default(), card: Box::new(SdCard::new(0, props.int("card-serial") as u32, kind)) }))
}

/// Response type 48 bits with busy.
const WITH_BUSY: u32 = 3;
/// Command type abort.
const ABORT: u32 = 3;
const STOP_TRANSMISSION: u8 = 12;

impl Sdhci {
    /// Sets status bits, of those that are enabled.
    pub(super) fn raise(&mut self, bits: u32) {
        self.s.regs.status |= bits & self.s.regs.enable;
    }

    fn interrupt(&self) -> bool {
        self.s.regs.status & self.s.regs.signal != 0
    }

    pub(super) fn update(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.interrupt());
    }

    /// The card detect line, or the test level that stands for it.
    fn inserted(&self) -> bool {
        if self.s.regs.host_detect_select() { self.s.regs.host_detect_test() } else { self.card.medium().is_some() }
    }

    fn detect(&mut self) {
        let inserted = self.inserted();
        if std::mem::replace(&mut self.s.inserted, inserted) != inserted {
            self.raise(if inserted { Regs::STATUS_INSERTION } else { Regs::STATUS_REMOVAL });
        }
    }

    fn clock_stable(&self, cx: &Cx<'_>) -> bool {
        self.s.regs.clock_internal() && cx.clock(0).0 != 0
    }

    /// The data lines are in use: no other command with data or busy.
    fn dat_inhibit(&self) -> bool {
        self.s.busy || self.s.transfer.as_ref().is_some_and(|t| !t.gap)
    }

    fn issue(&mut self, cx: &mut Cx<'_>) {
        let index = (self.s.regs.command_index() & 0x3f) as u8;
        let (data, response) = (self.s.regs.command_data(), self.s.regs.command_response());
        let stops = index == STOP_TRANSMISSION || self.s.regs.command_r_type() == ABORT;
        if !self.clock_stable(cx) || !self.s.regs.clock_sd() {
            return cx.guest_error("a command without an SD clock");
        }
        if (data || response == WITH_BUSY && !stops) && self.dat_inhibit() {
            return cx.guest_error("a command with data or busy while the data lines are in use");
        }
        let answer = self.card.command(index, self.s.regs.argument, cx);
        match answer {
            _ if response == 0 => {}
            Some(Response::Short(bits)) => self.respond(0, bits),
            Some(Response::Long(bits)) => {
                // Without its CRC, from bit 8 on.
                (0..4).for_each(|i| self.respond(i, (bits >> 8 >> (32 * i)) as u32));
            }
            None => {
                self.raise(Regs::STATUS_COMMAND_TIMEOUT);
                return self.look(cx);
            }
        }
        self.raise(Regs::STATUS_COMMAND_COMPLETE);
        if index == STOP_TRANSMISSION {
            self.s.transfer = None;
        }
        if data {
            self.begin(cx);
        } else if response == WITH_BUSY {
            self.complete();
        }
        self.look(cx);
    }

    fn respond(&mut self, i: usize, bits: u32) {
        if let Some(place) = self.s.regs.response.get_mut(i) {
            *place = bits;
        }
    }

    /// Transfer complete, as soon as the card is not busy.
    fn complete(&mut self) {
        self.s.busy = self.card.is_busy();
        if !self.s.busy {
            self.raise(Regs::STATUS_TRANSFER_COMPLETE);
        }
    }

    /// After a command: it may have ended what a transfer waits for.
    fn look(&mut self, cx: &mut Cx<'_>) {
        if self.s.transfer.as_ref().is_some_and(|t| t.waiting) && self.card.data() == Data::Idle && !self.card.is_busy() {
            self.s.transfer = None;
            self.raise(Regs::STATUS_DATA_TIMEOUT);
        }
        self.free(cx);
    }

    /// Notices that the card is not busy any more.
    fn free(&mut self, cx: &mut Cx<'_>) {
        if self.s.busy {
            self.complete();
        }
        self.update(cx);
    }

    /// All data of a transfer are moved.
    pub(super) fn finish(&mut self, transfer: &Transfer, cx: &mut Cx<'_>) {
        if transfer.auto_cmd12 {
            match self.card.command(STOP_TRANSMISSION, 0, cx) {
                Some(Response::Short(bits)) => self.respond(3, bits),
                _ => {
                    self.s.regs.auto_error |= Regs::AUTO_ERROR_TIMEOUT;
                    self.raise(Regs::STATUS_AUTO_CMD12);
                }
            }
        }
        self.complete();
    }

    fn reset_data(&mut self) {
        (self.s.transfer, self.s.busy) = (None, false);
        let r = &mut self.s.regs;
        r.status &= !(Regs::STATUS_TRANSFER_COMPLETE
            | Regs::STATUS_BLOCK_GAP
            | Regs::STATUS_DMA
            | Regs::STATUS_WRITE_READY
            | Regs::STATUS_READ_READY);
        r.host &= !Regs::HOST_STOP;
    }

    /// All registers; the card and its detection are not concerned.
    fn reset_all(&mut self, cx: &mut Cx<'_>) {
        let (inserted, in_reset) = (self.card.medium().is_some(), self.s.in_reset);
        self.s = State { inserted, in_reset, ..State::default() };
        self.update(cx);
    }
}

impl Hooks for Sdhci {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn present(&mut self, _: &mut Cx<'_>) -> u32 {
        let busy = self.card.is_busy();
        let writable = self.card.medium().is_none_or(|m| !m.read_only);
        let active = self.s.transfer.as_ref().filter(|t| !t.gap);
        let flags = [
            (Regs::PRESENT_CMD_LEVEL, true),
            // DAT0 is low while the card is busy.
            (Regs::PRESENT_DAT_LEVEL & !(1 << 20), true),
            (1 << 20, !busy),
            (Regs::PRESENT_WRITABLE, writable),
            (Regs::PRESENT_DETECT, self.card.medium().is_some()),
            (Regs::PRESENT_STABLE, true),
            (Regs::PRESENT_INSERTED, self.inserted()),
            (Regs::PRESENT_READ_READY, active.is_some_and(Transfer::readable)),
            (Regs::PRESENT_WRITE_READY, active.is_some_and(Transfer::writable)),
            (Regs::PRESENT_READING, active.is_some_and(|t| t.to_host)),
            (Regs::PRESENT_WRITING, active.is_some_and(|t| !t.to_host)),
            (Regs::PRESENT_DAT_ACTIVE, active.is_some() || busy),
            (Regs::PRESENT_DAT_INHIBIT, self.dat_inhibit()),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    fn host(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.detect();
        if value & Regs::HOST_CONTINUE != 0 {
            self.proceed(cx);
        }
        self.run(cx);
    }

    fn clock(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.s.regs.clock | if self.clock_stable(cx) { Regs::CLOCK_STABLE } else { 0 }
    }

    fn clock_reset(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::CLOCK_RESET_ALL != 0 {
            return self.reset_all(cx);
        }
        if value & Regs::CLOCK_RESET_DAT != 0 {
            self.reset_data();
        }
        if value & Regs::CLOCK_RESET_CMD != 0 {
            self.s.regs.status &= !Regs::STATUS_COMMAND_COMPLETE;
        }
        self.update(cx);
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let status = self.s.regs.status;
        status | if status >> 16 != 0 { Regs::STATUS_ERROR } else { 0 }
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        // What is not enabled is not there.
        self.s.regs.status &= self.s.regs.enable;
        self.update(cx);
    }

    fn force(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.auto_error |= value & 0x9f;
        self.raise(value & Regs::FORCE_ERRORS | if value & 0x9f != 0 { Regs::STATUS_AUTO_CMD12 } else { 0 });
        self.s.regs.force = 0;
        self.update(cx);
    }

    fn slot(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.slot & !1 | u32::from(self.interrupt())
    }
}

impl Device for Sdhci {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.card.plug(cx.medium(0));
        self.reset_all(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if offset & !3 == Regs::PORT && size <= 4 {
            return Ok(self.read_port(size, access.initiator == Initiator::Debug, cx));
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        let (word, end) = (offset & !3, (offset & 3) + u64::from(size));
        match word {
            Regs::PORT if size <= 4 => {
                self.write_port(&value.to_le_bytes()[..size.into()], cx);
                return Ok(());
            }
            // A transfer that is under way has them in use.
            Regs::BLOCK if self.dat_inhibit() => return Ok(()),
            Regs::COMMAND if self.dat_inhibit() && offset == word => {
                // A command without data may come, but the transfer's mode stays.
                let mode = self.s.regs.command & 0xffff;
                regs::write(self, offset, size, value, cx)?;
                self.s.regs.command = self.s.regs.command & !0xffff | mode;
            }
            _ => regs::write(self, offset, size, value, cx)?,
        }
        if end == 4 {
            match word {
                Regs::COMMAND => self.issue(cx),
                Regs::SDMA => self.resume_sdma(cx),
                _ => {}
            }
        }
        Ok(())
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset_all(cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, _: &mut Cx<'_>) {}

    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, cx: &mut Cx<'_>) {
        if let Some(flow) = self.card.disk_done(tag, result, cx)
            && self.s.transfer.as_ref().is_some_and(|t| t.waiting)
        {
            self.flow(flow);
            self.run(cx);
        }
        self.free(cx);
    }

    fn medium_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        let there = self.card.medium().is_some();
        self.card.plug(None);
        if there {
            self.detect();
            self.s.busy = false;
            if self.s.transfer.take().is_some() {
                self.raise(Regs::STATUS_DATA_TIMEOUT);
            }
        }
        self.card.plug(cx.medium(0));
        self.detect();
        self.update(cx);
    }

    fn save(&self) -> serde_json::Value {
        serde_json::json!({ "host": self.s, "card": self.card.save() })
    }

    fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let part = |name: &str| state.get(name).ok_or_else(|| format!("there is no `{name}`"));
        let host: State = serde_json::from_value(part("host")?.clone()).map_err(|e| e.to_string())?;
        if !host.is_sound() {
            return Err("no state of a controller".into());
        }
        self.card.load(part("card")?)?;
        self.s = host;
        Ok(())
    }
}

impl Sdhci {
    /// What the card made of a request of a transfer.
    pub(super) fn flow(&mut self, flow: Flow) {
        let Some(t) = self.s.transfer.as_mut() else { return };
        t.waiting = flow == Flow::Wait;
        match flow {
            Flow::Wait => {}
            Flow::Bytes(bytes) => {
                t.take(bytes);
                if t.readable() {
                    self.raise(Regs::STATUS_READ_READY);
                }
            }
            Flow::Done => {
                if t.writable() {
                    self.raise(Regs::STATUS_WRITE_READY);
                }
            }
            Flow::End => {
                self.s.transfer = None;
                self.raise(Regs::STATUS_DATA_TIMEOUT);
            }
        }
    }
}
