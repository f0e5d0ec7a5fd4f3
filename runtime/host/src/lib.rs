//! emu-host
