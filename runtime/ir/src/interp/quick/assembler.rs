//! Where [`dynasmrt::dynasm`] puts the code of a block: memory and lists that every block uses again, and labels for distances of 32 bits only, which
//! is all that blocks need.

use dynasmrt::components::LabelRegistry;
use dynasmrt::relocations::{Relocation, RelocationKind};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{AssemblyOffset, DynamicLabel, DynasmApi, DynasmLabelApi};

/// Bytes of code a block may have; a power of two, so that a masked index needs no bounds check.
const SIZE: usize = 1 << 18;
/// Room behind, for the pieces that `dynasm!` appends at once.
const SLACK: usize = 64;
/// From so many bytes on no more is begun.
const FULL: usize = SIZE - (1 << 14);

/// A distance to a label.
struct Distance {
    /// Where it stands.
    at: u32,
    /// From where it counts.
    from: u32,
    add: i32,
    to: DynamicLabel,
}

/// The code of one block.
pub struct Assembler {
    code: Box<[u8; SIZE + SLACK]>,
    used: usize,
    /// Where the code will be executed.
    base: usize,
    labels: LabelRegistry,
    distances: Vec<Distance>,
    /// Where distances to the outside stand, and code indices.
    externs: Vec<u32>,
    indices: Vec<u32>,
    /// A label was defined twice, or something is too far away.
    failed: bool,
}

impl Default for Assembler {
    fn default() -> Assembler {
        let code = vec![0; SIZE + SLACK].try_into().unwrap_or_else(|_| unreachable!("the length is right"));
        Assembler {
            code,
            used: 0,
            base: 0,
            labels: LabelRegistry::new(),
            distances: Vec::new(),
            externs: Vec::new(),
            indices: Vec::new(),
            failed: false,
        }
    }
}

impl Assembler {
    /// Begins anew, with code for this address.
    pub fn restart(&mut self, base: usize) {
        (self.used, self.base, self.failed) = (0, base, false);
        self.labels.clear();
        self.distances.clear();
        self.externs.clear();
        self.indices.clear();
    }

    /// There may be no room for another word's code.
    pub fn is_full(&self) -> bool {
        self.used >= FULL
    }

    /// There is room for so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes < FULL
    }

    pub fn new_dynamic_label(&mut self) -> DynamicLabel {
        self.labels.new_dynamic_label()
    }

    /// Where a label is.
    pub fn place(&self, label: DynamicLabel) -> Option<usize> {
        self.labels.resolve_dynamic(label).ok().map(|at| at.0)
    }

    /// Fills in the distances to labels; `None` if there was a mistake.
    pub fn commit(&mut self) -> Option<()> {
        for Distance { at, from, add, to } in self.distances.drain(..) {
            let place = self.labels.resolve_dynamic(to).ok()?.0 as u32;
            put(&mut self.code, at as usize, place.wrapping_sub(from).wrapping_add_signed(add).to_le_bytes());
        }
        (!self.failed).then_some(())
    }

    /// The number of 32 bits just appended is a code index.
    pub fn was_index(&mut self) {
        self.indices.push(self.used as u32 - 4);
    }

    /// Where distances to the outside stand: they change with the place of the code.
    pub fn externs(&self) -> &[u32] {
        &self.externs
    }

    /// Where code indices stand.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Takes code that is there already as all of it; `None` if it is too long.
    pub fn take(&mut self, code: &[u8]) -> Option<&mut [u8]> {
        self.used = code.len();
        let ours = self.code.get_mut(..code.len())?;
        ours.copy_from_slice(code);
        Some(ours)
    }

    /// The code so far.
    pub fn code(&self) -> &[u8] {
        &self.code[..self.used]
    }

    #[inline]
    fn append<const N: usize>(&mut self, bytes: [u8; N]) {
        put(&mut self.code, self.used, bytes);
        self.used += N;
    }
}

#[inline]
fn put<const N: usize>(code: &mut [u8; SIZE + SLACK], at: usize, bytes: [u8; N]) {
    const { assert!(N <= SLACK) };
    let at = at % SIZE;
    code[at..at + N].copy_from_slice(&bytes);
}

impl Extend<u8> for Assembler {
    #[inline]
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        bytes.into_iter().for_each(|byte| self.push(byte));
    }
}

impl<'a> Extend<&'a u8> for Assembler {
    #[inline]
    fn extend<T: IntoIterator<Item = &'a u8>>(&mut self, bytes: T) {
        // Once masked, so that a few constant bytes become one store.
        let mut at = self.used % SIZE;
        let begin = at;
        for byte in bytes {
            self.code[at] = *byte;
            at += 1;
        }
        self.used += at - begin;
    }
}

impl DynasmApi for Assembler {
    #[inline]
    fn offset(&self) -> AssemblyOffset {
        AssemblyOffset(self.used)
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.append([byte]);
    }

