//! emu-ir
