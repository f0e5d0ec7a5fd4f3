//! The checked specification: what the front end gives to code generation. Names are resolved, operands expanded, every
//! expression typed and its binding time known. The contract between `emu-dsl` and `emu-codegen`.

use std::collections::BTreeMap;

/// A place in a source file: byte range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    /// Index into [`Spec::files`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A source file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path as given.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ty {
    /// `uN`, 1 to 128 bits.
    Bits(u8),
    /// Static integer.
    Int,
    /// Several values.
    Tuple(Vec<Ty>),
    /// No value.
    Unit,
}

/// Binding time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Time {
    /// Known at translation.
    Static,
    /// Known at execution.
    Dynamic,
}

macro_rules! ids { ($($(#[$m:meta])* $name:ident),*) => { $($(#[$m])* #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)] pub struct $name(pub u32);)* } }
ids!(
    /// Index into [`Spec::states`].
    StateId,
    /// Index into [`Spec::banks`].
    BankId,
    /// Index into [`Spec::modes`].
    ModeId,
    /// Index into [`Spec::contexts`].
    ContextId,
    /// Index into [`Spec::features`].
    FeatureId,
    /// Index into [`Spec::enums`].
    EnumId,
    /// Index into [`Spec::tokens`].
    TokenId,
    /// Index into [`Spec::envs`].
    EnvId,
    /// Index into [`Spec::exceptions`].
    ExceptionId,
    /// Index into [`Spec::externs`].
    ExternId,
    /// Index into [`Spec::fns`].
    FnId,
    /// Index into [`Spec::rules`].
    RuleId,
    /// A local name (parameter, let, var, loop variable, field or where name), unique within its body's [`Locals`].
    LocalId
);

/// A whole instruction set.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Name (`arm`).
    pub name: String,
    /// Documentation.
    pub doc: String,
    /// Sources.
    pub files: Vec<File>,
    /// The program counter.
    pub pc: Option<StateId>,
    /// Instruction fetch is big-endian.
    pub big_endian_fetch: bool,
    /// With this feature it is the other way round.
    pub endian_unless: Option<FeatureId>,
    /// Default data endianness (1 = big), static, over modes.
    pub data_endian: Option<Expr>,
    /// Default MMU index, static, over modes.
    pub mmu_index: Option<Expr>,
    /// The exception of `undefined`.
    pub undefined: Option<ExceptionId>,
    /// Features.
    pub features: Vec<Named>,
    /// Models: features.
    pub models: Vec<Model>,
    /// All single states, flags included.
    pub states: Vec<State>,
    /// Register banks.
    pub banks: Vec<Bank>,
    /// Names of values.
    pub enums: Vec<Enum>,
    /// Block-key modes.
    pub modes: Vec<Mode>,
    /// Decoder contexts.
    pub contexts: Vec<Context>,
    /// Where an instruction continues that does not jump, instead of behind itself: a state (as the instruction found it) and the static
    /// condition under which it counts. How delay slots are made.
    pub successor: Option<(StateId, Expr)>,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// Floating-point environments.
    pub envs: Vec<Env>,
    /// Exceptions.
    pub exceptions: Vec<ExceptionDecl>,
    /// Interrupts in priority order: exception and condition (dynamic).
    pub interrupts: Vec<(ExceptionId, Expr)>,
    /// What ends WFI (dynamic).
    pub wake: Option<Expr>,
    /// Registers as a debugger sees them, by GDB's feature.
    pub gdb: Vec<GdbFeature>,
    /// Helpers.
    pub externs: Vec<Extern>,
    /// Functions.
    pub fns: Vec<Function>,
    /// Unpredictable rules.
    pub rules: Vec<Rule>,
    /// Instructions.
    pub insns: Vec<Insn>,
}

/// A name with documentation.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Named {
    pub name: String,
    pub doc: String,
    pub span: Span,
}

/// A CPU model.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Model {
    pub name: String,
    pub title: String,
    pub features: Vec<FeatureId>,
    pub span: Span,
}

/// One piece of state.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct State {
    pub name: String,
    pub bits: u8,
    pub reset: u128,
    pub span: Span,
}

/// A register bank.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Bank {
    pub name: String,
    pub count: u32,
    pub bits: u8,
    pub views: Vec<View>,
    pub span: Span,
}

