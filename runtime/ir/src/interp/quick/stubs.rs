//! The few pieces of generated code that all blocks share: the way in, the ways out, and calls to functions.
//!
//! A call out of a block's middle finds the address in `rax`, the word's code index in `edx` and a value to store in `rcx`; it keeps all general
//! registers that hold cells, returns a loaded value in `rax`, and does not return at all if the block is to be left.

use super::super::exec::{JumpEntry, OTHER_JUMP};
use super::super::region::Calls;
use super::Exit;
use super::buffer::Buffer;
use super::calls;
use super::shape::Shape;
use crate::guest::Isa;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};
use std::mem::offset_of;

/// Their addresses.
#[derive(Clone, Copy, Default)]
pub struct Stubs {
    /// From Rust: (cells, code).
    pub enter: usize,
    /// By size: 1, 2, 4, 8.
    pub load: [usize; 4],
    pub store: [usize; 4],
    pub probe: usize,
    /// Gets the page of accesses that go together into the front.
    pub refill: usize,
    /// Executes a word.
    pub word: usize,
    /// Adds sticky flags the host gathered to the state's.
    pub gather: usize,
    /// Goes to the block for the pc in `rax` when the key may be another.
    pub rekey: usize,
    /// Raises the exception of the word at the code index in `rax`.
    pub raise: usize,
    /// Before the block at the code index in `edx`.
    pub refuse: usize,
    /// The jump cache's entry at `rcx` is not that of the pc in `rax` and the key and epoch in `rdx`.
    pub miss: usize,
    /// The block for the pc in `rax` has no code.
    pub no_code: usize,
    /// The same, out of a region, with the code index of its first block.
    pub polled: usize,
    /// The same, and the jump at `edx` may be linked.
    pub miss_link: usize,
    /// The jump at `edx`, to the pc in `rax`, was taken often.
    pub hot: usize,
    /// A function has said why.
    pub stored: usize,
    /// The region in front of the block at `edx` has been entered often.
    pub judge: usize,
    /// The instruction of the word at `edx` is to be begun again.
    pub again: usize,
    /// The interpreter goes on with the word at `edx`.
    pub resume: usize,
    /// For regions.
    pub regions: Calls,
}

struct Maker<'a> {
    base: usize,
    ops: VecAssembler<X64Relocation>,
    shape: &'a Shape,
    exit: DynamicLabel,
    stored: DynamicLabel,
}

impl Maker<'_> {
    fn here(&mut self) -> usize {
        self.ops.align(16, 0xcc);
        self.base + self.ops.offset().0
    }

    fn leave(&mut self, how: u64) -> usize {
        let at = self.here();
        let exit = self.exit;
        dynasm!(self.ops ; .arch x64 ; mov ecx, how as i32 ; jmp =>exit);
        at
    }

    /// Calls a function with ([`super::Run`], code index, address, value).
    fn call(&mut self, function: usize) -> usize {
        let at = self.here();
        let (left, run, mxcsr, front, stored) = (self.shape.left, self.shape.run, self.shape.mxcsr, self.shape.front, self.stored);
        dynasm!(self.ops
            ; .arch x64
            ; push rsi ; push rdi ; push r8 ; push r9 ; push r10 ; push r11
            ; sub rsp, 8
            ; mov [rbx + left], r15
            ; stmxcsr [rbx + mxcsr]
            ; mov rdi, [rbx + run]
            ; mov esi, edx
            ; mov rdx, rax
            ; mov rax, QWORD function as i64
            ; call rax
            ; ldmxcsr [rbx + mxcsr]
            ; mov r15, [rbx + left]
            ; mov r14, [rbx + front]
            ; add rsp, 8
            ; pop r11 ; pop r10 ; pop r9 ; pop r8 ; pop rdi ; pop rsi
            ; test edx, edx
            ; jnz =>stored
            ; ret
        );
        at
    }

    /// Calls a function of the host's for a region, which finds all its registers again but for the two of the result: what is in them where nothing is
    /// called then stays there.
    fn preserving(&mut self, function: usize) -> usize {
        let at = self.here();
        dynasm!(self.ops ; .arch x64 ; push rcx ; push rsi ; push rdi ; push r8 ; push r9 ; push r10 ; push r11 ; sub rsp, 256);
        (0..16u8).for_each(|n| dynasm!(self.ops ; .arch x64 ; movups [rsp + 16 * i32::from(n)], Rx(n)));
        dynasm!(self.ops ; .arch x64 ; mov rax, QWORD function as i64 ; call rax);
        (0..16u8).for_each(|n| dynasm!(self.ops ; .arch x64 ; movups Rx(n), [rsp + 16 * i32::from(n)]));
        dynasm!(self.ops ; .arch x64 ; add rsp, 256 ; pop r11 ; pop r10 ; pop r9 ; pop r8 ; pop rdi ; pop rsi ; pop rcx ; ret);
        at
    }
}

