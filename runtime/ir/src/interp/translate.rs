//! The block for a place of the guest's: the one that is there, or guest code is read, translated by the instruction set, optimised and compiled. And how what is
//! there is forgotten.

use super::*;

impl<I: Isa> Engine<I> {
    /// Forgets all translations.
    pub fn flush(&mut self) {
        self.cx.stats.flushes += u64::from(!self.arena.blocks.is_empty());
        self.arena.clear();
        if let Some(quick) = &mut self.quick {
            quick.clear::<I>();
        }
        self.blocks.clear();
        self.exceptions.clear();
        self.cx.forget_jumps();
        self.forget_regions();
    }

    /// Code was overwritten, or is where none was: nothing may lead to what is void, and the TLB's front to pages that now hold code.
    pub(super) fn take_notes(&mut self) {
        if self.keeper.take_first_code() {
            self.cx.tlb.protect_code();
        }
        for page in self.keeper.take_overwritten() {
            let Some(quick) = &mut self.quick else { continue };
            let (gone, led) = quick.revoke(page);
            led.into_iter().for_each(|led| self.lead(&led));
            for (id, code) in gone {
                self.blocks.remove(&id);
                let slot = jump_slot(id.pc);
                for slot in [slot, slot ^ OTHER_JUMP] {
                    if self.cx.jumps[slot].code == code {
                        self.cx.jumps[slot] = JumpEntry::NONE;
                    }
                }
            }
        }
    }

    pub(super) fn ram_index(&mut self, ram: &Arc<RamBlock>) -> u16 {
        let index = self.rams.iter().position(|held| Arc::ptr_eq(held, ram)).unwrap_or_else(|| {
            ram.add_keeper(&self.keeper, self.rams.len() as u16);
            self.rams.push(ram.clone());
            self.rams.len() - 1
        });
        index as u16
    }

    /// The page code at `va` comes from: the RAM and the page's number in it; `None` if it is no RAM.
    pub(super) fn code_page(&mut self, bus: &dyn GuestBus, va: u64, mmu: u8) -> Result<(GuestPhys, Option<(u16, u64)>), FetchFault> {
        let phys = self.cx.resolve(bus, va, AccessKind::Execute, mmu).map_err(FetchFault)?;
        let known = self.cx.tlb.lookup(va, mmu, self.cx.tag).and_then(|page| page.ram);
        let found = match known {
            Some((block, offset)) => self.cx.tlb.block(block).cloned().map(|block| (block, offset)),
            // Pages of less than 4 KiB are not in the TLB.
            None => bus
                .ram(GuestPhys(phys.0 & !(PAGE_SIZE - 1)), Access::cpu(self.cx.cpu))
                .filter(|slice| slice.offset.is_multiple_of(PAGE_SIZE) && slice.len >= PAGE_SIZE)
                .map(|slice| (slice.block, slice.offset)),
        };
        Ok((phys, found.map(|(block, offset)| (self.ram_index(&block), offset >> PAGE_BITS))))
    }

    /// The block at the current state and its generated code, if the jump cache knows it and there is no reason to look closer.
    pub(super) fn known(&mut self, closer: bool) -> Option<(u32, u64)> {
        let room = self.cx.limit - self.cx.executed;
        if closer || !self.cx.native || room < MAX_INSNS.into() || !self.breakpoints.is_empty() {
            return None;
        }
        let key = self.cx.isa.block_key(self.state());
        let entry = self.cx.known_jump(self.cx.pc(), key)?;
        let (code, native) = (entry.code, entry.native);
        self.cx.key = key;
        self.quick.as_ref().is_some_and(|quick| native != quick.missing()).then_some((code, native))
    }

    /// The code of the block at the current state, translated if need be. `link`: a jump to it that may be linked.
    pub(super) fn find(&mut self, bus: &dyn GuestBus, link: Option<u32>) -> Result<Cached, FetchFault> {
        self.cx.stats.lookups += 1;
        let pc = self.cx.pc();
        let key = self.cx.isa.block_key(self.state());
        let same_key = key == self.cx.key;
        self.cx.key = key;
        if size_of_val(&*self.arena.code) > self.code_cache || self.quick.as_ref().is_some_and(Quick::is_full) {
            self.flush();
            return self.find(bus, None);
        }
        let mmu = self.cx.isa.fetch_mmu(key);
        let (_, page) = self.code_page(bus, pc, mmu)?;
        let Some((ram, page)) = page else {
            let code = self.translate_once(bus, pc, key, mmu)?;
            return Ok(Cached::once(code));
        };
        let flushes = self.cx.stats.flushes;
        let room = self.cx.limit - self.cx.executed;
        let whole = BlockId::new((ram, page), pc, key);
        let id = if room == 1 { whole.single() } else { whole };
        let found = self.block(bus, id, mmu)?;
        if u64::from(self.arena.code[found.code as usize].a) > room {
            return self.block(bus, id.single(), mmu);
        }
        if found.in_one_page() && !id.is_single() {
            let native = match &self.quick {
                Some(quick) if found.native == 0 => quick.missing(),
                _ => found.native,
            };
            let global = self.cx.tlb.lookup(pc, mmu, self.cx.tag).is_some_and(|page| page.global);
            self.cx.know(pc, key, global, &found, native);
            if let Some(at) = link.filter(|at| same_key && self.cx.stats.flushes == flushes && self.same_page(*at, found.code)) {
                let from = &mut self.arena.code[at as usize];
                let a = if from.op == Bc::Jump { from.a } else { 0 };
                self.cx.stats.links += 1;
                *from = Code { op: Bc::Linked, x: 0, a, b: 0, c: 0, imm: found.code.into() };
                if let Some(quick) = &mut self.quick {
                    quick.link(at, found.code);
                }
            }
        }
        Ok(found)
    }

