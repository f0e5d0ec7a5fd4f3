//! Where each piece of state lives, and how modes and contexts are packed into the block key.
//!
//! Every state has its own 64-bit cell (two if it is wider); the elements of a bank without views likewise; a bank with views is laid
//! out densely, its views being bit ranges of the same cells. Then come four hidden cells: the arguments of an exception.

use emu_dsl::spec::*;

/// A slot of the state layout.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SlotInfo {
    /// Name shown by debuggers: `r0`, `sctlr`.
    pub name: String,
    /// Width in bits.
    pub bits: u8,
    /// The IR type's name.
    pub ty: &'static str,
    /// First cell.
    pub cell: u32,
    /// Least bit in it.
    pub lo: u32,
    /// Value at reset.
    pub reset: u128,
}

/// All slots.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// In order of their numbers.
    pub slots: Vec<SlotInfo>,
    /// Number of cells.
    pub cells: u32,
    /// First slot of each state.
    pub states: Vec<u32>,
    /// First slot of each bank.
    pub banks: Vec<u32>,
    /// First slot of each bank's views.
    pub views: Vec<Vec<u32>>,
    /// First of the four exception-argument slots.
    pub arguments: u32,
}

/// The IR type that holds `bits` bits: the next of 1, 8, 16, 32, 64, 128.
pub fn container(bits: u8) -> u8 {
    match bits {
        0..=1 => 1,
        2..=8 => 8,
        9..=16 => 16,
        17..=32 => 32,
        33..=64 => 64,
        _ => 128,
    }
}

/// Its name.
pub fn type_name(bits: u8) -> &'static str {
    match container(bits) {
        1 => "Type::I1",
        8 => "Type::I8",
        16 => "Type::I16",
        32 => "Type::I32",
        64 => "Type::I64",
        _ => "Type::I128",
    }
}

impl Layout {
    /// Lays out the state of `spec`.
    pub fn new(spec: &Spec) -> Layout {
        let mut layout = Layout { views: vec![Vec::new(); spec.banks.len()], banks: vec![0; spec.banks.len()], ..Layout::default() };
        // The hot small banks first, then single states, then the dense (vector) banks.
        for dense in [false, true] {
            for (index, bank) in spec.banks.iter().enumerate().filter(|(_, b)| b.views.is_empty() != dense) {
                layout.bank(index, bank);
            }
            if !dense {
                for state in &spec.states {
                    let slot = layout.own(state.name.clone(), state.bits, state.reset);
                    layout.states.push(slot);
                }
            }
        }
        layout.arguments = layout.slots.len() as u32;
        for i in 0..4 {
            layout.own(format!("exception_argument_{i}"), 64, 0);
        }
        layout
    }

    fn push(&mut self, name: String, bits: u8, cell: u32, lo: u32, reset: u128) -> u32 {
        self.slots.push(SlotInfo { name, bits, ty: type_name(bits), cell, lo, reset });
        self.slots.len() as u32 - 1
    }

    fn own(&mut self, name: String, bits: u8, reset: u128) -> u32 {
        let cell = self.cells;
        self.cells += if bits > 64 { 2 } else { 1 };
        self.push(name, bits, cell, 0, reset)
    }

    fn bank(&mut self, index: usize, bank: &Bank) {
        if bank.views.is_empty() {
            self.banks[index] = self.slots.len() as u32;
            for i in 0..bank.count {
                self.own(format!("{}{i}", bank.name), bank.bits, 0);
            }
            return;
        }
        let first = self.cells;
        let place = |bits: u8, i: u32| (first + i * u32::from(bits) / 64, i * u32::from(bits) % 64);
        self.banks[index] = self.slots.len() as u32;
        for i in 0..bank.count {
            let (cell, lo) = place(bank.bits, i);
            self.push(format!("{}{i}", bank.name), bank.bits, cell, lo, 0);
        }
        for view in &bank.views {
            self.views[index].push(self.slots.len() as u32);
            for i in 0..view.count {
                let (cell, lo) = place(view.bits, i);
                self.push(format!("{}{i}", view.name), view.bits, cell, lo, 0);
            }
        }
        self.cells += (bank.count * u32::from(bank.bits)).div_ceil(64);
    }

    /// First slot, number of elements and width of a bank or view.
    pub fn bank_ref(&self, spec: &Spec, r: BankRef) -> (u32, u32, u8) {
        let bank = &spec.banks[r.bank.0 as usize];
        match r.view {
            None => (self.banks[r.bank.0 as usize], bank.count, bank.bits),
            Some(v) => {
                let view = &bank.views[v as usize];
                (self.views[r.bank.0 as usize][v as usize], view.count, view.bits)
            }
        }
    }
}

/// Where modes and contexts are in the 64-bit block key: (least bit, width) of each mode, then of each context.
pub fn key(spec: &Spec) -> Vec<(u32, u8)> {
    let mut at = 0;
    let widths = spec.modes.iter().map(|m| m.bits).chain(spec.contexts.iter().map(|c| c.bits));
    widths
        .map(|bits| {
            let lo = at;
            at += u32::from(bits);
            (lo, bits)
        })
        .collect()
}
