//! What all translations of a body share: names, fresh temporaries, errors, the functions they want.

use crate::Error;
use crate::layout::Layout;
use crate::names;
use crate::writer::Writer;
use emu_dsl::spec::*;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

/// Where the Rust runs, and so what names mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Flavor {
    /// Lowering of an instruction: a builder `b` and the translation's constants `cx`.
    Lower,
    /// Lowering of an exception's entry: as `Lower`, without an instruction and its modes.
    Entry,
    /// A function evaluated at translation: `cx` only.
    Static,
    /// Computed directly from state: `n` (cells, features, lines).
    Native,
}

/// How a function is translated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Instance {
    /// Emits IR.
    Plain,
    /// Evaluated at translation.
    Static,
    /// Emits IR in an exception's entry.
    Entry,
    /// Computed from state.
    Native,
}

/// One run of the generator.
pub struct Shared<'a> {
    /// The specification.
    pub spec: &'a Spec,
    /// Its state's layout.
    pub layout: Layout,
    /// What went wrong so far.
    pub errors: RefCell<Vec<Error>>,
    /// Functions called by what was generated so far.
    pub wanted: RefCell<BTreeSet<(Instance, u32)>>,
    /// Functions known to have effects or to have none.
    pub pure_fns: RefCell<BTreeMap<u32, bool>>,
}

impl<'a> Shared<'a> {
    /// Starts a run.
    pub fn new(spec: &'a Spec) -> Shared<'a> {
        Shared { spec, layout: Layout::new(spec), errors: RefCell::default(), wanted: RefCell::default(), pure_fns: RefCell::default() }
    }

    /// Notes what has no translation.
    pub fn error(&self, span: Span, message: impl Into<String>) {
        self.errors.borrow_mut().push(Error { message: message.into(), place: self.spec.place(span), span });
    }
}

/// One body being translated.
pub struct Emitter<'s, 'a> {
    /// The run.
    pub shared: &'s Shared<'a>,
    /// Where its Rust runs.
    pub flavor: Flavor,
    /// Its locals.
    pub locals: &'a [Local],
    /// Their Rust names.
    pub names: Vec<String>,
    /// Lines so far.
    pub out: Writer,
    /// Number of temporaries so far.
    pub fresh: Cell<u32>,
    /// Mutable locals that have been declared.
    pub declared: BTreeSet<u32>,
    /// Locals that were read.
    pub used: BTreeSet<u32>,
    /// How many dynamic `if`s and loops are open.
    pub dynamic_depth: u32,
}

impl<'s, 'a> Emitter<'s, 'a> {
    /// A body with these locals, its lines indented `depth` times.
    pub fn new(shared: &'s Shared<'a>, flavor: Flavor, locals: &'a [Local], depth: usize) -> Emitter<'s, 'a> {
        Emitter {
            shared,
            flavor,
            locals,
            names: names::locals(locals),
            out: Writer::at(depth),
            fresh: Cell::new(0),
            declared: BTreeSet::new(),
            used: BTreeSet::new(),
            dynamic_depth: 0,
        }
    }

    /// The specification.
    pub fn spec(&self) -> &'a Spec {
        self.shared.spec
    }

    /// Notes what has no translation; the result stands in its place.
    pub fn error(&self, span: Span, message: impl Into<String>) -> String {
        self.shared.error(span, message);
        "0".to_string()
    }

    /// The next temporary's name.
    pub fn temporary(&self) -> String {
        self.fresh.set(self.fresh.get() + 1);
        format!("t{}", self.fresh.get())
    }

    /// Binds a new temporary to `code`.
    pub fn bind(&mut self, code: impl AsRef<str>) -> String {
        let name = self.temporary();
        self.out.line(format!("let {name} = {};", code.as_ref()));
        name
    }

    /// A local's Rust name; it counts as used.
    pub fn local(&mut self, id: LocalId) -> String {
        self.used.insert(id.0);
        self.names[id.0 as usize].clone()
    }

    /// Lines that `f` writes, kept apart, indented once more.
    pub fn apart(&mut self, f: impl FnOnce(&mut Self)) -> String {
        let depth = self.out.depth();
        let outer = std::mem::replace(&mut self.out, Writer::at(depth + 1));
        f(self);
        std::mem::replace(&mut self.out, outer).finish()
    }

    /// The name by which to call a function, now wanted.
    pub fn function(&self, id: FnId, instance: Instance) -> String {
        self.shared.wanted.borrow_mut().insert((instance, id.0));
        function_name(self.spec(), id, instance)
    }
}

/// The Rust name of a function's translation.
pub fn function_name(spec: &Spec, id: FnId, instance: Instance) -> String {
    let prefix = match instance {
        Instance::Plain => "emit",
        Instance::Static => "eval",
        Instance::Entry => "entry",
        Instance::Native => "read",
    };
    format!("{prefix}_{}", spec.fns[id.0 as usize].name)
}

/// A width's mask as a Rust literal: `0xff`.
pub fn mask(bits: u8) -> String {
    format!("{:#x}", if bits >= 128 { u128::MAX } else { (1u128 << bits) - 1 })
}

/// The Rust type of a static value.
pub fn static_type(ty: &Ty) -> String {
    match ty {
        Ty::Bits(n) if *n > 64 => "u128".to_string(),
        Ty::Bits(_) => "u64".to_string(),
        Ty::Int => "i64".to_string(),
        Ty::Tuple(parts) => format!("({},)", parts.iter().map(static_type).collect::<Vec<_>>().join(", ")),
        Ty::Unit => "()".to_string(),
    }
}

/// The Rust type of a dynamic value.
pub fn dynamic_type(ty: &Ty) -> String {
    match ty {
        Ty::Bits(_) | Ty::Int => "Value".to_string(),
        Ty::Tuple(parts) => format!("({},)", parts.iter().map(dynamic_type).collect::<Vec<_>>().join(", ")),
        Ty::Unit => "()".to_string(),
    }
}

/// The width of a type; integers count as 64 bits.
pub fn width(ty: &Ty) -> u8 {
    match ty {
        Ty::Bits(n) => *n,
        _ => 64,
    }
}
