//! Debug information of programs, for line coverage.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut files = emu_user::coverage::Files::new();
    emu_user::coverage::lines(bytes, &[(0x10000, 0x10000, 0)], &[(0x10084, 3), (0x11000, 1)], &mut files);
    _ = emu_user::coverage::text(&files);
});
