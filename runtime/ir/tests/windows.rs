//! The engine's tests again, where every loop becomes a region whose accesses go to windows.

#[path = "engine.rs"]
mod engine;
