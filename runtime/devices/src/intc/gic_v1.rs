//! ARM Generic Interrupt Controller, architecture version 1 with the Security Extensions, as in the Cortex-A9 MPCore
//! (ARM IHI 0048A/B; Cortex-A9 MPCore TRM ch. 3).
//!
//! Lines -> pending state -> the highest-priority enabled pending interrupt of each CPU -> that CPU's IRQ or FIQ line. Interrupt
//! IDs 0-15 are software generated (a pending bit for each source CPU), 16-31 private to a CPU, 32 and up shared. Registers that
//! concern 0-31, and the whole CPU interface, are banked by the CPU that asks. Not modelled: non-secure accesses (every access here is
//! secure), virtualisation, power management; the register map is arrays over interrupt IDs and so is code here, not KDL.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, LineAlias, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use serde::{Deserialize, Serialize};

/// `arm,gic-v1`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "cpu-if", size: Count::Fixed(0x100) }, RegionSpec { name: "dist", size: Count::Fixed(0x1000) }],
    props: &[
        PropSpec {
            name: "spis",
            kind: PropKind::Int { min: 0, max: 224 },
            default: Some("64"),
            doc: "shared peripheral interrupts, a multiple of 32",
        },
        PropSpec { name: "ncpu", kind: PropKind::Int { min: 1, max: 8 }, default: Some("2"), doc: "CPU interfaces" },
    ],
    inputs: &[
        PortSpec {
            name: "spi",
            count: Count::Prop("spis"),
            first: 0,
            per_cpu: false,
            doc: "shared peripheral interrupts; ID = 32 + number",
        },
        PortSpec { name: "ppi", count: Count::Fixed(16), first: 16, per_cpu: true, doc: "private peripheral interrupts, by ID" },
    ],
    line_aliases: &[
        LineAlias { name: "id", from: 16, to: 31, port: "ppi", number: 16 },
        LineAlias { name: "id", from: 32, to: 1019, port: "spi", number: 0 },
    ],
    outputs: &[
        PortSpec { name: "irq", count: Count::Prop("ncpu"), first: 0, per_cpu: false, doc: "IRQ of each CPU" },
        PortSpec { name: "fiq", count: Count::Prop("ncpu"), first: 0, per_cpu: false, doc: "FIQ of each CPU" },
    ],
    ..DeviceType::new("arm,gic-v1", "ARM Generic Interrupt Controller v1 (IHI 0048)", create)
};

/// No interrupt.
const SPURIOUS: u32 = 1023;
/// Priority of an idle CPU interface; implemented priority bits (32 levels, as on the A9).
const IDLE: u8 = 0xff;
const PRIORITY_MASK: u8 = 0xf8;
const SGIS: usize = 16;
const PRIVATE: usize = 32;

/// What one CPU (or, for shared interrupts, all) knows of one interrupt.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Irq {
    enabled: bool,
    /// Made pending by an edge or by software.
    latched: bool,
    active: bool,
    level: bool,
    edge: bool,
    /// Interrupt group 1 (non-secure).
    group1: bool,
    priority: u8,
    /// CPUs it goes to.
    targets: u8,
    /// SGI: which CPUs have sent it.
    sources: u8,
}