/// Another way to see a bank.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct View {
    pub name: String,
    pub count: u32,
    pub bits: u8,
}

/// Names of values; the first name is printed. An empty name prints nothing; no names at all: value not nameable.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Enum {
    pub name: String,
    pub bits: u8,
    pub values: Vec<Vec<String>>,
    pub span: Span,
}

/// A block-key mode: `value` is dynamic, over states only.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Mode {
    pub name: String,
    pub bits: u8,
    pub value: Expr,
    pub span: Span,
}

/// A decoder context; `advance` is static over modes and contexts.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Context {
    pub name: String,
    pub bits: u8,
    pub state: StateId,
    pub advance: Expr,
    pub span: Span,
}

/// A fetch unit. `when`: static over modes. `long`: (total bits, condition over [`ExprKind::First`]). `variable`: an instruction is as many
/// units as the shortest encoding that matches, at most this many bits.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Token {
    pub name: String,
    pub when: Option<Expr>,
    pub size: u8,
    pub long: Option<(u8, Expr)>,
    pub variable: Option<u8>,
    pub predicates: Vec<Predicate>,
    pub span: Span,
}

/// A predicate clause as declared; its instantiation for each encoding is in [`Encoding::predicate`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Predicate {
    pub span: Span,
}

/// A floating-point environment.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Env {
    pub name: String,
    /// Slot whose value indexes `rounds`; none: `rounds[0]`.
    pub round: Option<StateId>,
    /// `nearest`, `zero`, `up`, `down`, `away`.
    pub rounds: Vec<String>,
    pub flush: StateOr,
    pub default_nan: StateOr,
    pub alt_half: StateOr,
    pub sticky: StateId,
    pub nan: String,
    pub tininess_before: bool,
    /// Slot whose value indexes the bits of significand that 80-bit results are rounded to: 24, 53 or 64.
    pub precision: Option<(StateId, Vec<u8>)>,
    pub span: Span,
}

/// A state or a constant.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum StateOr {
    State(StateId),
    Const(bool),
}

/// An exception and its entry sequence. Parameters are the first locals of `body`, dynamic.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ExceptionDecl {
    pub name: String,
    pub params: Vec<LocalId>,
    pub body: Body,
    pub span: Span,
}

/// A feature of GDB's target description.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct GdbFeature {
    pub arch: String,
    pub name: String,
    pub regs: Vec<GdbReg>,
}

/// A register of it.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct GdbReg {
    pub name: String,
    pub bits: u32,
    /// GDB's type, if not an integer.
    pub ty: Option<String>,
    /// Where its bits come from: state, least bit, length, least bit in the register.
    pub parts: Vec<(TestPlace, u32, u32, u32)>,
}

/// What state a helper touches.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct StateSet {
    pub all: bool,
    pub states: Vec<StateId>,
    pub banks: Vec<BankId>,
}

/// A helper in Rust.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Extern {
    pub name: String,
    pub params: Vec<(String, Ty)>,
    pub result: Ty,
    pub reads: StateSet,
    pub writes: StateSet,
    pub memory: bool,
    pub raises: bool,
    pub span: Span,
}

/// How a function may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FnKind {
    /// Inlined at lowering.
    Plain,
    /// Evaluated at translation.
    Static,
    /// As static, and inverted by the assembler.
    Codec,
}

/// A function. Parameters are locals of `body`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Function {
    pub name: String,
    pub kind: FnKind,
    pub params: Vec<LocalId>,
    pub result: Ty,
    pub body: Body,
    pub span: Span,
}

/// What an unpredictable rule chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Choice {
    Proceed,
    Undefined,
    Nop,
}

/// An unpredictable rule.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Rule {
    pub name: String,
    pub doc: String,
    pub choice: Choice,
    pub span: Span,
}

/// A local name.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Local {
    pub name: String,
    pub ty: Ty,
    pub time: Time,
    pub mutable: bool,
}

/// Statements with their locals, and the value of the last expression.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Body {
    pub locals: Vec<Local>,
    pub stmts: Vec<Stmt>,
    pub value: Option<Box<Expr>>,
}

