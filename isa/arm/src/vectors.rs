//! Single-instruction test vectors: one JSON object a line, an instruction with the state before and after, from another implementation.
//!
//! A vector sets registers by name (`r0` to `r12`, `sp`, `lr`, `d0` to `d31`, `cpsr`, `fpscr`), runs one instruction in a privileged mode
//! with the MMU off, and compares: every register not listed in `final` must be as before, every byte of memory too.
//! The code is at 0x10000; data at 0x20000, 4 KiB, where a byte is (address * 7 + 3) & 0xff before.

use crate::{Arm, System, state};
use emu_ir::interp::Engine;
use emu_memory::{Access, BusError, GuestBus, GuestPhys, PhysBus, RamBlock, RamSlice};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

const CODE: u64 = 0x10000;
const DATA: u64 = 0x20000;
const SIZE: u64 = 0x1000;

/// One vector.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// `arm` or `thumb`.
    pub isa: String,
    /// Disassembly, for messages.
    pub name: String,
    /// The instruction's bytes in memory order, hexadecimal.
    pub code: String,
    /// Before.
    pub initial: Snapshot,
    /// What differs after it.
    #[serde(rename = "final")]
    pub after: Snapshot,
}

/// Registers by name, bytes by address.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// Registers.
    pub regs: BTreeMap<String, u64>,
    /// Memory.
    pub ram: Vec<(u64, u8)>,
}

/// Why vectors could not be run.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// Reading failed.
    #[error("cannot read the vectors: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no vector.
    #[error("line {0} is no vector: {1}")]
    Format(usize, String),
    /// No such model.
    #[error("there is no CPU model `{0}`")]
    Model(String),
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Vectors that agree.
    pub passed: usize,
    /// Line number, name and differences of those that do not.
    pub failed: Vec<(usize, String, String)>,
}

/// Runs all vectors of `lines` on a CPU model, those of `thumb` in Thumb state.
///
/// # Errors
/// If a line cannot be read or is no vector; vectors that fail are in the outcome.
pub fn run(lines: impl BufRead, model: &str) -> Result<Outcome, VectorError> {
    let mut bench = Bench::new(model)?;
    let mut outcome = Outcome::default();
    for (index, line) in lines.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let vector: Vector = serde_json::from_str(&line).map_err(|e| VectorError::Format(index + 1, e.to_string()))?;
        let differences = bench.check(&vector).map_err(|e| VectorError::Format(index + 1, e))?;
        if differences.is_empty() {
            outcome.passed += 1;
        } else {
            outcome.failed.push((index + 1, format!("{} {}", vector.name, vector.code), differences.join(", ")));
        }
    }
    Ok(outcome)
}

