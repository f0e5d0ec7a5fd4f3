//! Statements of `sem`, plain functions, operand values and exceptions.

use crate::body::*;
use crate::layout::type_name;
use crate::static_expr::bare;
use emu_dsl::spec::*;

impl<'a> Emitter<'_, 'a> {
    /// One statement.
    pub fn stmt(&mut self, s: &'a Stmt) {
        match &s.kind {
            StmtKind::Let(names, e) => self.let_stmt(names, e),
            StmtKind::VarSet(l, e) => {
                let local = &self.locals[l.0 as usize];
                if local.time == Time::Static {
                    return self.static_stmt(s);
                }
                let value = self.value(e);
                let name = self.names[l.0 as usize].clone();
                if self.declared.insert(l.0) {
                    self.out.line(format!("let {name} = b.var({});", type_name(width(&local.ty))));
                }
                self.out.line(format!("b.var_set({name}, {value});"));
            }
            StmtKind::SetState(state, e) => {
                let value = self.value(e);
                let slot = self.state_slot(*state);
                self.out.line(format!("b.set({slot}, {value});"));
            }
            StmtKind::SetBits(state, hi, lo, e) => {
                let slot = self.state_slot(*state);
                let value = self.value(e);
                let old = self.bind(format!("b.get({slot})"));
                let new = self.bind(format!("b.insert({old}, {value}, {lo}, {})", hi - lo + 1));
                self.out.line(format!("b.set({slot}, {new});"));
            }
            StmtKind::SetBank(r, i, e) => {
                let value = self.value(e);
                let slot = self.bank_slot(*r, i);
                self.out.line(format!("b.set({slot}, {value});"));
            }
            StmtKind::If(c, a, b) => self.if_stmt(c, a, b),
            StmtKind::Match(x, arms) => self.match_stmt(x, arms),
            StmtKind::For(l, first, last, down, body) => {
                self.for_head(*l, first, last, *down);
                body.iter().for_each(|s| self.stmt(s));
                self.out.close("}");
            }
            StmtKind::Store(m, e) => {
                let (mem, addr) = self.memory(m);
                let value = self.value(e);
                self.out.line(format!("b.store({mem}, {addr}, {value});"));
            }
            StmtKind::Probe(m, write) => {
                let (mem, addr) = self.memory(m);
                self.out.line(format!("b.probe({mem}, {addr}, {write});"));
            }
            StmtKind::Raise(exception, args) => {
                let args: Vec<String> = args.iter().map(|a| self.value(a)).collect();
                self.out.line(format!("b.raise({}, &[{}]);", exception.0, args.join(", ")));
            }
            StmtKind::Undefined => self.out.line("p::undefined(b);"),
            StmtKind::Unpredictable(rule) => {
                let rule = &self.spec().rules[rule.0 as usize];
                match rule.choice {
                    Choice::Proceed => self.out.line(format!("// unpredictable: {}: proceeds", rule.name)),
                    Choice::Undefined => self.out.line("p::undefined(b);"),
                    Choice::Nop => self.leave(),
                }
            }
            StmtKind::Jump(e) => {
                self.jump_ends();
                if e.time == Time::Static {
                    let to = self.stat(e);
                    self.out.line(format!("b.jump({});", bare(&to)));
                } else {
                    let to = self.value(e);
                    self.out.line(format!("b.jump_to({to});"));
                }
            }
            StmtKind::JumpRekey(e) => {
                let to = self.value(e);
                self.jump_ends();
                self.out.line(format!("b.jump_rekey({to});"));
            }
            StmtKind::SetContext(c, e) => {
                let context = &self.spec().contexts[c.0 as usize];
                let (name, slot) = (crate::names::field(&context.name), self.state_slot(context.state));
                let value = self.stat(e);
                self.out.line(format!("cx.next_{name}.set({value});"));
                self.out.line(format!("b.pending_context({slot}, cx.next_{name}.get());"));
            }
            StmtKind::Commit => self.out.line("b.commit_context();"),
            StmtKind::Wait(event) => {
                self.jump_ends();
                self.out.line(format!("b.wait({event}, cx.next_pc);"));
            }
            StmtKind::Fence(word) => {
                let order = match word.as_str() {
                    "acquire" => "Acquire",
                    "release" => "Release",
                    _ => "SeqCst",
                };
                self.out.line(format!("b.fence(Order::{order});"));
            }
            StmtKind::ClearExclusive => self.out.line("b.clear_exclusive();"),
            StmtKind::Expr(e) => {
                self.value(e);
            }
            StmtKind::Repeat(body) => {
                self.out.line("b.begin_repeat();");
                self.scope(|inner| body.iter().for_each(|s| inner.stmt(s)));
                self.out.line("b.end_repeat();");
            }
            StmtKind::BreakIf(c) => {
                let c = self.value(c);
                self.out.line(format!("b.break_if({c});"));
            }
            StmtKind::Nop => {}
        }
    }

    fn let_stmt(&mut self, names: &[Option<LocalId>], e: &'a Expr) {
        let all_static = names.iter().flatten().all(|n| self.locals[n.0 as usize].time == Time::Static);
        if e.time == Time::Static && all_static && names.iter().any(Option::is_some) {
            let value = self.stat(e);
            let list: Vec<String> = names.iter().map(|n| n.map_or("_".to_string(), |n| self.names[n.0 as usize].clone())).collect();
            match &list[..] {
                [one] => self.out.line(format!("let {one} = {};", bare(&value))),
                _ => self.out.line(format!("let ({},) = {value};", list.join(", "))),
            }
            return;
        }
        let value = self.value(e);
        let list: Vec<String> = names.iter().map(|n| n.map_or("_".to_string(), |n| self.names[n.0 as usize].clone())).collect();
        match &list[..] {
            [one] if one == "_" => {}
            [one] => self.out.line(format!("let {one} = {value};")),
            _ => self.out.line(format!("let ({},) = {value};", list.join(", "))),
        }
    }

    fn if_stmt(&mut self, c: &'a Expr, a: &'a [Stmt], b: &'a [Stmt]) {
        if c.time == Time::Static {
            let c = self.cond(c);
            self.out.open(format!("if {} {{", bare(&c)));
            a.iter().for_each(|s| self.stmt(s));
            if !b.is_empty() {
                self.out.middle("} else {");
                b.iter().for_each(|s| self.stmt(s));
            }
            self.out.close("}");
            return;
        }
        let c = self.value(c);
        self.out.line(format!("b.begin_if({c});"));
        self.scope(|body| a.iter().for_each(|s| body.stmt(s)));
        if !b.is_empty() {
            self.out.line("b.begin_else();");
            self.scope(|body| b.iter().for_each(|s| body.stmt(s)));
        }
        self.out.line("b.end_if();");
    }

    fn match_stmt(&mut self, x: &'a Expr, arms: &'a [(Vec<u128>, Vec<Stmt>)]) {
        if x.time == Time::Static {
            let int = x.ty == Ty::Int;
            let x = self.stat(x);
            self.out.open(format!("match {x} {{"));
            for (values, body) in arms {
                self.out.open(format!("{} => {{", crate::static_expr::pattern(values, int, false)));
                body.iter().for_each(|s| self.stmt(s));
                self.out.close("}");
            }
            if !arms.iter().any(|a| a.0.is_empty()) {
                self.out.line("_ => {}");
            }
            self.out.close("}");
            return;
        }
        let x = self.value(x);
        let mut open = 0;
        for (values, body) in arms {
            if values.is_empty() {
                self.scope(|inner| body.iter().for_each(|s| inner.stmt(s)));
                break;
            }
            let c = self.is_one_of(&x, values);
            self.out.line(format!("b.begin_if({c});"));
            self.scope(|inner| body.iter().for_each(|s| inner.stmt(s)));
            self.out.line("b.begin_else();");
            open += 1;
        }
        (0..open).for_each(|_| self.out.line("b.end_if();"));
    }

    /// Ends what the instruction does on this path, without effect.
    fn leave(&mut self) {
        if self.dynamic_depth == 0 && self.flavor == Flavor::Lower {
            self.out.line("return;");
        } else {
            self.jump_ends();
            self.out.line("b.jump(cx.next_pc);");
        }
    }

    /// Notes that the block ends after this instruction.
    fn jump_ends(&mut self) {
        self.out.line("cx.ends.set(true);");
    }
}
