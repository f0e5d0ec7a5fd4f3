//! The files of an instruction set: the frames filled in.

use crate::body::*;
use crate::decode::{self, Node};
use crate::encoding;
use crate::layout;
use crate::names;
use crate::native::mode_value;
use crate::writer::Writer;
use crate::{Error, Generated};
use emu_dsl::body::children;
use emu_dsl::spec::*;
use minijinja::{Environment, Value as Data, context};
use std::collections::BTreeSet;

/// Instructions per generated module: enough modules to compile in parallel, few enough to read.
const PER_MODULE: usize = 40;

/// All files.
pub fn generate(spec: &Spec) -> Result<Generated, Vec<Error>> {
    let shared = Shared::new(spec);
    let mut files: Vec<(String, String)> = Vec::new();

    let mut modules = Vec::new();
    for (i, chunk) in spec.insns.chunks(PER_MODULE).enumerate() {
        let mut out = Writer::default();
        for insn in chunk {
            encoding::insn(&shared, insn, &mut out);
            for e in &insn.encodings {
                encoding::condition(&shared, insn, e, &mut out);
                encoding::encoding(&shared, insn, e, &mut out);
            }
        }
        modules.push(format!("insns_{i}"));
        files.push((format!("insns_{i}.rs"), out.finish()));
    }
    let mut exceptions = Writer::default();
    (0..spec.exceptions.len()).for_each(|i| encoding::exception(&shared, i, &mut exceptions));
    files.push(("exceptions.rs".to_string(), exceptions.finish()));
    let root = root(&shared, &modules);
    files.push(("functions.rs".to_string(), functions(&shared)));

    let mut templates = Environment::new();
    templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let mut render = |name: &str, template: &'static str, data: Data| {
        let text = templates.add_template_owned(name.to_string(), template).and_then(|()| templates.get_template(name)?.render(data));
        match text {
            Ok(text) => files.push((name.to_string(), text + "\n")),
            Err(error) => shared.error(Span::default(), format!("template {name}: {error:#}")),
        }
    };
    render("isa.rs", include_str!("../templates/isa.rs.j2"), root);
    render("state.rs", include_str!("../templates/state.rs.j2"), state(&shared));
    render("decode.rs", include_str!("../templates/decode.rs.j2"), decoder(spec));
    render("tests.rs", include_str!("../templates/tests.rs.j2"), tests(&shared));
    files.push(("prelude.rs".to_string(), include_str!("../templates/prelude.rs").to_string()));
    // The root module first.
    files.sort_by_key(|f| (f.0 != "isa.rs", f.0.clone()));
    let errors = shared.errors.into_inner();
    if errors.is_empty() { Ok(Generated { files }) } else { Err(errors) }
}

/// The functions that the rest called, and those that they call.
fn functions(shared: &Shared<'_>) -> String {
    let mut out = Writer::default();
    let mut done = std::collections::BTreeSet::new();
    loop {
        let next = shared.wanted.borrow().iter().find(|w| !done.contains(*w)).copied();
        let Some((instance, id)) = next else { break };
        done.insert((instance, id));
        encoding::function(shared, FnId(id), instance, &mut out);
    }
    out.finish()
}

