//! emu-softfloat
