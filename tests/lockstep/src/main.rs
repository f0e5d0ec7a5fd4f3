//! Steps QEMU and an instruction set of ours from one state, and stops at the first difference.
//!
//! Board file (which CPU, where RAM is) and QEMU's command line -> both start at QEMU's first instruction: registers are copied through its gdbstub, memory
//! when it is first touched -> after each instruction the registers of the debugger's core description are compared, now and then the others and the memory written.
//! An instruction that touches a device is taken from QEMU; so is what `--take` names (timers in system registers). When QEMU takes an interrupt, so do we.
//!
//! ```sh
//! cargo run --release -p emu-lockstep -- --board zynq7000 --steps 1000000 -- qemu-system-arm -M xilinx-zynq-a9 -m 512 -icount 10 -serial null -kernel zImage -dtb zynq.dtb
//! ```
//!
//! Not modelled: several CPUs, and memory that QEMU's devices write by DMA (which shows as a difference).

mod bus;
mod remote;

use bus::Bus;
use clap::Parser;
use emu_boards::board::{Board, MemoryKind};
use emu_ir::builder::Builder;
use emu_ir::guest::{FetchFault, Isa};
use emu_ir::interp::Engine;
use emu_memory::{Access, PhysBus};
use remote::{Qemu, Shared};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser, Debug)]
#[command(about = "Step QEMU and this program's CPU side by side and stop at the first difference")]
struct Arguments {
    /// Board: the CPU and where RAM is
    #[arg(long)]
    board: String,
    /// Change the board
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Let QEMU run to this virtual address first (hexadecimal). State that its gdbstub does not show must not matter: registers banked for
    /// other modes are taken from QEMU when they first appear, but a software-filled TLB cannot be
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    from: Option<u64>,
    /// Instructions to compare
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Compare all registers and the memory written every so many instructions
    #[arg(long, default_value_t = 10_000)]
    every: u64,
    /// Take the result of instructions whose text contains this from QEMU
    #[arg(long, value_name = "TEXT")]
    take: Vec<String>,
    /// Do not compare this register
    #[arg(long, value_name = "REGISTER")]
    ignore: Vec<String>,
    /// This register may be one instruction early or late (modes that a return changes before or after its delay slot)
    #[arg(long, value_name = "REGISTER")]
    late: Vec<String>,
    /// QEMU's command; -S, -gdb, -display and -monitor are added
    #[arg(last = true, required = true)]
    qemu: Vec<String>,
}

fn address(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|e| e.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let request = emu_boards::Request { board: arguments.board.clone(), sets: arguments.set.clone(), ..Default::default() };
    let board = emu_boards::load(&request);
    if !board.problems.is_empty() {
        return Err(emu_boards::diagnostic::render(&board.problems, &board.sources));
    }
    let cpu = board.cpus.first().ok_or("the board has no CPU")?;
    let model = cpu.model.text();
    let unknown = || format!("there is no model `{model}`");
    match cpu.isa.text() {
        "arm" => {
            let isa = emu_isa_arm::Arm::model(model, emu_isa_arm::System::new(model)).ok_or_else(unknown)?;
            Lockstep::new(isa, emu_isa_arm::TABLES, model, &board, arguments)?.run(arguments)
        }
        "microblaze" => {
            let isa = emu_isa_microblaze::Microblaze::model(model, emu_isa_microblaze::System).ok_or_else(unknown)?;
            Lockstep::new(isa, emu_isa_microblaze::TABLES, model, &board, arguments)?.run(arguments)
        }
        other => Err(format!("this program has no instruction set `{other}`")),
    }
}

/// Ways in which what QEMU did may be followed.
#[derive(Clone, Copy, Debug)]
enum How {
    /// The instruction was executed.
    Plain,
    /// It was, and devices refused it.
    Refused,
    /// The interrupt of this line was taken instead.
    Interrupt(u32),
    /// The instruction was executed, then the interrupt was taken (waiting for one is an instruction).
    Then(u32),
}

struct Lockstep<I: Isa> {
    engine: Engine<I>,
    bus: Bus,
    assembly: emu_asm::Isa,
    model: String,
    /// State before the current instruction.
    before: Vec<u64>,
}