/// An instruction. `sem.locals` begins with `inputs`.
#[derive(Clone, Debug)]
pub struct Insn {
    /// Name.
    pub name: String,
    /// Title in the manual.
    pub title: String,
    /// The static names (fields, where names) and operand values (dynamic, possibly tuples) that `sem` uses; each encoding provides them.
    pub inputs: Vec<LocalId>,
    /// Meaning.
    pub sem: Body,
    /// Encodings, operands expanded.
    pub encodings: Vec<Encoding>,
    /// Tests.
    pub tests: Vec<Test>,
    /// Place.
    pub span: Span,
    /// Its text, from the name to the end of its last part.
    pub source: Span,
}

/// One encoding of an instruction. Its own names (fields and where names) live in `locals`.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Token.
    pub token: TokenId,
    /// Unique name within the insn: `a32`, `t32_2`, `a32_lsl0` ...
    pub name: String,
    /// Length in bits.
    pub bits: u8,
    /// Bits that decide: 1 where `value` counts.
    pub mask: u64,
    /// Their values.
    pub value: u64,
    /// Should-be bits: what the assembler writes in unconstrained places.
    pub should_be: u64,
    /// Names.
    pub locals: Vec<Local>,
    /// Fields: name, pieces of the token (least bit, width), most significant piece first.
    pub fields: Vec<(LocalId, Vec<(u8, u8)>)>,
    /// Where names in order.
    pub wheres: Vec<(LocalId, Expr)>,
    /// Decode condition, over fields, modes, features (and where names).
    pub condition: Option<Expr>,
    /// Guards in order: (static condition that must hold, else what, `always`: even if the predicate fails).
    pub guards: Vec<(Expr, Otherwise, bool)>,
    /// The predicate that applies (dynamic over states and this encoding's names).
    pub predicate: Option<Expr>,
    /// For each of [`Insn::inputs`]: its value, over this encoding's names (operand values may be dynamic).
    pub inputs: Vec<Expr>,
    /// Assembly templates with conditions.
    pub asm: Vec<(Option<Expr>, Vec<AsmPiece>)>,
    /// Place.
    pub span: Span,
}

/// What a failed guard does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Otherwise {
    Undefined,
    Unpredictable(RuleId),
    Nop,
}

/// A piece of assembly text.
#[derive(Clone, Debug)]
pub enum AsmPiece {
    /// Literal.
    Text(String),
    /// A static expression, printed.
    Value(Expr, Printer),
    /// One of two literals (each may itself hold pieces).
    Choice(Expr, Vec<AsmPiece>, Vec<AsmPiece>),
}

/// How a value is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Printer {
    Dec,
    Hex,
    Sdec,
    Addr,
    Enum(EnumId),
    List(EnumId),
}

/// A test.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Test {
    pub text: String,
    pub at: Option<u64>,
    pub code: u64,
    /// The instructions executed after it, as they lie in memory behind it: text and encoding.
    pub then: Vec<(String, u64)>,
    pub before: Vec<(TestPlace, u128)>,
    pub after: Vec<(TestPlace, u128)>,
    pub raises: Option<ExceptionId>,
    pub span: Span,
}

/// What a test sets or expects.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum TestPlace {
    State(StateId),
    Bank(BankId, u32),
    View(BankId, u32, u32),
    Mem {
        addr: u64,
        bytes: u8,
    },
    /// The levels of the input lines, in what comes before.
    Lines,
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
    /// `let`: one local, or a tuple's parts (`None`: `_`).
    Let(Vec<Option<LocalId>>, Expr),
    /// `var`, and assignment to one.
    VarSet(LocalId, Expr),
    /// State write.
    SetState(StateId, Expr),
    /// Bits of a state: (state, hi, lo, value).
    SetBits(StateId, u8, u8, Expr),
    /// Bank or view element; the index is static.
    SetBank(BankRef, Expr, Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// Arms: values (empty: `_`), body.
    Match(Expr, Vec<(Vec<u128>, Vec<Stmt>)>),
    /// Loop variable, first, last (exclusive upwards; inclusive downwards), downwards.
    For(LocalId, Expr, Expr, bool, Vec<Stmt>),
    Store(Box<MemExpr>, Expr),
    /// `true`: write.
    Probe(Box<MemExpr>, bool),
    Raise(ExceptionId, Vec<Expr>),
    Undefined,
    Unpredictable(RuleId),
    Jump(Expr),
    JumpRekey(Expr),
    SetContext(ContextId, Expr),
    Commit,
    /// `true`: event.
    Wait(bool),
    Fence(String),
    ClearExclusive,
    /// A call for its effects (or an expression whose value is dropped).
    Expr(Expr),
    Repeat(Vec<Stmt>),
    BreakIf(Expr),
    Nop,
}