/// RAM from 0, enough for code and data.
struct Bus {
    ram: Arc<RamBlock>,
    attention: std::sync::Arc<AtomicU32>,
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, _access: Access) -> Result<u64, BusError> {
        self.ram.read(at.0, size).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _access: Access) -> Result<(), BusError> {
        if self.ram.write(at.0, size, value) { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _access: Access) -> Option<RamSlice> {
        (at.0 < self.ram.size()).then(|| RamSlice { block: self.ram.clone(), offset: at.0, len: self.ram.size() - at.0, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for Bus {
    fn attention(&self) -> &std::sync::Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        0
    }
    fn set_output(&self, _port: usize, _index: u32, _level: bool) {}
    fn publish(&self, _pc: u64, _executed: u64) {}
    fn limit(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

/// A CPU and its memory.
struct Bench {
    engine: Engine<Arm<System>>,
    bus: Bus,
}

impl Bench {
    fn new(model: &str) -> Result<Bench, VectorError> {
        let isa = Arm::model(model, System::new(model)).ok_or_else(|| VectorError::Model(model.to_string()))?;
        let ram = RamBlock::new("ram", 0x40000).map_err(|e| VectorError::Model(e.to_string()))?;
        Ok(Bench { engine: Engine::new(Arc::new(isa), 0), bus: Bus { ram, attention: std::sync::Arc::default() } })
    }

    /// The differences; an error if the vector makes no sense.
    fn check(&mut self, vector: &Vector) -> Result<Vec<String>, String> {
        let thumb = vector.isa == "thumb";
        let mut memory: BTreeMap<u64, u8> = (DATA..DATA + SIZE).map(|a| (a, (a.wrapping_mul(7) + 3) as u8)).collect();
        memory.extend(vector.initial.ram.iter().copied());
        // The page of the code is otherwise 0, and not compared.
        let mut code = bytes(&vector.code)?;
        code.resize(SIZE as usize, 0);
        let code: Vec<(u64, u8)> = (CODE..).zip(code).collect();
        for (address, byte) in memory.iter().map(|(a, b)| (*a, *b)).chain(code) {
            if !self.bus.ram.write(address, 1, byte.into()) {
                return Err(format!("no memory at {address:#x}"));
            }
        }
        self.engine.reset();
        let cells = self.engine.state_mut();
        state::set_cpacr(cells, 0x00f0_0000);
        state::set_fpexc_en(cells, true);
        for (name, value) in &vector.initial.regs {
            set_register(cells, name, *value)?;
        }
        state::set_T(cells, thumb);
        state::set_pc(cells, CODE as u32);
        self.engine.step(&self.bus);
        // The other implementation counts an IT block as one instruction; its instructions here are zeros, that is MOV r0, r0.
        for _ in 0..4 {
            if state::ITSTATE(self.engine.state()) & 15 != 0 {
                self.engine.step(&self.bus);
            }
        }
        let mut differences = Vec::new();
        // `cpsr` has T only where it is listed as changed.
        let mut expected = vector.initial.regs.clone();
        expected.extend(vector.after.regs.iter().map(|(name, value)| (name.clone(), *value)));
        for (name, want) in &expected {
            let got = register(self.engine.state(), name)?;
            if got != *want {
                differences.push(format!("{name} is {got:#x} instead of {want:#x}"));
            }
        }
        memory.extend(vector.after.ram.iter().copied());
        for (address, want) in &memory {
            let got = self.bus.ram.read(*address, 1).unwrap_or(0);
            if got != u64::from(*want) {
                differences.push(format!("byte at {address:#x} is {got:#x} instead of {want:#x}"));
            }
        }
        Ok(differences)
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let byte = |i| hex.get(i..i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()).ok_or(format!("`{hex}` is no sequence of bytes"));
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The number in names like `r7` and `d31`.
fn numbered(name: &str, letter: char, count: usize) -> Option<usize> {
    name.strip_prefix(letter)?.parse().ok().filter(|n| *n < count)
}

fn core_register(name: &str) -> Option<usize> {
    match name {
        "sp" => Some(13),
        "lr" => Some(14),
        _ => numbered(name, 'r', 15),
    }
}

fn register(cells: &[u64], name: &str) -> Result<u64, String> {
    if let Some(index) = core_register(name) {
        return Ok(state::r(cells, index).into());
    }
    if let Some(index) = numbered(name, 'd', 32) {
        return Ok(state::d(cells, index));
    }
    match name {
        "pc" => Ok(state::pc(cells).into()),
        "cpsr" => Ok(cpsr(cells).into()),
        "fpscr" => Ok(fpscr(cells).into()),
        _ => Err(format!("there is no register `{name}`")),
    }
}

fn set_register(cells: &mut [u64], name: &str, value: u64) -> Result<(), String> {
    if let Some(index) = core_register(name) {
        state::set_r(cells, index, value as u32);
    } else if let Some(index) = numbered(name, 'd', 32) {
        state::set_d(cells, index, value);
    } else {
        match name {
            "pc" => state::set_pc(cells, value as u32),
            "cpsr" => set_cpsr(cells, value as u32),
            "fpscr" => set_fpscr(cells, value as u32),
            _ => return Err(format!("there is no register `{name}`")),
        }
    }
    Ok(())
}

/// CPSR as one word, the execution state included.
pub fn cpsr(cells: &[u64]) -> u32 {
    let bit = |on: bool, at: u32| u32::from(on) << at;
    let it = u32::from(state::ITSTATE(cells));
    bit(state::n(cells), 31)
        | bit(state::z(cells), 30)
        | bit(state::c(cells), 29)
        | bit(state::v(cells), 28)
        | bit(state::Q(cells), 27)
        | (it & 3) << 25
        | bit(state::J(cells), 24)
        | u32::from(state::GE(cells)) << 16
        | it >> 2 << 10
        | bit(state::cpsr_e(cells), 9)
        | bit(state::A(cells), 8)
        | bit(state::I(cells), 7)
        | bit(state::F(cells), 6)
        | bit(state::T(cells), 5)
        | u32::from(state::M(cells))
}

/// Sets CPSR from one word, the execution state included.
pub fn set_cpsr(cells: &mut [u64], value: u32) {
    let bit = |at: u32| value >> at & 1 != 0;
    state::set_n(cells, bit(31));
    state::set_z(cells, bit(30));
    state::set_c(cells, bit(29));
    state::set_v(cells, bit(28));
    state::set_Q(cells, bit(27));
    state::set_ITSTATE(cells, (value >> 8 & 0xfc | value >> 25 & 3) as u8);
    state::set_J(cells, bit(24));
    state::set_GE(cells, (value >> 16 & 15) as u8);
    state::set_cpsr_e(cells, bit(9));
    state::set_A(cells, bit(8));
    state::set_I(cells, bit(7));
    state::set_F(cells, bit(6));
    state::set_T(cells, bit(5));
    state::set_M(cells, (value & 31) as u8);
}

/// FPSCR as one word.
pub fn fpscr(cells: &[u64]) -> u32 {
    let bit = |on: bool, at: u32| u32::from(on) << at;
    let sticky = u32::from(state::FPX(cells));
    bit(state::fpn(cells), 31)
        | bit(state::fpz(cells), 30)
        | bit(state::fpc(cells), 29)
        | bit(state::fpv(cells), 28)
        | bit(state::QC(cells), 27)
        | bit(state::AHP(cells), 26)
        | bit(state::DN(cells), 25)
        | bit(state::FZ(cells), 24)
        | u32::from(state::RMode(cells)) << 22
        | u32::from(state::Stride(cells)) << 20
        | u32::from(state::Len(cells)) << 16
        | (sticky >> 5 & 1) << 7
        | sticky & 0x1f
}

/// Sets FPSCR from one word.
pub fn set_fpscr(cells: &mut [u64], value: u32) {
    let bit = |at: u32| value >> at & 1 != 0;
    state::set_fpn(cells, bit(31));
    state::set_fpz(cells, bit(30));
    state::set_fpc(cells, bit(29));
    state::set_fpv(cells, bit(28));
    state::set_QC(cells, bit(27));
    state::set_AHP(cells, bit(26));
    state::set_DN(cells, bit(25));
    state::set_FZ(cells, bit(24));
    state::set_RMode(cells, (value >> 22 & 3) as u8);
    state::set_Stride(cells, (value >> 20 & 3) as u8);
    state::set_Len(cells, (value >> 16 & 7) as u8);
    state::set_FPX(cells, (value & 0x1f | (value >> 7 & 1) << 5) as u8);
}
