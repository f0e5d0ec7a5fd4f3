//! Device and CPU types for tests of the loader: only what a board file sees of them.

use emu_machine::cpu::Cpu;
use emu_machine::device::Device;
use emu_machine::parts::PartBus;
use emu_machine::schema::*;

fn no_device(_: &Props) -> Result<Box<dyn Device>, String> {
    Err("a type for tests only".into())
}

fn no_cpu(_: &str, _: &Props, _: usize) -> Result<Box<dyn Cpu>, String> {
    Err("a type for tests only".into())
}

const fn device(name: &'static str) -> DeviceType {
    DeviceType::new(name, "a type for tests", no_device)
}

const fn int(name: &'static str, min: i128, max: i128, default: Option<&'static str>) -> PropSpec {
    PropSpec { name, kind: PropKind::Int { min, max }, default, doc: "a number" }
}

const NCPU: PropSpec = int("ncpu", 1, 4, Some("1"));
const IRQ: &[PortSpec] = &[PortSpec::one("irq", "interrupt")];
const IRQ_PER_CPU: &[PortSpec] = &[PortSpec { per_cpu: true, ..PortSpec::one("irq", "interrupt") }];
const PER_CPU: Count = Count::Prop("ncpu");

const fn regs<const SIZE: u64>() -> &'static [RegionSpec] {
    &[RegionSpec { name: "regs", size: Count::Fixed(SIZE) }]
}

const fn clock<const REQUIRED: bool>() -> &'static [ClockSpec] {
    &[ClockSpec { name: "ref", required: REQUIRED, doc: "reference clock" }]
}

const fn slot(name: &'static str, bus: PartBus, first: u32, last: u32) -> SlotSpec {
    SlotSpec { name, bus, first, last, doc: "where a part sits" }
}

macro_rules! clocks_out {
    ($($name:literal)*) => { &[$(ClockSpec { name: $name, required: false, doc: "clock output" }),*] };
}

