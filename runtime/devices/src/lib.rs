//! Device models, grouped by kind. Each is one file, with its register map in KDL beside it.
//!
//! No device names another device's type, a board or a CPU: it sees its registers, named lines, clocks, a bus for DMA, timers and
//! back ends, all through [`emu_machine::device::Cx`].

pub mod clocked;
pub mod dma;
pub mod flash;
pub mod gpio;
pub mod i2c;
pub mod intc;
pub mod net;
pub mod serial;
pub mod soc;
pub mod spi;
pub mod storage;
pub mod timer;
pub mod usb;

use emu_machine::schema::DeviceType;

/// The registers of a device: the module generated from its KDL map.
macro_rules! regs {
    ($name:literal) => {
        #[allow(missing_docs, clippy::all)]
        pub(super) mod regs {
            include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
        }
    };
}
pub(crate) use regs;

/// `save` and `load` of a device whose state is the serde struct in this field. `fits` says whether a state is one of this very device,
/// for states whose size depends on properties.
macro_rules! snapshot {
    ($field:ident) => {
        crate::snapshot!($field, |_, _| true);
    };
    ($field:ident, $fits:expr) => {
        fn save(&self) -> serde_json::Value {
            serde_json::to_value(&self.$field).unwrap_or_default()
        }
        fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
            let state: State = serde_json::from_value(state.clone()).map_err(|e| e.to_string())?;
            let fits: fn(&Self, &State) -> bool = $fits;
            if !state.is_sound() || !fits(self, &state) {
                return Err("an array has the wrong length".into());
            }
            self.$field = state;
            Ok(())
        }
    };
}
pub(crate) use snapshot;

/// All device types.
pub fn registry() -> Vec<DeviceType> {
    let mut all = vec![
        serial::cdns_uart::TYPE,
        serial::ns16550::TYPE,
        serial::uartlite::TYPE,
        intc::gic_v1::TYPE,
        intc::xps_intc::TYPE,
        timer::a9_global_timer::TYPE,
        timer::a9_private_timer::TIMER,
        timer::a9_private_timer::WATCHDOG,
        timer::cdns_ttc::TYPE,
        timer::cdns_wdt::TYPE,
        timer::xps_timer::TYPE,
        soc::a9_scu::TYPE,
        soc::pl310::TYPE,
        soc::zynq_slcr::TYPE,
        soc::zynq_ddrc::TYPE,
        soc::zynq_devcfg::TYPE,
        soc::zynq_xadc::TYPE,
        dma::pl330::TYPE,
        dma::axi_dma::TYPE,
        dma::axis_fifo::TYPE,
        gpio::zynq_gpio::TYPE,
        gpio::xps_gpio::TYPE,
        gpio::led::TYPE,
        gpio::switch::SWITCH,
        gpio::switch::BUTTON,
        storage::sdhci::TYPE,
        flash::pl353_smc::TYPE,
        flash::xps_emc::TYPE,
        net::gem::TYPE,
        net::ethernetlite::XPS,
        net::ethernetlite::AXI,
        net::axi_ethernet::TYPE,
        usb::chipidea::TYPE,
        usb::hub::TYPE,
        usb::hub::TYPE_8,
        usb::keyboard::TYPE,
        usb::mouse::TYPE,
        usb::storage::TYPE,
        usb::tablet::TYPE,
        net::xlnx_can::TYPE,
        i2c::cdns_i2c::TYPE,
        i2c::lm75::TYPE,
        i2c::pca954x::PCA9544,
        i2c::pca954x::PCA9546,
        i2c::pca954x::PCA9548,
        i2c::pcf8563::TYPE,
        spi::cdns_spi::TYPE,
        spi::zynq_qspi::TYPE,
        spi::xps_spi::TYPE,
    ];
    all.extend(i2c::eeprom::TYPES);
    all.extend(flash::serial::TYPES);
    all.extend(flash::nand::TYPES);
    all.extend(flash::cfi::TYPES);
    all
}
