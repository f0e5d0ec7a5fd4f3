//! Operands: the edges of a format, and random values of the kinds in which mistakes hide.

use emu_softfloat::Fmt;

/// Random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// An integer of any magnitude, often near a power of two.
    pub fn integer(&mut self) -> u64 {
        let value = match self.below(3) {
            0 => self.next(),
            1 => (1u64 << self.below(64)).wrapping_add(self.below(5) as u64).wrapping_sub(2),
            _ => self.below(1000) as u64,
        } >> self.below(64);
        if self.below(2) == 0 { value } else { value.wrapping_neg() }
    }
}

/// Fields of a format.
struct Shape {
    exp_bits: u32,
    frac_bits: u32,
    /// The leading significand bit stands between them.
    explicit: bool,
}

fn shape(fmt: Fmt) -> Shape {
    let (exp_bits, frac_bits) = match fmt {
        Fmt::F16 | Fmt::Ahp => (5, 10),
        Fmt::F32 => (8, 23),
        Fmt::F64 => (11, 52),
        Fmt::F80 => (15, 63),
        Fmt::F128 => (15, 112),
    };
    Shape { exp_bits, frac_bits, explicit: fmt == Fmt::F80 }
}

impl Shape {
    /// The encoding of these fields; `odd` contradicts the exponent in the leading bit, where that is explicit.
    fn encode(&self, sign: bool, exp: u128, frac: u128, odd: bool) -> u128 {
        let exp = exp & ((1 << self.exp_bits) - 1);
        let frac = frac & ((1 << self.frac_bits) - 1);
        let above = if self.explicit { exp << 1 | u128::from((exp != 0) != odd) } else { exp };
        (u128::from(sign) << self.exp_bits << u32::from(self.explicit) | above) << self.frac_bits | frac
    }
}

/// Values at which something changes: ends and middles of every field, and what is next to them.
pub fn edges(fmt: Fmt) -> Vec<u128> {
    let s = shape(fmt);
    let (bias, frac) = ((1u128 << (s.exp_bits - 1)) - 1, u128::from(s.frac_bits));
    let last = (1 << s.exp_bits) - 1;
    let mut exps = vec![0, 1, 2, frac, bias - 1, bias, bias + 1, bias + frac - 1, bias + frac, bias + frac + 1, last - 1, last];
    exps.extend([30, 31, 32, 62, 63, 64].map(|n| bias + n).iter().filter(|e| **e < last));
    exps.sort_unstable();
    exps.dedup();
    let half = 1 << (s.frac_bits - 1);
    let fracs = [0, 1, 2, half - 1, half, half + 1, 2 * half - 2, 2 * half - 1];
    let mut all = Vec::new();
    for exp in exps {
        for frac in fracs {
            for sign in [false, true] {
                all.push(s.encode(sign, exp, frac, false));
                if s.explicit && [0, 1, 2, bias, last - 1, last].contains(&exp) && [0, 1, half].contains(&frac) {
                    all.push(s.encode(sign, exp, frac, true));
                }
            }
        }
    }
    all
}

/// A random value: any bits; sparse or full fractions; exponents anywhere, near one, or at the ends; integers.
pub fn value(fmt: Fmt, random: &mut Random) -> u128 {
    let s = shape(fmt);
    let bias = (1u128 << (s.exp_bits - 1)) - 1;
    let width = s.frac_bits as usize;
    let exp = match random.below(5) {
        0 => random.wide(),
        1 => bias + random.below(9) as u128 - 4,
        2 => bias + random.below(width + 4) as u128,
        3 => random.below(width + 2) as u128,
        _ => 2 * bias + 1 - random.below(4) as u128,
    };
    let bits = random.wide();
    let frac = match random.below(4) {
        0 => bits,
        1 => bits << random.below(width),
        2 => (1 << random.below(width)) | (1 << random.below(width)),
        _ => !(bits << random.below(width) & 7 << random.below(width)),
    };
    s.encode(random.below(2) == 0, exp, frac, random.below(32) == 0)
}

/// Operands of one question: now and then one is an edge, or next to another.
pub fn some(fmt: Fmt, count: usize, random: &mut Random) -> [u128; 3] {
    let edges = edges(fmt);
    let mut x = [0; 3];
    for i in 0..count {
        x[i] = match random.below(6) {
            0 => edges[random.below(edges.len())],
            1 if i > 0 => {
                let near =
                    x[i - 1].wrapping_add(random.below(7) as u128).wrapping_sub(3) ^ u128::from(random.below(2) == 0) << (fmt.width() - 1);
                near & u128::MAX >> (128 - fmt.width())
            }
            _ => value(fmt, random),
        };
    }
    x
}