    fn align(&mut self, alignment: usize, with: u8) {
        while !self.used.is_multiple_of(alignment) {
            self.push(with);
        }
    }

    #[inline]
    fn push_i32(&mut self, value: i32) {
        self.append(value.to_le_bytes());
    }

    #[inline]
    fn push_i64(&mut self, value: i64) {
        self.append(value.to_le_bytes());
    }

    #[inline]
    fn push_u64(&mut self, value: u64) {
        self.append(value.to_le_bytes());
    }
}

impl DynasmLabelApi for Assembler {
    type Relocation = X64Relocation;

    fn local_label(&mut self, _: &'static str) {
        self.failed = true;
    }

    fn global_label(&mut self, _: &'static str) {
        self.failed = true;
    }

    fn dynamic_label(&mut self, label: DynamicLabel) {
        self.failed |= self.labels.define_dynamic(label, AssemblyOffset(self.used)).is_err();
    }

    fn forward_relocation(&mut self, _: &'static str, _: isize, _: u8, _: u8, _: X64Relocation) {
        self.failed = true;
    }

    fn backward_relocation(&mut self, _: &'static str, _: isize, _: u8, _: u8, _: X64Relocation) {
        self.failed = true;
    }

    fn global_relocation(&mut self, _: &'static str, _: isize, _: u8, _: u8, _: X64Relocation) {
        self.failed = true;
    }

    #[inline]
    fn dynamic_reloc(&mut self, to: DynamicLabel, add: isize, field: u8, from: u8, kind: u8) {
        debug_assert!(is_distance(kind, RelocationKind::Relative), "labels are used by distances of 32 bits");
        let here = self.used as u32;
        self.distances.push(Distance { at: here - u32::from(field), from: here - u32::from(from), add: add as i32, to });
    }

    #[inline]
    fn value_reloc(&mut self, value: usize, field: u8, from: u8, kind: u8) {
        debug_assert!(is_distance(kind, RelocationKind::RelToAbs), "addresses are used by distances of 32 bits");
        let distance = value.wrapping_sub(self.base + self.used - usize::from(from)) as isize;
        self.failed |= i32::try_from(distance).is_err();
        self.externs.push(self.used as u32 - u32::from(field));
        put(&mut self.code, self.used - usize::from(field), (distance as i32).to_le_bytes());
    }

    fn dynamic_relocation(&mut self, _: DynamicLabel, _: isize, _: u8, _: u8, _: X64Relocation) {
        self.failed = true;
    }

    fn value_relocation(&mut self, _: usize, _: u8, _: u8, _: X64Relocation) {
        self.failed = true;
    }
}

/// What `dynasm!` asks for is a distance of 32 bits of this kind.
fn is_distance(encoding: u8, kind: RelocationKind) -> bool {
    let asked = X64Relocation::from_encoding(encoding);
    std::mem::discriminant(&asked.kind()) == std::mem::discriminant(&kind) && asked.size() == 4
}

#[cfg(test)]
mod tests {
    use super::Assembler;
    use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};

    /// Code with every kind of piece that blocks have.
    macro_rules! code {
        ($ops:expr, $reg:expr) => {{
            let (ahead, back) = ($ops.new_dynamic_label(), $ops.new_dynamic_label());
            dynasm!($ops
                ; .arch x64
                ; =>back ; mov Rq($reg), QWORD 0x0123_4567_89ab_cdef ; add Rq($reg), 0x1234_5678 ; jz =>ahead ; cmp BYTE [Rq($reg) + 7], 3
                ; jmp =>back ; jmp QWORD [=>ahead] ; call extern 0x5000 ; pcmpeqw Rx($reg), [=>ahead] ; =>ahead ; .u64 7
            );
            $ops.align(16, 0xcc);
        }};
    }

    #[test]
    fn code_is_dynasms_own() {
        let mut ours = Assembler::default();
        for (reg, base) in [(0u8, 0x1_0000usize), (13, 0x2000)] {
            ours.restart(base);
            let mut theirs = VecAssembler::<X64Relocation>::new(base);
            code!(ours, reg);
            code!(theirs, reg);
            assert_eq!(ours.commit(), Some(()));
            assert_eq!(ours.code(), theirs.finalize().unwrap());
        }
    }

    #[test]
    fn what_is_missing_or_too_far_is_a_mistake() {
        let mut ops = Assembler::default();
        let label = ops.new_dynamic_label();
        dynasm!(ops ; .arch x64 ; jmp =>label);
        assert_eq!(ops.commit(), None);
        ops.restart(1 << 40);
        dynasm!(ops ; .arch x64 ; jmp extern 0);
        assert_eq!(ops.commit(), None);
    }
}
