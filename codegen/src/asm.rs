//! From a checked specification to the tables of the assembler and disassembler (`emu-asm`).
//!
//! Only what is static goes over: fields, where names, conditions, guards, templates, static functions. The order of the
//! encodings is the decoder's.

use emu_asm::tables as t;
use emu_dsl::spec::*;

/// The tables of `spec`.
pub fn tables(spec: &Spec) -> t::Tables {
    let mut encodings = Vec::new();
    for (i, insn) in spec.insns.iter().enumerate() {
        for e in &insn.encodings {
            encodings.push(encoding(i as u32, e));
        }
    }
    // The decoder's rule: more fixed bits first, then the order of declaration (the sort is stable).
    encodings.sort_by_key(|e| std::cmp::Reverse(e.mask.count_ones()));
    t::Tables {
        name: spec.name.clone(),
        big_endian: spec.big_endian_fetch,
        endian_unless: spec.endian_unless.map(|f| f.0),
        features: spec.features.iter().map(|f| f.name.clone()).collect(),
        models: spec
            .models
            .iter()
            .map(|m| t::ModelTable { name: m.title.clone(), features: m.features.iter().map(|f| f.0).collect() })
            .collect(),
        modes: spec.modes.iter().map(|m| (m.name.clone(), m.bits)).collect(),
        contexts: spec
            .contexts
            .iter()
            .map(|c| t::ContextTable {
                name: c.name.clone(),
                bits: c.bits,
                advance: expr(&c.advance),
                at_reset: spec.states.get(c.state.0 as usize).map_or(0, |s| s.reset as u64),
            })
            .collect(),
        enums: spec.enums.iter().map(|e| t::EnumTable { name: e.name.clone(), bits: e.bits, values: e.values.clone() }).collect(),
        tokens: spec
            .tokens
            .iter()
            .map(|k| t::TokenTable {
                name: k.name.clone(),
                when: k.when.as_ref().map(expr),
                size: k.size,
                variable: k.variable,
                long: k.long.as_ref().map(|(bits, when)| (*bits, expr(when))),
            })
            .collect(),
        fns: spec.fns.iter().map(function).collect(),
        insns: spec
            .insns
            .iter()
            .map(|i| t::InsnTable {
                name: i.name.clone(),
                title: i.title.clone(),
                place: spec.place(i.span),
                source: format!("insn {}\n}}", spec.text(i.source).trim_end()),
            })
            .collect(),
        encodings,
        stats: crate::stats::of(spec, None),
    }
}

fn function(f: &Function) -> t::FnTable {
    // A plain function may have effects; it is never called from static text, and an empty body keeps the numbering.
    let body = match f.kind {
        FnKind::Plain => t::Block::default(),
        _ => t::Block { stmts: stmts(&f.body.stmts), value: f.body.value.as_deref().map(expr) },
    };
    t::FnTable {
        name: f.name.clone(),
        params: f.params.iter().map(|p| p.0).collect(),
        widths: f.params.iter().map(|p| width(&f.body.locals[p.0 as usize].ty)).collect(),
        locals: f.body.locals.len(),
        codec: f.kind == FnKind::Codec,
        body,
    }
}

fn encoding(insn: u32, e: &Encoding) -> t::EncodingTable {
    let otherwise = |o: &Otherwise| match o {
        Otherwise::Undefined => t::Otherwise::Undefined,
        Otherwise::Unpredictable(_) => t::Otherwise::Unpredictable,
        Otherwise::Nop => t::Otherwise::Nop,
    };
    t::EncodingTable {
        insn,
        name: e.name.clone(),
        token: e.token.0,
        bits: e.bits,
        mask: e.mask,
        value: e.value,
        should_be: e.should_be,
        locals: e.locals.iter().map(|l| l.name.clone()).collect(),
        fields: e
            .fields
            .iter()
            .map(|(local, pieces)| t::FieldTable { local: local.0, width: pieces.iter().map(|p| p.1).sum(), pieces: pieces.clone() })
            .collect(),
        wheres: e.wheres.iter().map(|(l, x)| (l.0, expr(x))).collect(),
        condition: e.condition.as_ref().map(expr),
        guards: e.guards.iter().map(|(g, o, _)| (expr(g), otherwise(o))).collect(),
        asm: e.asm.iter().map(|(when, pieces)| (when.as_ref().map(expr), self::pieces(pieces))).collect(),
    }
}

fn pieces(all: &[AsmPiece]) -> Vec<t::Piece> {
    all.iter()
        .map(|p| match p {
            AsmPiece::Text(text) => t::Piece::Text(text.clone()),
            AsmPiece::Value(e, p) => t::Piece::Value(expr(e), printer(*p)),
            AsmPiece::Choice(c, a, b) => t::Piece::Choice(expr(c), pieces(a), pieces(b)),
        })
        .collect()
}

