//! A run: from the state between two instructions to the code that goes on from there, and back, until there is a reason to stop.

use super::*;

impl<I: Isa> Engine<I> {
    pub(super) fn run_to(&mut self, bus: &dyn GuestBus, limit: u64, once: bool) -> Stop {
        // Of what is not counted, parts of blocks are still taken off.
        let begun = if self.counted || once { 0 } else { limit / 2 };
        self.cx.executed = begun;
        self.cx.limit = limit;
        self.set_levels(bus.levels(), once);
        if self.attended != Arc::as_ptr(bus.attention()) as usize {
            self.keeper.attend(bus.attention());
            self.attended = Arc::as_ptr(bus.attention()) as usize;
        }
        if self.cx.tlb.sync_map(bus.map_version()) {
            self.cx.forget_jumps();
        }
        let tag = self.cx.isa.space_tag(self.state());
        self.cx.set_tag(tag);
        let stop = self.turn(bus, once);
        if self.counted {
            self.cx.stats.instructions += self.cx.executed;
        }
        stop
    }

    /// The quick tier and regions do not look for interrupts at every block, but where the key may be another: while a line is high they are entered only if
    /// nothing else unmasks an interrupt. Nor do they look at addresses where the host maps
    /// memory, so not while any are watched there. One instruction is one of the interpreter's, where generated code does not count.
    fn set_levels(&mut self, levels: u64, once: bool) {
        self.cx.levels = levels;
        let blind = self.cx.direct != 0 && !self.cx.watches.is_empty();
        let seen = levels == 0 || self.cx.isa.unmasks_by_rekey();
        self.cx.native = seen && !blind && (self.counted || !once) && self.quick.is_some();
    }

    fn turn(&mut self, bus: &dyn GuestBus, once: bool) -> Stop {
        let mut link = None;
        loop {
            // Here the state is that between two instructions.
            let bits = bus.attention().load(Ordering::Relaxed);
            let polled = self.cx.polled.take();
            if bits != 0 || polled.is_some() {
                self.sample(bus, polled);
            }
            if bits != 0 {
                link = None;
                bus.acknowledge(bits);
                if bits & Attention::FLUSH_TLB != 0 {
                    self.cx.tlb.flush_all();
                    self.cx.forget_jumps();
                }
                if bits & Attention::LINES != 0 {
                    self.set_levels(bus.levels(), once);
                }
                if bits & Attention::CODE != 0 {
                    self.take_notes();
                }
                self.cx.event |= bits & Attention::EVENT != 0;
                if bits & Attention::REGION != 0 {
                    self.install_regions();
                }
                if bits & Attention::EXIT != 0 {
                    return Stop::Exit;
                }
            }
            let interrupt = if self.cx.levels == 0 { None } else { self.cx.isa.interrupt(self.state(), self.cx.levels) };
            if let Some(for_event) = self.asleep {
                let woken = interrupt.is_some()
                    || self.cx.levels != 0 && self.cx.isa.wakes(self.state(), self.cx.levels)
                    || for_event && std::mem::take(&mut self.cx.event);
                if !woken {
                    return Stop::Asleep(for_event);
                }
                self.asleep = None;
            }
            if self.cx.executed >= self.cx.limit {
                return Stop::Budget;
            }
            if !once && interrupt.is_none() && !self.breakpoints.is_empty() && self.breakpoints.contains(&self.cx.pc()) {
                return Stop::Breakpoint;
            }
            let leave = if let Some(exception) = interrupt {
                if once {
                    // The handler may be known, and generated code would go on into it.
                    self.cx.limit = self.cx.executed;
                }
                self.deliver(bus, exception)
            } else if let Some((code, native)) = self.known(link.is_some() || once) {
                self.enter(bus, code, native)
            } else {
                match self.find(bus, link.take()) {
                    Ok(found) => self.enter(bus, found.code, found.native),
                    Err(FetchFault(exception)) => {
                        self.cx.executed += 1;
                        self.deliver(bus, exception)
                    }
                }
            };
            link = self.settle(bus, leave);
            if let Some(exception) = self.trapped.take() {
                return Stop::Exception(exception);
            }
            if let Some((address, write)) = self.cx.watched.take() {
                return Stop::Watchpoint(address, write);
            }
            if once && interrupt.is_some() {
                return Stop::Budget;
            }
        }
    }

    /// Executes from a code index until something else than the end of an instruction comes up.
    pub(super) fn enter(&mut self, bus: &dyn GuestBus, code: u32, native: u64) -> Leave {
        let mut leave = self.execute(bus, code, native);
        leave = loop {
            leave = match leave {
                Leave::Hot(at, pc) => {
                    self.heated(bus, at, pc);
                    let linked = self.arena.code[at as usize].op == Bc::Linked;
                    break Leave::Miss(pc, (!linked).then_some(at));
                }
                Leave::Judge(code) => {
                    self.judge_region(bus, code);
                    Leave::Quick(code)
                }
                Leave::Quick(code) => self.execute(bus, code, self.quick.as_ref().map_or(0, |quick| quick.block(code))),
                Leave::Resume(at) => {
                    self.cx.stats.resumed += 1;
                    let c = self.arena.code[at as usize];
                    let va = self.cx.cell(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                    let refused = quick::take_refused();
                    let leave = self.interpret(bus, at);
                    if c.op.is_access() {
                        // The access did not find its page in the TLB's front; it shall the next time.
                        self.cx.tlb.raise(va, c.c as u8, self.cx.tag);
                    }
                    match refused {
                        Some(address) => self.refused(at, address),
                        None if c.op.is_access() => self.strain(at),
                        None => {}
                    }
                    leave
                }
                Leave::Soon(at) => {
                    self.cx.soon = false;
                    let stop = self.arena.next_mark(at).map_or(u32::MAX, |mark| mark.code);
                    execute::<I, true>(&mut self.cx, &self.arena, &self.rams, bus, at + 1, stop)
                }
                other => break other,
            };
        };
        self.cx.soon = false;
        if let Some(extent) = self.scratch.take() {
            leave = self.settled_scratch(leave);
            self.arena.truncate(extent);
        }
        leave
    }

    /// Executes from a code index, in the quick tier if it can.
    fn execute(&mut self, bus: &dyn GuestBus, code: u32, native: u64) -> Leave {
        if let Some(quick) = self.quick.as_ref().filter(|_| self.cx.native && native != 0) {
            // Nobody but a look-up sees breakpoints.
            let known = self.breakpoints.is_empty().then_some(&self.blocks);
            return quick.execute(&mut self.cx, &self.arena, &self.rams, known, bus, native);
        }
        self.interpret(bus, code)
    }

    /// Executes from a code index in the interpreter.
    pub(super) fn interpret(&mut self, bus: &dyn GuestBus, at: u32) -> Leave {
        if let Some(block) = self.arena.block_at(at) {
            // The quick tier does not say which key it went on with.
            self.cx.key = self.arena.blocks[block as usize].key;
        }
        execute::<I, false>(&mut self.cx, &self.arena, &self.rams, bus, at, 0)
    }
}