/// A bank, or view number `view` of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct BankRef {
    pub bank: BankId,
    pub view: Option<u32>,
}

/// A memory access.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct MemExpr {
    pub bits: u8,
    pub addr: Expr,
    pub align: Option<Expr>,
    pub note: Option<Expr>,
    pub mmu: Option<Expr>,
    pub big: Option<Expr>,
    pub acquire: bool,
    pub release: bool,
    pub atomic: bool,
}

/// An expression with its type and binding time.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Expr {
    pub kind: Box<ExprKind>,
    pub ty: Ty,
    pub time: Time,
    pub span: Span,
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum UnOp {
    Not,
    Neg,
}

/// Binary operators; operands have the same width except the right side of shifts. `Int` operands of a `Bits` operation were converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum BinOp {
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

/// Expressions.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum ExprKind {
    Int(u128),
    Local(LocalId),
    Mode(ModeId),
    Context(ContextId),
    Feature(FeatureId),
    /// Address of this instruction (static; in exceptions and modes it is `State(pc)` instead).
    Pc,
    NextPc,
    TokenBits,
    /// The first unit of a token with `long`.
    First,
    State(StateId),
    /// Index static.
    Bank(BankRef, Expr),
    Unary(UnOp, Expr),
    Binary(BinOp, Expr, Expr),
    /// Constant bounds.
    Slice(Expr, u8, u8),
    /// One bit at an index (static or dynamic).
    Bit(Expr, Expr),
    Cat(Vec<Expr>),
    Rep(Expr, u8),
    /// To the type's width; also `int` to `uN` (masked) and static `uN` to `int`.
    Zext(Expr),
    Sext(Expr),
    /// `?:`.
    Cond(Expr, Expr, Expr),
    If(Expr, Block, Block),
    Match(Expr, Vec<(Vec<u128>, Block)>),
    Call(FnId, Vec<Expr>),
    CallExtern(ExternId, Vec<Expr>),
    /// A plain built-in: `ror`, `clz`, `carry`, `bits`, `line` ...
    Builtin(String, Vec<Expr>),
    /// `f.name(env, ...)`: value operands; static parameters by position in `params` (ROUND as its word).
    Float {
        name: String,
        env: EnvId,
        args: Vec<Expr>,
        params: Vec<FloatParam>,
    },
    /// `v.name(...)`: lane, value operands, immediate.
    Vector {
        name: String,
        env: Option<EnvId>,
        lane: Expr,
        args: Vec<Expr>,
        imm: Option<Expr>,
    },
    /// `v.sat(v.name(...))`.
    VectorSat(Expr),
    Load(MemExpr),
    LoadExclusive(MemExpr),
    StoreExclusive(MemExpr, Expr),
    Swap(MemExpr, Expr),
    /// Expected, new: the old value.
    CompareSwap(MemExpr, Expr, Expr),
    Tuple(Vec<Expr>),
    Unspecified,
}

/// A static parameter of a floating-point built-in.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum FloatParam {
    Round(String),
    Value(Expr),
}

/// A block used as an expression.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub value: Option<Expr>,
}

impl Spec {
    /// `file:line` of a span.
    pub fn place(&self, span: Span) -> String {
        match self.files.get(span.file as usize) {
            Some(f) => {
                let line = f.text.bytes().take(span.start as usize).filter(|b| *b == b'\n').count() + 1;
                format!("{}:{}", f.name, line)
            }
            None => String::new(),
        }
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.files.get(span.file as usize).and_then(|f| f.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }

    /// Names to ids of the states.
    pub fn state_names(&self) -> BTreeMap<&str, StateId> {
        self.states.iter().enumerate().map(|(i, s)| (s.name.as_str(), StateId(i as u32))).collect()
    }
}