impl Irq {
    fn pending(&self) -> bool {
        self.latched || self.sources != 0 || (self.level && !self.edge)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Interface {
    control: u32,
    mask: u8,
    binary_point: u8,
    aliased_binary_point: u8,
    /// Active interrupts, innermost last: ID, source CPU of an SGI, priority.
    running: Vec<(u32, u32, u8)>,
}

impl Default for Interface {
    fn default() -> Interface {
        Interface { control: 0, mask: 0, binary_point: 2, aliased_binary_point: 3, running: vec![] }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    control: u32,
    /// By CPU, then ID 0-31.
    private: Vec<Vec<Irq>>,
    shared: Vec<Irq>,
    interfaces: Vec<Interface>,
}

impl State {
    fn is_sound(&self) -> bool {
        let n = self.interfaces.len();
        (1..=8).contains(&n) && self.private.len() == n && self.private.iter().all(|p| p.len() == PRIVATE) && self.shared.len() <= 224
    }
}

struct Gic {
    s: State,
    spis: usize,
    ncpu: usize,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let spis = props.int("spis") as usize;
    if !spis.is_multiple_of(32) {
        return Err(format!("spis={spis}: a GIC has shared interrupts in groups of 32"));
    }
    let mut gic = Gic { s: State::default(), spis, ncpu: props.int("ncpu").max(1) as usize };
    gic.clear();
    Ok(Box::new(gic))
}

impl Gic {
    fn clear(&mut self) {
        let sgi = Irq { enabled: true, edge: true, ..Irq::default() };
        let levels: Vec<bool> = self.s.shared.iter().map(|i| i.level).collect();
        let private_levels: Vec<Vec<bool>> = self.s.private.iter().map(|p| p.iter().map(|i| i.level).collect()).collect();
        self.s.control = 0;
        self.s.interfaces = vec![Interface::default(); self.ncpu];
        self.s.private = (0..self.ncpu)
            .map(|cpu| {
                let level = |id: usize| private_levels.get(cpu).and_then(|p| p.get(id)).copied().unwrap_or(false);
                (0..PRIVATE)
                    .map(|id| {
                        if id < SGIS {
                            Irq { targets: 1 << cpu, ..sgi }
                        } else {
                            Irq { targets: 1 << cpu, level: level(id), edge: matches!(id, 27 | 29 | 30), ..Irq::default() }
                        }
                    })
                    .collect()
            })
            .collect();
        self.s.shared = (0..self.spis).map(|i| Irq { level: levels.get(i).copied().unwrap_or(false), ..Irq::default() }).collect();
    }

    fn ids(&self) -> usize {
        PRIVATE + self.spis
    }

    fn irq(&self, cpu: usize, id: usize) -> Option<&Irq> {
        if id < PRIVATE { self.s.private.get(cpu)?.get(id) } else { self.s.shared.get(id - PRIVATE) }
    }

    fn irq_mut(&mut self, cpu: usize, id: usize) -> Option<&mut Irq> {
        if id < PRIVATE { self.s.private.get_mut(cpu)?.get_mut(id) } else { self.s.shared.get_mut(id - PRIVATE) }
    }

    /// The part of a priority that decides preemption, by the binary point.
    fn group_priority(&self, cpu: usize, priority: u8) -> u8 {
        let point = self.s.interfaces[cpu].binary_point.min(7);
        priority & (0xffu16 << (point + 1)) as u8
    }

    fn running_priority(&self, cpu: usize) -> u8 {
        self.s.interfaces[cpu].running.iter().map(|r| r.2).min().unwrap_or(IDLE)
    }

    /// The best pending interrupt of a CPU that its interface would signal: ID and priority.
    fn best(&self, cpu: usize) -> Option<(usize, u8)> {
        let interface = &self.s.interfaces[cpu];
        let mut best: Option<(usize, u8)> = None;
        for id in 0..self.ids() {
            let Some(irq) = self.irq(cpu, id) else { continue };
            let group_enabled = self.s.control & if irq.group1 { 2 } else { 1 } != 0;
            let wanted = irq.enabled && irq.pending() && !irq.active && group_enabled && irq.targets >> cpu & 1 == 1;
            if wanted && irq.priority < interface.mask && best.is_none_or(|b| irq.priority < b.1) {
                best = Some((id, irq.priority));
            }
        }
        best
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        for cpu in 0..self.ncpu {
            let (mut irq, mut fiq) = (false, false);
            if let Some((id, priority)) = self.best(cpu) {
                let control = self.s.interfaces[cpu].control;
                let group1 = self.irq(cpu, id).is_some_and(|i| i.group1);
                let enabled = control & if group1 { 2 } else { 1 } != 0;
                let preempts = self.group_priority(cpu, priority) < self.group_priority(cpu, self.running_priority(cpu))
                    || self.s.interfaces[cpu].running.is_empty();
                if enabled && preempts {
                    if !group1 && control & 8 != 0 { fiq = true } else { irq = true }
                }
            }
            cx.set_line(0, cpu as u32, irq);
            cx.set_line(1, cpu as u32, fiq);
        }
    }

    fn acknowledge(&mut self, cpu: usize, cx: &mut Cx<'_>) -> u32 {
        let Some((id, priority)) = self.best(cpu) else { return SPURIOUS };
        let preempts = self.s.interfaces[cpu].running.is_empty()
            || self.group_priority(cpu, priority) < self.group_priority(cpu, self.running_priority(cpu));
        let group1 = self.irq(cpu, id).is_some_and(|i| i.group1);
        let control = self.s.interfaces[cpu].control;
        if !preempts || control & if group1 { 2 } else { 1 } == 0 {
            return SPURIOUS;
        }
        if group1 && control & 4 == 0 {
            return 1022;
        }
        let mut source = 0;
        if let Some(irq) = self.irq_mut(cpu, id) {
            irq.active = true;
            irq.latched = false;
            if id < SGIS {
                source = irq.sources.trailing_zeros() & 7;
                irq.sources &= irq.sources.wrapping_sub(1);
            }
        }
        self.s.interfaces[cpu].running.push((id as u32, source, priority));
        self.update(cx);
        id as u32 | source << 10
    }

    fn end(&mut self, cpu: usize, value: u32, cx: &mut Cx<'_>) {
        let (id, source) = (value & 0x3ff, value >> 10 & 7);
        let running = &mut self.s.interfaces[cpu].running;
        let at = running.iter().rposition(|r| r.0 == id && (id >= SGIS as u32 || r.1 == source));
        if let Some(at) = at {
            running.remove(at);
        }
        let still = running.iter().any(|r| r.0 == id);
        if let Some(irq) = self.irq_mut(cpu, id as usize)
            && !still
        {
            irq.active = false;
        }
        self.update(cx);
    }

    fn interface_read(&mut self, cpu: usize, offset: u64, cx: &mut Cx<'_>) -> u32 {
        let running = self.running_priority(cpu);
        let interface = &self.s.interfaces[cpu];
        match offset {
            0x00 => interface.control,
            0x04 => interface.mask.into(),
            0x08 => interface.binary_point.into(),
            0x0c => self.acknowledge(cpu, cx),
            0x14 => running.into(),
            0x18 => match self.best(cpu) {
                Some((id, _)) if id < SGIS => {
                    let sources = self.irq(cpu, id).map_or(0, |i| i.sources);
                    id as u32 | (sources.trailing_zeros() & 7) << 10
                }
                Some((id, _)) => id as u32,
                None => SPURIOUS,
            },
            0x1c => interface.aliased_binary_point.into(),
            // ICCIIDR of the A9: ARM, architecture 1, revision 2.
            0xfc => 0x3901_243b,
            _ => 0,
        }
    }

    fn interface_write(&mut self, cpu: usize, offset: u64, value: u32, cx: &mut Cx<'_>) {
        let interface = &mut self.s.interfaces[cpu];
        match offset {
            0x00 => interface.control = value & 0x1f,
            0x04 => interface.mask = value as u8 & PRIORITY_MASK,
            // The A9 implements five bits of priority, so the binary point is at least 2.
            0x08 => interface.binary_point = (value as u8 & 7).max(2),
            0x10 => return self.end(cpu, value, cx),
            0x1c => interface.aliased_binary_point = (value as u8 & 7).max(3),
            _ => {}
        }
        self.update(cx);
    }

    /// One bit for each of 32 interrupts from `32 * word` on.
    fn bits(&self, cpu: usize, word: usize, f: impl Fn(&Irq) -> bool) -> u32 {
        (0..32).filter(|i| self.irq(cpu, word * 32 + i).is_some_and(&f)).fold(0, |all, i| all | 1 << i)
    }

    fn each(&mut self, cpu: usize, word: usize, value: u32, f: impl Fn(usize, &mut Irq)) {
        for i in (0..32).filter(|i| value >> i & 1 == 1) {
            let id = word * 32 + i;
            if let Some(irq) = self.irq_mut(cpu, id) {
                f(id, irq);
            }
        }
    }

    fn distributor_read(&self, cpu: usize, offset: u64) -> u32 {
        let word = (offset as usize & 0x7f) / 4;
        match offset {
            0x000 => self.s.control,
            0x004 => (self.spis / 32) as u32 | ((self.ncpu as u32 - 1) << 5) | 1 << 10 | 0x1f << 11,
            0x008 => 0x0102_043b,
            0x080..0x100 => self.bits(cpu, word, |i| i.group1),
            0x100..0x200 => self.bits(cpu, word, |i| i.enabled),
            0x200..0x300 => self.bits(cpu, word, Irq::pending),
            0x300..0x380 => self.bits(cpu, word, |i| i.active),
            0x400..0x800 => self.bytes(cpu, offset - 0x400, |i| i.priority),
            // A uniprocessor has no targets: RAZ/WI.
            0x800..0xc00 if self.ncpu > 1 => self.bytes(cpu, offset - 0x800, |i| i.targets),
            0xc00..0xd00 => {
                let first = (offset as usize - 0xc00) * 4;
                (0..16).filter(|i| self.irq(cpu, first + i).is_some_and(|q| q.edge)).fold(0, |all, i| all | 2 << (2 * i))
            }
            // PPI and SPI status: the lines as they are.
            0xd00 => self.bits(cpu, 0, |i| i.level) & 0xffff_0000,
            0xd04..0xd80 => self.bits(cpu, (offset as usize - 0xd00) / 4, |i| i.level),
            0xfd0..0x1000 => {
                let ids = [0x04u32, 0, 0, 0, 0x90, 0xb3, 0x1b, 0, 0x0d, 0xf0, 0x05, 0xb1];
                ids.get((offset as usize - 0xfd0) / 4).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn bytes(&self, cpu: usize, first: u64, f: impl Fn(&Irq) -> u8) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.irq(cpu, first as usize + i).map_or(0, &f)))
    }

    fn distributor_write(&mut self, cpu: usize, offset: u64, size: u8, value: u32) {
        let word = (offset as usize & 0x7c) / 4;
        match offset {
            0x000 => self.s.control = value & 3,
            0x080..0x100 => {
                for i in 0..32 {
                    if let Some(irq) = self.irq_mut(cpu, word * 32 + i) {
                        irq.group1 = value >> i & 1 == 1;
                    }
                }
            }
            0x100..0x180 => self.each(cpu, word, value, |_, i| i.enabled = true),
            // SGIs are always enabled.
            0x180..0x200 => self.each(cpu, word, value, |id, i| i.enabled = id < SGIS),
            0x200..0x280 => self.each(cpu, word, value, |id, i| {
                if id >= SGIS {
                    i.latched = true;
                }
            }),
            0x280..0x300 => self.each(cpu, word, value, |id, i| {
                if id >= SGIS {
                    i.latched = false;
                }
            }),
            0x400..0x800 => {
                for (i, byte) in value.to_le_bytes().into_iter().take(size.into()).enumerate() {
                    if let Some(irq) = self.irq_mut(cpu, (offset - 0x400) as usize + i) {
                        irq.priority = byte & PRIORITY_MASK;
                    }
                }
            }
            0x800..0xc00 => {
                let all = (1u16 << self.ncpu) - 1;
                for (i, byte) in value.to_le_bytes().into_iter().take(size.into()).enumerate() {
                    let id = (offset - 0x800) as usize + i;
                    if id >= PRIVATE
                        && let Some(irq) = self.irq_mut(cpu, id)
                    {
                        irq.targets = byte & all as u8;
                    }
                }
            }
            0xc00..0xd00 => {
                let first = (offset as usize - 0xc00) * 4;
                for i in 0..16 {
                    let id = first + i;
                    if id >= PRIVATE
                        && let Some(irq) = self.irq_mut(cpu, id)
                    {
                        irq.edge = value >> (2 * i + 1) & 1 == 1;
                    }
                }
            }
            0xf00 => self.software(cpu, value),
            _ => {}
        }
    }

    /// ICDSGIR: to a list of CPUs, to all others, or to the sender.
    fn software(&mut self, cpu: usize, value: u32) {
        let id = value as usize & 15;
        let to = match value >> 24 & 3 {
            0 => value >> 16 & 0xff,
            1 => !(1 << cpu),
            2 => 1 << cpu,
            _ => 0,
        };
        for target in (0..self.ncpu).filter(|t| to >> t & 1 == 1) {
            self.s.private[target][id].sources |= 1 << cpu;
        }
    }

    /// A uniprocessor's shared interrupts go to its one CPU.
    fn fix_targets(&mut self) {
        if self.ncpu == 1 {
            self.s.shared.iter_mut().for_each(|i| i.targets = 1);
        }
    }
}

impl Device for Gic {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.clear();
        self.fix_targets();
        self.update(cx);
    }

    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        let cpu = access.cpu_index().min(self.ncpu - 1);
        if size > 4 || !offset.is_multiple_of(size.into()) {
            return Err(BusError::Device);
        }
        // A debugger that reads ICCIAR acknowledges nothing: it sees ICCHPIR.
        let word = match offset & !3 {
            0x0c if region == 0 && access.initiator == Initiator::Debug => 0x18,
            word => word,
        };
        let value = if region == 0 { self.interface_read(cpu, word, cx) } else { self.distributor_read(cpu, word) };
        let shifted = value >> (8 * (offset & 3));
        Ok(u64::from(if size == 4 { shifted } else { shifted & ((1 << (8 * size)) - 1) }))
    }

    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let cpu = access.cpu_index().min(self.ncpu - 1);
        // Only priorities and targets may be written by bytes (IHI 0048B 4.1.4).
        let bytewise = region == 1 && (0x400..0xc00).contains(&offset);
        if !(size == 4 || bytewise && size == 1) || !offset.is_multiple_of(size.into()) {
            return Err(BusError::Device);
        }
        if region == 0 {
            self.interface_write(cpu, offset, value as u32, cx);
        } else {
            self.distributor_write(cpu, offset, size, value as u32);
            self.update(cx);
        }
        Ok(())
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let (cpu, id) = if port == 0 { (0, PRIVATE + index as usize) } else { (index as usize / 16, 16 + index as usize % 16) };
        if let Some(irq) = self.irq_mut(cpu, id) {
            if level && !irq.level && irq.edge {
                irq.latched = true;
            }
            irq.level = level;
        }
        self.update(cx);
    }

    fn save(&self) -> serde_json::Value {
        serde_json::to_value(&self.s).unwrap_or_default()
    }

    fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let state: State = serde_json::from_value(state.clone()).map_err(|e| e.to_string())?;
        if !state.is_sound() || state.interfaces.len() != self.ncpu || state.shared.len() != self.spis {
            return Err("the snapshot is of a GIC of another size".into());
        }
        self.s = state;
        Ok(())
    }
}
