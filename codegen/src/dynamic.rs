//! Dynamic expressions: calls of the IR builder. `uN` is held zero-extended in the next of I1, I8, I16, I32, I64, I128.
//!
//! Every operation is bound to a temporary of its own, so the generated text reads like the IR it builds.

use crate::body::*;
use crate::layout::{container, type_name};
use emu_dsl::spec::*;

impl<'a> Emitter<'_, 'a> {
    /// An expression as IR values: a temporary's name, or a Rust tuple of them. Static ones become constants.
    pub fn value(&mut self, e: &'a Expr) -> String {
        if e.time == Time::Static {
            return self.constant(e);
        }
        let n = width(&e.ty);
        match &*e.kind {
            ExprKind::Local(l) => {
                let name = self.local(*l);
                let local = &self.locals[l.0 as usize];
                if local.mutable && local.time == Time::Dynamic { self.bind(format!("b.var_get({name})")) } else { name }
            }
            ExprKind::State(s) => {
                let slot = self.state_slot(*s);
                self.bind(format!("b.get({slot})"))
            }
            ExprKind::Bank(r, i) => {
                let slot = self.bank_slot(*r, i);
                self.bind(format!("b.get({slot})"))
            }
            ExprKind::Unary(op, a) => {
                let x = self.value(a);
                match op {
                    UnOp::Neg if n == 1 => x,
                    UnOp::Not => self.cut(format!("b.unary(Op::Not, {x})"), n),
                    UnOp::Neg => self.cut(format!("b.unary(Op::Neg, {x})"), n),
                }
            }
            ExprKind::Binary(op, a, b) => self.dynamic_binary(*op, a, b, n),
            ExprKind::Slice(a, hi, lo) => {
                let x = self.value(a);
                let len = hi - lo + 1;
                self.bind(format!("b.extract({}, {x}, {lo}, {len})", type_name(len)))
            }
            ExprKind::Bit(a, i) => {
                let x = self.value(a);
                let bits = width(&a.ty);
                if let ExprKind::Int(i) = &*i.kind {
                    return self.bind(format!("b.extract(Type::I1, {x}, {i}, 1)"));
                }
                if i.time == Time::Static {
                    let i = self.count(i);
                    return self.bind(format!("b.extract(Type::I1, {x}, ({i}).min({}) as u8, 1)", bits - 1));
                }
                let i = self.value(i);
                let i = self.amount(i, 0);
                let shifted = self.bind(format!("b.binary(Op::Shr, {x}, {i})"));
                self.bind(format!("b.extract(Type::I1, {shifted}, 0, 1)"))
            }
            ExprKind::Cat(parts) => {
                let values: Vec<(String, u8)> = parts.iter().map(|p| (self.value(p), width(&p.ty))).collect();
                self.cat(&values, n)
            }
            ExprKind::Rep(a, count) => {
                let x = self.value(a);
                if width(&a.ty) == 1 {
                    return self.cut(format!("b.sext({}, {x})", type_name(n)), n);
                }
                let values = vec![(x, width(&a.ty)); usize::from(*count)];
                self.cat(&values, n)
            }
            ExprKind::Zext(a) => {
                let x = self.value(a);
                self.resize(x, width(&a.ty), n)
            }
            ExprKind::Sext(a) => {
                let x = self.value(a);
                let from = width(&a.ty);
                if from == container(from) {
                    return self.cut(format!("b.sext({}, {x})", type_name(n)), n);
                }
                let x = self.resize(x, from, container(n));
                self.cut(format!("p::sign_extend(b, {x}, {from})"), n)
            }
            ExprKind::Cond(c, x, y) => self.choose(e, c, Arm::Expr(x), Arm::Expr(y)),
            ExprKind::If(c, x, y) => self.choose(e, c, Arm::Block(x), Arm::Block(y)),
            ExprKind::Match(x, arms) => self.dynamic_match(e, x, arms),
            ExprKind::Call(f, args) => self.call(*f, args),
            ExprKind::CallExtern(f, args) => self.call_extern(*f, args),
            ExprKind::Builtin(name, args) => self.dynamic_builtin(name, args, e),
            ExprKind::Float { name, env, args, params } => self.float(name, *env, args, params, e),
            ExprKind::Vector { name, env, lane, args, imm } => self.vector(name, *env, lane, args, imm.as_ref(), e, false),
            ExprKind::VectorSat(v) => match &*v.kind {
                ExprKind::Vector { name, env, lane, args, imm } => self.vector(name, *env, lane, args, imm.as_ref(), v, true),
                _ => self.error(e.span, "`v.sat` takes a saturating vector operation"),
            },
            ExprKind::Load(m) => {
                let (mem, addr) = self.memory(m);
                self.bind(format!("b.load({mem}, {addr})"))
            }
            ExprKind::LoadExclusive(m) => {
                let (mem, addr) = self.memory(m);
                self.bind(format!("b.load_exclusive({mem}, {addr})"))
            }
            ExprKind::StoreExclusive(m, v) => {
                let (mem, addr) = self.memory(m);
                let v = self.value(v);
                self.bind(format!("b.store_exclusive({mem}, {addr}, {v})"))
            }
            ExprKind::Swap(m, v) => {
                let (mem, addr) = self.memory(m);
                let v = self.value(v);
                self.bind(format!("b.swap({mem}, {addr}, {v})"))
            }
            ExprKind::CompareSwap(m, expected, v) => {
                let (mem, addr) = self.memory(m);
                let (expected, v) = (self.value(expected), self.value(v));
                self.bind(format!("b.compare_swap({mem}, {addr}, {expected}, {v})"))
            }
            ExprKind::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(|p| self.value(p)).collect();
                format!("({},)", parts.join(", "))
            }
            ExprKind::Unspecified => self.bind(format!("b.iconst({}, 0)", type_name(n))),
            ExprKind::Pc if self.flavor == Flavor::Entry => {
                let Some(pc) = self.spec().pc else { return self.error(e.span, "no `pc`") };
                let slot = self.state_slot(pc);
                self.bind(format!("b.get({slot})"))
            }
            // The checker calls these static; if not, they are still computable.
            _ => self.constant(e),
        }
    }

    /// A static expression as IR constants.
    fn constant(&mut self, e: &'a Expr) -> String {
        match &e.ty {
            Ty::Tuple(parts) => {
                let whole = self.stat(e);
                let whole = self.bind(whole);
                self.constants_of(&whole, parts)
            }
            Ty::Unit => {
                let x = self.stat(e);
                self.out.line(format!("{x};"));
                "()".to_string()
            }
            ty => {
                let x = self.stat(e);
                let cast = if width(ty) > 64 { x } else { format!("{x} as u128") };
                let ty = if *ty == Ty::Int { "Type::I64" } else { type_name(width(ty)) };
                self.bind(format!("b.iconst({ty}, {cast})"))
            }
        }
    }

    fn constants_of(&mut self, whole: &str, parts: &[Ty]) -> String {
        let values: Vec<String> = parts
            .iter()
            .enumerate()
            .map(|(i, ty)| match ty {
                Ty::Tuple(inner) => self.constants_of(&format!("{whole}.{i}"), inner),
                ty => self.bind(format!("b.iconst({}, {whole}.{i} as u128)", type_name(width(ty)))),
            })
            .collect();
        format!("({},)", values.join(", "))
    }

    /// The Rust of a state's slot.
    pub fn state_slot(&self, s: StateId) -> String {
        format!("slot::{}", crate::names::safe(&self.spec().states[s.0 as usize].name))
    }

    /// The Rust of an element's slot.
    pub fn bank_slot(&mut self, r: BankRef, index: &'a Expr) -> String {
        let index = self.count(index);
        let bank = &self.spec().banks[r.bank.0 as usize];
        let name = r.view.map_or(&bank.name, |v| &bank.views[v as usize].name);
        format!("slot::{}({index})", crate::names::safe(name))
    }

    /// Binds `code`, a value in the container of `n` bits, cut to them.
    fn cut(&mut self, code: String, n: u8) -> String {
        let x = self.bind(code);
        if n == container(n) { x } else { self.bind(format!("b.extract({}, {x}, 0, {n})", type_name(n))) }
    }

    /// From a zero-extended `from`-bit value to a `to`-bit one.
    pub fn resize(&mut self, x: String, from: u8, to: u8) -> String {
        let ty = type_name(to);
        if to < from {
            return self.bind(format!("b.extract({ty}, {x}, 0, {to})"));
        }
        if container(from) == container(to) { x } else { self.bind(format!("b.zext({ty}, {x})")) }
    }

    /// A shift amount: I1 is no number for the IR's shifts; `add` is added.
    fn amount(&mut self, x: String, add: u8) -> String {
        self.bind(format!("p::shift_amount(b, {x}, {add})"))
    }

    fn cat(&mut self, parts: &[(String, u8)], n: u8) -> String {
        let Some(((last, bits), rest)) = parts.split_last() else { return "()".to_string() };
        let mut lo = *bits;
        let mut all = self.resize(last.clone(), *bits, n);
        for (x, bits) in rest.iter().rev() {
            all = self.bind(format!("b.insert({all}, {x}, {lo}, {bits})"));
            lo += bits;
        }
        all
    }

    /// An operand of an operation on `n` bits.
    fn operand(&mut self, e: &'a Expr, n: u8) -> String {
        match (&e.ty, e.time) {
            (Ty::Int, Time::Static) => {
                let x = self.stat(e);
                let x = self.convert(x, &Ty::Int, &Ty::Bits(n));
                self.bind(format!("b.iconst({}, {x} as u128)", type_name(n)))
            }
            _ => self.value(e),
        }
    }

    /// As the container's sign-extended value.
    fn signed(&mut self, x: String, n: u8) -> String {
        if n == container(n) { x } else { self.bind(format!("p::sign_extend(b, {x}, {n})")) }
    }

    fn dynamic_binary(&mut self, op: BinOp, a: &'a Expr, b: &'a Expr, n: u8) -> String {
        let bits = if a.ty == Ty::Int { width(&b.ty) } else { width(&a.ty) };
        if matches!(op, BinOp::Shl | BinOp::Shr | BinOp::Sar) {
            let x = self.operand(a, n);
            let count = if b.time == Time::Static {
                let count = self.count(b);
                self.bind(format!("b.iconst(Type::I32, {count}.min({n}) as u128)"))
            } else {
                let count = self.value(b);
                if width(&b.ty) == 1 { self.amount(count, 0) } else { count }
            };
            return match op {
                BinOp::Shl => self.cut(format!("b.binary(Op::Shl, {x}, {count})"), n),
                BinOp::Shr => self.bind(format!("b.binary(Op::Shr, {x}, {count})")),
                _ => {
                    let x = self.signed(x, n);
                    self.cut(format!("b.binary(Op::Sar, {x}, {count})"), n)
                }
            };
        }
        let (x, y) = (self.operand(a, bits), self.operand(b, bits));
        // One bit: addition and subtraction are exclusive or, multiplication is and.
        let arithmetic = |name: &str, one: &str| format!("Op::{}", if n == 1 { one } else { name });
        match op {
            BinOp::Add | BinOp::Sub | BinOp::Mul => {
                let op = match op {
                    BinOp::Add => arithmetic("Add", "Xor"),
                    BinOp::Sub => arithmetic("Sub", "Xor"),
                    _ => arithmetic("Mul", "And"),
                };
                self.cut(format!("b.binary({op}, {x}, {y})"), n)
            }
            BinOp::And => self.bind(format!("b.binary(Op::And, {x}, {y})")),
            BinOp::Or => self.bind(format!("b.binary(Op::Or, {x}, {y})")),
            BinOp::Xor => self.bind(format!("b.binary(Op::Xor, {x}, {y})")),
            BinOp::Eq => self.bind(format!("b.cmp(Cond::Eq, {x}, {y})")),
            BinOp::Ne => self.bind(format!("b.cmp(Cond::Ne, {x}, {y})")),
            BinOp::Ult => self.bind(format!("b.cmp(Cond::Ult, {x}, {y})")),
            BinOp::Ule => self.bind(format!("b.cmp(Cond::Ule, {x}, {y})")),
            BinOp::Ugt => self.bind(format!("b.cmp(Cond::Ult, {y}, {x})")),
            BinOp::Uge => self.bind(format!("b.cmp(Cond::Ule, {y}, {x})")),
            _ => {
                let (x, y) = (self.signed(x, bits), self.signed(y, bits));
                match op {
                    BinOp::Slt => self.bind(format!("b.cmp(Cond::Slt, {x}, {y})")),
                    BinOp::Sle => self.bind(format!("b.cmp(Cond::Sle, {x}, {y})")),
                    BinOp::Sgt => self.bind(format!("b.cmp(Cond::Slt, {y}, {x})")),
                    _ => self.bind(format!("b.cmp(Cond::Sle, {y}, {x})")),
                }
            }
        }
    }

    fn dynamic_builtin(&mut self, name: &str, args: &'a [Expr], e: &'a Expr) -> String {
        let n = args.first().map_or(0, |a| width(&a.ty));
        let (ty, full, to) = (type_name(n), container(n), width(&e.ty));
        let spare = full - n;
        let unary = |op: &str, x: &str| format!("b.unary(Op::{op}, {x})");
        match name {
            "ror" | "rol" => {
                let x = self.value(&args[0]);
                let count = self.value(&args[1]);
                let count = self.amount(count, 0);
                if spare != 0 {
                    return self.bind(format!("p::rotate_odd(b, {x}, {count}, {n}, {})", name == "rol"));
                }
                let count = if name == "rol" { self.bind(format!("p::minus_amount(b, {count})")) } else { count };
                self.bind(format!("b.binary(Op::Ror, {x}, {count})"))
            }
            "clz" => {
                let x = self.value(&args[0]);
                let z = self.bind(unary("Clz", &x));
                let z = self.bind(format!("p::add_constant(b, {z}, -{spare})"));
                self.resize_any(z, n, to)
            }
            "ctz" => {
                let mut x = self.value(&args[0]);
                if spare != 0 {
                    x = self.bind(format!("p::or_constant(b, {x}, 1 << {n})"));
                }
                let z = self.bind(unary("Ctz", &x));
                self.resize_any(z, n, to)
            }
            "popcnt" => {
                let x = self.value(&args[0]);
                let z = self.bind(unary("Popcnt", &x));
                self.resize_any(z, n, to)
            }
            "bswap" | "bitrev" => {
                let x = self.value(&args[0]);
                let z = self.bind(unary(if name == "bswap" { "Bswap" } else { "Bitrev" }, &x));
                if spare == 0 { z } else { self.bind(format!("b.extract({ty}, {z}, {spare}, {n})")) }
            }
            "udiv" | "urem" | "sdiv" | "srem" => {
                let (mut x, mut y) = (self.value(&args[0]), self.value(&args[1]));
                if name.starts_with('s') {
                    (x, y) = (self.signed(x, n), self.signed(y, n));
                }
                let op = match name {
                    "udiv" => "DivU",
                    "urem" => "RemU",
                    "sdiv" => "DivS",
                    _ => "RemS",
                };
                self.cut(format!("b.binary(Op::{op}, {x}, {y})"), n)
            }
            "mulhu" | "mulhs" if spare == 0 => {
                let (x, y) = (self.value(&args[0]), self.value(&args[1]));
                let op = if name == "mulhu" { "MulHighU" } else { "MulHighS" };
                self.bind(format!("b.binary(Op::{op}, {x}, {y})"))
            }
            "carry" | "overflow" => {
                let (x, y, c) = (self.operand(&args[0], n), self.operand(&args[1], n), self.operand(&args[2], 1));
                match (name, spare) {
                    ("carry", 0) => self.bind(format!("b.carry_add({x}, {y}, {c})")),
                    (_, 0) => self.bind(format!("b.overflow_add({x}, {y}, {c})")),
                    _ => self.bind(format!("p::{name}_odd(b, {x}, {y}, {c}, {n})")),
                }
            }
            "bits" => {
                let x = self.value(&args[0]);
                let to_ty = type_name(to);
                if args[1].time == Time::Static {
                    let lo = self.count(&args[1]);
                    return self.bind(format!("b.extract({to_ty}, {x}, ({lo}).min({}) as u8, {to})", n - to.min(n)));
                }
                let lo = self.value(&args[1]);
                let lo = self.amount(lo, 0);
                let x = self.bind(format!("b.binary(Op::Shr, {x}, {lo})"));
                self.bind(format!("b.extract({to_ty}, {x}, 0, {to})"))
            }
            _ => self.error(e.span, format!("`{name}` cannot be computed from state here")),
        }
    }

    /// From the container of `from` bits, whose value fits `to` bits.
    fn resize_any(&mut self, x: String, from: u8, to: u8) -> String {
        match container(from).cmp(&container(to)) {
            std::cmp::Ordering::Less => self.bind(format!("b.zext({}, {x})", type_name(to))),
            std::cmp::Ordering::Equal => x,
            std::cmp::Ordering::Greater => self.bind(format!("b.trunc({}, {x})", type_name(to))),
        }
    }

    /// A memory access: the `Mem` and the address.
    pub fn memory(&mut self, m: &'a MemExpr) -> (String, String) {
        if self.flavor == Flavor::Entry && (m.big.is_none() || m.mmu.is_none()) {
            self.error(m.addr.span, "in an exception's entry, a memory access says its `big` and `mmu`");
        }
        let addr = self.value(&m.addr);
        let mut fields = format!("size: {}", m.bits / 8);
        if let Some(align) = &m.align {
            fields += &match &*align.kind {
                ExprKind::Int(x) => format!(", align: {x}"),
                _ => format!(", align: {} as u8", self.count(align)),
            };
        }
        if let Some(note) = &m.note {
            fields += &format!(", note: {} as u16", self.stat(note));
        }
        if let Some(big) = &m.big {
            fields += &format!(", big: {}", self.cond(big));
        }
        if let Some(mmu) = &m.mmu {
            fields += &format!(", mmu: {} as u8", self.stat(mmu));
        }
        match (m.acquire, m.release) {
            (true, true) => fields += ", order: Order::SeqCst",
            (true, false) => fields += ", order: Order::Acquire",
            (false, true) => fields += ", order: Order::Release",
            _ => {}
        }
        if m.atomic {
            fields += ", atomic: true";
        }
        (format!("Mem {{ {fields}, ..cx.mem }}"), addr)
    }

    // ---- choices

    fn choose(&mut self, e: &'a Expr, c: &'a Expr, x: Arm<'a>, y: Arm<'a>) -> String {
        if c.time == Time::Static {
            let c = self.cond(c);
            let name = self.temporary();
            self.out.open(format!("let {name} = if {} {{", crate::static_expr::bare(&c)));
            let v = self.arm(x);
            self.out.line(v);
            self.out.middle("} else {");
            let v = self.arm(y);
            self.out.line(v);
            self.out.close("};");
            return name;
        }
        let pure = x.is_pure(self.shared) && y.is_pure(self.shared);
        let c = self.value(c);
        if pure {
            let (x, y) = (self.arm(x), self.arm(y));
            return self.select(&c, &x, &y, &e.ty);
        }
        let vars = self.vars(&e.ty);
        self.out.line(format!("b.begin_if({c});"));
        self.scope(|body| {
            let v = body.arm(x);
            body.set_vars(&vars, &v);
        });
        self.out.line("b.begin_else();");
        self.scope(|body| {
            let v = body.arm(y);
            body.set_vars(&vars, &v);
        });
        self.out.line("b.end_if();");
        self.get_vars(&vars)
    }

    fn dynamic_match(&mut self, e: &'a Expr, x: &'a Expr, arms: &'a [(Vec<u128>, Block)]) -> String {
        let int = x.ty == Ty::Int;
        if x.time == Time::Static {
            let x = self.stat(x);
            let name = self.temporary();
            self.out.open(format!("let {name} = match {x} {{"));
            for (i, (values, block)) in arms.iter().enumerate() {
                self.out.open(format!("{} => {{", crate::static_expr::pattern(values, int, i + 1 == arms.len())));
                let v = self.arm(Arm::Block(block));
                self.out.line(v);
                self.out.close("}");
            }
            self.out.close("};");
            return name;
        }
        let x = self.value(x);
        let Some((last, rest)) = arms.split_last() else { return self.error(e.span, "a match without arms") };
        if arms.iter().all(|a| Arm::Block(&a.1).is_pure(self.shared)) {
            let values: Vec<String> = rest.iter().map(|a| self.arm(Arm::Block(&a.1))).collect();
            let mut all = self.arm(Arm::Block(&last.1));
            for ((constants, _), v) in rest.iter().zip(values).rev() {
                let c = self.is_one_of(&x, constants);
                all = self.select(&c, &v, &all, &e.ty);
            }
            return all;
        }
        let vars = self.vars(&e.ty);
        for (constants, block) in rest {
            let c = self.is_one_of(&x, constants);
            self.out.line(format!("b.begin_if({c});"));
            self.scope(|body| {
                let v = body.arm(Arm::Block(block));
                body.set_vars(&vars, &v);
            });
            self.out.line("b.begin_else();");
        }
        self.scope(|body| {
            let v = body.arm(Arm::Block(&last.1));
            body.set_vars(&vars, &v);
        });
        rest.iter().for_each(|_| self.out.line("b.end_if();"));
        self.get_vars(&vars)
    }

    /// A condition: `x` is one of the constants.
    pub fn is_one_of(&mut self, x: &str, constants: &[u128]) -> String {
        let list: Vec<String> = constants.iter().map(|c| crate::static_expr::number(*c)).collect();
        self.bind(format!("p::is_one_of(b, {x}, &[{}])", list.join(", ")))
    }

    /// A Rust block around what may happen or not.
    pub fn scope(&mut self, f: impl FnOnce(&mut Self)) {
        self.out.open("{");
        self.dynamic_depth += 1;
        f(self);
        self.dynamic_depth -= 1;
        self.out.close("}");
    }

    fn arm(&mut self, arm: Arm<'a>) -> String {
        match arm {
            Arm::Expr(e) => self.value(e),
            Arm::Block(block) => {
                block.stmts.iter().for_each(|s| self.stmt(s));
                block.value.as_ref().map_or("()".to_string(), |v| self.value(v))
            }
        }
    }

    fn select(&mut self, c: &str, x: &str, y: &str, ty: &Ty) -> String {
        match ty {
            Ty::Tuple(parts) => {
                let (x, y) = (self.bind(x), self.bind(y));
                let all: Vec<String> =
                    parts.iter().enumerate().map(|(i, ty)| self.select(c, &format!("{x}.{i}"), &format!("{y}.{i}"), ty)).collect();
                format!("({},)", all.join(", "))
            }
            Ty::Unit => "()".to_string(),
            _ => self.bind(format!("b.select({c}, {x}, {y})")),
        }
    }

    fn vars(&mut self, ty: &Ty) -> Vars {
        match ty {
            Ty::Tuple(parts) => Vars::Many(parts.iter().map(|p| self.vars(p)).collect()),
            Ty::Unit => Vars::None,
            ty => Vars::One(self.bind(format!("b.var({})", type_name(width(ty))))),
        }
    }

    fn set_vars(&mut self, vars: &Vars, value: &str) {
        match vars {
            Vars::None => {}
            Vars::One(var) => self.out.line(format!("b.var_set({var}, {value});")),
            Vars::Many(all) => {
                let value = self.bind(value);
                all.iter().enumerate().for_each(|(i, v)| self.set_vars(v, &format!("{value}.{i}")));
            }
        }
    }

    fn get_vars(&mut self, vars: &Vars) -> String {
        match vars {
            Vars::None => "()".to_string(),
            Vars::One(var) => self.bind(format!("b.var_get({var})")),
            Vars::Many(all) => {
                let all: Vec<String> = all.iter().map(|v| self.get_vars(v)).collect();
                format!("({},)", all.join(", "))
            }
        }
    }

    // ---- calls

    fn call(&mut self, f: FnId, args: &'a [Expr]) -> String {
        let function = &self.spec().fns[f.0 as usize];
        let mut list = vec!["b".to_string(), "cx".to_string()];
        for (param, arg) in function.params.iter().zip(args) {
            let param = &function.body.locals[param.0 as usize];
            list.push(if param.time == Time::Static {
                let x = self.stat(arg);
                self.convert(x, &arg.ty, &param.ty)
            } else {
                self.operand(arg, width(&param.ty))
            });
        }
        if function.kind != FnKind::Plain {
            return self.error(function.span, format!("static function `{}` given dynamic arguments", function.name));
        }
        let instance = if self.flavor == Flavor::Entry { Instance::Entry } else { Instance::Plain };
        let name = self.function(f, instance);
        let call = format!("{name}({})", list.join(", "));
        if function.result == Ty::Unit {
            self.out.line(format!("{call};"));
            return "()".to_string();
        }
        self.bind(call)
    }

    fn call_extern(&mut self, f: ExternId, args: &'a [Expr]) -> String {
        let helper = &self.spec().externs[f.0 as usize];
        let args: Vec<String> = helper.params.iter().zip(args).map(|((_, ty), a)| self.operand(a, width(ty))).collect();
        let args = args.join(", ");
        match &helper.result {
            Ty::Bits(n) => self.bind(format!("p::call_value(b, {}, &[{args}], {})", f.0, type_name(*n))),
            _ => {
                self.out.line(format!("b.call({}, &[{args}], None);", f.0));
                "()".to_string()
            }
        }
    }
}

/// One side of a choice.
#[derive(Clone, Copy)]
pub enum Arm<'a> {
    /// Of `?:`.
    Expr(&'a Expr),
    /// Of `if` and `match`.
    Block(&'a Block),
}

/// The locals a choice's value goes through.
enum Vars {
    None,
    One(String),
    Many(Vec<Vars>),
}
