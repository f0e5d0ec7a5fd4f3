//! Steps that random programs are made of, and strategies for them and for what they work on.

use super::*;

#[derive(Clone, Debug)]
pub enum Step {
    Get(u16),
    Set(u16, u8),
    Const(u8, u64),
    Binary(u8, u8, u8),
    Shift(u8, u8, u8),
    Unary(u8, u8),
    Carry(bool, u8, u8, u8),
    Cmp(u8, u8, u8),
    Select(u8, u8, u8),
    Resize(u8, u8, bool),
    Extract(u8, u8, u8, u8),
    Insert(u8, u8, u8, u8),
    Concat(u8, u8),
    Load(u8, u8, bool),
    Store(u8, u8, u8),
    Exclusive(u8, u8),
    Vec(u16, u8, u8, u8, u8),
    Table(u8, u8, u8),
    Quad(bool, u8, u8),
    Half(u8, u8),
    Float(u8, u8, u8, bool),
    Number(u8, u8, u8, bool),
    Call(u8, u8),
    VarGet(u8),
    VarSet(u8, u8),
    If(u8, Vec<Step>, Vec<Step>),
    Exit(u8, u8),
    Flags(bool, u8, u8, u8),
    Mark,
    Repeat(u8, Vec<Step>),
}

pub fn leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop::sample::select(USED.to_vec());
    prop_oneof![
        3 => s().prop_map(Step::Get),
        4 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), prop_oneof![any::<u64>(), 0u64..40, Just(u64::MAX), Just(1 << 31)]).prop_map(|(t, x)| Step::Const(t, x)),
        4 => (0u8..12, v(), v()).prop_map(|(o, a, b)| Step::Binary(o, a, b)),
        2 => (0u8..4, v(), v()).prop_map(|(o, a, b)| Step::Shift(o, a, b)),
        2 => (0u8..7, v()).prop_map(|(o, a)| Step::Unary(o, a)),
        2 => (any::<bool>(), v(), v(), v()).prop_map(|(o, a, b, c)| Step::Carry(o, a, b, c)),
        2 => (0u8..6, v(), v()).prop_map(|(o, a, b)| Step::Cmp(o, a, b)),
        1 => (v(), v(), v()).prop_map(|(a, b, c)| Step::Select(a, b, c)),
        2 => (v(), v(), any::<bool>()).prop_map(|(a, t, s)| Step::Resize(a, t, s)),
        1 => (v(), v(), v(), v()).prop_map(|(a, t, lo, len)| Step::Extract(a, t, lo, len)),
        1 => (v(), v(), v(), v()).prop_map(|(a, b, lo, len)| Step::Insert(a, b, lo, len)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Concat(a, b)),
        2 => (v(), 0u8..5, any::<bool>()).prop_map(|(a, s, big)| Step::Load(a, s, big)),
        2 => (v(), v(), 0u8..5).prop_map(|(a, b, s)| Step::Store(a, b, s)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Exclusive(a, b)),
        2 => (0..Vop::ALL.len() as u16, 0u8..3, v(), v(), v()).prop_map(|(o, l, a, b, c)| Step::Vec(o, l, a, b, c)),
        1 => (0u8..8, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Float(o, a, b, d)),
        1 => (0u8..2, v()).prop_map(|(h, a)| Step::Call(h, a)),
        1 => (0u8..3).prop_map(Step::VarGet),
        1 => (0u8..3, v()).prop_map(|(x, a)| Step::VarSet(x, a)),
        3 => (any::<bool>(), v(), v(), v()).prop_map(|(sub, a, b, which)| Step::Flags(sub, a, b, which)),
        2 => Just(Step::Mark),
        1 => (0u8..4, v()).prop_map(|(k, a)| Step::Exit(k, a)),
    ]
}

/// Mostly operations on vectors.
pub fn vector_leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop_oneof![prop::sample::select(QUADS.to_vec()), prop::sample::select(DOUBLES.to_vec())];
    prop_oneof![
        24 => (0..Vop::ALL.len() as u16, 0u8..4, v(), v(), v()).prop_map(|(o, l, a, b, c)| Step::Vec(o, l, a, b, c)),
        8 => s().prop_map(Step::Get),
        8 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), v(), v()).prop_map(|(n, a, b)| Step::Table(n, a, b)),
        2 => (any::<bool>(), v(), v()).prop_map(|(store, a, b)| Step::Quad(store, a, b)),
        2 => (v(), v()).prop_map(|(a, lo)| Step::Half(a, lo)),
        2 => (3u8..6, v(), v()).prop_map(|(o, a, b)| Step::Binary(o, a, b)),
        1 => v().prop_map(|a| Step::Unary(0, a)),
        2 => (v(), v(), v(), v()).prop_map(|(a, b, lo, len)| Step::Insert(a, b, lo & 0xf8, [7, 15, 31, 63][usize::from(len % 4)])),
        1 => (v(), v(), v(), v()).prop_map(|(a, t, lo, len)| Step::Extract(a, t, lo, len)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Concat(a, b)),
        1 => (0u8..8, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Float(o, a, b, d)),
        1 => v().prop_map(|a| Step::Call(0, a)),
        1 => Just(Step::Get(18)),
        4 => leaf(),
    ]
}

