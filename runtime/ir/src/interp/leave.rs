//! What follows when code was left: the state becomes that between two instructions, or that at the entry of an exception.

use super::*;

impl<I: Isa> Engine<I> {
    /// What code executed only once left with, said without reference to it.
    pub(super) fn settled_scratch(&mut self, leave: Leave) -> Leave {
        match leave {
            Leave::Miss(pc, _) => Leave::Miss(pc, None),
            Leave::Fault(at, exception) => {
                self.back_to(at, true);
                Leave::Fault(u32::MAX, exception)
            }
            Leave::Mark(at) => {
                self.back_to_mark(self.arena.mark_from(at).map(|(i, n, mark)| (mark.pc, n - i)), false);
                Leave::Rekey(self.cx.pc())
            }
            Leave::Again(at) => {
                self.back_to(at, false);
                Leave::Rekey(self.cx.pc())
            }
            other => other,
        }
    }

    /// Puts pc and count to where the instruction at `at` begins; `counted`: it counts as executed.
    fn back_to(&mut self, at: u32, counted: bool) {
        self.back_to_mark(self.arena.place_of(at), counted);
    }

    /// `mark`: pc, and how many instructions the block has from it on.
    fn back_to_mark(&mut self, mark: Option<(u64, u32)>, counted: bool) {
        if let Some((pc, rest)) = mark {
            self.cx.executed -= u64::from(rest) - u64::from(counted);
            self.cx.set_pc(pc);
        } else if counted {
            // A fault while an exception is taken.
            self.cx.executed += 1;
        }
    }

    /// Brings the state to that between two instructions; a jump to be linked with what comes next is returned.
    pub(super) fn settle(&mut self, bus: &dyn GuestBus, mut leave: Leave) -> Option<u32> {
        loop {
            match leave {
                Leave::Block(at) => {
                    if let Some(block) = self.arena.block_at(at) {
                        let block = self.arena.blocks[block as usize];
                        self.cx.set_pc(block.pc);
                        // A stale head becomes a jump to the block's successor.
                        let head = self.arena.code[at as usize];
                        let fresh = self.rams.get(head.b as usize).is_some_and(|r| r.page_generation(head.imm >> 32) == head.imm as u32);
                        return (!fresh && block.linkable && block.code == at).then_some(at);
                    }
                    return None;
                }
                Leave::Mark(at) => {
                    self.back_to_mark(self.arena.mark_from(at).map(|(i, n, mark)| (mark.pc, n - i)), false);
                    return None;
                }
                Leave::Again(at) => {
                    self.back_to(at, false);
                    return None;
                }
                Leave::Miss(pc, link) => {
                    self.cx.set_pc(pc);
                    return link;
                }
                Leave::Rekey(pc) => {
                    self.cx.set_pc(pc);
                    return None;
                }
                Leave::Fault(at, exception) => {
                    if at != u32::MAX {
                        self.back_to(at, true);
                    }
                    if self.cx.executed >= self.cx.limit && at != u32::MAX && self.arena.mark_at(at).is_none() {
                        // An exception's entry faults again and again (a CPU would lock up): the budget ends it.
                        return None;
                    }
                    leave = self.deliver(bus, exception);
                }
                Leave::Wait(event, pc) => {
                    self.cx.set_pc(pc);
                    self.asleep = Some(event);
                    return None;
                }
                Leave::Soon(_) | Leave::Quick(_) | Leave::Resume(_) | Leave::Hot(..) | Leave::Judge(_) => return None,
            }
        }
    }

    fn store_arguments(&mut self, exception: Exception) {
        let layout = self.cx.isa.layout();
        for (slot, value) in self.cx.isa.exception_args().into_iter().zip(exception.args) {
            layout.write(&mut self.cx.cells, slot, value.into());
        }
    }

    /// Takes an exception at the current pc.
    pub(super) fn deliver(&mut self, bus: &dyn GuestBus, exception: Exception) -> Leave {
        if self.cx.served(bus, &exception) {
            return Leave::Rekey(self.cx.pc());
        }
        self.cx.stats.exceptions += 1;
        if self.cx.trap {
            self.trapped = Some(exception);
            return Leave::Rekey(self.cx.pc());
        }
        self.store_arguments(exception);
        let (code, native) = self.exception_code(exception.id);
        self.enter(bus, code, native)
    }

    fn exception_code(&mut self, id: u16) -> (u32, u64) {
        if let Some(Some(code)) = self.exceptions.get(id as usize) {
            return *code;
        }
        let isa = self.cx.isa.clone();
        let mut builder = Builder::for_isa(&*isa);
        isa.lower_exception(id, &mut builder);
        let mut block = builder.finish();
        self.passes.optimise(&mut block);
        let code = self.arena.code.len() as u32;
        let fits = compile::compile(&self.target, &mut self.work, &block, &mut self.arena, None, None, None);
        assert!(fits.is_ok(), "the entry of exception {} has too many values", isa.exception_name(id));
        let index = id as usize;
        if self.exceptions.len() <= index {
            self.exceptions.resize(index + 1, None);
        }
        let (end, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let info = BlockInfo { code, end, marks: (marks, marks), pc: 0, key: BlockKey(0), linkable: false };
        let native = self.quick.as_mut().map_or(0, |quick| quick.add_entry(&self.arena, &info));
        self.note_exception(native, id);
        self.exceptions[index] = Some((code, native));
        (code, native)
    }
}
