//! The registers of an eMMC device (JEDEC JESD84-B51, chapter 7).
//!
//! Made from the medium's size as the SD card's are, with steps of 512 bytes above 2 GiB. Erase groups are of 512 KiB, by the CSD and by
//! ERASE_GROUP_DEF alike.

use super::sd_registers::{Geometry, fold, seal};
use std::collections::BTreeMap;

/// Bytes of an erase group.
pub(super) const ERASE_GROUP: u64 = 512 << 10;

/// CSD of version 1.2; `writable`: its bits 15 to 8. A medium that refuses writes has no classes for writing and erasing: hosts ask for these.
pub(super) fn csd(g: &Geometry, writable: u8, read_only: bool) -> u128 {
    let erase_size = (ERASE_GROUP as u32 >> 5 >> g.block_log2) - 1;
    let (c_size, c_size_mult) = if g.high { (0xfff, 7) } else { (g.c_size, g.c_size_mult) };
    seal(fold(&[
        // CSD_STRUCTURE: as the extended CSD says; SPEC_VERS: 4.x and 5.x.
        (126, 2, 3),
        (122, 4, 4),
        // 1 ms, 26 MHz; classes 0, 2, 4 and 5.
        (112, 8, 0x0e),
        (96, 8, 0x32),
        (84, 12, if read_only { 0x05 } else { 0x35 }),
        (80, 4, g.block_log2),
        (79, 1, u32::from(!g.high)),
        (62, 12, c_size),
        (50, 12, 0xdb6),
        (47, 3, c_size_mult),
        (42, 5, erase_size),
        (37, 5, 31),
        (26, 3, 2),
        (22, 4, g.block_log2),
        (8, 8, writable.into()),
    ]))
}

/// CID of the device with this serial number: in a package of its own, nobody's, made in January 2026.
pub(super) fn cid(serial: u32) -> u128 {
    let name = b"EMUMMC".iter().fold(0u128, |all, c| all << 8 | u128::from(*c));
    seal(0xfe << 120 | 1 << 112 | name << 56 | 0x10 << 48 | u128::from(serial) << 16 | 0x1d << 8)
}

const BUS_WIDTH: u8 = 183;

/// Whether CMD6 may make a byte of the extended CSD this.
pub(super) fn may_be(index: u8, value: u8) -> bool {
    match index {
        // POWER_OFF_NOTIFICATION.
        34 => value <= 3,
        // ERASE_GROUP_DEF, HS_TIMING.
        175 | 185 => value <= 1,
        // PARTITION_CONFIG: access to the user area; boot from it or from nothing, with or without acknowledge.
        179 => matches!(value & !0x40, 0 | 0x38),
        BUS_WIDTH => value <= 2,
        // POWER_CLASS.
        187 => value == 0,
        _ => false,
    }
}

/// The extended CSD, with the bytes that CMD6 has written.
pub(super) fn extended_csd(g: &Geometry, modes: &BTreeMap<u8, u8>) -> Vec<u8> {
    let mut all = vec![0; 512];
    // Offset, value. What is 0 is not offered: boot partitions, RPMB, general-purpose partitions, cache, HPI, background operations, packed and queued
    // commands, secure erase, sanitize.
    let constants = [
        // WR_REL_PARAM: reliable writes of any length.
        (166, 4),
        // EXT_CSD_REV 5.1; CSD_STRUCTURE 1.2; DEVICE_TYPE: 26 and 52 MHz.
        (192, 8),
        (194, 2),
        (196, 3),
        // DRIVER_STRENGTH, OUT_OF_INTERRUPT_TIME, PARTITION_SWITCH_TIME, S_A_TIMEOUT.
        (197, 1),
        (198, 1),
        (199, 1),
        (217, 0x11),
        // HC_WP_GRP_SIZE, REL_WR_SEC_C, ERASE_TIMEOUT_MULT, HC_ERASE_GRP_SIZE (512 KiB).
        (221, 4),
        (222, 1),
        (223, 1),
        (224, (ERASE_GROUP >> 19) as u8),
        // SEC_TRIM_MULT, SEC_ERASE_MULT, SEC_FEATURE_SUPPORT: trim; TRIM_MULT.
        (229, 1),
        (230, 1),
        (231, 0x10),
        (232, 1),
        // INI_TIMEOUT_AP, POWER_OFF_LONG_TIME, GENERIC_CMD6_TIME, S_CMD_SET.
        (241, 1),
        (247, 1),
        (248, 10),
        (504, 1),
    ];
    let written = modes.iter().filter(|(index, _)| **index != BUS_WIDTH).map(|(index, value)| (usize::from(*index), *value));
    constants.into_iter().chain(written).for_each(|(at, value)| all[at] = value);
    all[212..216].copy_from_slice(&((g.capacity / 512) as u32).to_le_bytes());
    all
}
