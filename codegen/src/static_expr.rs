//! Static expressions: native Rust integers. `uN` is a `u64` (above 64 bits `u128`) kept below 2^N, `int` an `i64`.

use crate::body::*;
use emu_dsl::spec::*;

impl<'a> Emitter<'_, 'a> {
    /// The Rust of a static expression.
    pub fn stat(&mut self, e: &'a Expr) -> String {
        let wide = width(&e.ty) > 64;
        let int = e.ty == Ty::Int;
        match &*e.kind {
            ExprKind::Int(x) => match (&e.ty, wide) {
                (Ty::Int, _) => format!("{}i64", *x as i64),
                (_, true) => format!("{}u128", number(*x)),
                _ => format!("{}u64", number(*x)),
            },
            ExprKind::Local(l) => self.local(*l),
            ExprKind::Mode(m) => self.mode(*m, e.span),
            ExprKind::Context(c) => match self.flavor {
                Flavor::Lower | Flavor::Static => format!("cx.{}", crate::names::field(&self.spec().contexts[c.0 as usize].name)),
                _ => self.error(e.span, "decoder context is not known here"),
            },
            ExprKind::Feature(f) => {
                let root = if self.flavor == Flavor::Native { "n" } else { "cx" };
                format!("({root}.features >> {} & 1)", f.0)
            }
            ExprKind::Pc | ExprKind::NextPc | ExprKind::TokenBits | ExprKind::First => {
                if !matches!(self.flavor, Flavor::Lower | Flavor::Static) {
                    return self.error(e.span, "there is no instruction here");
                }
                // Addresses are kept below 2^N of the program counter's width already.
                let pc_bits = self.spec().pc.map_or(64, |pc| self.spec().states[pc.0 as usize].bits);
                if matches!(*e.kind, ExprKind::Pc | ExprKind::NextPc) && e.ty == Ty::Bits(pc_bits) {
                    return if matches!(*e.kind, ExprKind::Pc) { "cx.pc" } else { "cx.next_pc" }.to_string();
                }
                let name = match &*e.kind {
                    ExprKind::Pc => "cx.pc",
                    ExprKind::NextPc => "cx.next_pc",
                    ExprKind::TokenBits => "cx.token_bits",
                    _ => "cx.first",
                };
                self.convert(name.to_string(), &Ty::Bits(64), &e.ty)
            }
            ExprKind::State(s) => self.native_state(*s, e.span),
            ExprKind::Bank(r, i) => self.native_bank(*r, i, e.span),
            ExprKind::Unary(op, a) => self.static_unary(*op, a, e),
            ExprKind::Binary(op, a, b) => self.static_binary(*op, a, b, e),
            ExprKind::Slice(a, hi, lo) => {
                let n = hi - lo + 1;
                let from = width(&a.ty);
                let x = self.stat(a);
                let shifted = if *lo == 0 { x } else { format!("({x} >> {lo})") };
                let cast = match (from > 64, n > 64) {
                    (true, false) => format!("({shifted} as u64)"),
                    _ if a.ty == Ty::Int => format!("({shifted} as u64)"),
                    _ => shifted,
                };
                if lo + n == from && a.ty != Ty::Int { cast } else { format!("({cast} & {})", mask(n)) }
            }
            ExprKind::Bit(a, i) => {
                if let (ExprKind::Int(i), Ty::Bits(1..=64)) = (&*i.kind, &a.ty) {
                    return format!("({} >> {i} & 1)", self.stat(a)).replace(" >> 0 ", " ");
                }
                let (x, i) = (self.stat(a), self.count(i));
                match width(&a.ty) > 64 {
                    true => format!("(p::shr128({x}, {i}) as u64 & 1)"),
                    false if a.ty == Ty::Int => format!("(p::shr64({x} as u64, {i}) & 1)"),
                    false => format!("(p::shr64({x}, {i}) & 1)"),
                }
            }
            ExprKind::Cat(parts) => {
                let mut text = String::new();
                for part in parts {
                    let x = self.stat(part);
                    let x = if wide && width(&part.ty) <= 64 { format!("({x} as u128)") } else { x };
                    text = if text.is_empty() { x } else { format!("({text} << {} | {x})", width(&part.ty)) };
                }
                text
            }
            ExprKind::Rep(a, n) => {
                let x = self.stat(a);
                format!("(p::rep({x} as u128, {}, {n}) as {})", width(&a.ty), static_type(&e.ty))
            }
            ExprKind::Zext(a) => {
                if let ExprKind::Int(x) = &*a.kind {
                    let x = if int { *x } else { x & (u128::MAX >> (128 - u32::from(width(&e.ty)))) };
                    return format!("{}{}", number(x), static_type(&e.ty));
                }
                let x = self.stat(a);
                self.convert(x, &a.ty, &e.ty)
            }
            ExprKind::Sext(a) => {
                let x = self.stat(a);
                match (&a.ty, &e.ty) {
                    (Ty::Int, _) => self.convert(x, &a.ty, &e.ty),
                    (_, Ty::Int) => format!("p::sext64({x}, {})", width(&a.ty)),
                    (a, to) if width(a) > 64 || width(to) > 64 => {
                        format!("(p::sext128({x} as u128, {}) as u128 & {})", width(a), mask(width(to)))
                    }
                    (a, to) => format!("(p::sext64({x}, {}) as u64 & {})", width(a), mask(width(to))),
                }
            }
            ExprKind::Cond(c, a, b) => {
                let (c, a, b) = (self.cond(c), self.stat(a), self.stat(b));
                format!("(if {} {{ {} }} else {{ {} }})", bare(&c), bare(&a), bare(&b))
            }
            ExprKind::If(c, a, b) => {
                let (c, a, b) = (self.cond(c), self.static_block(a), self.static_block(b));
                format!("(if {} {{ {} }} else {{ {} }})", bare(&c), bare(&a), bare(&b))
            }
            ExprKind::Match(x, arms) => {
                let int = x.ty == Ty::Int;
                let mut text = format!("(match {} {{ ", self.stat(x));
                for (i, (values, block)) in arms.iter().enumerate() {
                    text += &format!("{} => {{ {} }} ", pattern(values, int, i + 1 == arms.len()), self.static_block(block));
                }
                text + "})"
            }
            ExprKind::Call(f, args) => {
                let args: Vec<String> = args.iter().map(|a| self.stat(a)).collect();
                let (instance, root) = match self.flavor {
                    Flavor::Native => (Instance::Native, "n"),
                    _ => (Instance::Static, "cx"),
                };
                let name = self.function(*f, instance);
                format!("{name}({})", std::iter::once(root.to_string()).chain(args).collect::<Vec<_>>().join(", "))
            }
            ExprKind::Builtin(name, args) => self.static_builtin(name, args, e),
            ExprKind::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(|p| self.stat(p)).collect();
                format!("({},)", parts.join(", "))
            }
            ExprKind::Unspecified => format!("0{}", static_type(&e.ty)),
            _ => self.error(e.span, "this is not known at translation"),
        }
    }

    /// A static u1 as a Rust condition.
    pub fn cond(&mut self, e: &'a Expr) -> String {
        match &*e.kind {
            ExprKind::Binary(op, a, b) => {
                let (word, signed) = match op {
                    BinOp::Eq => ("==", false),
                    BinOp::Ne => ("!=", false),
                    BinOp::Ult => ("<", false),
                    BinOp::Ule => ("<=", false),
                    BinOp::Ugt => (">", false),
                    BinOp::Uge => (">=", false),
                    BinOp::Slt => ("<", true),
                    BinOp::Sle => ("<=", true),
                    BinOp::Sgt => (">", true),
                    BinOp::Sge => (">=", true),
                    BinOp::And if e.ty == Ty::Bits(1) => return format!("({} && {})", self.cond(a), self.cond(b)),
                    BinOp::Or if e.ty == Ty::Bits(1) => return format!("({} || {})", self.cond(a), self.cond(b)),
                    _ => return format!("({} != 0)", self.stat(e)),
                };
                let (x, y) = self.alike(a, b);
                let bits = width(&a.ty).max(width(&b.ty));
                let int = a.ty == Ty::Int && b.ty == Ty::Int;
                if signed && !int {
                    let f = if bits > 64 { "p::sext128" } else { "p::sext64" };
                    format!("({f}({x}, {bits}) {word} {f}({y}, {bits}))")
                } else {
                    format!("({x} {word} {y})")
                }
            }
            ExprKind::Unary(UnOp::Not, a) if e.ty == Ty::Bits(1) => format!("!{}", self.cond(a)),
            ExprKind::Feature(f) => {
                let root = if self.flavor == Flavor::Native { "n" } else { "cx" };
                format!("({root}.features & feature::{} != 0)", crate::names::upper(&self.spec().features[f.0 as usize].name))
            }
            ExprKind::Int(0) => "false".to_string(),
            ExprKind::Int(_) => "true".to_string(),
            _ => format!("({} != 0)", self.stat(e)),
        }
    }

    /// Two operands of one operation in the same Rust type.
    fn alike(&mut self, a: &'a Expr, b: &'a Expr) -> (String, String) {
        let (x, y) = (self.stat(a), self.stat(b));
        match (&a.ty, &b.ty) {
            (Ty::Int, Ty::Bits(_)) => (self.convert(x, &a.ty, &b.ty), y),
            (Ty::Bits(_), Ty::Int) => {
                let y = self.convert(y, &b.ty, &a.ty);
                (x, y)
            }
            _ => (x, y),
        }
    }

    /// A count (of a shift, an index) as a `u64` that is huge if the count is.
    pub fn count(&mut self, e: &'a Expr) -> String {
        match &*e.kind {
            ExprKind::Int(x) => format!("{}u64", (*x).min(u64::MAX.into())),
            _ if e.ty == Ty::Int => format!("({} as u64)", self.stat(e)),
            _ if width(&e.ty) > 64 => format!("(({}).min(u64::MAX as u128) as u64)", self.stat(e)),
            _ => self.stat(e),
        }
    }

    /// Rust that changes a static value's type.
    pub fn convert(&self, x: String, from: &Ty, to: &Ty) -> String {
        match (from, to) {
            (a, b) if a == b => x,
            (Ty::Bits(a), Ty::Bits(b)) => {
                let cast = match (*a > 64, *b > 64) {
                    (false, true) => format!("({x} as u128)"),
                    (true, false) => format!("({x} as u64)"),
                    _ => x,
                };
                if b < a && !(*a > 64 && *b == 64) { format!("({cast} & {})", mask(*b)) } else { cast }
            }
            (Ty::Int, Ty::Bits(64)) => format!("({x} as u64)"),
            (Ty::Int, Ty::Bits(n)) if *n > 64 => format!("({x} as u128 & {})", mask(*n)),
            (Ty::Int, Ty::Bits(n)) => format!("({x} as u64 & {})", mask(*n)),
            (Ty::Bits(_), Ty::Int) => format!("({x} as i64)"),
            _ => x,
        }
    }

    fn static_unary(&mut self, op: UnOp, a: &'a Expr, e: &'a Expr) -> String {
        let x = self.stat(a);
        let n = width(&e.ty);
        match (op, &e.ty) {
            (UnOp::Not, Ty::Int) => format!("(!{x})"),
            (UnOp::Neg, Ty::Int) => format!("{x}.wrapping_neg()"),
            (UnOp::Not, _) => format!("({x} ^ {})", mask(n)),
            (UnOp::Neg, _) => masked(format!("{x}.wrapping_neg()"), n),
        }
    }

    fn static_binary(&mut self, op: BinOp, a: &'a Expr, b: &'a Expr, e: &'a Expr) -> String {
        let n = width(&e.ty);
        let int = e.ty == Ty::Int;
        if matches!(op, BinOp::Shl | BinOp::Shr | BinOp::Sar) {
            if let (ExprKind::Int(count @ 0..64), false, 1..=64) = (&*b.kind, int, n)
                && op != BinOp::Sar
            {
                let x = self.stat(a);
                return if op == BinOp::Shl { masked(format!("({x} << {count})"), n) } else { format!("({x} >> {count})") };
            }
            let (x, count) = (self.stat(a), self.count(b));
            let suffix = if n > 64 { "128" } else { "64" };
            if int {
                return match op {
                    BinOp::Shl => format!("(p::shl64({x} as u64, {count}, 64) as i64)"),
                    _ => format!("({x} >> {count}.min(63))"),
                };
            }
            return match op {
                BinOp::Shl => format!("p::shl{suffix}({x}, {count}, {n})"),
                BinOp::Shr => format!("p::shr{suffix}({x}, {count})"),
                _ => format!("p::sar{suffix}({x}, {count}, {n})"),
            };
        }
        let word = match op {
            BinOp::And => "&",
            BinOp::Or => "|",
            BinOp::Xor => "^",
            BinOp::Add | BinOp::Sub | BinOp::Mul => {
                let (x, y) = self.alike(a, b);
                let method = match op {
                    BinOp::Add => "wrapping_add",
                    BinOp::Sub => "wrapping_sub",
                    _ => "wrapping_mul",
                };
                let text = format!("{x}.{method}({y})");
                return if int { text } else { masked(text, n) };
            }
            _ => return format!("u64::from({})", self.cond(e)),
        };
        let (x, y) = self.alike(a, b);
        format!("({x} {word} {y})")
    }

    fn static_builtin(&mut self, name: &str, args: &'a [Expr], e: &'a Expr) -> String {
        let n = args.first().map_or(0, |a| width(&a.ty));
        let ty = static_type(&e.ty);
        let to = width(&e.ty);
        if name == "line" {
            let i = self.count(&args[0]);
            return match self.flavor {
                Flavor::Native => format!("(p::shr64(n.lines, {i}) & 1)"),
                _ => self.error(e.span, "`line` is for interrupt conditions"),
            };
        }
        if name == "sizeof" {
            return format!("{n}i64");
        }
        if matches!(name, "min" | "max") {
            let (x, y) = self.alike(&args[0], &args[1]);
            return format!("({x}).{name}({y})");
        }
        if name == "int" {
            let x = self.stat(&args[0]);
            return self.convert(x, &args[0].ty, &e.ty);
        }
        let first = format!("({} as u128)", self.stat(&args[0]));
        let second = match (name, args.get(1)) {
            ("ror" | "rol" | "bits", Some(a)) => self.count(a),
            (_, Some(a)) => format!("({} as u128)", self.stat(a)),
            _ => String::new(),
        };
        match name {
            "ror" => format!("(p::ror128({first}, {second}, {n}) as {ty})"),
            "rol" => format!("(p::ror128({first}, {n} - {second} % {n}, {n}) as {ty})"),
            "bits" => format!("(p::shr128({first}, {second}) as {ty} & {})", mask(to)),
            "clz" => format!("(({first}.leading_zeros() - {}) as {ty} & {})", 128 - u32::from(n), mask(to)),
            "ctz" => format!("({first}.trailing_zeros().min({n}) as {ty} & {})", mask(to)),
            "popcnt" => format!("({first}.count_ones() as {ty} & {})", mask(to)),
            "bswap" => format!("(({first}.swap_bytes() >> {}) as {ty})", 128 - u32::from(n)),
            "bitrev" => format!("(({first}.reverse_bits() >> {}) as {ty})", 128 - u32::from(n)),
            "udiv" => format!("({first}.checked_div({second}).unwrap_or(0) as {ty})"),
            "urem" => format!("({first}.checked_rem({second}).unwrap_or({first}) as {ty})"),
            "sdiv" | "srem" => format!("(p::{name}128({first}, {second}, {n}) as {ty})"),
            "mulhu" => format!("(p::mulhu({first}, {second}, {n}) as {ty})"),
            "mulhs" => format!("(p::mulhs({first}, {second}, {n}) as {ty})"),
            "carry" | "overflow" => {
                let third = self.stat(&args[2]);
                format!("p::{name}128({first}, {second}, {third}, {n})")
            }
            _ => self.error(e.span, format!("`{name}` is not known at translation")),
        }
    }

    /// A static block as the inside of a Rust block.
    pub fn static_block(&mut self, block: &'a Block) -> String {
        let lines = self.apart(|body| block.stmts.iter().for_each(|s| body.static_stmt(s)));
        let value = block.value.as_ref().map(|v| self.stat(v)).unwrap_or_default();
        if lines.is_empty() { value } else { format!("\n{lines}{value}\n") }
    }

    /// A statement of a static function.
    pub fn static_stmt(&mut self, s: &'a Stmt) {
        match &s.kind {
            StmtKind::Let(names, e) => {
                let value = self.stat(e);
                let names: Vec<String> = names.iter().map(|n| n.map_or("_".to_string(), |n| self.names[n.0 as usize].clone())).collect();
                match (&names[..], &e.ty) {
                    ([one], ty) if !matches!(ty, Ty::Tuple(_)) => self.out.line(format!("let {one}: {} = {value};", static_type(ty))),
                    ([one], _) => self.out.line(format!("let {one} = {value};")),
                    _ => self.out.line(format!("let ({},) = {value};", names.join(", "))),
                }
            }
            StmtKind::VarSet(l, e) => {
                let value = self.stat(e);
                let (name, ty) = (&self.names[l.0 as usize], static_type(&self.locals[l.0 as usize].ty));
                if self.declared.insert(l.0) {
                    self.out.line(format!("let mut {name}: {ty} = {value};"));
                } else {
                    self.out.line(format!("{name} = {value};"));
                }
            }
            StmtKind::If(c, a, b) => {
                let c = self.cond(c);
                self.out.open(format!("if {} {{", bare(&c)));
                a.iter().for_each(|s| self.static_stmt(s));
                if !b.is_empty() {
                    self.out.middle("} else {");
                    b.iter().for_each(|s| self.static_stmt(s));
                }
                self.out.close("}");
            }
            StmtKind::Match(x, arms) => {
                let int = x.ty == Ty::Int;
                let x = self.stat(x);
                self.out.open(format!("match {x} {{"));
                for (values, body) in arms {
                    self.out.open(format!("{} => {{", pattern(values, int, false)));
                    body.iter().for_each(|s| self.static_stmt(s));
                    self.out.close("}");
                }
                if !arms.iter().any(|a| a.0.is_empty()) {
                    self.out.line("_ => {}");
                }
                self.out.close("}");
            }
            StmtKind::For(l, first, last, down, body) => {
                self.for_head(*l, first, last, *down);
                body.iter().for_each(|s| self.static_stmt(s));
                self.out.close("}");
            }
            StmtKind::Expr(e) => {
                let e = self.stat(e);
                self.out.line(format!("let _ = {e};"));
            }
            StmtKind::Nop => {}
            _ => {
                self.error(s.span, "a static function has no effects");
            }
        }
    }

    /// Opens an unrolled loop.
    pub fn for_head(&mut self, l: LocalId, first: &'a Expr, last: &'a Expr, down: bool) {
        let ty = &self.locals[l.0 as usize].ty;
        let (x, y) = (self.stat(first), self.stat(last));
        let (x, y) = (self.convert(x, &first.ty, ty), self.convert(y, &last.ty, ty));
        let name = self.names[l.0 as usize].clone();
        match down {
            false => self.out.open(format!("for {name} in {x}..{y} {{")),
            true => self.out.open(format!("for {name} in ({y}..={x}).rev() {{")),
        }
    }
}

/// A Rust match pattern; without values, or as the `last` arm of an exhaustive match: `_`.
pub fn pattern(values: &[u128], int: bool, last: bool) -> String {
    if values.is_empty() || last {
        return "_".to_string();
    }
    let one = |v: &u128| if int { format!("{}", *v as i64) } else { number(*v) };
    values.iter().map(one).collect::<Vec<_>>().join(" | ")
}

/// A literal: small ones decimal.
pub fn number(x: u128) -> String {
    if x < 16 { format!("{x}") } else { format!("{x:#x}") }
}

/// Without the parentheses around all of it.
pub fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let mut depth = 0i32;
    for c in inner.chars() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth < 0 {
            return text;
        }
    }
    inner
}

fn masked(text: String, bits: u8) -> String {
    if bits == 64 || bits >= 128 { text } else { format!("({text} & {})", mask(bits)) }
}
