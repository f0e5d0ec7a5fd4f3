//! The syntax tree: what the source says, names not yet looked up. Every node that an error can point at has its span.

use crate::spec::{FnKind, Span};

/// A name.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Id {
    pub name: String,
    pub span: Span,
}

/// A type as written.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Ty {
    Bits(u8),
    Tuple(Vec<Ty>),
}

/// A string literal.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Text {
    pub text: String,
    pub span: Span,
}

/// An expression.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Expr {
    pub kind: Box<Kind>,
    pub span: Span,
}

/// Infix operators as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Infix {
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
    Lt,
    Le,
    Gt,
    Ge,
    Slt,
    Sle,
    Sgt,
    Sge,
    LogicAnd,
    LogicOr,
}

/// Prefix operators as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Prefix {
    Not,
    Invert,
    Negate,
}

/// Expressions.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Number(u128),
    Name(String),
    Dot(Expr, Id),
    Index(Expr, Expr),
    Slice(Expr, Expr, Expr),
    Call(Expr, Vec<Expr>),
    Prefix(Prefix, Expr),
    Infix(Infix, Expr, Expr),
    Cond(Expr, Expr, Expr),
    If(Expr, Block, Block),
    Match(Expr, Vec<Arm<Block>>),
    Tuple(Vec<Expr>),
    Load(Mem),
    LoadExclusive(Mem),
    StoreExclusive(Mem, Expr),
    Swap(Mem, Expr),
    CompareSwap(Mem, Expr, Expr),
    Unspecified(u8),
}

/// A value in a pattern.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Pattern {
    Number(u128),
    Name(Option<Id>, Id),
}

/// An arm of a match; no patterns: `_`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Arm<T> {
    pub patterns: Vec<Pattern>,
    pub body: T,
    pub span: Span,
}

/// A memory access.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Mem {
    pub bits: u8,
    pub addr: Expr,
    pub align: Option<Expr>,
    pub note: Option<Expr>,
    pub mmu: Option<Expr>,
    pub big: Option<Expr>,
    pub acquire: bool,
    pub release: bool,
    pub atomic: bool,
    pub span: Span,
}

/// Statements and a value.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub value: Option<Expr>,
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

/// Statements.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum StmtKind {
    Let(Vec<Option<Id>>, Expr),
    Var(Id, Ty, Expr),
    Assign(Expr, Expr),
    /// Group, values, and if the rest keep what they have.
    Flags(Id, Vec<(Id, Expr)>, bool),
    If(Expr, Block, Option<Block>),
    Match(Expr, Vec<Arm<Block>>),
    /// Name, first, end, downwards.
    For(Id, Expr, Expr, bool, Block),
    Store(Mem, Expr),
    Probe(Mem, bool),
    Raise(Id, Vec<Expr>),
    Undefined,
    Unpredictable(Id),
    Jump(Expr),
    JumpRekey(Expr),
    Context(Id, Expr),
    Commit,
    Wait(bool),
    Fence(Option<Id>),
    ClearExclusive,
    Nop,
    Expr(Expr),
    Repeat(Vec<Stmt>),
    BreakIf(Expr),
}

/// A parameter.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Param {
    pub fixed: bool,
    pub name: Id,
    pub ty: Ty,
}

/// What a failed guard does.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Otherwise {
    Undefined,
    Nop,
    Unpredictable(Id),
}

/// A where name.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Where {
    pub name: Id,
    pub ty: Option<u8>,
    pub value: Expr,
}

/// A guard.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Guard {
    pub cond: Expr,
    pub otherwise: Otherwise,
    pub always: bool,
}

/// What may follow an encoding's bits.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Tail {
    pub wheres: Vec<Where>,
    pub conditions: Vec<Expr>,
    pub guards: Vec<Guard>,
    pub asm: Vec<(Option<Expr>, Text)>,
}

/// An encoding as written; `token` names a token or a shape.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Encoding {
    pub token: Id,
    pub bits: Text,
    pub tail: Tail,
    pub span: Span,
}

/// A form of an operand.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Form {
    pub name: Id,
    pub bits: Text,
    pub tail: Tail,
    pub value: Block,
}

