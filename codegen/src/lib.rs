//! emu-codegen
