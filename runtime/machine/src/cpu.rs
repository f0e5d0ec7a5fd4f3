//! The contract between a CPU and the machine.

use emu_ir::gdb::{GdbDesc, GdbReg};
use emu_ir::interp::{DebugPoints, Explained, ExplainedRegion, PerfMap, Tiers};
use emu_memory::{GuestBus, GuestPhys};
use emu_store::Store;
use std::sync::Arc;

/// Why a CPU's turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuStop {
    /// The limit of instructions is reached, or the machine asked for its attention.
    Ran,
    /// It sleeps until a line or an event wakes it.
    Asleep,
    /// The instruction at its pc has a breakpoint.
    Breakpoint,
    /// Its last instruction touched this watched address (true: wrote).
    Watchpoint(u64, bool),
}

/// A CPU as the machine sees it. Input levels, attention and time come through the [`GuestBus`].
pub trait Cpu: Send {
    /// State at reset. The machine holds a CPU in reset by giving it no turns.
    fn reset(&mut self);
    /// Runs until the bus's limit, a request for attention, or sleep. A sleeping CPU looks whether it is to wake first.
    fn run(&mut self, bus: &dyn GuestBus) -> CpuStop;
    /// Instructions executed in the last turn.
    fn executed(&self) -> u64;
    /// Asleep: needs no turn until its attention word is set.
    fn is_asleep(&self) -> bool;
    /// Asleep until an event, too, not only until a line wakes it.
    fn wakes_on_event(&self) -> bool {
        true
    }
    /// A number that is another, but for rare chance, when its registers are: it has not got on since it was asked last if it is the same.
    fn digest(&self) -> u64;
    /// The program counter.
    fn pc(&self) -> u64;
    /// The block key it executes with: modes and decoder contexts, as a disassembler wants them.
    fn block_key(&self) -> u64 {
        0
    }
    /// Sets the program counter.
    fn set_pc(&mut self, pc: u64);
    /// The register called `name`, zero-extended.
    fn register(&self, name: &str) -> Option<u128>;
    /// Sets the register called `name`; false if there is none.
    fn set_register(&mut self, name: &str, value: u128) -> bool;
    /// Executes one instruction, or takes one interrupt.
    fn step(&mut self, bus: &dyn GuestBus) -> CpuStop {
        self.run(bus)
    }
    /// Where a debugger wants it to stop. A breakpoint at pc stops the next run at once; [`Cpu::step`] goes over it.
    fn set_debug_points(&mut self, _: &DebugPoints) {}
    /// Executes in these tiers from now on, see [`emu_ir::interp::Engine::use_tiers`].
    fn use_tiers(&mut self, _: &Tiers) -> bool {
        false
    }
    /// Counts instructions or not, see [`emu_ir::interp::Engine::count`].
    fn count(&mut self, _counted: bool) {}
    /// Limits its code cache, see [`emu_ir::interp::Engine::set_code_cache`].
    fn set_code_cache(&mut self, _bytes: usize) {}
    /// A debugger sees its registers with the most significant byte first.
    fn big_endian(&self) -> bool {
        false
    }
    /// Its registers as a debugger sees them.
    fn debug_registers(&self) -> &'static GdbDesc {
        &GdbDesc::NONE
    }
    /// The value of one of them.
    fn debug_register(&self, _: &GdbReg) -> u128 {
        0
    }
    /// Sets one of them.
    fn set_debug_register(&mut self, _: &GdbReg, _: u128) {}
    /// The physical address of data at `va` as the CPU sees it now; `None` if it is not mapped.
    fn translate(&mut self, _: &dyn GuestBus, va: u64) -> Option<GuestPhys> {
        Some(GuestPhys(va))
    }
    /// Enters generated code into this map from now on.
    fn set_perf_map(&mut self, _: &Arc<PerfMap>) {}
    /// Looks for translations in this store before they are made, and adds those made, from now on.
    fn use_store(&mut self, _: &Arc<Store>) {}
    /// What blocks with an instruction at this virtual address were translated into, or would be ([`emu_ir::interp::Engine::explain_all`]).
    fn explain(&mut self, _: &dyn GuestBus, _pc: u64) -> Vec<Explained> {
        Vec::new()
    }
    /// Its regions that hold this virtual address, or all ([`emu_ir::interp::Engine::explain_regions`]).
    fn explain_regions(&mut self, _: &dyn GuestBus, _pc: Option<u64>) -> Vec<ExplainedRegion> {
        Vec::new()
    }
    /// Counters for statistics: name and value.
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// Its state, for snapshots.
    fn save(&self) -> serde_json::Value;
    /// Takes back what [`Cpu::save`] gave.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    fn load(&mut self, state: &serde_json::Value) -> Result<(), String>;
}