/// The types the board files of this folder use.
pub fn registry() -> Registry {
    let a9 = |name| DeviceType { props: const { &[NCPU] }, clocks_in: clock::<true>(), outputs: IRQ_PER_CPU, ..device(name) };
    let devices = vec![
        DeviceType { regions: regs::<0x100>(), props: const { &[NCPU] }, ..device("arm,a9-scu") },
        DeviceType {
            regions: &[RegionSpec { name: "cpu-if", size: Count::Fixed(0x100) }, RegionSpec { name: "dist", size: Count::Fixed(0x1000) }],
            props: const { &[int("spis", 32, 988, None), NCPU] },
            inputs: const {
                &[
                    PortSpec { name: "spi", count: Count::Prop("spis"), first: 0, per_cpu: false, doc: "shared" },
                    PortSpec { name: "ppi", count: Count::Fixed(16), first: 16, per_cpu: true, doc: "private" },
                ]
            },
            line_aliases: &[
                LineAlias { name: "id", from: 16, to: 31, port: "ppi", number: 16 },
                LineAlias { name: "id", from: 32, to: 1019, port: "spi", number: 0 },
            ],
            outputs: const {
                &[
                    PortSpec { name: "irq", count: PER_CPU, first: 0, per_cpu: false, doc: "to the CPUs" },
                    PortSpec { name: "fiq", count: PER_CPU, first: 0, per_cpu: false, doc: "to the CPUs" },
                ]
            },
            ..device("arm,gic-v1")
        },
        DeviceType { regions: regs::<0x20>(), ..a9("arm,a9-global-timer") },
        DeviceType { regions: regs::<0x20>(), ..a9("arm,a9-private-timer") },
        DeviceType { regions: regs::<0x20>(), ..a9("arm,a9-private-wdt") },
        DeviceType { regions: regs::<0x1000>(), outputs: IRQ, ..device("arm,pl310") },
        DeviceType {
            regions: regs::<0x1000>(),
            clocks_in: clock::<true>(),
            clocks_out: clocks_out!("cpu-6x4x" "cpu-3x2x" "cpu-2x" "cpu-1x" "uart-ref" "sdio-ref" "fclk0"),
            outputs: const { &[PortSpec::many("cpu-reset", 2, "hold in reset"), PortSpec::many("cpu-stop", 2, "stop the clock")] },
            ..device("xlnx,zynq-slcr")
        },
        DeviceType {
            regions: regs::<0x1000>(),
            clocks_in: clock::<true>(),
            chardevs: &["serial"],
            outputs: IRQ,
            inputs: const { &[PortSpec::one("reset", "reset")] },
            ..device("cdns,uart")
        },
        DeviceType {
            regions: regs::<0x1000>(),
            clocks_in: clock::<true>(),
            outputs: const { &[PortSpec::many("irq", 3, "interrupts")] },
            ..device("cdns,ttc")
        },
        DeviceType { regions: regs::<0x1000>(), clocks_in: clock::<true>(), outputs: IRQ, ..device("cdns,wdt") },
        DeviceType { regions: regs::<0x1000>(), ..device("xlnx,zynq-ddrc") },
        DeviceType { regions: regs::<0x100>(), outputs: IRQ, dma: true, ..device("xlnx,zynq-devcfg") },
        DeviceType { regions: regs::<0x20>(), outputs: IRQ, ..device("xlnx,zynq-xadc") },
        DeviceType { regions: regs::<0x1000>(), outputs: IRQ, ..device("xlnx,zynq-gpio") },
        DeviceType {
            props: const {
                &[
                    PropSpec { name: "mode", kind: PropKind::Choice(&["fast", "slow"]), default: Some("fast"), doc: "speed" },
                    PropSpec { name: "memory", kind: PropKind::Size { min: 1 << 10, max: 1 << 20 }, default: Some("64K"), doc: "buffer" },
                    PropSpec { name: "swap", kind: PropKind::Bool, default: Some("#false"), doc: "swap" },
                    PropSpec { name: "title", kind: PropKind::Text, default: Some("none"), doc: "title" },
                ]
            },
            ..device("test,props")
        },
        DeviceType { regions: regs::<0x1000>(), slots: const { &[slot("bus", PartBus::I2c, 0x08, 0x77)] }, ..device("test,i2c") },
        DeviceType { regions: regs::<0x1000>(), slots: const { &[slot("cs", PartBus::Spi, 0, 2)] }, ..device("test,spi") },
        DeviceType { part: Some(PartBus::I2c), outputs: IRQ, ..device("test,eeprom") },
        DeviceType { part: Some(PartBus::Spi), drives: &["flash"], ..device("test,flash") },
        DeviceType {
            part: Some(PartBus::I2c),
            slots: const { &[slot("ch0", PartBus::I2c, 0x08, 0x77), slot("ch1", PartBus::I2c, 0x08, 0x77)] },
            ..device("test,mux")
        },
    ];
    let cpus = vec![CpuType {
        isa: "arm",
        models: &["cortex-a9", "cortex-a15"],
        props: const {
            &[
                int("midr", 0, 0xffff_ffff, Some("0x413fc090")),
                int("mpidr", 0, 0xffff_ffff, Some("0x80000000")),
                int("cbar", 0, 0xffff_ffff, Some("0")),
            ]
        },
        inputs: const { &[PortSpec::one("irq", "IRQ"), PortSpec::one("fiq", "FIQ")] },
        outputs: const { &[] },
        create: no_cpu,
    }];
    Registry { devices, cpus }
}

/// The device types there are, with the CPU types above.
#[allow(dead_code, reason = "not every test uses it")]
pub fn real_registry() -> Registry {
    let microblaze = CpuType {
        isa: "microblaze",
        models: &["microblaze", "microblazeel"],
        props: const {
            &[
                int("base-vectors", 0, 0xffff_ffff, Some("0")),
                PropSpec { name: "low-latency", kind: PropKind::Bool, default: Some("#false"), doc: "" },
                int("pvr0", 0, 0xffff_ffff, None),
                int("pvr2", 0, 0xffff_ffff, None),
                int("pvr3", 0, 0xffff_ffff, None),
                int("pvr10", 0, 0xffff_ffff, None),
                int("pvr11", 0, 0xffff_ffff, None),
            ]
        },
        inputs: const { &[PortSpec::one("irq", ""), PortSpec::many("vector", 32, "")] },
        outputs: const { &[PortSpec::many("ack", 3, "")] },
        create: no_cpu,
    };
    let mut registry = Registry { devices: emu_devices::registry(), ..registry() };
    registry.cpus.push(microblaze);
    registry
}
