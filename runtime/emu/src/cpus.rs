//! The CPU types this program has: one for each instruction set, with the properties a board gives.

use emu_isa_arm::Arm;
use emu_isa_microblaze::Microblaze;
use emu_machine::cpu::Cpu;
use emu_machine::schema::{CpuType, PortSpec, PropKind, PropSpec, Props};
use emu_machine::vcpu::Vcpu;
use std::sync::Arc;

const WORD: PropKind = PropKind::Int { min: 0, max: 0xffff_ffff };

/// ARM.
pub const ARM: CpuType = CpuType {
    isa: "arm",
    models: &["cortex-a9", "cortex-a15"],
    props: &[
        PropSpec { name: "midr", kind: WORD, default: Some("0"), doc: "Main ID Register; 0: the model's" },
        PropSpec { name: "mpidr", kind: WORD, default: Some("0x80000000"), doc: "Multiprocessor Affinity Register" },
        PropSpec { name: "cbar", kind: WORD, default: Some("0"), doc: "Configuration Base Address Register: the private region" },
    ],
    inputs: &[PortSpec::one("irq", "interrupt"), PortSpec::one("fiq", "fast interrupt")],
    outputs: &[],
    create: arm,
};

fn arm(model: &str, props: &Props, index: usize) -> Result<Box<dyn Cpu>, String> {
    let isa = Arm::model(model, emu_isa_arm::System::new(model)).ok_or_else(|| format!("there is no ARM model `{model}`"))?;
    let mut cpu = Vcpu::new(Arc::new(isa), u8::try_from(index).map_err(|_| "too many CPUs")?);
    for name in ["midr", "mpidr", "cbar"] {
        let value = props.int(name) as u128;
        if value != 0 {
            cpu.set_at_reset(name, value);
        }
    }
    Ok(Box::new(cpu))
}

/// MicroBlaze.
pub const MICROBLAZE: CpuType = CpuType {
    isa: "microblaze",
    models: &["microblaze", "microblazeel"],
    props: &[
        PropSpec {
            name: "low-latency",
            kind: PropKind::Bool,
            default: Some("#false"),
            doc: "C_USE_INTERRUPT is 2: handlers' addresses come by `vector`",
        },
        PropSpec { name: "base-vectors", kind: WORD, default: Some("0"), doc: "C_BASE_VECTORS: where the vectors are" },
        PropSpec { name: "pvr0", kind: WORD, default: Some("0"), doc: "Processor version register 0: what the CPU has, and its version" },
        PropSpec { name: "pvr2", kind: WORD, default: Some("0"), doc: "Processor version register 2: options" },
        PropSpec { name: "pvr3", kind: WORD, default: Some("0"), doc: "Processor version register 3: stream links" },
        PropSpec { name: "pvr10", kind: WORD, default: Some("0"), doc: "Processor version register 10: device family" },
        PropSpec { name: "pvr11", kind: WORD, default: Some("0"), doc: "Processor version register 11: MMU" },
    ],
    inputs: &[PortSpec::one("irq", "interrupt"), PortSpec::many("vector", 32, "the handler's address, with `low-latency`")],
    outputs: &[PortSpec::many("ack", 3, "pulses, with `low-latency`: 0 went to the address, 1 returned, 2 enabled interrupts")],
    create: microblaze,
};

fn microblaze(model: &str, props: &Props, index: usize) -> Result<Box<dyn Cpu>, String> {
    let isa = Microblaze::model(model, emu_isa_microblaze::System).ok_or_else(|| format!("there is no MicroBlaze model `{model}`"))?;
    let mut cpu = Vcpu::new(Arc::new(isa), u8::try_from(index).map_err(|_| "too many CPUs")?);
    cpu.set_at_reset("low_latency", u128::from(props.flag("low-latency")));
    for name in ["base_vectors", "pc"] {
        cpu.set_at_reset(name, props.int("base-vectors") as u128);
    }
    for name in ["pvr0", "pvr2", "pvr3", "pvr10", "pvr11"] {
        cpu.set_at_reset(name, props.int(name) as u128);
    }
    Ok(Box::new(cpu))
}

/// The assembler of an instruction set.
pub fn assembler(isa: &str) -> Option<emu_asm::Isa> {
    let tables = match isa {
        "arm" | "thumb" => emu_isa_arm::TABLES,
        "microblaze" => emu_isa_microblaze::TABLES,
        _ => return None,
    };
    emu_asm::Isa::from_json(tables).ok()
}

/// Instruction sets this program has; Thumb is a mode of ARM, and goes by its own name too.
pub const ISAS: &[&str] = &["arm", "microblaze"];
