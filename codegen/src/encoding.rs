//! One function per encoding: fields, where names, guards, predicate, operand values; then the instruction's own function.

use crate::body::*;
use crate::names;
use crate::static_expr::bare;
use crate::writer::Writer;
use emu_dsl::spec::*;

/// The name of an instruction's lowering.
pub fn insn_name(insn: &Insn) -> String {
    format!("lower_{}", insn.name)
}

/// The name of an encoding's lowering.
pub fn encoding_name(insn: &Insn, e: &Encoding) -> String {
    format!("encoding_{}_{}", insn.name, e.name)
}

/// The Rust that picks a field out of `code`.
fn field(pieces: &[(u8, u8)]) -> String {
    let mut text = String::new();
    for (lo, bits) in pieces {
        let part = if *lo == 0 { format!("code & {}", mask(*bits)) } else { format!("code >> {lo} & {}", mask(*bits)) };
        text = if text.is_empty() { part } else { format!("({text}) << {bits} | {part}") };
    }
    text
}

/// Puts the fields and where names in `body.used` before its lines.
fn with_names<'a>(mut body: Emitter<'_, 'a>, e: &'a Encoding) -> String {
    let rest = std::mem::replace(&mut body.out, Writer::at(1)).finish();
    let mut wheres = Vec::new();
    for (local, value) in e.wheres.iter().rev() {
        if !body.used.contains(&local.0) {
            continue;
        }
        let ty = &e.locals[local.0 as usize].ty;
        let lines = std::mem::replace(&mut body.out, Writer::at(1));
        let text = body.stat(value);
        let text = body.convert(text, &value.ty, ty);
        body.out.line(format!("let {} = {};", body.names[local.0 as usize].clone(), bare(&text)));
        wheres.push(std::mem::replace(&mut body.out, lines).finish());
    }
    let mut out = Writer::at(1);
    for (local, pieces) in &e.fields {
        if body.used.contains(&local.0) {
            out.line(format!("let {} = {};", body.names[local.0 as usize], field(pieces)));
        }
    }
    wheres.iter().rev().for_each(|w| out.raw(w));
    out.raw(&rest);
    out.finish()
}

/// The function that says whether an encoding's decode condition holds; `None` if it has none.
pub fn condition<'a>(shared: &Shared<'a>, insn: &Insn, e: &'a Encoding, out: &mut Writer) -> Option<String> {
    let condition = e.condition.as_ref()?;
    let name = format!("if_{}_{}", insn.name, e.name);
    let mut body = Emitter::new(shared, Flavor::Lower, &e.locals, 1);
    let text = body.cond(condition);
    body.out.line(bare(&text));
    out.line(format!("// {}", shared.spec.place(e.span)));
    out.line(format!("pub fn {name}(cx: &Cx, code: u64) -> bool {{"));
    out.raw(&with_names(body, e));
    out.line("}");
    out.line("");
    Some(name)
}

/// The lowering of an encoding.
pub fn encoding<'a>(shared: &Shared<'a>, insn: &'a Insn, e: &'a Encoding, out: &mut Writer) {
    let mut body = Emitter::new(shared, Flavor::Lower, &e.locals, 1);
    let (always, conditional): (Vec<_>, Vec<_>) = e.guards.iter().partition(|g| g.2);
    for (condition, otherwise, _) in always {
        guard(&mut body, condition, *otherwise, "return");
    }
    if let Some(predicate) = &e.predicate {
        let p = body.value(predicate);
        body.out.line(format!("let predicated = p::begin_predicate(b, {p});"));
        body.out.open("'predicated: {");
    }
    let leave = if e.predicate.is_some() { "break 'predicated" } else { "return" };
    for (condition, otherwise, _) in conditional {
        guard(&mut body, condition, *otherwise, leave);
    }
    let mut args = vec!["b".to_string(), "cx".to_string()];
    for (input, value) in insn.inputs.iter().zip(&e.inputs) {
        let local = &insn.sem.locals[input.0 as usize];
        args.push(if local.time == Time::Static {
            let text = body.stat(value);
            body.convert(text, &value.ty, &local.ty)
        } else {
            body.value(value)
        });
    }
    body.out.line(format!("{}({});", insn_name(insn), args.join(", ")));
    if e.predicate.is_some() {
        body.out.close("}");
        body.out.line("p::end_predicate(b, predicated);");
    }
    out.line(format!("// {}", shared.spec.place(e.span)));
    out.line(format!("pub fn {}(b: &mut Builder, cx: &Cx, code: u64) {{", encoding_name(insn, e)));
    out.raw(&with_names(body, e));
    out.line("}");
    out.line("");
}

/// What a failed guard does; `None`: nothing, execution proceeds.
fn effective(spec: &Spec, otherwise: Otherwise) -> Option<bool> {
    match otherwise {
        Otherwise::Undefined => Some(true),
        Otherwise::Nop => Some(false),
        Otherwise::Unpredictable(rule) => match spec.rules[rule.0 as usize].choice {
            Choice::Proceed => None,
            Choice::Undefined => Some(true),
            Choice::Nop => Some(false),
        },
    }
}

