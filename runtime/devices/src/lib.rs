//! Device models, grouped by kind. Each is one file, with its register map in KDL beside it.
//!
//! No device names another device's type, a board or a CPU: it sees its registers, named lines, clocks, a bus for DMA, timers and
//! back ends, all through [`emu_machine::device::Cx`].

pub mod clocked;
pub mod gpio;
pub mod intc;
pub mod serial;
pub mod soc;
pub mod timer;

use emu_machine::schema::DeviceType;

/// The registers of a device: the module generated from its KDL map.
macro_rules! regs {
    ($name:literal) => {
        #[allow(missing_docs, clippy::all)]
        mod regs {
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
    vec![
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
        gpio::zynq_gpio::TYPE,
    ]
}
