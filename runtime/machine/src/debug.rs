//! Memory as a debugger sees it: at the virtual addresses of a CPU, without side effects where a device can do without.

use crate::bus::CpuBus;
use crate::machine::Core;
use crate::record::Change;
use crate::run::Machine;
use emu_memory::{Access, PAGE_SIZE, RamSlice};
use std::ops::Range;

impl Machine {
    /// Reads memory as a CPU sees it, at virtual addresses, up to where nothing is mapped; how many bytes. Devices are read as the
    /// debugger, in words where the address allows.
    pub fn debug_read(&mut self, cpu: usize, va: u64, buffer: &mut [u8]) -> usize {
        self.debug_access(cpu, va, buffer.len(), |core, bus, at, ram, piece| {
            let (n, buffer) = (piece.len(), &mut buffer[piece]);
            match ram {
                Some(ram) => ram.block.copy_out(ram.offset, buffer),
                None => core.read(bus, at, n as u8, Access::DEBUG).map(|v| buffer.copy_from_slice(&v.to_le_bytes()[..n])).is_ok(),
            }
        })
    }

    /// Writes memory as a CPU sees it; false if something of it is not mapped (what comes before is written).
    pub fn debug_write(&mut self, cpu: usize, va: u64, bytes: &[u8]) -> bool {
        if !self.note(|| Change::Debug(cpu, va, bytes.to_vec())) {
            return false;
        }
        let done = self.debug_access(cpu, va, bytes.len(), |core, bus, at, ram, piece| match ram {
            Some(ram) => ram.block.copy_in(ram.offset, &bytes[piece]),
            None => {
                let mut word = [0; 8];
                word[..piece.len()].copy_from_slice(&bytes[piece.clone()]);
                core.write(bus, at, piece.len() as u8, u64::from_le_bytes(word), Access::DEBUG).is_ok()
            }
        });
        done == bytes.len()
    }

    /// Sets one of a CPU's registers, by its number in the description that debuggers get; false if it may not be changed.
    pub fn set_debug_register(&mut self, cpu: usize, number: usize, value: u128) -> bool {
        let found = self.cpus.get(cpu).and_then(|slot| slot.cpu.debug_registers().regs().nth(number));
        let Some(register) = found.filter(|_| self.note(|| Change::Register(cpu, number, format!("{value:x}")))) else { return false };
        self.cpus[cpu].cpu.set_debug_register(register, value);
        true
    }

    /// Goes over `len` bytes from a virtual address, up to where nothing is mapped or `access` refuses; how many bytes. `access` gets bus, physical
    /// address and memory of each piece (`None`: a device, a word or a byte of it), and which of the bytes it is.
    fn debug_access(
        &mut self,
        cpu: usize,
        va: u64,
        len: usize,
        mut access: impl FnMut(&Core, usize, u64, Option<RamSlice>, Range<usize>) -> bool,
    ) -> usize {
        let mut done = 0;
        while done < len {
            let Some((bus, at, room)) = self.debug_place(cpu, va.wrapping_add(done as u64)) else { break };
            let room = room.min(len - done);
            let ram = self.core.ram(bus, at, Access::DEBUG).filter(|r| r.len > 0);
            let n = match &ram {
                Some(ram) => usize::try_from(ram.len).unwrap_or(usize::MAX).min(room),
                None if at.is_multiple_of(4) && room >= 4 => 4,
                None => 1,
            };
            if !access(&self.core, bus, at, ram, done..done + n) {
                break;
            }
            done += n;
        }
        done
    }

    /// Bus and physical address of a virtual one as a CPU sees it now; `None`: it is not mapped.
    pub fn debug_translate(&mut self, cpu: usize, va: u64) -> Option<(usize, u64)> {
        self.debug_place(cpu, va).map(|(bus, at, _)| (bus, at))
    }

    /// Bus and physical address of a virtual one, and the bytes to the end of its page.
    fn debug_place(&mut self, cpu: usize, va: u64) -> Option<(usize, u64, usize)> {
        let slot = self.cpus.get_mut(cpu)?;
        let bus = CpuBus::new(&self.core, cpu, 0);
        let at = slot.cpu.translate(&bus, va)?;
        Some((self.core.cpus[cpu].bus, at.0, (PAGE_SIZE - va % PAGE_SIZE) as usize))
    }
}