fn root<'a>(shared: &Shared<'a>, modules: &[String]) -> Data {
    let spec = shared.spec;
    let key = layout::key(spec);
    if key.last().is_some_and(|(lo, bits)| lo + u32::from(*bits) > KEY_BITS) {
        shared.error(Span::default(), format!("modes and contexts together have more than {KEY_BITS} bits"));
    }
    let stat = |flavor: Flavor, e: &'a Expr| Emitter::new(shared, flavor, &[], 1).stat(e);
    let cond = |flavor: Flavor, e: &'a Expr| Emitter::new(shared, flavor, &[], 1).cond(e);
    let features: Vec<Data> = spec.features.iter().map(|f| context! { name => names::upper(&f.name), doc => escape(&f.doc) }).collect();
    if spec.features.len() > 64 {
        shared.error(spec.features[64].span, "more than 64 features");
    }
    let models: Vec<Data> = spec
        .models
        .iter()
        .map(|m| {
            let bits = m.features.iter().fold(0u64, |all, f| all | 1u64.checked_shl(f.0).unwrap_or(0));
            context! { name => m.name.as_str(), title => escape(&m.title), features => format!("{bits:#x}") }
        })
        .collect();
    let modes: Vec<Data> = spec
        .modes
        .iter()
        .zip(&key)
        .map(|(m, (lo, bits))| {
            context! {
                name => m.name.as_str(), field => names::field(&m.name), ty => static_type(&Ty::Bits(m.bits)), place => spec.place(m.span),
                value => mode_value(shared, m), lo => lo, mask => mask(*bits),
            }
        })
        .collect();
    let contexts: Vec<Data> = spec
        .contexts
        .iter()
        .zip(key.iter().skip(spec.modes.len()))
        .map(|(c, (lo, bits))| {
            context! {
                name => c.name.as_str(), field => names::field(&c.name), ty => static_type(&Ty::Bits(c.bits)), lo => lo, mask => mask(*bits),
                state => names::safe(&spec.states[c.state.0 as usize].name), advance => stat(Flavor::Lower, &c.advance),
            }
        })
        .collect();
    let exceptions: Vec<Data> = spec
        .exceptions
        .iter()
        .map(|e| {
            let params: Vec<&Local> = e.params.iter().map(|p| &e.body.locals[p.0 as usize]).collect();
            let mut args: Vec<String> = params.iter().map(|p| format!("{} as u64", names::safe(&p.name))).collect();
            args.resize(4.max(args.len()), "0".to_string());
            let params: Vec<String> = params.iter().map(|p| format!("{}: {}", names::safe(&p.name), natural(width(&p.ty)))).collect();
            context! {
                name => e.name.as_str(), upper => names::upper(&e.name), fn_name => names::safe(&e.name), enter => encoding::exception_name(e),
                params => params.join(", "), args => args.join(", "),
            }
        })
        .collect();
    let tokens: Vec<Data> = spec
        .tokens
        .iter()
        .map(|t| {
            let (long, long_when) = match &t.long {
                Some((bits, when)) => (Some(*bits), cond(Flavor::Lower, when)),
                None => (None, String::new()),
            };
            context! {
                when => t.when.as_ref().map_or("true".to_string(), |w| cond(Flavor::Lower, w)), size => t.size, bytes => t.size / 8,
                long => long, long_when => long_when, units => long.map_or(1, |bits| bits / t.size), variable => t.variable,
            }
        })
        .collect();
    let interrupts: Vec<Data> =
        spec.interrupts.iter().map(|(id, e)| context! { id => id.0, condition => cond(Flavor::Native, e) }).collect();
    let key_parts: Vec<(String, u32, u8)> = spec
        .modes
        .iter()
        .map(|m| m.name.clone())
        .chain(spec.contexts.iter().map(|c| c.name.clone()))
        .zip(&key)
        .map(|(name, (lo, bits))| (name, *lo, *bits))
        .collect();
    let key_doc: Vec<String> = key_parts.iter().map(|(name, lo, bits)| format!("{name} at {lo} ({bits})")).collect();
    let mode_terms = spec.modes.iter().zip(&key).map(|(m, (lo, _))| format!("(mode_{}(n) as u64) << {lo}", names::field(&m.name)));
    let context_terms = spec.contexts.iter().zip(key.iter().skip(spec.modes.len())).map(|(c, (lo, _))| {
        let slot = &shared.layout.slots[shared.layout.states[c.state.0 as usize] as usize];
        format!("n.cells[{}] << {lo}", slot.cell)
    });
    let terms: Vec<String> = mode_terms.chain(context_terms).collect();
    let copied = spec.contexts.iter().map(|c| vec![cell(shared, c.state)]);
    let parts = spec.modes.iter().map(|m| cells(shared, &m.value)).map(|found| found.into_iter().collect::<Vec<_>>()).chain(copied);
    let is_copy = |at: usize| spec.modes.get(at).is_none_or(|m| matches!(&*m.value.kind, ExprKind::State(s) if whole(shared, *s)));
    let key_cells: Vec<Data> = key
        .iter()
        .zip(parts)
        .enumerate()
        .map(|(at, ((lo, _), cells))| context! { lo => lo, cells => cells, copy => is_copy(at).to_string() })
        .collect();
    let pc = spec.pc.map(|pc| &spec.states[pc.0 as usize]);
    context! {
        name => spec.name.as_str(),
        camel => names::camel(&spec.name),
        modules => modules.to_vec(),
        undefined => spec.undefined.map_or(0, |e| e.0),
        pc => pc.map_or(String::new(), |pc| names::safe(&pc.name)),
        pc_mask => mask(pc.map_or(64, |pc| pc.bits)),
        features => features,
        models => models,
        modes => modes,
        contexts => contexts,
        successor => spec.successor.as_ref().map(|(s, when)| context! { state => names::safe(&spec.states[s.0 as usize].name), when => cond(Flavor::Lower, when), whole => whole(shared, *s) }),
        exceptions => exceptions,
        externs => externs(shared),
        gdb => gdb(shared),
        gdb_arch => spec.gdb.first().map_or("", |g| g.arch.as_str()),
        envs => envs(shared),
        tokens => tokens,
        big_fetch => big_fetch(spec),
        least_size => spec.tokens.iter().map(|t| t.size).min().unwrap_or(8),
        data_big => spec.data_endian.as_ref().map_or("false".to_string(), |e| cond(Flavor::Lower, e)),
        mmu_index => spec.mmu_index.as_ref().map_or("0".to_string(), |e| format!("{} as u8", stat(Flavor::Lower, e))),
        key_doc => if key_doc.is_empty() { "nothing".to_string() } else { format!("{}: least bit and width", key_doc.join(", ")) },
        key_parts => key_cells,
        key => if terms.is_empty() { "0".to_string() } else { terms.join(" | ") },
        interrupts => interrupts,
        unmasks_by_rekey => crate::unmask::by_rekey(spec).to_string(),
        wake => spec.wake.as_ref().map_or("false".to_string(), |e| cond(Flavor::Native, e)),
    }
}

