//! What instructions do (DDI 0424 4.3), in the manual's order of thread, event, peripheral and security rules (2.7 to 2.9).

use super::instruction::{Instruction, Target, When, decode};
use super::*;

/// How a thread goes on after an instruction, and how many cycles that took.
pub(super) enum Then {
    /// With the next instruction.
    Next(u64),
    /// With the next, after the others' turns.
    Moved(u64),
    /// With the instruction at this address.
    Jump(u32, u64),
    /// Not, for now: it waits at this instruction, or has ended.
    Stay(u64),
}

/// Or the reasons of a fault, as in FTRD and FTRn. Nothing has been done then.
pub(super) type Outcome = Result<Then, u32>;

/// Instructions of a turn, if none of them moves data.
const TURN: u32 = 16;

impl Pl330 {
    /// A thread's turn; false if it has to wait for the time that it is ahead.
    pub(super) fn turn(&mut self, thread: usize, cx: &mut Cx<'_>) -> bool {
        for _ in 0..TURN {
            let early = self.spent >= GRAIN;
            let pc = self.s.threads[thread].pc;
            let outcome = match self.fetch(pc, cx) {
                Ok((_, instruction)) if early && instruction.is_seen() => return false,
                Ok((length, instruction)) => self.execute(thread, pc, instruction, cx).map(|then| (length, then)),
                Err(reason) => Err(reason),
            };
            let (length, then) = match outcome {
                Ok(ok) => ok,
                Err(_) if early => return false,
                Err(reasons) => {
                    self.fault(thread, reasons);
                    self.spent += 1;
                    return true;
                }
            };
            let (to, cycles, goes_on) = match then {
                Then::Next(cycles) => (pc.wrapping_add(length), cycles, true),
                Then::Moved(cycles) => (pc.wrapping_add(length), cycles, false),
                Then::Jump(to, cycles) => (to, cycles, true),
                Then::Stay(cycles) => (pc, cycles, false),
            };
            self.s.threads[thread].pc = to;
            self.spent += cycles;
            if !goes_on || self.spent >= SLICE {
                break;
            }
        }
        true
    }

    /// The instruction at this address: bytes from memory, as many as the first says.
    fn fetch(&mut self, pc: u32, cx: &mut Cx<'_>) -> Result<(u32, Instruction), u32> {
        if let Some((length, instruction)) = self.known(pc) {
            return Ok((length, instruction));
        }
        let mut bytes = [0; 6];
        cx.dma_read(GuestPhys(pc.into()), &mut bytes[..1]).map_err(|_| Regs::FTR_INSTR_FETCH_ERR)?;
        let (length, _) = decode(bytes).ok_or(Regs::FTR_UNDEF_INSTR)?;
        cx.dma_read(GuestPhys(u64::from(pc) + 1), &mut bytes[1..length as usize]).map_err(|_| Regs::FTR_INSTR_FETCH_ERR)?;
        let (_, instruction) = decode(bytes).ok_or(Regs::FTR_UNDEF_INSTR)?;
        self.decoded[pc as usize % DECODED] = Some((pc, length, instruction));
        Ok((length, instruction))
    }

    /// The instruction at this address, if it was decoded in this slice.
    pub(super) fn known(&self, pc: u32) -> Option<(u32, Instruction)> {
        self.decoded[pc as usize % DECODED].filter(|(at, ..)| *at == pc).map(|(_, length, instruction)| (length, instruction))
    }

