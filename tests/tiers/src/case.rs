//! One case: a CPU's state, its memory, and where to stop; and the comparison of two tiers on it.

use crate::bus::{Bus, RAM};
use emu_ir::guest::Isa;
use emu_ir::interp::{Engine, Stop, Tiers, Workers};
use emu_ir::{Slot, StateLayout};
use emu_store::Store;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// A piece of the program that can be replaced by something that does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its address.
    pub at: u32,
    /// Its length, bytes.
    pub len: u32,
    /// The block key it is meant for.
    pub key: u64,
}

/// A run of all, compared at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Instructions at most.
    pub budget: u64,
    /// State that is changed before, as by a debugger.
    pub pokes: Vec<(Slot, u128)>,
    /// Levels the lines get before.
    pub levels: Option<u64>,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// State cells at the beginning.
    pub cells: Vec<u64>,
    /// RAM at the beginning.
    pub ram: Vec<u8>,
    /// The program in it.
    pub items: Vec<Item>,
    /// What is done.
    pub runs: Vec<Run>,
}

/// What all did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Instructions.
    pub executed: u64,
    /// Exceptions and interrupts taken.
    pub exceptions: u64,
    /// Blocks that the quick tier made.
    pub blocks: u64,
    /// Regions.
    pub regions: u64,
}

/// Where they went different ways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// At the end of which run.
    pub run: usize,
    /// How, line by line: the interpreter's, then the other tier's.
    pub what: String,
}

/// Where one tier keeps what it translates for another. Nobody writes it anywhere.
static STORE: LazyLock<Arc<Store>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    Arc::new(Store::open(&directory.path().join("cache"), [0; 32], Ok).expect("a store"))
});

/// A CPU in one tier, and its machine.
struct Side<I: Isa> {
    engine: Engine<I>,
    bus: Bus,
    executed: u64,
    bytes: Vec<u8>,
}

impl<I: Isa> Side<I> {
    fn new(isa: I, case: &Case, tiers: &Tiers) -> Side<I> {
        let mut engine = Engine::new(Arc::new(isa), 0);
        engine.use_tiers(tiers);
        engine.state_mut().copy_from_slice(&case.cells);
        Side { engine, bus: Bus::new(&case.ram), executed: 0, bytes: vec![0; RAM as usize] }
    }

    fn run(&mut self, run: &Run, layout: &StateLayout) -> Stop {
        self.bus.begin(run.budget, run.levels);
        for (slot, value) in &run.pokes {
            layout.write(self.engine.registers_mut(), *slot, *value);
        }
        let stop = self.engine.run(&self.bus);
        self.executed += self.engine.executed();
        self.bus.end(self.engine.executed());
        self.bus.ram.copy_out(0, &mut self.bytes);
        stop
    }
}

/// Runs a case in all tiers.
///
/// # Errors
/// The first difference.
pub fn compare<I: Isa>(isa: impl Fn() -> I, case: &Case) -> Result<Outcome, Difference> {
    // Every loop is a region as soon as it jumps back.
    let [regions, windows] = [false, true].map(|windows| Tiers::All {
        workers: Arc::new(Workers::new(0, |make| make())),
        threshold: 1,
        thorough: true,
        windows: Some(windows),
    });
    let mut sides = [Tiers::Interpreter, Tiers::Quick, regions.clone(), regions, windows].map(|tiers| Side::new(isa(), case, &tiers));
    // One executes what the one before it translated.
    sides[2..4].iter_mut().for_each(|side| side.engine.use_store(&STORE));
    let layout = isa().layout();
    for (index, run) in case.runs.iter().enumerate() {
        let stops = sides.each_mut().map(|side| side.run(run, layout));
        let [plain, others @ ..] = &sides;
        for ((other, stop), name) in others.iter().zip(&stops[1..]).zip(["quick tier", "regions", "translations of another", "windows"]) {
            let what = differences(plain, other, (stops[0], *stop), layout);
            if !what.is_empty() {
                return Err(Difference { run: index, what: format!("{name}:\n{what}") });
            }
        }
        if plain.engine.is_asleep() {
            // Nothing would wake it: it goes on, as after an event.
            for side in &mut sides {
                let event = side.engine.event();
                side.engine.set_sleep(None, event);
            }
        }
    }
    let [plain, _, regions, other, _] = &sides;
    let (counts, made, found) = (plain.engine.stats(), regions.engine.stats(), other.engine.stats());
    if found.rejected != 0 {
        return Err(Difference { run: 0, what: format!("{} translations are damaged\n", found.rejected) });
    }
    Ok(Outcome { executed: plain.executed, exceptions: counts.exceptions, blocks: made.blocks + made.stored_blocks, regions: made.regions })
}

fn differences<I: Isa>(plain: &Side<I>, quick: &Side<I>, stops: (Stop, Stop), layout: &StateLayout) -> String {
    let mut what = String::new();
    if stops.0 != stops.1 {
        _ = writeln!(what, "stopped by {:?}, {:?}", stops.0, stops.1);
    }
    let mut number = |name: &str, x: u64, y: u64| {
        if x != y {
            _ = writeln!(what, "{name}: {x:#x}, {y:#x}");
        }
    };
    number("instructions executed", plain.executed, quick.executed);
    number("exceptions", plain.engine.stats().exceptions, quick.engine.stats().exceptions);
    number("device accesses, hashed", plain.bus.accesses(), quick.bus.accesses());
    number("event", plain.engine.event().into(), quick.engine.event().into());
    if plain.engine.state() != quick.engine.state() {
        for slot in layout.slots {
            let (x, y) = (slot.read(plain.engine.state()), slot.read(quick.engine.state()));
            if x != y {
                _ = writeln!(what, "{}: {x:#x}, {y:#x}", slot.name);
            }
        }
    }
    if plain.bytes != quick.bytes {
        let pairs = plain.bytes.iter().zip(&quick.bytes).enumerate().filter(|(_, (x, y))| x != y);
        for (at, (x, y)) in pairs.take(8) {
            _ = writeln!(what, "byte at {at:#x}: {x:#04x}, {y:#04x}");
        }
    }
    what
}
