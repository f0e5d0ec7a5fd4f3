//! emu-boards