    /// Executes an instruction of a thread.
    pub(super) fn execute(&mut self, thread: usize, pc: u32, instruction: Instruction, cx: &mut Cx<'_>) -> Outcome {
        use Instruction::*;
        match instruction {
            End | Kill => {
                self.stop(thread);
                return Ok(Then::Stay(1));
            }
            SendEvent(event) => {
                self.check_event(thread, event)?;
                self.send_event(event);
                return Ok(Then::Next(1));
            }
            WaitForEvent(event) => return self.wait_for_event(thread, event),
            Go { channel, non_secure, pc } if thread == MANAGER => return self.go(channel.into(), non_secure, pc),
            Go { .. } => return Err(Regs::FTR_UNDEF_INSTR),
            _ if thread == MANAGER && !instruction.is_for_manager() => return Err(Regs::FTRD_UNDEF_INSTR),
            _ => {}
        }
        match instruction {
            Add(target, n) => {
                let value = self.target(thread, target).ok_or(Regs::FTR_OPERAND_INVALID)?;
                *value = value.wrapping_add(n);
            }
            Move(target, value) => {
                if target == Target::Ccr {
                    self.check_control(thread, value)?;
                }
                *self.target(thread, target).ok_or(Regs::FTR_OPERAND_INVALID)? = value;
            }
            Loop(counter, times) => *self.counter(thread, counter) = times,
            LoopEnd(when, counter, back) if self.is_time(thread, when) => {
                let to = pc.wrapping_sub(back);
                let times = *self.counter(thread, counter);
                let (done, cycles) =
                    if when == When::Always { self.copy_block(thread, to, pc, times, cx).unwrap_or((0, 0)) } else { (0, 0) };
                *self.counter(thread, counter) = (times - done).saturating_sub(1);
                return Ok(if times == done { Then::Next(cycles + 1) } else { Then::Jump(to, cycles + 1) });
            }
            LoopForeverEnd(when, back) if self.is_time(thread, when) && !self.s.threads[thread].last => {
                return Ok(Then::Jump(pc.wrapping_sub(back), 1));
            }
            Load(when) if self.is_time(thread, when) => return self.load(thread, when == When::Single, cx),
            Store(when) if self.is_time(thread, when) => return self.store(thread, when == When::Single, cx),
            StoreZero => return self.store_zero(thread, cx),
            LoadPeripheral(when, n) => {
                self.check_peripheral(thread, n)?;
                if self.is_time(thread, when) {
                    let then = self.load(thread, when == When::Single, cx)?;
                    self.acknowledge(&then, n, cx);
                    return Ok(then);
                }
            }
            StorePeripheral(when, n) => {
                self.check_peripheral(thread, n)?;
                if self.is_time(thread, when) {
                    let then = self.store(thread, when == When::Single, cx)?;
                    self.acknowledge(&then, n, cx);
                    return Ok(then);
                }
            }
            WaitForPeripheral(wanted, n) => return self.wait_for_peripheral(thread, wanted, n),
            FlushPeripheral(n) => {
                self.check_peripheral(thread, n)?;
                let peripheral = &mut self.s.peripherals[n as usize];
                (peripheral.latched, peripheral.acknowledged) = (None, true);
                cx.set_line(FLUSH, n, true);
                cx.set_line(FLUSH, n, false);
            }
            _ => {}
        }
        Ok(Then::Next(1))
    }

    fn target(&mut self, channel: usize, target: Target) -> Option<&mut u32> {
        let r = &mut self.s.regs;
        match target {
            Target::Sar => r.sar.get_mut(channel),
            Target::Ccr => r.ccr.get_mut(channel),
            Target::Dar => r.dar.get_mut(channel),
            Target::None => None,
        }
    }

    fn counter(&mut self, channel: usize, n: usize) -> &mut u32 {
        let r = &mut self.s.regs;
        if n == 0 { &mut r.lc0[channel] } else { &mut r.lc1[channel] }
    }

    /// The request type is what a conditional instruction wants.
    fn is_time(&self, thread: usize, when: When) -> bool {
        match when {
            When::Always => true,
            When::Single => self.s.threads[thread].request == Some(Request::Single),
            When::Burst => self.s.threads[thread].request == Some(Request::Burst),
        }
    }

    /// Bursts no wider than the bus, a swap that there is; a Non-secure thread makes no Secure transfers.
    fn check_control(&self, channel: usize, value: u32) -> Result<(), u32> {
        const NON_SECURE: u32 = 1 << 9 | 1 << 23;
        if (value >> 1 & 7).max(value >> 15 & 7) > self.width || value >> 28 & 7 > 4 {
            return Err(Regs::FTR_OPERAND_INVALID);
        }
        if self.s.threads[channel].non_secure && value & NON_SECURE != NON_SECURE {
            return Err(Regs::FTR_CH_RDWR_ERR);
        }
        Ok(())
    }