/// Bits a block key may have; what executes blocks packs it together with a number of its own.
const KEY_BITS: u32 = 48;

fn cell(shared: &Shared<'_>, state: StateId) -> u32 {
    shared.layout.slots[shared.layout.states[state.0 as usize] as usize].cell
}

/// The state is all there is in its cell.
fn whole(shared: &Shared<'_>, state: StateId) -> bool {
    let slot = &shared.layout.slots[shared.layout.states[state.0 as usize] as usize];
    slot.lo == 0 && shared.layout.slots.iter().filter(|s| s.cell == slot.cell).count() == 1
}

/// The cells an expression over the state reads.
fn cells(shared: &Shared<'_>, e: &Expr) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = children(e).into_iter().flat_map(|e| cells(shared, e)).collect();
    match &*e.kind {
        ExprKind::State(s) => _ = found.insert(cell(shared, *s)),
        ExprKind::Mode(m) => found.extend(cells(shared, &shared.spec.modes[m.0 as usize].value)),
        // A function, a bank: anything.
        ExprKind::Call(..) | ExprKind::CallExtern(..) | ExprKind::Bank(..) => found.extend(shared.layout.slots.iter().map(|s| s.cell)),
        _ => {}
    }
    found
}

/// If instructions are fetched big-endian, over `cx`.
fn big_fetch(spec: &Spec) -> String {
    match spec.endian_unless.and_then(|f| spec.features.get(f.0 as usize)) {
        Some(f) => format!("(cx.features & feature::{} != 0) != {}", names::upper(&f.name), spec.big_endian_fetch),
        None => spec.big_endian_fetch.to_string(),
    }
}