    /// True if the blocks of these code indices come from one physical page, so that one's jump may lead to the other directly.
    fn same_page(&self, from: u32, to: u32) -> bool {
        let page = self.arena.page_of(from);
        from != to && page.is_some() && page == self.arena.page_of(to)
    }

    /// The block with this identity.
    fn block(&mut self, bus: &dyn GuestBus, id: BlockId, mmu: u8) -> Result<Cached, FetchFault> {
        let (ram, page) = id.page();
        if let Some(cached) = self.blocks.get(&id) {
            let head = self.arena.code[cached.code as usize];
            let fresh = head.op == Bc::Enter && self.rams[ram as usize].page_generation(page) == head.imm as u32;
            let same_second = match self.blocks.second(&cached) {
                None => true,
                Some(second) => {
                    let (_, now) = self.code_page(bus, (id.pc | (PAGE_SIZE - 1)).wrapping_add(1), mmu)?;
                    now == Some((second.ram, second.page))
                        && self.rams[second.ram as usize].page_generation(second.page) == second.generation
                }
            };
            if fresh && same_second {
                return Ok(cached);
            }
        }
        if let Some(cached) = self.stored_block(bus, id, mmu) {
            return Ok(cached);
        }
        let mut max = if id.is_single() { 1 } else { MAX_INSNS };
        loop {
            let (mut block, head, second) = self.translate_block(bus, id, mmu, max)?;
            let isa = self.cx.isa.clone();
            assert!(block.guest_insns > 0, "{} translated nothing at {:#x}", isa.name(), id.pc);
            self.passes.optimise(&mut block);
            let added = self.add(&block, id, head, second);
            if let Some(builder) = &mut self.builder {
                builder.recycle(block);
            }
            if let Some(cached) = added {
                return Ok(cached);
            }
            assert!(max > 1, "one instruction at {:#x} has too many values", id.pc);
            max /= 2;
        }
    }