/// Mostly scalar floating point.
pub fn number_leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop::sample::select(vec![4u16, 6, 7, 8, 9, 10, 11, 28, 29, 30, 0, 1, 13]);
    prop_oneof![
        24 => (0u8..16, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Number(o, a, b, d)),
        8 => s().prop_map(Step::Get),
        10 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), number()).prop_map(|(t, x)| Step::Const(3 + t % 2, if t % 2 == 0 { x >> 32 } else { x })),
        3 => (v(), 2u8..4, Just(false)).prop_map(|(a, s, big)| Step::Load(a, s, big)),
        2 => (v(), v(), 2u8..4).prop_map(|(a, b, s)| Step::Store(a & !1, b, s)),
        1 => (v(), v(), v()).prop_map(|(a, b, c)| Step::Select(a, b, c)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Float(4, a, b, true)),
        2 => Just(Step::Mark),
        1 => leaf(),
    ]
}

pub fn number_steps() -> impl Strategy<Value = Vec<Step>> {
    let body =
        || prop::collection::vec(prop_oneof![20 => number_leaf(), 1 => (1u8..4, any::<u8>()).prop_map(|(k, a)| Step::Exit(k, a))], 0..6);
    let branch = (any::<u8>(), body(), body()).prop_map(|(c, a, b)| Step::If(c, a, b));
    prop::collection::vec(prop_oneof![6 => number_leaf(), 1 => branch], 1..30)
}

/// A number of double precision, or two of single.
pub fn number() -> impl Strategy<Value = u64> {
    let double = prop::sample::select(vec![
        0f64,
        -0.0,
        1.0,
        -1.0,
        0.5,
        3.0,
        0.1,
        -2.5,
        1e300,
        1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NAN,
        2147483647.0,
        -2147483648.5,
        4294967295.5,
        1e-308,
    ]);
    let single = || {
        prop::sample::select(vec![
            0f32,
            -0.0,
            1.0,
            -1.0,
            0.5,
            3.0,
            0.1,
            -2.5,
            1e30,
            1e-30,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::INFINITY,
            f32::NAN,
            2e9,
            -3e9,
        ])
    };
    prop_oneof![
        4 => double.prop_map(f64::to_bits),
        3 => (single(), single()).prop_map(|(low, high)| u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32),
        2 => (1u64..2000).prop_map(|n| (n as f64 / 8.0).to_bits()),
        1 => any::<u64>(),
    ]
}

pub fn vector_steps() -> impl Strategy<Value = Vec<Step>> {
    let body = || prop::collection::vec(vector_leaf(), 0..6);
    let branch = (any::<u8>(), body(), body()).prop_map(|(c, a, b)| Step::If(c, a, b));
    prop::collection::vec(prop_oneof![12 => vector_leaf(), 1 => branch], 1..40)
}

/// 64 bits for lanes: boundaries of every width, and of single precision.
pub fn lanes() -> impl Strategy<Value = u64> {
    let word = prop_oneof![
        3 => prop::sample::select(vec![
            0u32, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x8080_8080, 0x7f7f_7f7f, 0x8000_8000,
            0x7fff_7fff, 0x00ff_ff00, 0x0001_ff80, 0x80ff_7f00, 0xffff_fffe, 0x0102_0304, 0x1f20_0fe0,
        ]),
        3 => prop::sample::select(vec![
            0x0000_0001u32, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x0100_0000, 0x8000_0001, 0x8080_0000, 0x1fff_ffff, 0x2000_0000, 0x1f80_0000,
            0x2080_0000, 0x3f7f_ffff, 0x3f80_0000, 0x3f80_0001, 0xbf80_0000, 0x4b00_0001, 0x4eff_ffff, 0x4f00_0000, 0x4f7f_ffff, 0x4f80_0000,
            0xcf00_0000, 0xbf00_0000, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7f80_0001, 0xffc1_2345, 0x6000_0000,
        ]),
        // Ordinary numbers.
        3 => (any::<u32>()).prop_map(|x| x & 0x80ff_ffff | 0x3f00_0000),
        2 => any::<u32>(),
    ];
    (word.clone(), word).prop_map(|(low, high)| u64::from(low) | u64::from(high) << 32)
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nested = leaf().prop_recursive(2, 24, 6, |inner| {
        let body = prop::collection::vec(inner, 0..6);
        prop_oneof![
            3 => (any::<u8>(), body.clone(), body.clone()).prop_map(|(c, a, b)| Step::If(c, a, b)),
            1 => (any::<u8>(), body).prop_map(|(n, a)| Step::Repeat(n, a)),
        ]
    });
    prop::collection::vec(prop_oneof![4 => leaf(), 1 => nested], 1..40)
}