impl Stubs {
    /// Their names and addresses, by ascending address.
    pub fn named(&self) -> Vec<(String, usize)> {
        let sized = |name: &str, all: [usize; 4]| [1, 2, 4, 8].map(|size| format!("{name}{}", 8 * size)).into_iter().zip(all);
        let single = [
            ("enter", self.enter),
            ("probe", self.probe),
            ("refill", self.refill),
            ("word", self.word),
            ("gather", self.gather),
            ("rekey", self.rekey),
            ("raise", self.raise),
            ("refuse", self.refuse),
            ("miss", self.miss),
            ("no_code", self.no_code),
            ("polled", self.polled),
            ("miss_link", self.miss_link),
            ("hot", self.hot),
            ("stored", self.stored),
            ("judge", self.judge),
            ("again", self.again),
            ("resume", self.resume),
            ("region_probe", self.regions.probe),
            ("region_refill", self.regions.refill),
            ("region_word", self.regions.word),
        ];
        let single = single.into_iter().map(|(name, at)| (name.to_string(), at));
        let mut all: Vec<(String, usize)> = single.chain(sized("load", self.load)).chain(sized("store", self.store)).collect();
        all.extend(sized("region_load", self.regions.load).chain(sized("region_store", self.regions.store)));
        all.sort_by_key(|(_, at)| *at);
        all
    }