    /// Compiles a block; `None` if it is too big.
    fn add(&mut self, block: &Block, id: BlockId, head: Head, second: Option<SecondPage>) -> Option<Cached> {
        let (code, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let counts = self.coverage.as_deref();
        compile::compile(&self.target, &mut self.work, block, &mut self.arena, Some(head), Some(id.pc), counts).ok()?;
        let end = self.arena.code.len() as u32;
        let linkable = second.is_none() && !id.is_single();
        let marks = (marks, self.arena.marks.len() as u32);
        let info = BlockInfo { code, end, marks, pc: id.pc, key: id.key, linkable };
        self.arena.add_block(info);
        let mut native = 0;
        if let Some(quick) = &mut self.quick {
            native = quick.add(&self.arena, &info, id);
        }
        self.note_block(native, id.pc, id.key);
        self.store_block(block, &info, native, id, second);
        let stats = &mut self.cx.stats;
        stats.blocks += 1;
        stats.translated += u64::from(block.guest_insns);
        stats.words += u64::from(end - code);
        Some(self.blocks.insert(id, code, native, second))
    }

    /// Translates at most `max` instructions. The block lies in one page, or its last instruction ends in the next.
    pub(super) fn translate_block(
        &mut self,
        bus: &dyn GuestBus,
        id: BlockId,
        mmu: u8,
        mut max: u32,
    ) -> Result<(Block, Head, Option<SecondPage>), FetchFault> {
        let isa = self.cx.isa.clone();
        let (number, page) = id.page();
        let ram = self.rams[number as usize].clone();
        let first_page = id.pc & !(PAGE_SIZE - 1);
        loop {
            let generation = ram.page_generation(page);
            self.begin_bytes();
            let mut second: Option<SecondPage> = None;
            let mut builder = self.builder.take().unwrap_or_else(|| Builder::for_isa(&*isa));
            let mut byte = |engine: &mut Engine<I>, at: u64, size: u8| -> Result<u64, FetchFault> {
                let other;
                let (block, page) = if at & !(PAGE_SIZE - 1) == first_page {
                    (&ram, page)
                } else {
                    let (phys, found) = engine.code_page(bus, at, mmu)?;
                    let Some((index, page)) = found else {
                        // The instruction ends in a device; what it says counts this once only.
                        let value = bus.read(phys, size, Access::cpu(engine.cx.cpu));
                        second = Some(SecondPage { ram: u16::MAX, page: 0, generation: 0 });
                        return value.map_err(|_| FetchFault(engine.fetch_abort(bus, at)));
                    };
                    other = engine.rams[index as usize].clone();
                    second.get_or_insert(SecondPage { ram: index, page, generation: other.page_generation(page) });
                    (&other, page)
                };
                let offset = page << PAGE_BITS | at & (PAGE_SIZE - 1);
                let first = block.mark_code(offset, size.into());
                // Nobody may write there by a fast path any more.
                bus.hold_code(GuestPhys(offset), first);
                let value = if engine.cx.direct != 0 {
                    let read = bus.read(GuestPhys(offset), size, Access::cpu(engine.cx.cpu));
                    read.map_err(|_| FetchFault(engine.fetch_abort(bus, at)))?
                } else {
                    block.read(offset, size).unwrap_or(0)
                };
                engine.note_bytes(at.wrapping_sub(id.pc), size, value);
                Ok(value)
            };
            let engine = &mut *self;
            let mut fetch = |at: u64, size: u8| -> Result<u64, FetchFault> {
                let room = PAGE_SIZE - (at & (PAGE_SIZE - 1));
                if room >= u64::from(size) && size.is_power_of_two() {
                    return byte(engine, at, size);
                }
                let mut value = 0;
                for index in 0..u64::from(size) {
                    value |= byte(engine, at.wrapping_add(index), 1)? << (8 * index);
                }
                Ok(value)
            };
            isa.translate(id.pc, id.key, max, &mut fetch, &mut builder)?;
            let block = builder.take();
            self.builder = Some(builder);
            // A block ends before a breakpoint.
            let stops = |m: &&crate::op::Inst| self.breakpoints.contains(&m.imm);
            if !self.breakpoints.is_empty()
                && let Some(at) = block.insts.iter().filter(|i| i.op == Op::Mark).skip(1).position(|m| stops(&m))
            {
                max = at as u32 + 1;
                continue;
            }
            let head = Head { ram: number, page: page as u32, generation };
            if second.is_none() {
                return Ok((block, head, None));
            }
            // Cut so that at most the last instruction touches the next page.
            let inside = |at: u64| at.wrapping_sub(first_page) <= PAGE_SIZE;
            let marks = || block.insts.iter().filter(|i| i.op == Op::Mark);
            let whole = marks().take_while(|m| inside(m.imm_hi)).count() as u32;
            let total = block.guest_insns;
            let straddles = marks().nth(whole as usize).is_some_and(|m| m.imm.wrapping_sub(first_page) < PAGE_SIZE);
            let wanted = if straddles { whole + 1 } else { whole };
            if wanted >= total {
                return Ok((block, head, second.filter(|_| straddles)));
            }
            max = wanted.max(1);
        }
    }

    pub(super) fn fetch_abort(&mut self, bus: &dyn GuestBus, va: u64) -> Exception {
        let cx = &mut *self.cx;
        let mut helper = helper_cx(&mut cx.cells[..cx.state_cells], &mut cx.tlb, bus, cx.cpu, cx.levels);
        cx.isa.bus_fault(&mut helper, va, AccessKind::Execute)
    }

    /// One instruction fetched from a device: translated anew every time.
    fn translate_once(&mut self, bus: &dyn GuestBus, pc: u64, key: BlockKey, mmu: u8) -> Result<u32, FetchFault> {
        let isa = self.cx.isa.clone();
        let mut builder = Builder::for_isa(&*isa);
        let engine = &mut *self;
        let mut fetch = |at: u64, size: u8| -> Result<u64, FetchFault> {
            let mut value = 0;
            // Devices may refuse sizes and crossings; halfwords are what every bus carries.
            let part = if at.is_multiple_of(2) && size.is_multiple_of(2) { 2 } else { 1 };
            for index in 0..u64::from(size / part) {
                let at = at.wrapping_add(index * u64::from(part));
                let (phys, _) = engine.code_page(bus, at, mmu)?;
                bus.publish(pc, engine.cx.executed);
                let word = bus.read(phys, part, Access::cpu(engine.cx.cpu)).map_err(|_| FetchFault(engine.fetch_abort(bus, at)))?;
                value |= word << (8 * u64::from(part) * index);
            }
            Ok(value)
        };
        isa.translate(pc, key, 1, &mut fetch, &mut builder)?;
        let block = builder.finish();
        self.cx.after_bus(bus);
        self.scratch = Some(self.arena.extent());
        let (code, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let fits = compile::compile(&self.target, &mut self.work, &block, &mut self.arena, None, None, self.coverage.as_deref());
        assert!(fits.is_ok(), "one instruction at {pc:#x} has too many values");
        let end = self.arena.code.len() as u32;
        let marks = (marks, self.arena.marks.len() as u32);
        self.arena.add_block(BlockInfo { code, end, marks, pc, key, linkable: false });
        self.cx.executed += u64::from(block.guest_insns);
        Ok(code)
    }
}
