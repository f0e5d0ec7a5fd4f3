//! The data an assembler and disassembler need of an instruction set: plain, serialisable.

use serde::{Deserialize, Serialize};

/// An instruction set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Tables {
    pub name: String,
    /// Instructions are big-endian; the other way round with the feature `endian_unless`.
    pub big_endian: bool,
    pub endian_unless: Option<u32>,
    pub features: Vec<String>,
    pub models: Vec<ModelTable>,
    /// Names and widths in bits.
    pub modes: Vec<(String, u8)>,
    pub contexts: Vec<ContextTable>,
    pub enums: Vec<EnumTable>,
    pub tokens: Vec<TokenTable>,
    pub fns: Vec<FnTable>,
    /// Instruction names, titles and places in the specification.
    pub insns: Vec<InsnTable>,
    /// In decoding order: the first that matches wins.
    pub encodings: Vec<EncodingTable>,
    pub stats: Stats,
}

/// The size of a specification, and how much of its meaning is in Rust.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Instructions.
    pub insns: u32,
    /// Encodings, operand forms counted singly.
    pub encodings: u32,
    /// `test` lines.
    pub tests: u32,
    /// Lines of the specification that are neither empty nor comments.
    pub spec_lines: u32,
    /// Helpers (`extern fn`).
    pub helpers: u32,
    /// Lines of Rust beside the specification, counted alike.
    pub helper_lines: u32,
    /// Instructions that call helpers, or functions that do.
    pub helped: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ModelTable {
    pub name: String,
    pub features: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ContextTable {
    pub name: String,
    pub bits: u8,
    pub advance: Expr,
    pub at_reset: u64,
}

/// Names of each value; the first is printed, none: not nameable.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EnumTable {
    pub name: String,
    pub bits: u8,
    pub values: Vec<Vec<String>>,
}

/// `long`: total bits and the condition over [`Op::First`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TokenTable {
    pub name: String,
    pub when: Option<Expr>,
    pub size: u8,
    pub long: Option<(u8, Expr)>,
    /// The most bits, if the length is that of the shortest encoding that matches.
    #[serde(default)]
    pub variable: Option<u8>,
}

/// A static function; parameters are the first locals.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FnTable {
    pub name: String,
    pub params: Vec<u32>,
    pub widths: Vec<u8>,
    pub locals: usize,
    pub codec: bool,
    pub body: Block,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct InsnTable {
    pub name: String,
    pub title: String,
    pub place: String,
    /// Its text in the specification.
    pub source: String,
}

/// One encoding; see `emu_dsl::spec::Encoding`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EncodingTable {
    pub insn: u32,
    pub name: String,
    pub token: u32,
    pub bits: u8,
    pub mask: u64,
    pub value: u64,
    pub should_be: u64,
    /// Names of all locals.
    pub locals: Vec<String>,
    /// Local, width, pieces (least bit, width), most significant first.
    pub fields: Vec<FieldTable>,
    pub wheres: Vec<(u32, Expr)>,
    pub condition: Option<Expr>,
    pub guards: Vec<(Expr, Otherwise)>,
    pub asm: Vec<(Option<Expr>, Vec<Piece>)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FieldTable {
    pub local: u32,
    pub width: u8,
    pub pieces: Vec<(u8, u8)>,
}

/// What a failed guard does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Otherwise {
    Undefined,
    Unpredictable,
    Nop,
}

/// A piece of assembly text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Piece {
    Text(String),
    Value(Expr, Printer),
    Choice(Expr, Vec<Piece>, Vec<Piece>),
}

/// How a value is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Printer {
    Dec,
    Hex,
    Sdec,
    Addr,
    Enum(u32),
    List(u32),
}

/// A static expression: its operation, and its width in bits (0: an unbounded integer).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Expr {
    pub op: Box<Op>,
    pub width: u8,
}

/// A block with statements and a value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub value: Option<Expr>,
}

/// A statement of a static function.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Stmt {
    Let(Vec<Option<u32>>, Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    Match(Expr, Vec<(Vec<u128>, Vec<Stmt>)>),
    /// Local, first, end, downwards (inclusive).
    For(u32, Expr, Expr, bool, Vec<Stmt>),
}

/// Operations of static expressions; as `emu_dsl::spec::ExprKind`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Op {
    Int(u128),
    Local(u32),
    Mode(u32),
    Context(u32),
    Feature(u32),
    Pc,
    NextPc,
    TokenBits,
    First,
    Not(Expr),
    Neg(Expr),
    Binary(Bin, Expr, Expr),
    Slice(Expr, u8, u8),
    Bit(Expr, Expr),
    Cat(Vec<Expr>),
    Rep(Expr, u8),
    Zext(Expr),
    Sext(Expr),
    Cond(Expr, Expr, Expr),
    If(Expr, Block, Block),
    Match(Expr, Vec<(Vec<u128>, Block)>),
    Call(u32, Vec<Expr>),
    Builtin(String, Vec<Expr>),
    Tuple(Vec<Expr>),
}

/// Binary operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Bin {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Sar,
    Eq,
    Ne,
    Ult,
    Ule,
    Ugt,
    Uge,
    Slt,
    Sle,
    Sgt,
    Sge,
}
