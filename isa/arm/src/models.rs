//! What distinguishes CPU models besides the specification's features: identification registers.
//!
//! Sources: Cortex-A9 TRM (r3p0, as in the Zynq-7000) chapter 4; Cortex-A15 TRM chapter 4. The A15's identification registers are
//! changed where they would promise what is not modelled here: the Large Physical Address Extension, the Virtualization Extensions
//! and the generic timer.

/// The identification registers of a model.
#[derive(Clone, Copy, Debug)]
pub struct Identification {
    /// Name as in the specification's `model` titles.
    pub name: &'static str,
    /// Main ID Register.
    pub midr: u32,
    /// Cache Type Register.
    pub ctr: u32,
    /// TLB Type Register.
    pub tlbtr: u32,
    /// Processor Feature Registers 0 and 1, Debug Feature Register 0, Auxiliary Feature Register 0, Memory Model Feature
    /// Registers 0 to 3: CRm 1, opc2 0 to 7.
    pub features: [u32; 8],
    /// Instruction Set Attribute Registers 0 to 5 and two reserved: CRm 2, opc2 0 to 7.
    pub isar: [u32; 8],
    /// Cache Level ID Register.
    pub clidr: u32,
    /// Cache Size ID Registers by CSSELR (level and instruction bit); 0 for what does not exist.
    pub ccsidr: [u32; 4],
    /// PMCR's implementer, identification code and number of event counters.
    pub pmcr: u32,
    /// Number of event counters.
    pub counters: u32,
    /// A first-level descriptor of type 3 is a section with Privileged Execute Never (else reserved).
    pub pxn: bool,
    /// CP14 has DBGDRAR and DBGDSAR as 64-bit registers (v7.1 Debug).
    pub debug64: bool,
    /// Has the Cortex-A9's implementation-defined registers in c15.
    pub a9_registers: bool,
}

/// Cortex-A9 with 32 KiB first-level caches.
pub static CORTEX_A9: Identification = Identification {
    name: "cortex-a9",
    midr: 0x413f_c090,
    ctr: 0x8333_8003,
    tlbtr: 0x0000_0402,
    features: [0x0000_1231, 0x0000_0011, 0x0001_0444, 0, 0x0010_0103, 0x2000_0000, 0x0123_0000, 0x0010_2111],
    isar: [0x0010_1111, 0x1311_2111, 0x2123_2041, 0x1111_2131, 0x0001_1142, 0, 0, 0],
    clidr: 0x0920_0003,
    ccsidr: [0x701f_e019, 0x201f_e019, 0, 0],
    pmcr: 0x4109_3000,
    counters: 6,
    pxn: false,
    debug64: false,
    a9_registers: true,
};

/// Cortex-A15 with 32 KiB first-level caches and a 2 MiB second level.
pub static CORTEX_A15: Identification = Identification {
    name: "cortex-a15",
    midr: 0x412f_c0f1,
    ctr: 0x8444_c004,
    tlbtr: 0,
    features: [0x0000_1131, 0x0000_0011, 0x0201_0555, 0, 0x1020_1104, 0x2000_0000, 0x0124_0000, 0x0210_2211],
    isar: [0x0210_1110, 0x1311_2111, 0x2123_2041, 0x1111_2131, 0x1001_1142, 0, 0, 0],
    clidr: 0x0a20_0023,
    ccsidr: [0x701f_e00a, 0x201f_e00a, 0x711f_e07a, 0],
    pmcr: 0x410f_3000,
    counters: 6,
    pxn: true,
    debug64: true,
    a9_registers: false,
};

/// The model called `name`, or the Cortex-A9.
pub fn identification(name: &str) -> &'static Identification {
    if name == CORTEX_A15.name || name == "cortex_a15" { &CORTEX_A15 } else { &CORTEX_A9 }
}