    /// Makes them at the beginning of an empty buffer; `None` if they do not fit.
    pub fn new<I: Isa>(shape: &Shape, buffer: &mut Buffer) -> Option<Stubs> {
        let mut ops = VecAssembler::new(buffer.next());
        let (exit, stored) = (ops.new_dynamic_label(), ops.new_dynamic_label());
        let mut m = Maker { base: buffer.next(), ops, shape, exit, stored };
        let (left, run, mxcsr, front) = (shape.left, shape.run, shape.mxcsr, shape.front);
        let enter = m.here();
        dynasm!(m.ops
            ; .arch x64
            ; push rbx ; push rbp ; push r12 ; push r13 ; push r14 ; push r15
            ; sub rsp, 8
            ; mov rbx, rdi
            ; mov r15, [rbx + left]
            ; mov r14, [rbx + front]
            ; ldmxcsr [rbx + mxcsr]
            ; jmp rsi
        );
        let (rekey, known, function) = (m.here(), calls::known::<I> as *const () as usize, calls::rekey::<I> as *const () as usize);
        let (find, found) = (m.ops.new_dynamic_label(), m.ops.new_dynamic_label());
        dynasm!(m.ops
            ; .arch x64
            ; mov rdi, [rbx + run]
            ; mov rsi, rax
            ; mov r10, QWORD known as i64
            ; call r10
            ; test rax, rax
            ; jnz =>found
            ; mov rax, rdx
            ; mov r10, QWORD function as i64
            ; =>find
            ; mov [rbx + left], r15
            ; stmxcsr [rbx + mxcsr]
            ; mov rdi, [rbx + run]
            ; mov rsi, rax
            ; call r10
            ; ldmxcsr [rbx + mxcsr]
            ; mov r15, [rbx + left]
            ; test rax, rax
            ; jnz =>found
            ; mov ecx, Exit::STORED as i32
            ; jmp =>exit
            ; =>found
            ; jmp rax
        );
        let (raise, function) = (m.here(), calls::raise::<I> as *const () as usize);
        dynasm!(m.ops ; .arch x64 ; mov r10, QWORD function as i64 ; jmp =>find);
        let (miss, function) = (m.here(), calls::find::<I> as *const () as usize);
        let (pc, stamp, native) = (offset_of!(JumpEntry, pc), offset_of!(JumpEntry, stamp), offset_of!(JumpEntry, native));
        let global = offset_of!(JumpEntry, global);
        let field = |field: usize| shape.jumps + field as i32;
        let (other, take, unknown) = (m.ops.new_dynamic_label(), m.ops.new_dynamic_label(), m.ops.new_dynamic_label());
        dynasm!(m.ops
            ; .arch x64
            // Code in a global page that another address space used last, or in the other place?
            ; mov r10, QWORD function as i64
            ; mov r8, [rbx + shape.global_epoch]
            ; shr r8, 48
            ; cmp [rbx + rcx + field(pc)], rax
            ; jne =>other
            ; mov r9, [rbx + rcx + field(stamp)]
            ; xor r9, rdx
            ; shl r9, 16
            ; jnz =>other
            ; cmp [rbx + rcx + field(global)], r8d
            ; je =>take
            ; =>other
            ; xor ecx, (32 * OTHER_JUMP) as i32
            ; cmp [rbx + rcx + field(pc)], rax
            ; jne =>unknown
            ; mov r9, [rbx + rcx + field(stamp)]
            ; xor r9, rdx
            ; jz =>take
            ; shl r9, 16
            ; jnz =>unknown
            ; cmp [rbx + rcx + field(global)], r8d
            ; je =>take
            ; =>unknown
            ; shl rdx, 16
            ; shr rdx, 16
            ; jmp =>find
            ; =>take
            ; mov [rbx + rcx + field(stamp)], rdx
            ; jmp QWORD [rbx + rcx + field(native)]
        );
        // From inside a call: its return address is of no use.
        m.here();
        dynasm!(m.ops
            ; .arch x64
            ; =>stored
            ; add rsp, 8
            ; mov ecx, Exit::STORED as i32
            ; =>exit
            ; mov [rbx + left], r15
            ; stmxcsr [rbx + mxcsr]
            ; shl rdx, 32
            ; or rcx, rdx
            ; mov rdx, rax
            ; mov rax, rcx
            ; add rsp, 8
            ; pop r15 ; pop r14 ; pop r13 ; pop r12 ; pop rbp ; pop rbx
            ; ret
        );
        let stubs = Stubs {
            enter,
            load: calls::loads::<I>().map(|f| m.call(f)),
            store: calls::stores::<I>().map(|f| m.call(f)),
            refill: m.call(calls::refill::<I> as *const () as usize),
            probe: m.call(calls::probe::<I> as *const () as usize),
            word: m.call(calls::word::<I> as *const () as usize),
            gather: m.call(calls::gather::<I> as *const () as usize),
            rekey,
            raise,
            refuse: m.leave(Exit::BLOCK),
            miss,
            no_code: m.leave(Exit::MISS),
            polled: m.leave(Exit::POLLED),
            miss_link: m.leave(Exit::MISS_LINK),
            hot: m.leave(Exit::HOT),
            stored: m.leave(Exit::STORED),
            judge: m.leave(Exit::JUDGE),
            again: m.leave(Exit::AGAIN),
            resume: m.leave(Exit::RESUME),
            regions: calls::of_regions::<I>().map(|f| m.preserving(f)),
        };
        m.ops.commit().ok()?;
        buffer.push(&m.ops.finalize().ok()?)?;
        Some(stubs)
    }
}
