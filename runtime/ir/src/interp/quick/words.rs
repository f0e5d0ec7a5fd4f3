//! Integers and branches.

use super::super::code::{Bc, Code};
use super::cold::Cold;
use super::effects::{is_branch, is_jump};
use super::emit::Emitter;
use super::flags::is_minus;
use super::regs::{RAX, RCX};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

/// Conditions of the host, as its encodings number them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Host {
    Overflow,
    NoOverflow,
    Below,
    AboveEqual,
    Equal,
    NotEqual,
    BelowEqual,
    Above,
    Sign,
    NoSign,
    Less = 12,
    GreaterEqual,
    LessEqual,
    Greater,
}

impl Host {
    fn not(self) -> Host {
        use Host::*;
        match self {
            Overflow => NoOverflow,
            NoOverflow => Overflow,
            Below => AboveEqual,
            AboveEqual => Below,
            Equal => NotEqual,
            NotEqual => Equal,
            BelowEqual => Above,
            Above => BelowEqual,
            Sign => NoSign,
            NoSign => Sign,
            Less => GreaterEqual,
            GreaterEqual => Less,
            LessEqual => Greater,
            Greater => LessEqual,
        }
    }
}

/// Emits for an instruction in its 64-bit and its 32-bit form.
macro_rules! sized {
    ($e:expr, $wide:expr, $name:ident $a:expr, $b:expr) => {
        if $wide {
            dynasm!($e.ops ; .arch x64 ; $name Rq($a), Rq($b));
        } else {
            dynasm!($e.ops ; .arch x64 ; $name Rd($a), Rd($b));
        }
    };
}