fn gdb(shared: &Shared<'_>) -> Vec<Data> {
    let layout = &shared.layout;
    let part = |(place, lo, len, at): &(TestPlace, u32, u32, u32)| {
        let slot = match place {
            TestPlace::State(s) => layout.states[s.0 as usize],
            TestPlace::Bank(k, i) => layout.banks[k.0 as usize] + i,
            TestPlace::View(k, v, i) => layout.views[k.0 as usize][*v as usize] + i,
            TestPlace::Mem { .. } | TestPlace::Lines => 0,
        };
        format!("emu_ir::gdb::GdbPart {{ slot: Slot({slot}), lo: {lo}, len: {len}, at: {at} }}")
    };
    let register = |r: &GdbReg| {
        let parts: Vec<String> = r.parts.iter().map(part).collect();
        let ty = r.ty.clone().map_or(format!("uint{}", r.bits), |t| escape(&t).to_string());
        context! { name => r.name.as_str(), bits => r.bits, ty => ty, parts => parts.join(", ") }
    };
    shared.spec.gdb.iter().map(|f| context! { name => escape(&f.name), regs => f.regs.iter().map(register).collect::<Vec<_>>() }).collect()
}

fn externs(shared: &Shared<'_>) -> Vec<Data> {
    let spec = shared.spec;
    let conditions = spec.modes.iter().map(|m| &m.value).chain(spec.interrupts.iter().map(|(_, condition)| condition));
    let mut looked_at: BTreeSet<u32> = conditions.flat_map(|e| cells(shared, e)).collect();
    looked_at.extend(spec.contexts.iter().map(|c| cell(shared, c.state)));
    let rekeys = |s: &StateSet| {
        let mut of_banks = s.banks.iter().flat_map(|k| {
            let first = shared.layout.banks[k.0 as usize] as usize;
            &shared.layout.slots[first..first + spec.banks[k.0 as usize].count as usize]
        });
        s.all || s.states.iter().any(|s| looked_at.contains(&cell(shared, *s))) || of_banks.any(|slot| looked_at.contains(&slot.cell))
    };
    let set = |s: &StateSet| {
        if s.all {
            return "None".to_string();
        }
        let states = s.states.iter().map(|s| shared.layout.states[s.0 as usize]);
        let banks = s.banks.iter().flat_map(|k| {
            let first = shared.layout.banks[k.0 as usize];
            first..first + spec.banks[k.0 as usize].count
        });
        let slots: Vec<String> = states.chain(banks).map(|s| format!("Slot({s})")).collect();
        format!("Some(&[{}])", slots.join(", "))
    };
    spec.externs
        .iter()
        .map(|x| {
            if x.params.len() > 6 || x.params.iter().any(|p| width(&p.1) > 64) {
                shared.error(x.span, format!("`{}`: a helper takes at most six arguments of at most 64 bits", x.name));
            }
            let params: String = x.params.iter().map(|(n, ty)| format!(", {}: {}", names::safe(n), natural(width(ty)))).collect();
            let args: String = x
                .params
                .iter()
                .enumerate()
                .map(|(i, (_, ty))| match natural(width(ty)) {
                    "bool" => format!(", args[{i}] & 1 != 0"),
                    ty => format!(", args[{i}] as {ty}"),
                })
                .collect();
            let value = match &x.result {
                Ty::Bits(n) => Some(natural(*n)),
                _ => None,
            };
            let result = match (value, x.raises) {
                (Some(ty), true) => format!(" -> Result<{ty}, Exception>"),
                (None, true) => " -> Result<(), Exception>".to_string(),
                (Some(ty), false) => format!(" -> {ty}"),
                (None, false) => String::new(),
            };
            let call = format!("self.ext.{}(cx{args}){}", names::safe(&x.name), if x.raises { "?" } else { "" });
            let call = if value.is_some() { format!("Ok({call} as u64)") } else { format!("{{\n                {call};\n                Ok(0)\n            }}") };
            let types: Vec<&str> = x.params.iter().map(|p| layout::type_name(width(&p.1))).collect();
            context! {
                name => x.name.as_str(), fn_name => names::safe(&x.name), place => spec.place(x.span), params => params, result => result, call => call,
                types => types.join(", "),
                result_type => match &x.result { Ty::Bits(n) => format!("Some({})", layout::type_name(*n)), _ => "None".to_string() },
                reads => set(&x.reads), writes => set(&x.writes), memory => x.memory.to_string(), raises => x.raises.to_string(),
                rekeys => rekeys(&x.writes).to_string(),
            }
        })
        .collect()
}