fn guard<'a>(body: &mut Emitter<'_, 'a>, condition: &'a Expr, otherwise: Otherwise, leave: &str) {
    let Some(undefined) = effective(body.spec(), otherwise) else { return };
    let c = body.cond(condition);
    body.out.open(format!("if !{c} {{"));
    if undefined {
        body.out.line("p::undefined(b);");
    }
    body.out.line(format!("{leave};"));
    body.out.close("}");
}

/// The lowering of an instruction.
pub fn insn<'a>(shared: &Shared<'a>, insn: &'a Insn, out: &mut Writer) {
    let mut body = Emitter::new(shared, Flavor::Lower, &insn.sem.locals, 1);
    let mut params = String::new();
    for input in &insn.inputs {
        let local = &insn.sem.locals[input.0 as usize];
        let ty = if local.time == Time::Static { static_type(&local.ty) } else { dynamic_type(&local.ty) };
        params += &format!(", {}: {ty}", body.names[input.0 as usize]);
    }
    insn.sem.stmts.iter().for_each(|s| body.stmt(s));
    out.line(format!("// {} {}", shared.spec.place(insn.span), insn.title));
    out.line(format!("pub fn {}(b: &mut Builder, cx: &Cx{params}) {{", insn_name(insn)));
    out.raw(&body.out.finish());
    out.line("}");
    out.line("");
}

/// A function of the specification.
pub fn function(shared: &Shared<'_>, id: FnId, instance: Instance, out: &mut Writer) {
    let f = &shared.spec.fns[id.0 as usize];
    let flavor = match instance {
        Instance::Plain => Flavor::Lower,
        Instance::Entry => Flavor::Entry,
        Instance::Static => Flavor::Static,
        Instance::Native => Flavor::Native,
    };
    let mut body = Emitter::new(shared, flavor, &f.body.locals, 1);
    let emits = matches!(instance, Instance::Plain | Instance::Entry);
    let mut params = match instance {
        Instance::Plain | Instance::Entry => "b: &mut Builder, cx: &Cx".to_string(),
        Instance::Static => "cx: &Cx".to_string(),
        Instance::Native => "n: &Native".to_string(),
    };
    for p in &f.params {
        let local = &f.body.locals[p.0 as usize];
        let dynamic = emits && local.time == Time::Dynamic;
        let ty = if dynamic { dynamic_type(&local.ty) } else { static_type(&local.ty) };
        params += &format!(", {}: {ty}", body.names[p.0 as usize]);
    }
    let result = match (&f.result, emits) {
        (Ty::Unit, _) => String::new(),
        (ty, true) => format!(" -> {}", dynamic_type(ty)),
        (ty, _) => format!(" -> {}", static_type(ty)),
    };
    if emits {
        // What leaves the instruction must end the path, not only this function.
        body.dynamic_depth = 1;
        f.body.stmts.iter().for_each(|s| body.stmt(s));
        if let Some(v) = &f.body.value {
            let v = body.value(v);
            if f.result != Ty::Unit {
                body.out.line(v);
            }
        }
    } else {
        f.body.stmts.iter().for_each(|s| body.static_stmt(s));
        if let Some(v) = &f.body.value {
            let text = body.stat(v);
            let text = body.convert(text, &v.ty, &f.result);
            body.out.line(text);
        }
    }
    out.line(format!("// {}", shared.spec.place(f.span)));
    out.line(format!("pub fn {}({params}){result} {{", function_name(shared.spec, id, instance)));
    out.raw(&body.out.finish());
    out.line("}");
    out.line("");
}

/// The entry sequence of an exception.
pub fn exception(shared: &Shared<'_>, index: usize, out: &mut Writer) {
    let e = &shared.spec.exceptions[index];
    let mut body = Emitter::new(shared, Flavor::Entry, &e.body.locals, 1);
    if e.params.len() > 4 {
        shared.error(e.span, format!("exception `{}` has more than four arguments", e.name));
    }
    for (i, p) in e.params.iter().enumerate() {
        let bits = width(&e.body.locals[p.0 as usize].ty);
        if bits > 64 {
            shared.error(e.span, format!("an argument of exception `{}` is wider than 64 bits", e.name));
        }
        let whole = body.bind(format!("b.get(slot::exception_argument({i}))"));
        let value = body.resize(whole, 64, bits);
        let name = body.names[p.0 as usize].clone();
        body.out.line(format!("let {name} = {value};"));
    }
    e.body.stmts.iter().for_each(|s| body.stmt(s));
    out.line(format!("// {}", shared.spec.place(e.span)));
    out.line(format!("pub fn {}(b: &mut Builder, cx: &Cx) {{", exception_name(e)));
    out.raw(&body.out.finish());
    out.line("}");
    out.line("");
}

/// The name of an exception's entry.
pub fn exception_name(e: &ExceptionDecl) -> String {
    format!("enter_{}", names::safe(&e.name))
}
