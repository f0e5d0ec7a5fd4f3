//! emu-dsl
