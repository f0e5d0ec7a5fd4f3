//! A plain evaluator of one block, straight from the IR: the oracle that executors and passes are compared with. Slow, and simple enough to be
//! believed.

use crate::guest::{Exception, FloatEnvDesc};
use crate::op::*;
use crate::state::StateLayout;
use crate::{float, fold, vector};

/// What a block reaches outside the state.
pub trait World {
    /// Reads `mem.size` (up to 8) bytes, as a little-endian number.
    fn load(&mut self, at: u64, mem: Mem) -> Result<u64, Exception>;
    /// Writes the low `mem.size` (up to 8) bytes.
    fn store(&mut self, at: u64, value: u64, mem: Mem) -> Result<(), Exception>;
    /// Checks an access.
    fn probe(&mut self, at: u64, mem: Mem, write: bool) -> Result<(), Exception>;
    /// Calls a helper.
    fn call(&mut self, id: u16, state: &mut [u64], args: &[u64; 6]) -> Result<u64, Exception>;
}

/// How a block was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// To this pc, and whether the key is computed anew.
    Jump(u64, bool),
    /// An exception, at this pc.
    Fault(u64, Exception),
    /// Sleep until an event (or interrupt), and go on at this pc.
    Wait(bool, u64),
}

/// Runs a block that [`crate::verify`] accepts. Exclusives and atomics are those of a single CPU, the monitor being clear at entry.
pub fn run(block: &Block, layout: &StateLayout, envs: &[FloatEnvDesc], state: &mut [u64], world: &mut dyn World) -> Exit {
    let mut values = vec![0u128; block.values.len()];
    let mut vars = vec![0u128; block.vars.len()];
    let mut monitor: Option<(u64, u8, u64)> = None;
    let mut pc = 0;
    let mut at = 0;
    // The first instructions of open loops.
    let mut loops = Vec::new();
    while let Some(inst) = block.insts.get(at) {
        at += 1;
        let arg = |i: usize| inst.args.get(i).and_then(|v| values.get(v.0 as usize)).copied().unwrap_or(0);
        let from = block.values.get(inst.args[0].0 as usize).copied().unwrap_or(inst.ty);
        let args = std::array::from_fn(arg);
        macro_rules! attempt {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(exception) => return Exit::Fault(pc, exception),
                }
            };
        }
        let address = args[0] as u64;
        let swap = |x: u128, mem: Mem| if mem.big { x.swap_bytes() >> (128 - 8 * u32::from(mem.size)) } else { x };
        let value = match inst.op {
            Op::Const => inst.constant().unwrap_or(0),
            Op::Get(slot) => layout.read(state, slot),
            Op::Set(slot) => {
                layout.write(state, slot, args[0]);
                0
            }
            Op::VarGet(var) => vars[var.0 as usize],
            Op::VarSet(var) => {
                vars[var.0 as usize] = args[0];
                0
            }
            Op::Load(mem) | Op::LoadExclusive(mem) => {
                let mut value = 0;
                for part in 0..mem.size.div_ceil(8) {
                    let word = attempt!(world.load(address.wrapping_add(8 * u64::from(part)), Mem { size: mem.size.min(8), ..mem }));
                    value |= u128::from(word) << (64 * part);
                }
                if let Op::LoadExclusive(_) = inst.op {
                    monitor = Some((address, mem.size, value as u64));
                }
                swap(value, mem)
            }
            Op::Store(mem) => {
                attempt!(world.probe(address, mem, true));
                let value = swap(args[1], mem);
                for part in 0..mem.size.div_ceil(8) {
                    let word = (value >> (64 * part)) as u64;
                    attempt!(world.store(address.wrapping_add(8 * u64::from(part)), word, Mem { size: mem.size.min(8), ..mem }));
                }
                0
            }
            Op::Probe(mem) => {
                attempt!(world.probe(address, mem, inst.imm != 0));
                0
            }
            Op::StoreExclusive(mem) => {
                attempt!(world.probe(address, mem, true));
                let holds = match monitor.take() {
                    Some((a, size, value)) if a == address && size == mem.size => attempt!(world.load(address, mem)) == value,
                    _ => false,
                };
                if holds {
                    attempt!(world.store(address, swap(args[1], mem) as u64, mem));
                }
                holds.into()
            }
            Op::Swap(mem) | Op::CompareSwap(mem) => {
                attempt!(world.probe(address, mem, true));
                let old = swap(attempt!(world.load(address, mem)).into(), mem);
                let (wanted, new) = if let Op::Swap(_) = inst.op { (old, args[1]) } else { (args[1], args[2]) };
                if old == wanted {
                    attempt!(world.store(address, swap(new, mem) as u64, mem));
                }
                old
            }
            Op::ClearExclusive => {
                monitor = None;
                0
            }
            Op::Fence(_) => 0,
            Op::Call(id) => u128::from(attempt!(world.call(id, state, &args.map(|x| x as u64)))) & inst.ty.mask(),
            Op::If if args[0] == 0 => {
                at = matching(block, at, true);
                0
            }
            // The end of a first side that was executed: skip the second.
            Op::Else => {
                at = matching(block, at, false);
                0
            }
            Op::If | Op::EndIf => 0,
            Op::Repeat => {
                loops.push(at);
                0
            }
            Op::BreakIf if args[0] != 0 => {
                at = end_of_loop(block, at);
                loops.pop();
                0
            }
            Op::BreakIf => 0,
            Op::EndRepeat => {
                at = loops.last().copied().unwrap_or(at);
                0
            }
            Op::Mark => {
                pc = inst.imm;
                0
            }
            Op::Jump => return Exit::Jump(inst.imm, false),
            Op::JumpTo | Op::JumpRekey => return Exit::Jump(address, inst.op == Op::JumpRekey),
            Op::Raise(id) => return Exit::Fault(pc, Exception { id, args: std::array::from_fn(|i| args[i] as u64) }),
            Op::Wait => return Exit::Wait(inst.imm != 0, inst.imm_hi),
            Op::Float { .. } | Op::FloatRound { .. } | Op::FloatConvert { .. } | Op::FloatToInt { .. } | Op::IntToFloat { .. } => {
                float::eval(layout, envs, state, inst, from, &args)
            }
            Op::Vec(op, _) if op.is_float() => float::eval(layout, envs, state, inst, from, &args),
            Op::Vec(..) | Op::VecSat(..) | Op::LaneGet(_) | Op::LaneSet(_) | Op::TableLookup => {
                vector::eval(inst, from, &args).unwrap_or(0)
            }
            op => fold::eval(op, inst.ty, from, &args[..3]).unwrap_or(0),
        };
        if inst.res != Value::NONE {
            values[inst.res.0 as usize] = value;
        }
    }
    Exit::Jump(pc, false)
}

/// The index after the `Else` (if wanted) or `EndIf` that belongs to the `If` whose body is at `at`.
fn matching(block: &Block, mut at: usize, or_else: bool) -> usize {
    let mut depth = 0;
    while let Some(inst) = block.insts.get(at) {
        at += 1;
        match inst.op {
            Op::If => depth += 1,
            Op::Else if depth == 0 && or_else => break,
            Op::EndIf if depth == 0 => break,
            Op::EndIf => depth -= 1,
            _ => {}
        }
    }
    at
}

/// The index after the `EndRepeat` of the loop `at` is in.
fn end_of_loop(block: &Block, mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(inst) = block.insts.get(at) {
        at += 1;
        match inst.op {
            Op::Repeat => depth += 1,
            Op::EndRepeat if depth == 0 => break,
            Op::EndRepeat => depth -= 1,
            _ => {}
        }
    }
    at
}