fn envs(shared: &Shared<'_>) -> Vec<Data> {
    let slot = |s: StateId| format!("slot::{}", names::safe(&shared.spec.states[s.0 as usize].name));
    let or = |s: &StateOr| match s {
        StateOr::State(s) => format!("SlotOr::Slot({})", slot(*s)),
        StateOr::Const(x) => format!("SlotOr::Const({x})"),
    };
    shared
        .spec
        .envs
        .iter()
        .map(|e| {
            let mut rounds: Vec<&str> = e
                .rounds
                .iter()
                .map(|r| match r.as_str() {
                    "zero" => "Zero",
                    "up" => "Up",
                    "down" => "Down",
                    "away" => "NearestAway",
                    _ => "NearestEven",
                })
                .collect();
            rounds.resize(4, rounds.first().copied().unwrap_or("NearestEven"));
            let rounds: Vec<String> = rounds.iter().map(|r| format!("emu_softfloat::Round::{r}")).collect();
            let nan = match e.nan.as_str() {
                "arm" => "Arm".to_string(),
                "x86" | "sse" => "X86Sse".to_string(),
                "ppc" => "PowerPc".to_string(),
                "mips" => "MipsLegacy".to_string(),
                other => names::camel(other),
            };
            let precision = e.precision.as_ref().map_or("None".to_string(), |(state, bits)| {
                let bits: Vec<String> = (0..4).map(|i| bits.get(i).unwrap_or(&64).to_string()).collect();
                format!("Some(({}, [{}]))", slot(*state), bits.join(", "))
            });
            context! {
                name => e.name.as_str(), round => e.round.map_or("None".to_string(), |r| format!("Some({})", slot(r))), rounds => rounds.join(", "),
                flush => or(&e.flush), default_nan => or(&e.default_nan), alt_half => or(&e.alt_half), sticky => slot(e.sticky),
                nan => nan, tininess_before => e.tininess_before.to_string(), precision => precision,
            }
        })
        .collect()
}

fn state(shared: &Shared<'_>) -> Data {
    let (spec, layout) = (shared.spec, &shared.layout);
    let slots: Vec<Data> = layout
        .slots
        .iter()
        .map(|s| {
            let reset = if s.reset == 0 { String::new() } else { format!("{:#x}", s.reset) };
            context! { name => s.name.as_str(), ty => s.ty, bits => s.bits, cell => s.cell, lo => s.lo, reset => reset }
        })
        .collect();
    let states: Vec<Data> = spec
        .states
        .iter()
        .zip(&layout.states)
        .map(|(s, slot)| {
            let cell = layout.slots[*slot as usize].cell;
            let (ty, read, write) = match (natural(s.bits), s.bits) {
                ("bool", _) => ("bool", format!("cells[{cell}] != 0"), format!("cells[{cell}] = value.into();")),
                ("u128", _) => ("u128", format!("LAYOUT.read(cells, Slot({slot}))"), format!("LAYOUT.write(cells, Slot({slot}), value);")),
                (ty, bits) if bits == layout::container(bits) => {
                    (ty, format!("cells[{cell}] as {ty}"), format!("cells[{cell}] = value.into();"))
                }
                (ty, bits) => (ty, format!("cells[{cell}] as {ty}"), format!("cells[{cell}] = (value & {}).into();", mask(bits))),
            };
            context! { name => names::safe(&s.name), plain => s.name.as_str(), slot => slot, ty => ty, read => read, write => write }
        })
        .collect();
    let mut banks: Vec<Data> = Vec::new();
    for (i, bank) in spec.banks.iter().enumerate() {
        let views = std::iter::once((&bank.name, layout.banks[i], bank.count, bank.bits))
            .chain(bank.views.iter().zip(&layout.views[i]).map(|(v, first)| (&v.name, *first, v.count, v.bits)));
        for (name, first, count, bits) in views {
            let ty = if bits == 1 { "u8" } else { natural(bits) };
            banks.push(context! { name => names::safe(name), plain => name.as_str(), first => first, count => count, ty => ty });
        }
    }
    banks.push(context! {
        name => "exception_argument", plain => "exception_argument", first => layout.arguments, count => 4, ty => "u64",
    });
    context! { cells => layout.cells, slots => slots, states => states, banks => banks }
}

