//! The engine's tests again, in the quick tier.

#[path = "engine.rs"]
mod engine;
