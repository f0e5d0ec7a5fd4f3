//! The engine's tests again, where every loop becomes a region as soon as it jumps back.

#[path = "engine.rs"]
mod engine;