impl Emitter<'_> {
    fn commutes(op: Bc) -> bool {
        !matches!(op, Bc::Sub32 | Bc::Sub64)
    }

    fn two(&mut self, op: Bc, a: &Code) {
        use Bc::*;
        let (b, c) = (self.get(a.b), self.get(a.c));
        let wide = matches!(op, And | Or | Xor | Add64 | Sub64 | Mul64);
        // In place, if the second operand is not lost by that.
        let (into, b, c) = if a.a != a.c {
            let into = self.def(a.a);
            (into, b, c)
        } else if Self::commutes(op) {
            let into = self.def(a.a);
            (into, c, b)
        } else {
            (RAX, b, c)
        };
        match op {
            Add32 if into != b => return dynasm!(self.ops ; .arch x64 ; lea Rd(into), [Rq(b) + Rq(c)]),
            Add64 if into != b => return dynasm!(self.ops ; .arch x64 ; lea Rq(into), [Rq(b) + Rq(c)]),
            _ if into != b => sized!(self, wide, mov into, b),
            _ => {}
        }
        match op {
            And => sized!(self, true, and into, c),
            Or => sized!(self, true, or into, c),
            Xor => sized!(self, true, xor into, c),
            Add32 | Add64 => sized!(self, wide, add into, c),
            Sub32 | Sub64 => sized!(self, wide, sub into, c),
            _ => sized!(self, wide, imul into, c),
        }
        if into == RAX {
            self.set(a.a, RAX);
        }
    }

    fn logic_imm(&mut self, op: Bc, c: &Code) {
        let b = self.get(c.b);
        let to = self.def(c.a);
        if op == Bc::AndI && u32::try_from(c.imm).is_ok() {
            // Zero above either way.
            dynasm!(self.ops ; .arch x64 ; mov Rd(to), Rd(b) ; and Rd(to), c.imm as i32);
            return;
        }
        self.copy(to, b);
        if let Ok(imm) = i32::try_from(c.imm as i64) {
            match op {
                Bc::AndI => dynasm!(self.ops ; .arch x64 ; and Rq(to), imm),
                Bc::OrI => dynasm!(self.ops ; .arch x64 ; or Rq(to), imm),
                Bc::XorI => dynasm!(self.ops ; .arch x64 ; xor Rq(to), imm),
                _ => dynasm!(self.ops ; .arch x64 ; add Rq(to), imm),
            }
        } else {
            self.constant(RCX, c.imm);
            match op {
                Bc::AndI => dynasm!(self.ops ; .arch x64 ; and Rq(to), rcx),
                Bc::OrI => dynasm!(self.ops ; .arch x64 ; or Rq(to), rcx),
                Bc::XorI => dynasm!(self.ops ; .arch x64 ; xor Rq(to), rcx),
                _ => dynasm!(self.ops ; .arch x64 ; add Rq(to), rcx),
            }
        }
    }

    /// Shifts by a cell: the amount in `rcx`, what comes of too large ones in `rdx`.
    fn shift(&mut self, c: &Code) {
        let (b, amount) = (self.get(c.b), self.get(c.c));
        dynasm!(self.ops ; .arch x64 ; mov rcx, Rq(amount) ; mov rax, Rq(b));
        match c.op {
            Bc::Shl32 => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shl eax, cl ; cmp rcx, 32 ; cmovae eax, edx),
            Bc::Shl64 => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shl rax, cl ; cmp rcx, 64 ; cmovae rax, rdx),
            Bc::Shr => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shr rax, cl ; cmp rcx, 64 ; cmovae rax, rdx),
            Bc::Sar32 => dynasm!(self.ops ; .arch x64 ; mov edx, 31 ; cmp rcx, 31 ; cmova ecx, edx ; sar eax, cl),
            Bc::Sar64 => dynasm!(self.ops ; .arch x64 ; mov edx, 63 ; cmp rcx, 63 ; cmova ecx, edx ; sar rax, cl),
            Bc::Ror32 => dynasm!(self.ops ; .arch x64 ; ror eax, cl),
            _ => dynasm!(self.ops ; .arch x64 ; ror rax, cl),
        }
        self.set(c.a, RAX);
    }

    /// Divides: by zero gives zero, or the dividend as remainder; the least number by -1 gives itself.
    fn divide(&mut self, c: &Code) {
        let (b, by) = (self.get(c.b), self.get(c.c));
        let (odd, done) = (self.label(), self.label());
        dynasm!(self.ops ; .arch x64 ; mov rax, Rq(b));
        match c.op {
            Bc::DivU | Bc::RemU => {
                dynasm!(self.ops ; .arch x64 ; xor edx, edx ; test Rq(by), Rq(by) ; jz =>odd ; div Rq(by));
                if c.op == Bc::RemU {
                    dynasm!(self.ops ; .arch x64 ; mov rax, rdx ; =>odd);
                } else {
                    dynasm!(self.ops ; .arch x64 ; jmp =>done ; =>odd ; xor eax, eax ; =>done);
                }
            }
            Bc::DivS32 => dynasm!(self.ops
                ; .arch x64
                ; xor edx, edx
                ; test Rd(by), Rd(by)
                ; jz =>odd
                // In 64 bits nothing overflows.
                ; movsxd rcx, Rd(by)
                ; movsxd rax, eax
                ; cqo
                ; idiv rcx
                ; mov edx, eax
                ; =>odd
                ; mov eax, edx
            ),
            _ => dynasm!(self.ops
                ; .arch x64
                ; lea rcx, [Rq(by) + 1]
                ; cmp rcx, 1
                ; jbe =>odd
                ; cqo
                ; idiv Rq(by)
                ; jmp =>done
                ; =>odd
                // By -1, or by 0.
                ; imul rax, Rq(by)
                ; =>done
            ),
        }
        self.set(c.a, RAX);
    }

    /// Reverses the lowest bits, 64 - x of them.
    fn reverse(&mut self, c: &Code) {
        let b = self.get(c.b);
        dynasm!(self.ops ; .arch x64 ; mov rax, Rq(b) ; bswap rax);
        for (by, mask) in [(4, 0x0f0f_0f0f_0f0f_0f0f_u64), (2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)] {
            self.constant(RCX, mask);
            dynasm!(self.ops
                ; .arch x64 ; mov rdx, rax ; shr rdx, by ; and rdx, rcx ; and rax, rcx ; shl rax, by ; or rax, rdx
            );
        }
        dynasm!(self.ops ; .arch x64 ; shr rax, (c.x & 63) as i8);
        self.set(c.a, RAX);
    }

    /// Compares two cells, or a cell with the immediate.
    fn compare(&mut self, c: &Code, imm: bool, wide: bool) {
        let b = self.get(c.b);
        if imm {
            if let Ok(imm) = i32::try_from(c.imm as i64) {
                dynasm!(self.ops ; .arch x64 ; cmp Rq(b), imm);
            } else {
                self.constant(RCX, c.imm);
                dynasm!(self.ops ; .arch x64 ; cmp Rq(b), rcx);
            }
        } else {
            let c = self.get(c.c);
            sized!(self, wide, cmp b, c);
        }
    }

    fn truth(&mut self, c: &Code) {
        use Bc::*;
        let imm = matches!(c.op, CmpEqI | CmpNeI | CmpUltI | CmpUleI);
        self.compare(c, imm, !matches!(c.op, CmpSlt32 | CmpSle32));
        match c.op {
            CmpEq | CmpEqI => dynasm!(self.ops ; .arch x64 ; sete al),
            CmpNe | CmpNeI => dynasm!(self.ops ; .arch x64 ; setne al),
            CmpUlt | CmpUltI => dynasm!(self.ops ; .arch x64 ; setb al),
            CmpUle | CmpUleI => dynasm!(self.ops ; .arch x64 ; setbe al),
            CmpSlt32 | CmpSlt64 => dynasm!(self.ops ; .arch x64 ; setl al),
            _ => dynasm!(self.ops ; .arch x64 ; setle al),
        }
        let to = self.def(c.a);
        dynasm!(self.ops ; .arch x64 ; movzx Rd(to), al);
    }

    fn jump_if(&mut self, cond: Host, to: DynamicLabel) {
        match cond {
            Host::Overflow => dynasm!(self.ops ; .arch x64 ; jo =>to),
            Host::NoOverflow => dynasm!(self.ops ; .arch x64 ; jno =>to),
            Host::Below => dynasm!(self.ops ; .arch x64 ; jb =>to),
            Host::AboveEqual => dynasm!(self.ops ; .arch x64 ; jae =>to),
            Host::Equal => dynasm!(self.ops ; .arch x64 ; je =>to),
            Host::NotEqual => dynasm!(self.ops ; .arch x64 ; jne =>to),
            Host::BelowEqual => dynasm!(self.ops ; .arch x64 ; jbe =>to),
            Host::Above => dynasm!(self.ops ; .arch x64 ; ja =>to),
            Host::Sign => dynasm!(self.ops ; .arch x64 ; js =>to),
            Host::NoSign => dynasm!(self.ops ; .arch x64 ; jns =>to),
            Host::Less => dynasm!(self.ops ; .arch x64 ; jl =>to),
            Host::GreaterEqual => dynasm!(self.ops ; .arch x64 ; jge =>to),
            Host::LessEqual => dynasm!(self.ops ; .arch x64 ; jle =>to),
            Host::Greater => dynasm!(self.ops ; .arch x64 ; jg =>to),
        }
    }

    /// What the host's flags, if they are those of an addition or subtraction, say of a branch.
    fn by_host_flags(&self, c: &Code) -> Option<Host> {
        let f = self.host_flags?;
        let minus = is_minus(&f);
        let flag = |n: u32| (f.imm >> (16 * n)) as u16;
        // Cells that none of the flags has got serve several of them.
        let alone = |cell: u16| (0..4).filter(|n| flag(*n) == cell).count() == 1 && f.a != cell;
        let is = |cell: u16, n: u32| cell == flag(n) && alone(cell);
        let zero = |cond: Host| if c.op == Bc::BrNz { Some(cond) } else { Some(cond.not()) };
        match c.op {
            Bc::BrZ | Bc::BrNz if is(c.b, 0) => zero(Host::Sign),
            Bc::BrZ | Bc::BrNz if is(c.b, 1) => zero(Host::Equal),
            Bc::BrZ | Bc::BrNz if is(c.b, 2) => zero(if minus { Host::AboveEqual } else { Host::Below }),
            Bc::BrZ | Bc::BrNz if is(c.b, 3) => zero(Host::Overflow),
            Bc::BrZ if c.b == f.a => Some(Host::Equal),
            Bc::BrNz if c.b == f.a => Some(Host::NotEqual),
            Bc::BrEq if is(c.b, 0) && is(c.c, 3) || is(c.b, 3) && is(c.c, 0) => Some(Host::GreaterEqual),
            Bc::BrNe if is(c.b, 0) && is(c.c, 3) || is(c.b, 3) && is(c.c, 0) => Some(Host::Less),
            _ => None,
        }
    }

    /// The host's condition under which a branch is taken, after the comparison for it. Registers have the operands already.
    fn condition(&mut self, c: &Code) -> Host {
        use Bc::*;
        if let Some(cond) = self.by_host_flags(c) {
            return cond;
        }
        self.host_flags = None;
        match c.op {
            BrZ | BrNz => {
                let b = self.get(c.b);
                dynasm!(self.ops ; .arch x64 ; test Rq(b), Rq(b));
            }
            _ => self.compare(c, false, !matches!(c.op, BrSlt32 | BrSle32)),
        }
        match c.op {
            BrZ | BrEq => Host::Equal,
            BrNz | BrNe => Host::NotEqual,
            BrUlt => Host::Below,
            BrUle => Host::BelowEqual,
            BrSlt32 | BrSlt64 => Host::Less,
            _ => Host::LessEqual,
        }
    }

    /// Puts the operands of a branch into registers, unless the host's flags answer it.
    fn fetch_operands(&mut self, c: &Code) {
        if self.by_host_flags(c).is_some() || c.op == Bc::Br {
            return;
        }
        self.get(c.b);
        if !matches!(c.op, Bc::BrZ | Bc::BrNz) {
            self.get(c.c);
        }
    }

    /// Branches, and the jump they lead around, if it is that: a way out of line, with all the registers hold here. The index of the next word.
    pub fn branch(&mut self, index: usize) -> usize {
        let run = self.words[index..].iter().take_while(|c| is_branch(c.op) && !matches!(c.op, Bc::Poll | Bc::Br)).count();
        let jump = index + run;
        let (jump_at, next_at) = (self.first + jump as u32, self.first + jump as u32 + 1);
        let branches = &self.words[index..jump];
        let to = |at: u32| branches.iter().filter(|c| c.imm == u64::from(at)).count() as u32;
        let around = run > 0
            && self.words.get(jump).is_some_and(|c| is_jump(c.op))
            && branches.last().is_some_and(|c| c.imm == u64::from(next_at))
            && to(jump_at) + to(next_at) == run as u32
            && (to(jump_at), to(next_at)) == (self.branches(jump_at), self.branches(next_at))
            && (index + 1..jump).all(|at| self.branches(self.first + at as u32) == 0);
        if !around {
            self.one_branch(index);
            return index + 1;
        }
        let words = self.words;
        let (way, past) = (self.label(), self.label());
        if !words[index..jump].iter().all(|c| self.by_host_flags(c).is_some()) {
            self.host_flags = None;
        }
        words[index..jump].iter().for_each(|c| self.fetch_operands(c));
        let saved = self.regs;
        for (n, c) in words[index..jump].iter().enumerate() {
            let cond = self.condition(c);
            match (c.imm == u64::from(next_at), n + 1 == run) {
                (true, true) => self.jump_if(cond.not(), way),
                (true, false) => self.jump_if(cond, past),
                (false, _) => self.jump_if(cond, way),
            }
        }
        dynasm!(self.ops ; .arch x64 ; =>past);
        self.cold.push(Cold::Jump { label: way, at: jump_at, saved });
        self.forget_label(jump_at);
        self.forget_label(next_at);
        jump + 1
    }

    /// A branch to a place in the block.
    fn one_branch(&mut self, index: usize) {
        let c = self.words[index];
        let Some(label) = self.target(&c) else { return };
        self.fetch_operands(&c);
        self.write_back();
        self.branches_to(c.imm);
        if c.op == Bc::Br {
            return dynasm!(self.ops ; .arch x64 ; jmp =>label);
        }
        let cond = self.condition(&c);
        self.jump_if(cond, label);
    }

    pub fn word(&mut self, c: &Code, at: u32) {
        use Bc::*;
        // Accesses of other address widths than 32 and 64 bits.
        let odd = c.is_odd_access();
        match c.op {
            Mov if c.x != 0 => self.move_cell(c.a, c.b),
            Mov => {
                let b = self.get(c.b);
                self.set(c.a, b);
            }
            MovI => {
                let to = self.def(c.a);
                self.constant(to, c.imm);
            }
            And | Or | Xor | Add32 | Add64 | Sub32 | Sub64 | Mul32 | Mul64 => self.two(c.op, c),
            AndI | OrI | XorI | Add64I => self.logic_imm(c.op, c),
            Add32I => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                dynasm!(self.ops ; .arch x64 ; lea Rd(to), [Rq(b) + c.imm as i32]);
            }
            RSub32I => {
                let b = self.get(c.b);
                dynasm!(self.ops ; .arch x64 ; mov eax, c.imm as i32 ; sub eax, Rd(b));
                self.set(c.a, RAX);
            }
            RSub64I => {
                let b = self.get(c.b);
                self.constant(RAX, c.imm);
                dynasm!(self.ops ; .arch x64 ; sub rax, Rq(b));
                self.set(c.a, RAX);
            }
            Shl32 | Shl64 | Shr | Sar32 | Sar64 | Ror32 | Ror64 => self.shift(c),
            Shl32I if c.x >= 32 => {
                let to = self.def(c.a);
                self.constant(to, 0);
            }
            Shl32I | Shl64I | ShrI | Sar32I | Ror32I => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                self.copy(to, b);
                let by = c.x as i8;
                match c.op {
                    Shl32I => dynasm!(self.ops ; .arch x64 ; shl Rd(to), by),
                    Shl64I => dynasm!(self.ops ; .arch x64 ; shl Rq(to), by & 63),
                    ShrI => dynasm!(self.ops ; .arch x64 ; shr Rq(to), by & 63),
                    Sar32I => dynasm!(self.ops ; .arch x64 ; sar Rd(to), by & 31),
                    _ => dynasm!(self.ops ; .arch x64 ; ror Rd(to), by & 31),
                }
                if c.x & 31 == 0 && matches!(c.op, Shl32I | Sar32I | Ror32I) {
                    // A shift by nothing leaves the upper half as it was.
                    dynasm!(self.ops ; .arch x64 ; mov Rd(to), Rd(to));
                }
            }
            DivU | RemU | DivS32 | DivS64 => self.divide(c),
            Bitrev => self.reverse(c),
            Clz => {
                let b = self.get(c.b);
                dynasm!(self.ops
                    ; .arch x64
                    ; mov ecx, 127
                    ; bsr rax, Rq(b)
                    ; cmovz rax, rcx
                    ; xor eax, 63
                    ; sub eax, i32::from(c.x)
                );
                self.set(c.a, RAX);
            }
            Popcnt => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                dynasm!(self.ops ; .arch x64 ; popcnt Rq(to), Rq(b));
            }
            Bswap => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                self.copy(to, b);
                dynasm!(self.ops ; .arch x64 ; bswap Rq(to) ; shr Rq(to), (c.x & 63) as i8);
            }
            Sext if matches!((c.x, c.imm), (48 | 56, 0xffff_ffff) | (32, u64::MAX)) => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                match c.x {
                    56 => dynasm!(self.ops ; .arch x64 ; movsx Rd(to), Rb(b)),
                    48 => dynasm!(self.ops ; .arch x64 ; movsx Rd(to), Rw(b)),
                    _ => dynasm!(self.ops ; .arch x64 ; movsxd Rq(to), Rd(b)),
                }
            }
            Sext => {
                let b = self.get(c.b);
                let (to, by) = (self.def(c.a), (c.x & 63) as i8);
                self.copy(to, b);
                dynasm!(self.ops ; .arch x64 ; shl Rq(to), by ; sar Rq(to), by);
                self.mask(to, c.imm);
            }
            // All below bit 32: what is above need not be cut.
            Extract if c.x > 0 && u64::from(c.x) + u64::from(c.imm.count_ones()) == 32 => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                dynasm!(self.ops ; .arch x64 ; mov Rd(to), Rd(b) ; shr Rd(to), c.x as i8);
            }
            Extract => {
                let b = self.get(c.b);
                let (to, by) = (self.def(c.a), (c.x & 63) as i8);
                self.copy(to, b);
                if by != 0 {
                    dynasm!(self.ops ; .arch x64 ; shr Rq(to), by);
                }
                self.mask(to, c.imm);
            }
            Insert => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(x) ; shl rax, (c.x & 63) as i8);
                self.constant(RCX, c.imm);
                dynasm!(self.ops ; .arch x64 ; and rax, rcx ; not rcx ; and rcx, Rq(b) ; or rax, rcx);
                self.set(c.a, RAX);
            }
            Concat => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(b) ; shl rax, (c.x & 63) as i8 ; or rax, Rq(x));
                self.set(c.a, RAX);
            }
            CmpEq | CmpEqI | CmpNe | CmpNeI | CmpUlt | CmpUltI | CmpUle | CmpUleI | CmpSlt32 | CmpSle32 | CmpSlt64 | CmpSle64 => {
                self.truth(c)
            }
            Carry32 => {
                let (b, x, carry) = (self.get(c.b), self.get(c.c), self.get(c.imm as u16));
                dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + Rq(x)] ; add rax, Rq(carry) ; shr rax, 32);
                self.set(c.a, RAX);
            }
            CarryAdd32 => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + Rq(x)] ; shr rax, 32);
                self.set(c.a, RAX);
            }
            Overflow32 | OverflowAdd32 => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; lea eax, [Rq(b) + Rq(x)]);
                if c.op == Overflow32 {
                    let carry = self.get(c.imm as u16);
                    dynasm!(self.ops ; .arch x64 ; add eax, Rd(carry));
                }
                dynasm!(self.ops
                    ; .arch x64
                    ; mov ecx, Rd(b)
                    ; xor ecx, Rd(x)
                    ; not ecx
                    ; xor eax, Rd(b)
                    ; and eax, ecx
                    ; shr eax, 31
                );
                self.set(c.a, RAX);
            }
            AddFlags32 | AddFlags32I | SubFlags32 | SubFlags32I => self.flags(c, at),
            Select => {
                let (b, x, y) = (self.get(c.b), self.get(c.c), self.get(c.imm as u16));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(y) ; test Rq(b), Rq(b) ; cmovnz rax, Rq(x));
                self.set(c.a, RAX);
            }
            Load8 | Load16 | Load32 | Load64 if !odd => self.load(c, at, c.op as usize - Load8 as usize),
            Store8 | Store16 | Store32 | Store64 if !odd => self.store_word(c, at, c.op as usize - Store8 as usize),
            ProbeRead | ProbeWrite if !odd => self.probe(c, at),
            Fence => {
                self.forget_pointers();
                dynasm!(self.ops ; .arch x64 ; lock or DWORD [rsp], 0);
            }
            Count => {
                self.constant(RCX, c.imm);
                dynasm!(self.ops ; .arch x64 ; inc QWORD [rcx]);
            }
            Poll => self.poll(c, at),
            Jump | JumpTo | JumpRekey => self.jump_word(c, at),
            Raise => self.raise(at),
            // Jumps are linked later than blocks get code.
            Trap | Linked => dynasm!(self.ops ; .arch x64 ; ud2),
            _ => self.call_word(c, at),
        }
    }

    fn mask(&mut self, reg: u8, mask: u64) {
        match mask {
            u64::MAX => {}
            0xffff_ffff => dynasm!(self.ops ; .arch x64 ; mov Rd(reg), Rd(reg)),
            0xff => dynasm!(self.ops ; .arch x64 ; movzx Rd(reg), Rb(reg)),
            0xffff => dynasm!(self.ops ; .arch x64 ; movzx Rd(reg), Rw(reg)),
            _ if mask <= 0xffff_ffff => dynasm!(self.ops ; .arch x64 ; and Rd(reg), mask as i32),
            _ => {
                self.constant(RCX, mask);
                dynasm!(self.ops ; .arch x64 ; and Rq(reg), rcx);
            }
        }
    }
}
