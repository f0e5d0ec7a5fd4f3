//! Files of a code cache: whatever is read as one, and one that was written and damaged since, gives what was written or nothing.
#![no_main]

use emu_store::{Reader, Writer};
use libfuzzer_sys::fuzz_target;

const IDENTITY: [u8; 32] = *b"emucode identity of fuzzed files";
const KEY: [u8; 32] = [5; 32];

fn read(bytes: &[u8], mut each: impl FnMut(u64, &[u8])) {
    let Some(mut file) = Reader::new(bytes, bytes.len() as u64, &IDENTITY, KEY) else { return };
    for n in 0..file.count().min(1000) {
        if let Some((hash, value)) = file.value(n) {
            each(hash, value);
            assert!(file.places(hash).len() <= file.count());
        }
    }
    file.all().into_iter().for_each(|(hash, value)| each(hash, value));
}

fuzz_target!(|input: (&[u8], Vec<(u64, &[u8])>, Vec<(u16, u8)>)| {
    let (bytes, values, changes) = input;
    // Nothing else bears the seal.
    read(bytes, |_, value| assert!(value.is_empty(), "a value out of nothing"));
    let mut writer = Writer::default();
    values.iter().for_each(|(hash, value)| writer.add(*hash, value));
    let mut file = Vec::new();
    writer.write(&mut file, &IDENTITY, &KEY).expect("memory");
    let mut found = 0;
    read(&file, |_, _| found += 1);
    assert_eq!(found, 2 * values.len().min(1000) + values.len().saturating_sub(1000));
    for (at, change) in changes {
        let at = usize::from(at) % file.len();
        file[at] ^= change;
    }
    read(&file, |hash, value| assert!(values.contains(&(hash, value)), "not what was written"));
});