impl<I: Isa> Lockstep<I> {
    fn new(isa: I, tables: &str, model: &str, board: &Board, arguments: &Arguments) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut qemu = Qemu::start(&arguments.qemu, folder.path(), isa.gdb(), isa.big_endian())?;
        if let Some(at) = arguments.from {
            qemu.run_to(at)?;
        }
        let compared = |list: &mut Vec<Shared>| list.retain(|s| !arguments.ignore.iter().any(|i| i == s.reg.name));
        compared(&mut qemu.core);
        compared(&mut qemu.others);
        let ram = board.memories.iter().filter(|m| m.kind == MemoryKind::Ram);
        let ram = ram.flat_map(|m| m.places.iter().map(|p| p.at.v..p.at.v + m.size)).collect();
        let mut engine = Engine::new(Arc::new(isa), 0);
        let layout = engine.isa().layout();
        for (name, value) in &board.cpus[0].set {
            if let (Some(slot), Some(value)) = (layout.slot(&name.text.replace('-', "_")), value.data.int()) {
                layout.write(engine.state_mut(), slot, value as u128);
            }
        }
        let values = qemu.registers()?;
        let before = engine.state().to_vec();
        let mut all: Vec<(Shared, u128)> = qemu.core.iter().copied().zip(values).collect();
        for shared in qemu.others.clone() {
            if let Some(value) = qemu.register(&shared)? {
                all.push((shared, value));
            }
        }
        for (shared, value) in all {
            shared.reg.write(layout, engine.state_mut(), value);
            // Registers whose bits this model does not have cannot be compared.
            let kept = shared.reg.read(layout, engine.state());
            if kept != value {
                println!("not compared: {}: QEMU has {value:#x}, here it holds {kept:#x}", shared.reg.name);
                qemu.core.retain(|s| s.number != shared.number);
                qemu.others.retain(|s| s.number != shared.number);
            }
        }
        println!("compares {} registers at each step, {} more now and then", qemu.core.len(), qemu.others.len());
        let assembly = emu_asm::Isa::from_json(tables).map_err(|e| e.to_string())?;
        Ok(Lockstep { engine, bus: Bus::new(qemu, ram), assembly, model: model.to_string(), before })
    }

    fn ours(&self, list: &[Shared]) -> Vec<u128> {
        let layout = self.engine.isa().layout();
        list.iter().map(|s| s.reg.read(layout, self.engine.state())).collect()
    }

    /// Does the current instruction again, in another way.
    fn again(&mut self, how: How) {
        self.bus.undo();
        self.engine.state_mut().copy_from_slice(&self.before);
        self.bus.begin();
        match how {
            How::Plain => {}
            How::Refused => self.bus.refuse.set(true),
            How::Interrupt(line) => self.bus.lines.set(1 << line),
            How::Then(line) => {
                self.engine.step(&self.bus);
                self.bus.lines.set(1 << line);
            }
        }
        self.engine.step(&self.bus);
        self.bus.lines.set(0);
    }

    fn run(mut self, arguments: &Arguments) -> Result<bool, String> {
        let (started, mut taken, mut interrupts) = (Instant::now(), 0u64, 0u64);
        let core = self.bus.qemu.borrow().core.clone();
        let slot = self.engine.isa().pc();
        let pc = core.iter().position(|s| s.reg.parts.iter().any(|p| p.slot == slot)).ok_or("no program counter is compared")?;
        let late = |s: &Shared| arguments.late.iter().any(|l| l == s.reg.name);
        let mut was_late = false;
        // Modes with a register of their own.
        let mut unseen = 8;
        for step in 0..arguments.steps {
            self.before.copy_from_slice(self.engine.state());
            let take = !arguments.take.is_empty() && self.text().is_some_and(|t| arguments.take.iter().any(|k| t.contains(k.as_str())));
            self.bus.begin();
            self.engine.step(&self.bus);
            if let Some(e) = self.bus.broken.borrow_mut().take() {
                return Err(e);
            }
            self.bus.qemu.borrow_mut().step()?;
            let theirs = self.bus.qemu.borrow_mut().registers()?;
            let ours = self.ours(&core);
            let device = self.bus.device.get().is_some() || take;
            if device && ours[pc] == theirs[pc] {
                // What devices answer is QEMU's to say.
                let layout = self.engine.isa().layout();
                if ours != theirs {
                    core.iter().zip(&theirs).for_each(|(s, value)| s.reg.write(layout, self.engine.registers_mut(), *value));
                }
                taken += 1;
            } else if !was_late && ours != theirs && core.iter().zip(ours.iter().zip(&theirs)).all(|(s, (a, b))| a == b || late(s)) {
                was_late = true;
                continue;
            } else if ours != theirs {
                let mut ways = vec![How::Refused];
                ways.extend((0..4).flat_map(|line| [How::Interrupt(line), How::Then(line)]));
                let mut found = ways.iter().copied().find(|how| {
                    self.again(*how);
                    self.ours(&core) == theirs
                });
                // Registers banked for a mode that is entered for the first time hold what nobody told us.
                if found.is_none() && arguments.from.is_some() && unseen > 0 {
                    found = [How::Plain].into_iter().chain(ways).find(|how| {
                        self.again(*how);
                        let ours = self.ours(&core);
                        ours[pc] == theirs[pc] && ours.iter().zip(&theirs).filter(|(a, b)| a != b).count() == 1
                    });
                    if found.is_some() {
                        unseen -= 1;
                        let (layout, ours) = (self.engine.isa().layout(), self.ours(&core));
                        for ((shared, ours), theirs) in core.iter().zip(ours).zip(&theirs).filter(|((_, a), b)| a != *b) {
                            println!(
                                "at instruction {step}: {} is {ours:#x}; QEMU's {theirs:#x} is taken, as of a mode not seen before",
                                shared.reg.name
                            );
                            shared.reg.write(layout, self.engine.registers_mut(), *theirs);
                        }
                    }
                }
                match found {
                    Some(How::Interrupt(_) | How::Then(_)) => interrupts += 1,
                    Some(_) => taken += 1,
                    None => {
                        self.again(How::Plain);
                        self.report(step, &core, &theirs);
                        return Ok(false);
                    }
                }
            }
            was_late = false;
            if (step + 1) % arguments.every == 0 || step + 1 == arguments.steps {
                if !self.compare_rest(step)? {
                    return Ok(false);
                }
                let rate = (step + 1) as f64 / started.elapsed().as_secs_f64();
                println!(
                    "{} instructions agree ({taken} taken from QEMU, {interrupts} interrupts), {rate:.0}/s, pc {:#x}",
                    step + 1,
                    self.engine.pc()
                );
            }
        }
        Ok(true)
    }

    /// Compares the other registers, and memory.
    fn compare_rest(&mut self, step: u64) -> Result<bool, String> {
        let others = self.bus.qemu.borrow().others.clone();
        let ours = self.ours(&others);
        for (shared, ours) in others.iter().zip(ours) {
            let theirs = self.bus.qemu.borrow_mut().register(shared)?;
            if theirs.is_some_and(|t| t != ours) {
                println!("at instruction {step}: {} is {ours:#x}, in QEMU {:#x}", shared.reg.name, theirs.unwrap_or(0));
                println!("it changed within the instructions since the last comparison: choose a smaller --every");
                return Ok(false);
            }
        }
        if let Some((at, ours, theirs)) = self.bus.compare()? {
            println!("at instruction {step}: the byte at physical {at:#x} is {ours:#x}, in QEMU {theirs:#x}");
            println!("it was written within the instructions since the last comparison: choose a smaller --every");
            return Ok(false);
        }
        Ok(true)
    }

    /// The instruction, in the state before it: where and in which modes, its bits, its code.
    fn word(&self) -> Option<(emu_asm::Setting, u8, u64)> {
        let isa = self.engine.isa();
        let mut setting = self.assembly.setting(&self.model);
        self.assembly.set_key(&mut setting, isa.block_key(&self.before).0);
        setting.pc = isa.layout().read(&self.before, isa.pc()) as u64;
        let (bits, code) = self.assembly.fetch(&setting, &self.fetch(setting.pc)?)?;
        Some((setting, bits, code))
    }

    /// The bytes at a virtual address, as the CPU before the instruction fetches them.
    fn fetch(&self, va: u64) -> Option<Vec<u8>> {
        let isa = self.engine.isa();
        let mut cells = self.before.clone();
        let mut tlb = emu_memory::SoftTlb::new();
        let mut cx = emu_ir::guest::HelperCx {
            state: &mut cells,
            tlb: &mut tlb,
            bus: &self.bus,
            cpu: 0,
            lines: 0,
            flush_code: false,
            send_event: false,
            flush_others: false,
        };
        let mmu = isa.fetch_mmu(isa.block_key(&self.before));
        (0..4)
            .map(|i| {
                let place = isa.translate_address(&mut cx, va + i, emu_ir::guest::AccessKind::Execute, mmu).ok()?;
                self.bus.read(place.phys, 1, Access::DEBUG).ok().map(|b| b as u8)
            })
            .collect()
    }

    fn text(&self) -> Option<String> {
        let (setting, bits, code) = self.word()?;
        self.assembly.disassemble(&setting, bits, code)
    }

    fn report(&self, step: u64, core: &[Shared], theirs: &[u128]) {
        let layout = self.engine.isa().layout();
        println!("difference at instruction {step}");
        println!("  {:12} {:>18} {:>18} {:>18}", "register", "before", "here", "QEMU");
        for ((shared, theirs), ours) in core.iter().zip(theirs).zip(self.ours(core)) {
            let before = shared.reg.read(layout, &self.before);
            let mark = if ours == *theirs { ' ' } else { '*' };
            println!("{mark} {:12} {before:>#18x} {ours:>#18x} {theirs:>#18x}", shared.reg.name);
        }
        let Some((setting, bits, code)) = self.word() else {
            println!("the instruction cannot be fetched");
            return;
        };
        let text = self.assembly.disassemble(&setting, bits, code).unwrap_or_else(|| "undefined".into());
        println!("{:#x}: {code:#x}  {text}", setting.pc);
        if let Some(d) = self.assembly.decode(&setting, bits, code) {
            let encoding = &self.assembly.tables.encodings[d.encoding];
            let insn = &self.assembly.tables.insns[encoding.insn as usize];
            println!("specification: {} {} ({})", insn.name, insn.title, insn.place);
        }
        let isa = self.engine.isa();
        let mut builder = Builder::for_isa(&**isa);
        let bytes = self.fetch(setting.pc).unwrap_or_default();
        let mut fetch = |at: u64, size: u8| {
            let from = at.wrapping_sub(setting.pc) as usize;
            Ok::<u64, FetchFault>(
                (0..size as usize).rev().fold(0, |all, i| all << 8 | u64::from(bytes.get(from + i).copied().unwrap_or(0))),
            )
        };
        if isa.translate(setting.pc, isa.block_key(&self.before), 1, &mut fetch, &mut builder).is_ok() {
            println!("{}", emu_ir::text::print(&builder.finish(), layout));
        }
    }
}
