//! Kernel images: ELF, zImage, uImage, gzip, xz, raw.
#![no_main]

use emu_boot::image::Image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = Image::recognise("kernel", "fuzz", bytes.to_vec());
    _ = emu_boot::firmware("fuzz", bytes.to_vec(), 0x1000);
});