fn printer(p: Printer) -> t::Printer {
    match p {
        Printer::Dec => t::Printer::Dec,
        Printer::Hex => t::Printer::Hex,
        Printer::Sdec => t::Printer::Sdec,
        Printer::Addr => t::Printer::Addr,
        Printer::Enum(e) => t::Printer::Enum(e.0),
        Printer::List(e) => t::Printer::List(e.0),
    }
}

fn width(ty: &Ty) -> u8 {
    match ty {
        Ty::Bits(n) => *n,
        _ => 0,
    }
}

fn all(es: &[Expr]) -> Vec<t::Expr> {
    es.iter().map(expr).collect()
}

fn expr(e: &Expr) -> t::Expr {
    let op = match &*e.kind {
        ExprKind::Int(i) => t::Op::Int(*i),
        ExprKind::Local(l) => t::Op::Local(l.0),
        ExprKind::Mode(m) => t::Op::Mode(m.0),
        ExprKind::Context(c) => t::Op::Context(c.0),
        ExprKind::Feature(f) => t::Op::Feature(f.0),
        ExprKind::Pc => t::Op::Pc,
        ExprKind::NextPc => t::Op::NextPc,
        ExprKind::TokenBits => t::Op::TokenBits,
        ExprKind::First => t::Op::First,
        ExprKind::Unary(UnOp::Not, a) => t::Op::Not(expr(a)),
        ExprKind::Unary(UnOp::Neg, a) => t::Op::Neg(expr(a)),
        ExprKind::Binary(op, a, b) => t::Op::Binary(binary(*op), expr(a), expr(b)),
        ExprKind::Slice(a, hi, lo) => t::Op::Slice(expr(a), *hi, *lo),
        ExprKind::Bit(a, i) => t::Op::Bit(expr(a), expr(i)),
        ExprKind::Cat(parts) => t::Op::Cat(all(parts)),
        ExprKind::Rep(a, n) => t::Op::Rep(expr(a), *n),
        ExprKind::Zext(a) => t::Op::Zext(expr(a)),
        ExprKind::Sext(a) => t::Op::Sext(expr(a)),
        ExprKind::Cond(c, a, b) => t::Op::Cond(expr(c), expr(a), expr(b)),
        ExprKind::If(c, a, b) => t::Op::If(expr(c), block(a), block(b)),
        ExprKind::Match(s, arms) => t::Op::Match(expr(s), arms.iter().map(|(v, b)| (v.clone(), block(b))).collect()),
        ExprKind::Call(f, args) => t::Op::Call(f.0, all(args)),
        ExprKind::Builtin(name, args) => t::Op::Builtin(name.clone(), all(args)),
        ExprKind::Tuple(parts) => t::Op::Tuple(all(parts)),
        // Dynamic expressions do not occur in static text: the checker has seen to it.
        _ => t::Op::Int(0),
    };
    t::Expr { op: Box::new(op), width: width(&e.ty) }
}

fn block(b: &Block) -> t::Block {
    t::Block { stmts: stmts(&b.stmts), value: b.value.as_ref().map(expr) }
}

fn stmts(all: &[Stmt]) -> Vec<t::Stmt> {
    all.iter()
        .filter_map(|s| {
            Some(match &s.kind {
                StmtKind::Let(names, e) => t::Stmt::Let(names.iter().map(|n| n.map(|n| n.0)).collect(), expr(e)),
                StmtKind::VarSet(name, e) => t::Stmt::Let(vec![Some(name.0)], expr(e)),
                StmtKind::If(c, a, b) => t::Stmt::If(expr(c), stmts(a), stmts(b)),
                StmtKind::Match(s, arms) => t::Stmt::Match(expr(s), arms.iter().map(|(v, b)| (v.clone(), stmts(b))).collect()),
                StmtKind::For(name, first, end, down, body) => t::Stmt::For(name.0, expr(first), expr(end), *down, stmts(body)),
                _ => return None,
            })
        })
        .collect()
}

fn binary(op: BinOp) -> t::Bin {
    match op {
        BinOp::Add => t::Bin::Add,
        BinOp::Sub => t::Bin::Sub,
        BinOp::Mul => t::Bin::Mul,
        BinOp::And => t::Bin::And,
        BinOp::Or => t::Bin::Or,
        BinOp::Xor => t::Bin::Xor,
        BinOp::Shl => t::Bin::Shl,
        BinOp::Shr => t::Bin::Shr,
        BinOp::Sar => t::Bin::Sar,
        BinOp::Eq => t::Bin::Eq,
        BinOp::Ne => t::Bin::Ne,
        BinOp::Ult => t::Bin::Ult,
        BinOp::Ule => t::Bin::Ule,
        BinOp::Ugt => t::Bin::Ugt,
        BinOp::Uge => t::Bin::Uge,
        BinOp::Slt => t::Bin::Slt,
        BinOp::Sle => t::Bin::Sle,
        BinOp::Sgt => t::Bin::Sgt,
        BinOp::Sge => t::Bin::Sge,
    }
}
