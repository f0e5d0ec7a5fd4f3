//! From the board to the machine: the builder the board's realiser drives.

use emu_boards::board::{Bus, Memory, MemoryKind, Stub, StubPolicy, Unmapped};
use emu_boards::plan::{ClockSource, Pin, Plan, PlannedPart, Region, Unit};
use emu_boards::realise::Build;
use emu_machine::builder::Builder;
use emu_machine::cpu::Cpu;
use emu_machine::device::Device;
use emu_machine::machine::{Input, Source};
use emu_machine::schema::{Count, DeviceType, PortSpec};
use emu_memory::RamBlock;

/// Keeps what the realiser makes in the board's order.
pub struct Adapter<'p> {
    /// The machine so far.
    pub builder: Builder,
    /// The resolved board.
    pub plan: &'p Plan,
}

fn unmapped(u: Unmapped) -> emu_machine::machine::Unmapped {
    match u {
        Unmapped::Abort => emu_machine::machine::Unmapped::Abort,
        Unmapped::Zero => emu_machine::machine::Unmapped::Zero,
        Unmapped::Ones => emu_machine::machine::Unmapped::Ones,
    }
}

fn source(s: ClockSource) -> Source {
    match s {
        ClockSource::Clock(i) => Source::Clock(i),
        ClockSource::Device(d, port) => Source::Device(d, port),
    }
}

impl Build for Adapter<'_> {
    fn bus(&mut self, _: usize, bus: &Bus) -> Result<(), String> {
        let number = self.builder.bus(bus.width, unmapped(bus.unmapped_read), unmapped(bus.unmapped_write));
        if bus.big_endian {
            self.builder.big_endian(number);
        }
        Ok(())
    }

    fn memory(&mut self, memory: &Memory, contents: Option<Vec<u8>>, places: &[Region]) -> Result<(), String> {
        let block = RamBlock::new(memory.name.text(), memory.size).map_err(|e| e.to_string())?;
        if let Some(bytes) = contents
            && !block.copy_in(0, &bytes)
        {
            return Err("its contents are larger than the memory".into());
        }
        for p in places {
            self.builder.memory(p.bus, p.start, p.size.min(memory.size), p.priority, &block, memory.kind == MemoryKind::Ram)?;
        }
        Ok(())
    }

    fn stub(&mut self, stub: &Stub, place: &Region) -> Result<(), String> {
        use emu_machine::machine::StubPolicy as P;
        let policy = match stub.policy {
            StubPolicy::RazWi => P::RazWi,
            StubPolicy::Abort => P::Abort,
            StubPolicy::Toggle => P::Toggle,
            StubPolicy::PollReady(bit) => P::PollReady(bit),
            StubPolicy::Ram => P::Ram,
            StubPolicy::Value(v) => P::Value(v),
        };
        self.builder.stub(stub.name.text(), policy, stub.quiet, place.bus, place.start, place.size, place.priority)
    }

    fn clock(&mut self, _: usize, _: &str, hz: Option<u64>, mul: u64, div: u64) -> Result<(), String> {
        self.builder.clock(hz, mul, div);
        Ok(())
    }

    fn cpu(&mut self, index: usize, name: &str, cpu: Box<dyn Cpu>, bus: usize, runs: bool) -> Result<(), String> {
        let planned = self.plan.cpus.get(index);
        self.builder.identify(&planned.map(|p| (p.kind.map(|k| k.isa), &p.props)));
        self.builder.cpu(name, cpu, bus, runs);
        Ok(())
    }

    fn device(
        &mut self,
        index: usize,
        name: &str,
        kind: &DeviceType,
        device: Box<dyn Device>,
        master: Option<usize>,
    ) -> Result<(), String> {
        let props = &self.plan.devices[index].props;
        let number = self.builder.device(name, kind, props, device, master);
        self.builder.own_memories(number, props)
    }

    fn part(&mut self, part: usize, on: PlannedPart) -> Result<(), String> {
        self.builder.part(part, on.controller, on.slot, on.at)
    }

    fn map(&mut self, device: usize, region: usize, place: &Region) -> Result<(), String> {
        self.builder.region(device, region, place.bus, place.start, place.size, place.priority)
    }

    fn derive(&mut self, clock: usize, from: ClockSource) -> Result<(), String> {
        self.builder.derive(clock, source(from));
        Ok(())
    }

    fn clock_input(&mut self, device: usize, input: usize, from: ClockSource) -> Result<(), String> {
        self.builder.clock_input(device, input, source(from));
        Ok(())
    }

    fn cpu_clock(&mut self, _: usize, _: ClockSource) -> Result<(), String> {
        // Instructions are not timed by the CPU's clock: guest time passes as `--time` says.
        Ok(())
    }

    fn shown(&mut self, place: &Region, from: Pin, level: bool) -> Result<(), String> {
        let region = self.builder.place(place.bus, place.start).ok_or("there is no such place")?;
        self.connect(from, Input::Place { bus: place.bus, region, shown: level })
    }

    fn wire(&mut self, from: Pin, to: Pin) -> Result<(), String> {
        let to = match to.unit {
            Unit::Device(device) => Input::Device { device, port: to.port, index: to.index },
            Unit::Cpu(cpu) => {
                let own = self.plan.cpus.get(cpu).and_then(|c| c.kind).map_or(&[][..], |k| k.inputs);
                match to.port.checked_sub(own.len()) {
                    // The lines of a CPU's ports follow one another.
                    None => Input::Cpu { cpu, bit: own[..to.port].iter().map(width).sum::<u32>() + to.index },
                    Some(0) => Input::CpuReset(cpu),
                    Some(_) => Input::CpuStop(cpu),
                }
            }
        };
        self.connect(from, to)
    }
}

impl Adapter<'_> {
    fn connect(&mut self, from: Pin, to: Input) -> Result<(), String> {
        match from.unit {
            Unit::Device(device) => self.builder.wire(device, from.port, from.index, to),
            Unit::Cpu(cpu) => self.builder.wire_cpu(cpu, from.port, from.index, to),
        }
    }
}

/// Lines of a CPU's port: their number never depends on a property.
fn width(port: &PortSpec) -> u32 {
    match port.count {
        Count::Fixed(n) => u32::try_from(n).unwrap_or(u32::MAX),
        Count::Prop(_) => 1,
    }
}
