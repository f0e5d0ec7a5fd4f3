//! Structures and flags of the guest, and the host's: bytes by the tables of [`crate::abi`].

use crate::abi::{Field, FlagSet, How, Layout};

fn ones(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}

/// Reads a number of `bytes.len()` (at most 8) bytes.
pub fn number(bytes: &[u8], big: bool) -> u64 {
    let fold = |value: u64, b: &u8| value << 8 | u64::from(*b);
    if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

/// Writes the low bytes of a number.
pub fn put(bytes: &mut [u8], value: u64, big: bool) {
    let len = bytes.len();
    for (i, b) in bytes.iter_mut().enumerate() {
        let place = if big { len - 1 - i } else { i };
        *b = value.checked_shr(8 * place as u32).unwrap_or(0) as u8;
    }
}

/// A number of `size` bytes with its sign in all 64 bits.
pub fn extend(value: u64, size: u8, signed: bool) -> u64 {
    let shift = 64 - 8 * u32::from(size.clamp(1, 8));
    if signed { ((value << shift) as i64 >> shift) as u64 } else { value & ones(size) }
}

fn incoming(f: &Field, value: u64) -> u64 {
    match f.how {
        How::Limit | How::Id16 if value == ones(f.size) => u64::MAX,
        How::Low => value as i32 as i64 as u64,
        _ => extend(value, f.size, f.signed),
    }
}

fn outgoing(f: &Field, value: u64) -> u64 {
    match f.how {
        How::Limit => value.min(ones(f.size)),
        How::Id16 if value > ones(f.size) => 65534,
        _ => extend(value, f.host_size, f.signed),
    }
}

/// Ranges of the elements of a member: in the guest's bytes, and in the host's.
fn elements(f: &Field) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
    let (guest, size, host, host_size) = (f.guest as usize, usize::from(f.size), f.host as usize, usize::from(f.host_size));
    (0..f.count as usize).map(move |i| {
        let (g, h) = (guest + i * size, host + i * host_size);
        (g..g + size, h..h + host_size)
    })
}

/// Fills the host's structure from the guest's; what only the host has stays as it is.
pub fn to_host(layout: &Layout, guest: &[u8], host: &mut [u8], big: bool) {
    for f in layout.fields {
        for (g, h) in elements(f) {
            if let (Some(from), Some(to)) = (guest.get(g), host.get_mut(h)) {
                put(to, incoming(f, number(from, big)), false);
            }
        }
    }
}

/// Fills the guest's structure from the host's; what only the guest has stays as it is.
pub fn to_guest(layout: &Layout, host: &[u8], guest: &mut [u8], big: bool) {
    for f in layout.fields {
        for (g, h) in elements(f) {
            if let (Some(from), Some(to)) = (host.get(h), guest.get_mut(g)) {
                put(to, outgoing(f, number(from, false)), big);
            }
        }
    }
}

/// Flags of the guest as the host's; bits that no flag of either names stay as they are.
pub fn flags_to_host(set: &FlagSet, value: u64) -> u64 {
    flags(set, value, |f| (f.value, f.mask, f.host, f.host_mask))
}

/// Flags of the host as the guest's.
pub fn flags_to_guest(set: &FlagSet, value: u64) -> u64 {
    flags(set, value, |f| (f.host, f.host_mask, f.value, f.mask))
}

fn flags(set: &FlagSet, value: u64, sides: fn(&crate::abi::Flag) -> (u64, u64, u64, u64)) -> u64 {
    if set.same {
        return value;
    }
    let (mut named, mut out) = (0, 0);
    for (from, from_mask, to, to_mask) in set.flags.iter().map(sides) {
        named |= from_mask | to_mask;
        if value & from_mask == from {
            out |= to;
        }
    }
    out | value & !named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{ARM, Abi, MICROBLAZE};

    #[test]
    fn numbers_have_a_byte_order_and_a_sign() {
        assert_eq!(number(&[1, 2, 3], true), 0x01_0203);
        assert_eq!(number(&[1, 2, 3], false), 0x03_0201);
        let mut out = [0; 3];
        put(&mut out, 0x0a_0b0c, true);
        assert_eq!(out, [0x0a, 0x0b, 0x0c]);
        assert_eq!(extend(0xff, 1, true), u64::MAX);
        assert_eq!(extend(0x1ff, 1, false), 0xff);
    }

    #[test]
    fn times_and_limits_are_extended() {
        let l = &ARM.layouts.timespec;
        let mut host = [0; 16];
        to_host(l, &[0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0], &mut host, false);
        assert_eq!((number(&host[..8], false) as i64, number(&host[8..], false)), (-1, 5));
        // The padding of a 64-bit nanosecond may be anything.
        let mut guest = [0xee; 16];
        guest[12..].copy_from_slice(&[0, 0, 0, 7]);
        to_host(&MICROBLAZE.layouts.timespec64, &guest, &mut host, true);
        assert_eq!(number(&host[8..], false), 7);
        let l = &MICROBLAZE.layouts.rlimit;
        to_host(l, &[0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0], &mut host, true);
        assert_eq!((number(&host[..8], false), number(&host[8..], false)), (u64::MAX, 256));
        let mut back = [0; 8];
        put(&mut host[8..], 1 << 40, false);
        to_guest(l, &host, &mut back, true);
        assert_eq!(back, [0xff; 8]);
    }

    #[test]
    fn flags_of_arm_are_others() {
        let set = &ARM.flags.open;
        let host = (libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_WRONLY) as u64;
        assert_eq!(flags_to_host(set, 0o2_040_001), host);
        assert_eq!(flags_to_guest(set, host), 0o2_040_001);
        assert_eq!(flags_to_host(&MICROBLAZE.flags.open, host), host);
    }

    fn layouts(abi: &'static Abi) -> [&'static Layout; 9] {
        let l = abi.layouts;
        [&l.timespec, &l.flock64, &l.epoll_event, &l.termios, &l.itimerspec, &l.mq_attr, &l.sigset, &l.msghdr, &l.pollfd]
    }

    proptest::proptest! {
        /// What a guest gives comes back as it was, in either order: members, not padding.
        #[test]
        fn what_goes_in_comes_back(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 64), big: bool) {
            for layout in layouts(&ARM).into_iter().chain(layouts(&MICROBLAZE)) {
                let guest = &bytes[..layout.size as usize];
                let mut host = vec![0; layout.host_size as usize];
                to_host(layout, guest, &mut host, big);
                let mut again = guest.to_vec();
                to_guest(layout, &host, &mut again, big);
                proptest::prop_assert_eq!(&again, guest, "{}", layout.name);
            }
        }

        #[test]
        fn flags_come_back(value in 0u64..1 << 23) {
            let set = &ARM.flags.open;
            // An access mode of 3 is none of the three.
            let value = if value & 3 == 3 { value ^ 1 } else { value };
            proptest::prop_assert_eq!(flags_to_guest(set, flags_to_host(set, value)), value);
        }

        #[test]
        fn short_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let mut host = vec![0; bytes.len()];
            to_host(&ARM.layouts.stat64, &bytes, &mut host, false);
            to_guest(&ARM.layouts.stat64, &bytes, &mut host, true);
        }
    }
}
