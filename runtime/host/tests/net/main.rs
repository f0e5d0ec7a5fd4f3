//! The network back ends, with a guest that is a network stack itself.

mod frames;
mod guest;
mod names;
mod socket;
mod tap;
mod tcp;
mod tftp;
mod udp;