fn decoder(spec: &Spec) -> Data {
    let tables = decode::tables(spec);
    let nodes: Vec<String> = tables
        .nodes
        .iter()
        .map(|n| match n {
            Node::Split { shift, bits, first } => format!("Node::Split({shift}, {bits}, {first})"),
            Node::List { first, count } => format!("Node::List({first}, {count})"),
        })
        .collect();
    let candidates: Vec<String> = tables
        .candidates
        .iter()
        .map(|c| {
            let insn = &spec.insns[c.insn];
            let e = &insn.encodings[c.encoding];
            let module = c.insn / PER_MODULE;
            let condition = match c.conditional {
                true => format!("Some(insns_{module}::if_{}_{})", insn.name, e.name),
                false => "None".to_string(),
            };
            format!("Candidate({:#010x}, {:#010x}, {condition}, insns_{module}::{})", c.mask, c.value, encoding::encoding_name(insn, e))
        })
        .collect();
    let roots: Vec<Data> =
        tables.roots.iter().map(|((token, bits), root)| context! { token => token, bits => bits, root => root }).collect();
    context! { nodes => nodes, children => tables.children, lists => tables.lists, candidates => candidates, roots => roots }
}

fn tests(shared: &Shared<'_>) -> Data {
    let (spec, layout) = (shared.spec, &shared.layout);
    let place = |p: &TestPlace| match p {
        TestPlace::State(s) => format!("Place::Slot({})", layout.states[s.0 as usize]),
        TestPlace::Bank(k, i) => format!("Place::Slot({})", layout.banks[k.0 as usize] + i),
        TestPlace::View(k, v, i) => format!("Place::Slot({})", layout.views[k.0 as usize][*v as usize] + i),
        TestPlace::Mem { addr, bytes } => format!("Place::Mem({addr:#x}, {bytes})"),
        TestPlace::Lines => "Place::Lines".to_string(),
    };
    let list = |all: &[(TestPlace, u128)]| {
        let all: Vec<String> = all.iter().map(|(p, v)| format!("({}, {v:#x})", place(p))).collect();
        all.join(", ")
    };
    let mut tests = Vec::new();
    for insn in &spec.insns {
        for t in &insn.tests {
            tests.push(context! {
                insn => insn.name.as_str(), text => escape(&t.text), place => spec.place(t.span), code => format!("{:#x}", t.code),
                at => t.at.map_or("None".to_string(), |a| format!("Some({a:#x})")),
                before => list(&t.before), after => list(&t.after),
                then => t.then.iter().map(|(text, code)| format!("(\"{}\", {code:#x})", escape(text))).collect::<Vec<_>>().join(", "),
                raises => t.raises.map_or("None".to_string(), |e| format!("Some({})", e.0)),
            });
        }
    }
    let encodings: Vec<Data> = spec
        .insns
        .iter()
        .flat_map(|insn| insn.encodings.iter().map(move |e| (insn, e)))
        .map(|(insn, e)| {
            context! {
                name => format!("{}_{}", insn.name, e.name), place => spec.place(e.span), token => e.token.0, bits => e.bits,
                mask => format!("{:#x}", e.mask), value => format!("{:#x}", e.value),
            }
        })
        .collect();
    context! { tests => tests, encodings => encodings }
}

/// The Rust type hand-written code sees.
fn natural(bits: u8) -> &'static str {
    match layout::container(bits) {
        1 => "bool",
        8 => "u8",
        16 => "u16",
        32 => "u32",
        64 => "u64",
        _ => "u128",
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
