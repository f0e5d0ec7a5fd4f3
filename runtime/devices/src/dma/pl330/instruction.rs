//! The instruction set (DDI 0424 ch. 4): bytes -> [`Instruction`].

/// When a conditional instruction does something: as the thread's request type says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    Always,
    Single,
    Burst,
}

/// The register that DMAMOV, DMAADDH and DMAADNH change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Sar,
    Ccr,
    Dar,
    /// There is none of that number.
    None,
}

/// An instruction with its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Instruction {
    /// DMAADDH, and DMAADNH, whose upper halfword is all ones.
    Add(Target, u32),
    End,
    FlushPeripheral(u32),
    Go {
        channel: u8,
        non_secure: bool,
        pc: u32,
    },
    Kill,
    Load(When),
    LoadPeripheral(When, u32),
    /// DMALP: the counter, and how often the loop is repeated after the first time.
    Loop(usize, u32),
    /// DMALPEND of a loop that counts: when, the counter, bytes to go back.
    LoopEnd(When, usize, u32),
    /// DMALPEND of a loop that goes on until the peripheral's last request.
    LoopForeverEnd(When, u32),
    Move(Target, u32),
    /// DMANOP, and the barriers DMARMB and DMAWMB: what was begun is over when an instruction is.
    Nop,
    SendEvent(u32),
    Store(When),
    StorePeripheral(When, u32),
    StoreZero,
    WaitForEvent(u32),
    /// DMAWFP; `None`: whatever the peripheral requests.
    WaitForPeripheral(Option<When>, u32),
}

impl Instruction {
    /// Somebody other than the thread sees what it does, so it must not be early.
    pub(super) fn is_seen(self) -> bool {
        use Instruction::*;
        matches!(
            self,
            End | Kill
                | Go { .. }
                | SendEvent(_)
                | WaitForEvent(_)
                | WaitForPeripheral(..)
                | FlushPeripheral(_)
                | LoadPeripheral(..)
                | StorePeripheral(..)
        )
    }

    /// The manager executes it, too.
    pub(super) fn is_for_manager(self) -> bool {
        use Instruction::*;
        matches!(self, End | Kill | Go { .. } | Nop | SendEvent(_) | WaitForEvent(_))
    }
}

/// The instruction at the beginning of these bytes, and how many of them it has, which the first alone says; `None`: undefined.
pub(super) fn decode(bytes: [u8; 6]) -> Option<(u32, Instruction)> {
    use Instruction::*;
    let [opcode, operand, immediate @ ..] = bytes;
    // Bits 1 and 0 of loads, stores and loop ends: bs, x.
    let when = match opcode & 3 {
        1 => When::Single,
        3 => When::Burst,
        _ => When::Always,
    };
    // Bits 1 and 0 of DMAWFP: bs, p.
    let wait = match opcode & 3 {
        0 => Some(When::Single),
        2 => Some(When::Burst),
        _ => None,
    };
    // Bit 1 of DMAADDH and DMAADNH.
    let added = if opcode & 2 == 0 { Target::Sar } else { Target::Dar };
    let moved = match operand & 7 {
        0 => Target::Sar,
        1 => Target::Ccr,
        2 => Target::Dar,
        _ => Target::None,
    };
    // An event or a peripheral.
    let number = u32::from(operand >> 3);
    let half = u32::from(u16::from_le_bytes([operand, immediate[0]]));
    let word = u32::from_le_bytes(immediate);
    Some(match opcode {
        0b0000_0000 => (1, End),
        0b0000_0001 => (1, Kill),
        0b0000_0100 | 0b0000_0101 | 0b0000_0111 => (1, Load(when)),
        0b0000_1000 | 0b0000_1001 | 0b0000_1011 => (1, Store(when)),
        0b0000_1100 => (1, StoreZero),
        0b0001_0010 | 0b0001_0011 | 0b0001_1000 => (1, Nop),
        0b0010_0000 | 0b0010_0010 => (2, Loop(usize::from(opcode >> 1 & 1), operand.into())),
        0b0010_0101 | 0b0010_0111 => (2, LoadPeripheral(when, number)),
        0b0010_1001 | 0b0010_1011 => (2, StorePeripheral(when, number)),
        0b0010_1000 | 0b0010_1100 | 0b0010_1101 | 0b0010_1111 => (2, LoopForeverEnd(when, operand.into())),
        0b0011_1000 | 0b0011_1001 | 0b0011_1011 => (2, LoopEnd(when, 0, operand.into())),
        0b0011_1100 | 0b0011_1101 | 0b0011_1111 => (2, LoopEnd(when, 1, operand.into())),
        0b0011_0000..=0b0011_0010 => (2, WaitForPeripheral(wait, number)),
        0b0011_0100 => (2, SendEvent(number)),
        0b0011_0101 => (2, FlushPeripheral(number)),
        // Its bit to invalidate the instruction cache asks for what every wait does.
        0b0011_0110 => (2, WaitForEvent(number)),
        0b0101_0100 | 0b0101_0110 => (3, Add(added, half)),
        0b0101_1100 | 0b0101_1110 => (3, Add(added, 0xffff_0000 | half)),
        0b1010_0000 | 0b1010_0010 => (6, Go { channel: operand & 7, non_secure: opcode & 2 != 0, pc: word }),
        0b1011_1100 => (6, Move(moved, word)),
        _ => return None,
    })
}
