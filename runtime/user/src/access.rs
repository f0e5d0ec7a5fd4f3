//! Touching the program's memory from Rust: what the host refuses comes back as an error instead of a signal.
//!
//! Every access to guest memory of this crate is one of these functions. They lie together and keep nothing on the stack, so that the signal handler
//! ([`crate::host_signal`]) knows by the program counter that it stopped one, and lets it return with an error.

use std::arch::global_asm;

global_asm!(
    ".pushsection .text.emu_user_access, \"ax\", @progbits",
    ".balign 16",
    "emu_user_access_begin:",
    "emu_user_load1: xor edx, edx; movzx eax, byte ptr [rdi]; ret",
    "emu_user_load2: xor edx, edx; movzx eax, word ptr [rdi]; ret",
    "emu_user_load4: xor edx, edx; mov eax, [rdi]; ret",
    "emu_user_load8: xor edx, edx; mov rax, [rdi]; ret",
    "emu_user_store1: xor edx, edx; mov [rdi], sil; ret",
    "emu_user_store2: xor edx, edx; mov [rdi], si; ret",
    "emu_user_store4: xor edx, edx; mov [rdi], esi; ret",
    "emu_user_store8: xor edx, edx; mov [rdi], rsi; ret",
    // (address, old, new): what was there.
    "emu_user_swap1: mov rcx, rdx; mov rax, rsi; xor edx, edx; lock cmpxchg [rdi], cl; movzx eax, al; ret",
    "emu_user_swap2: mov rcx, rdx; mov rax, rsi; xor edx, edx; lock cmpxchg [rdi], cx; movzx eax, ax; ret",
    "emu_user_swap4: mov rcx, rdx; mov rax, rsi; xor edx, edx; lock cmpxchg [rdi], ecx; mov eax, eax; ret",
    "emu_user_swap8: mov rcx, rdx; mov rax, rsi; xor edx, edx; lock cmpxchg [rdi], rcx; ret",
    // (to, from, bytes)
    "emu_user_copy: mov rcx, rdx; rep movsb; xor eax, eax; xor edx, edx; ret",
    "emu_user_access_end:",
    "emu_user_refused: xor eax, eax; mov edx, 1; ret",
    ".popsection",
);

/// In `rax` and `rdx`.
#[repr(C)]
struct Result2 {
    value: u64,
    refused: u64,
}

impl Result2 {
    fn get(self) -> Option<u64> {
        (self.refused == 0).then_some(self.value)
    }
}

unsafe extern "sysv64" {
    fn emu_user_access_begin();
    fn emu_user_access_end();
    fn emu_user_refused();
    fn emu_user_load1(at: *const u8) -> Result2;
    fn emu_user_load2(at: *const u8) -> Result2;
    fn emu_user_load4(at: *const u8) -> Result2;
    fn emu_user_load8(at: *const u8) -> Result2;
    fn emu_user_store1(at: *mut u8, value: u64) -> Result2;
    fn emu_user_store2(at: *mut u8, value: u64) -> Result2;
    fn emu_user_store4(at: *mut u8, value: u64) -> Result2;
    fn emu_user_store8(at: *mut u8, value: u64) -> Result2;
    fn emu_user_swap1(at: *mut u8, old: u64, new: u64) -> Result2;
    fn emu_user_swap2(at: *mut u8, old: u64, new: u64) -> Result2;
    fn emu_user_swap4(at: *mut u8, old: u64, new: u64) -> Result2;
    fn emu_user_swap8(at: *mut u8, old: u64, new: u64) -> Result2;
    fn emu_user_copy(to: *mut u8, from: *const u8, bytes: usize) -> Result2;
}

/// Where a thread goes on that the host stopped at `pc`, if that is in one of these functions.
pub fn recover(pc: usize) -> Option<usize> {
    let inside = (emu_user_access_begin as *const () as usize..emu_user_access_end as *const () as usize).contains(&pc);
    inside.then_some(emu_user_refused as *const () as usize)
}

/// Reads 1, 2, 4 or 8 bytes at any alignment; `None`: the host refuses.
pub fn load(at: *const u8, size: u8) -> Option<u64> {
    // SAFETY: an address the host refuses comes back as an error; memory of the program has no other owner in Rust.
    unsafe {
        match size {
            1 => emu_user_load1(at),
            2 => emu_user_load2(at),
            4 => emu_user_load4(at),
            _ => emu_user_load8(at),
        }
    }
    .get()
}

/// Writes 1, 2, 4 or 8 bytes at any alignment; false: the host refuses.
pub fn store(at: *mut u8, size: u8, value: u64) -> bool {
    // SAFETY: as in `load`.
    unsafe {
        match size {
            1 => emu_user_store1(at, value),
            2 => emu_user_store2(at, value),
            4 => emu_user_store4(at, value),
            _ => emu_user_store8(at, value),
        }
    }
    .get()
    .is_some()
}

/// Atomically replaces `old` by `new`, of 1, 2, 4 or 8 bytes: what was there. `None`: the host refuses.
pub fn compare_exchange(at: *mut u8, size: u8, old: u64, new: u64) -> Option<u64> {
    // SAFETY: as in `load`.
    unsafe {
        match size {
            1 => emu_user_swap1(at, old, new),
            2 => emu_user_swap2(at, old, new),
            4 => emu_user_swap4(at, old, new),
            _ => emu_user_swap8(at, old, new),
        }
    }
    .get()
}

/// Copies bytes out of the program's memory; false: the host refuses, and some may have been copied.
pub fn copy_out(from: *const u8, to: &mut [u8]) -> bool {
    // SAFETY: as in `load`; the bytes written are `to`.
    unsafe { emu_user_copy(to.as_mut_ptr(), from, to.len()) }.get().is_some()
}

/// Copies bytes into the program's memory; false: the host refuses, and some may have been copied.
pub fn copy_in(from: &[u8], to: *mut u8) -> bool {
    // SAFETY: as in `load`; the bytes read are `from`.
    unsafe { emu_user_copy(to, from.as_ptr(), from.len()) }.get().is_some()
}

/// Copies bytes inside the program's memory; false: the host refuses, and some may have been copied.
pub fn copy(from: *const u8, to: *mut u8, bytes: usize) -> bool {
    // SAFETY: as in `load`.
    unsafe { emu_user_copy(to, from, bytes) }.get().is_some()
}
