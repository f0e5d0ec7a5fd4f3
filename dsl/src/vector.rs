//! The vector operations `v.NAME`: what they take. The names are those of the IR's `Vop`, in snake_case; what they mean is
//! written there.

/// How operand and result widths go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Shape {
    Same,
    Widen,
    Wide,
    Narrow,
    Dup,
    Get,
    Set,
    Table,
}

/// What an operation takes.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Widths.
    pub shape: Shape,
    /// Vector operands.
    pub operands: usize,
    /// A lane size comes first.
    pub lane: bool,
    /// An immediate comes last.
    pub imm: bool,
    /// A floating-point environment comes before all.
    pub env: bool,
}

const TWO: &[&str] = &[
    "add",
    "sub",
    "mul",
    "and",
    "or",
    "xor",
    "and_not",
    "or_not",
    "min_s",
    "min_u",
    "max_s",
    "max_u",
    "abs_diff_s",
    "abs_diff_u",
    "halv_add_s",
    "halv_add_u",
    "halv_sub_s",
    "halv_sub_u",
    "round_halv_add_s",
    "round_halv_add_u",
    "sat_add_s",
    "sat_add_u",
    "sat_sub_s",
    "sat_sub_u",
    "sat_dbl_mul_high",
    "sat_round_dbl_mul_high",
    "cmp_eq",
    "cmp_gt_s",
    "cmp_gt_u",
    "cmp_ge_s",
    "cmp_ge_u",
    "test",
    "poly_mul",
    "shl_s",
    "shl_u",
    "round_shl_s",
    "round_shl_u",
    "sat_shl_s",
    "sat_shl_u",
    "sat_round_shl_s",
    "sat_round_shl_u",
    "pair_add",
    "pair_min_s",
    "pair_min_u",
    "pair_max_s",
    "pair_max_u",
    "zip1",
    "zip2",
    "uzp1",
    "uzp2",
    "trn1",
    "trn2",
];
const ONE: &[&str] = &[
    "pair_add_long_s",
    "pair_add_long_u",
    "neg",
    "abs",
    "sat_neg",
    "sat_abs",
    "not",
    "count_lead_sign",
    "count_lead_zero",
    "pop_count",
    "rev16",
    "rev32",
    "rev64",
    "recip_est_u",
    "rsqrt_est_u",
];
const ONE_IMM: &[&str] =
    &["shl_imm", "shr_imm_s", "shr_imm_u", "round_shr_imm_s", "round_shr_imm_u", "sat_shl_imm_s", "sat_shl_imm_u", "sat_shl_imm_su"];
const TWO_IMM: &[&str] = &["shl_insert", "shr_insert", "ext"];
const WIDEN_TWO: &[&str] = &[
    "add_long_s",
    "add_long_u",
    "sub_long_s",
    "sub_long_u",
    "mul_long_s",
    "mul_long_u",
    "poly_mul_long",
    "abs_diff_long_s",
    "abs_diff_long_u",
    "sat_dbl_mul_long",
];
const WIDEN_ONE: &[&str] = &["widen_s", "widen_u"];
const WIDEN_IMM: &[&str] = &["shl_long_imm_s", "shl_long_imm_u"];
const WIDE: &[&str] = &["add_wide_s", "add_wide_u", "sub_wide_s", "sub_wide_u"];
const NARROW_ONE: &[&str] = &["narrow", "sat_narrow_s", "sat_narrow_u", "sat_narrow_su"];
const NARROW_TWO: &[&str] = &["add_high_narrow", "round_add_high_narrow", "sub_high_narrow", "round_sub_high_narrow"];
const NARROW_IMM: &[&str] = &[
    "shr_narrow_imm",
    "round_shr_narrow_imm",
    "sat_shr_narrow_imm_s",
    "sat_shr_narrow_imm_u",
    "sat_shr_narrow_imm_su",
    "sat_round_shr_narrow_imm_s",
    "sat_round_shr_narrow_imm_u",
    "sat_round_shr_narrow_imm_su",
];
const F_TWO: &[&str] = &[
    "f_add",
    "f_sub",
    "f_mul",
    "f_min",
    "f_max",
    "f_abs_diff",
    "f_cmp_eq",
    "f_cmp_ge",
    "f_cmp_gt",
    "f_abs_ge",
    "f_abs_gt",
    "f_pair_add",
    "f_pair_min",
    "f_pair_max",
    "f_recip_step",
    "f_rsqrt_step",
];
const F_ONE: &[&str] = &["f_abs", "f_neg", "f_recip_est", "f_rsqrt_est"];
const F_THREE: &[&str] = &["f_mul_add", "f_mul_sub", "f_fma", "f_fms"];
const F_IMM: &[&str] = &["f_to_s", "f_to_u", "s_to_f", "u_to_f"];

/// Groups of names with their signatures: shape, operands, lane, immediate, environment.
const GROUPS: &[(&[&str], Shape, usize, bool, bool, bool)] = &[
    (TWO, Shape::Same, 2, true, false, false),
    (ONE, Shape::Same, 1, true, false, false),
    (ONE_IMM, Shape::Same, 1, true, true, false),
    (TWO_IMM, Shape::Same, 2, true, true, false),
    (&["bit_select"], Shape::Same, 3, true, false, false),
    (WIDEN_TWO, Shape::Widen, 2, true, false, false),
    (WIDEN_ONE, Shape::Widen, 1, true, false, false),
    (WIDEN_IMM, Shape::Widen, 1, true, true, false),
    (WIDE, Shape::Wide, 2, true, false, false),
    (NARROW_ONE, Shape::Narrow, 1, true, false, false),
    (NARROW_TWO, Shape::Narrow, 2, true, false, false),
    (NARROW_IMM, Shape::Narrow, 1, true, true, false),
    (F_TWO, Shape::Same, 2, true, false, true),
    (F_ONE, Shape::Same, 1, true, false, true),
    (F_THREE, Shape::Same, 3, true, false, true),
    (F_IMM, Shape::Same, 1, true, true, true),
    (&["f32_to_f16"], Shape::Narrow, 1, true, false, true),
    (&["f16_to_f32"], Shape::Widen, 1, true, false, true),
    (&["dup"], Shape::Dup, 1, true, true, false),
    (&["get"], Shape::Get, 1, true, true, false),
    (&["set"], Shape::Set, 2, true, true, false),
    (&["table"], Shape::Table, 3, false, false, false),
];

/// The signature of `v.name`.
pub fn shape(name: &str) -> Option<Signature> {
    let &(_, shape, operands, lane, imm, env) = GROUPS.iter().find(|g| g.0.contains(&name))?;
    Some(Signature { shape, operands, lane, imm, env })
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|g| g.0.iter().copied())
}
