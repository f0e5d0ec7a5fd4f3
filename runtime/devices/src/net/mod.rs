//! Network devices.

pub mod can_frame;
pub mod ethernet;
pub mod gem;
pub mod phy;
pub mod xlnx_can;