/// A test's places.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Place {
    Raise(Id),
    Mem(u64, u64, u128),
    Bank(Id, u128, u128),
    State(Id, u128),
}

/// Registers as a debugger sees them: architecture, feature name.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct GdbFeature {
    pub arch: Id,
    pub name: Text,
    pub regs: Vec<GdbReg>,
}

/// One of them: its parts, and GDB's type.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct GdbReg {
    pub name: Id,
    /// Bits, if said.
    pub bits: Option<u128>,
    pub parts: Vec<GdbPart>,
    pub ty: Option<Text>,
}

/// State, element of a bank, bits of it (high, low), and where in the register they are.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct GdbPart {
    pub state: Id,
    pub index: Option<u128>,
    pub range: Option<(u128, u128)>,
    pub at: u128,
}

/// A test.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Test {
    pub text: Text,
    pub at: Option<u128>,
    pub code: u128,
    /// The instructions executed after it: text and encoding.
    pub then: Vec<(Text, u128)>,
    pub before: Vec<Place>,
    pub after: Vec<Place>,
    pub span: Span,
}

/// A state or a number.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum StateOr {
    Number(u128),
    State(Id),
}

/// Items of a floating-point environment.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum FpItem {
    Round(Option<Id>, Vec<Id>),
    Flush(StateOr),
    DefaultNan(StateOr),
    AltHalf(StateOr),
    Sticky(Id),
    Nan(Id),
    Tininess(Id),
    Precision(Id, Vec<u128>),
}

/// Items of the `isa` block.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum IsaItem {
    Doc(Text),
    Pc(Id),
    /// Big-endian; the other way round with this feature.
    BigEndian(bool, Option<Id>),
    DataEndian(Expr),
    MmuIndex(Expr),
    Undefined(Id),
}

/// A declaration.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Item {
    Isa(Id, Vec<IsaItem>),
    Const(Id, Expr),
    Feature(Id, String),
    Model(Id, String, Vec<Id>),
    State(Id, u8, u128),
    Flags(Id, Vec<Id>),
    /// Name, count, bits, views (name, count, bits).
    Bank(Id, u128, u8, Vec<(Id, u128, u8)>),
    /// Name, bits, names of each value.
    Enum(Id, u8, Vec<Vec<String>>),
    Mode(Id, u8, Expr),
    Context(Id, u8, Id, Expr),
    /// State, condition.
    Successor(Id, Expr),
    /// Name, condition, size, long size and its condition, the most bits of a variable length.
    Token(Id, Option<Expr>, u128, Option<(u128, Expr)>, Option<u128>),
    Predicate(Id, Vec<(Expr, Expr)>),
    Shape(Id, Vec<(Id, Text, Vec<Where>)>, Tail),
    Rule(Id, String, String),
    FpEnv(Id, Vec<FpItem>),
    Exception(Id, Vec<Param>, Block),
    Interrupt(Id, Expr),
    Wake(Expr),
    Gdb(GdbFeature),
    /// Name, parameters, result, reads, writes, memory, raises.
    Extern(Id, Vec<Param>, Option<Ty>, Vec<Id>, Vec<Id>, bool, bool),
    Fn(FnKind, Id, Vec<Param>, Option<Ty>, Block),
    Operand(Id, Ty, Vec<Form>),
    Insn(Insn),
}

/// An instruction.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Insn {
    pub name: Id,
    /// From its name to the end of its last part.
    pub source: Span,
    pub title: String,
    pub encodings: Vec<Encoding>,
    pub guards: Vec<Guard>,
    pub sem: Option<Block>,
    pub tests: Vec<Test>,
}

/// A piece of a bit string.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Bit {
    Fixed(bool),
    Should(bool),
    Ignored,
    Field(String, u8),
    Operand(String, String),
    OperandPart(String, u32, Option<String>),
}

/// A piece of an assembly template; expressions not yet checked.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Piece {
    Text(String),
    Value(Expr, Option<(bool, Id)>),
    Select(Expr, Vec<Piece>, Vec<Piece>),
}
