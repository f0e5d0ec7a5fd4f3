//! Flattened device trees that a user gives to boot with.
#![no_main]

use emu_boot::linux::{NamedBytes, Request, plan};
use emu_boot::{Place, Protocol};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = |name: &str, bytes: &[u8]| NamedBytes { name: name.into(), bytes: bytes.to_vec() };
    let request =
        Request { kernel: file("k", &[1; 64]), initrd: Some(file("i", &[2; 64])), dtb: file("d", bytes), append: Some("quiet".into()) };
    for protocol in [Protocol::Arm { machine_id: !0 }, Protocol::MicroBlaze] {
        let place = Place { ram: 0..64 << 20, kernel_at: 0x8000, initrd_at: None, dtb_at: None, protocol, compatible: vec![] };
        _ = plan(&request, &place);
    }
});