    /// There is such an event, and the thread may use it. The reasons are the same bits for the manager.
    fn check_event(&self, thread: usize, event: u32) -> Result<(), u32> {
        if event >= self.events {
            return Err(Regs::FTR_OPERAND_INVALID);
        }
        if self.s.threads[thread].non_secure && self.s.regs.cr3 >> event & 1 == 0 {
            return Err(Regs::FTR_CH_EVNT_ERR);
        }
        Ok(())
    }

    fn check_peripheral(&self, thread: usize, n: u32) -> Result<(), u32> {
        if n >= self.requests {
            return Err(Regs::FTR_OPERAND_INVALID);
        }
        if self.s.threads[thread].non_secure && self.s.regs.cr4 >> n & 1 == 0 {
            return Err(Regs::FTR_CH_PERIPH_ERR);
        }
        Ok(())
    }

    /// An interrupt; or all who wait for the event go on, and if nobody does, it stays for the next who will.
    fn send_event(&mut self, event: u32) {
        let waits = |t: &Thread| t.status == Status::WaitingForEvent && t.wakeup == event;
        let r = &mut self.s.regs;
        if r.inten >> event & 1 != 0 || !self.s.threads.iter().any(waits) {
            r.int_event_ris |= 1 << event;
            return;
        }
        for t in self.s.threads.iter_mut().filter(|t| waits(t)) {
            t.status = Status::Executing;
            t.pc = t.pc.wrapping_add(2);
        }
        // Who waited may have waited for another program.
        self.decoded.fill(None);
    }

    fn wait_for_event(&mut self, thread: usize, event: u32) -> Outcome {
        self.check_event(thread, event)?;
        let r = &mut self.s.regs;
        if r.int_event_ris & !r.inten & 1 << event != 0 {
            r.int_event_ris &= !(1 << event);
            return Ok(Then::Next(1));
        }
        let t = &mut self.s.threads[thread];
        (t.status, t.wakeup) = (Status::WaitingForEvent, event);
        Ok(Then::Stay(1))
    }

    /// Starts a channel that is stopped; another goes on as it is.
    fn go(&mut self, channel: usize, non_secure: bool, pc: u32) -> Outcome {
        if channel >= self.channels {
            return Err(Regs::FTRD_OPERAND_INVALID);
        }
        if self.s.threads[MANAGER].non_secure && !non_secure {
            return Err(Regs::FTRD_DMAGO_ERR);
        }
        if self.s.threads[channel].status == Status::Stopped {
            self.s.threads[channel] = Thread { pc, non_secure, status: Status::Executing, ..Thread::default() };
        }
        Ok(Then::Next(1))
    }

    fn wait_for_peripheral(&mut self, thread: usize, wanted: Option<When>, n: u32) -> Outcome {
        self.check_peripheral(thread, n)?;
        let (peripheral, t) = (&mut self.s.peripherals[n as usize], &mut self.s.threads[thread]);
        if std::mem::take(&mut peripheral.acknowledged) && peripheral.latched.is_none() {
            peripheral.latch();
        }
        t.wait = match wanted {
            None => Regs::CSR_DMAWFP_PERIPH,
            Some(When::Burst) => Regs::CSR_DMAWFP_B_NS,
            Some(_) => 0,
        };
        // A burst is also room for a single transfer, but not the other way round.
        let taken = match (wanted, peripheral.latched) {
            (Some(When::Burst), Some(Request::Single)) | (_, None) => None,
            (Some(When::Single), Some(_)) => Some(Request::Single),
            (_, latched) => latched,
        };
        if taken.is_none() {
            (t.status, t.wakeup) = (Status::WaitingForPeripheral, n);
            return Ok(Then::Stay(1));
        }
        (t.request, t.last) = (taken, peripheral.latched_last);
        peripheral.latched = None;
        Ok(Then::Next(1))
    }

    /// Tells a peripheral that its data was moved, if it was.
    fn acknowledge(&mut self, then: &Then, n: u32, cx: &mut Cx<'_>) {
        if matches!(then, Then::Moved(_)) {
            self.s.peripherals[n as usize].acknowledged = true;
            cx.set_line(ACK, n, true);
            cx.set_line(ACK, n, false);
        }
    }
}
