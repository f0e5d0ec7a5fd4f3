//! Random numbers that are the same everywhere: xorshift64*.

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed; neighbouring seeds have nothing in common.
    pub fn new(seed: u64) -> Random {
        // splitmix64's mixer; the state must not be 0.
        let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((x ^ x >> 31) | 1)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        (self.bits() >> 32) as u32
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u32) -> u32 {
        self.word() % n
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }

    /// The index of one of these weights, as often as it weighs.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        let taken = |weight: &u32| {
            let here = left < *weight;
            left = left.wrapping_sub(*weight);
            here
        };
        weights.iter().position(taken).unwrap_or(0)
    }

    /// A number that is likely to make trouble: small, all ones, a sign, a denormal, a NaN, or anything.
    pub fn edge(&mut self) -> u32 {
        const EDGES: [u32; 22] = [
            0,
            1,
            0xffff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            31,
            32,
            33,
            0x8000_0001,
            0x0000_ffff,
            0xffff_0000,
            0x0101_0101,
            0x007f_ffff,
            0x0080_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x7fa0_0001,
            0x3f80_0000,
            0xbf80_0000,
            0x7f7f_ffff,
            2,
        ];
        match self.below(6) {
            0 | 1 => self.pick(&EDGES[..8]),
            2 => self.pick(&EDGES),
            3 => self.below(256),
            _ => self.word(),
        }
    }

    /// As [`Random::edge`], of 64 bits.
    pub fn edge64(&mut self) -> u64 {
        const EDGES: [u64; 12] = [
            0,
            1,
            0x000f_ffff_ffff_ffff,
            0x0010_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0xfff0_0000_0000_0000,
            0x7ff8_0000_0000_0000,
            0x7ff4_0000_0000_0001,
            0x3ff0_0000_0000_0000,
            0xbff0_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
        ];
        match self.below(3) {
            0 => self.pick(&EDGES),
            1 => u64::from(self.edge()) << 32 | u64::from(self.edge()),
            _ => self.bits(),
        }
    }
}
