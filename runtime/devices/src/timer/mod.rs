//! Timers and watchdogs.

pub mod a9_global_timer;
pub mod a9_private_timer;
pub mod cdns_ttc;
pub mod cdns_wdt;
pub mod xps_timer;
