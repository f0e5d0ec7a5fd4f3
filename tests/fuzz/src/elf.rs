//! Programs for user mode.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = emu_user::elf::kind(bytes);
    if let Ok(space) = emu_user::space::Space::new(1 << 32) {
        _ = emu_user::elf::load(&space, bytes, None, None, 0xc000_0000);
    }
});
