//! emu-isa-arm
