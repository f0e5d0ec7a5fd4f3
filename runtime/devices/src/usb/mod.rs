//! USB: host controllers, and the functions that hang on them.

pub mod chipidea;
mod function;
mod hid;
pub mod hub;
pub mod keyboard;
pub mod mouse;
mod scsi;
pub mod storage;
pub mod tablet;
