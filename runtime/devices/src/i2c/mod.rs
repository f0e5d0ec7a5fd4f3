//! I2C: a controller, and parts that sit on its bus.

mod calendar;
pub mod cdns_i2c;
pub mod eeprom;
mod listeners;
pub mod lm75;
pub mod pca954x;
pub mod pcf8563;
