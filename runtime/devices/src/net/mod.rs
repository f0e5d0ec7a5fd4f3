//! Network devices.

pub mod axi_ethernet;
pub mod can_frame;
pub mod ethernet;
pub mod ethernetlite;
pub mod gem;
pub mod phy;
pub mod xlnx_can;
