//! Floating-point and vector operations: names of the language to operations of the IR.

use crate::body::*;
use crate::layout::type_name;
use emu_dsl::spec::*;

impl<'a> Emitter<'_, 'a> {
    /// `f.name(env, ...)`.
    pub fn float(&mut self, name: &str, env: EnvId, args: &'a [Expr], params: &'a [FloatParam], e: &'a Expr) -> String {
        let env = env.0;
        let values: Vec<String> = args.iter().map(|a| self.value(a)).collect();
        let mut rounds = Vec::new();
        let mut numbers = Vec::new();
        for p in params {
            match p {
                FloatParam::Round(word) => rounds.push(format!(
                    "Round::{}",
                    match word.as_str() {
                        "env" => "Env",
                        "nearest" => "Nearest",
                        "zero" => "Zero",
                        "up" => "Up",
                        "down" => "Down",
                        _ => "NearestAway",
                    }
                )),
                FloatParam::Value(v) => numbers.push(self.count(v)),
            }
        }
        let ty = type_name(width(&e.ty));
        let code = match (name, &numbers[..], &rounds[..], &values[..]) {
            ("convert", _, _, [x]) => format!("b.float_convert({ty}, {env}, false, {x})"),
            ("round", [exact], [round], [x]) => format!("b.float_round({round}, {exact} != 0, {env}, {x})"),
            ("to_int", [signed, frac, bits], [round], [x]) => {
                format!("b.float_to_int({ty}, {env}, {signed} != 0, {round}, {frac} as u8, {bits} as u8, {x})")
            }
            ("from_int", [signed, frac, bits], [round], [x]) => {
                format!("b.int_to_float({ty}, {env}, {signed} != 0, {round}, {frac} as u8, {bits} as u8, {x})")
            }
            _ => {
                let op = match name {
                    "minnum" => "MinNum".to_string(),
                    "maxnum" => "MaxNum".to_string(),
                    name => crate::names::camel(name),
                };
                format!("b.float(Fop::{op}, {env}, &[{}])", values.join(", "))
            }
        };
        self.bind(code)
    }

    /// `v.name(...)`; `saturates`: whether it would, instead of its value.
    #[allow(clippy::too_many_arguments)] // the parts of one expression
    pub fn vector(
        &mut self,
        name: &str,
        env: Option<EnvId>,
        lane: &'a Expr,
        args: &'a [Expr],
        imm: Option<&'a Expr>,
        e: &'a Expr,
        saturates: bool,
    ) -> String {
        let lane = format!("{} as u8", self.stat(lane));
        let values: Vec<String> = args.iter().map(|a| self.value(a)).collect();
        let imm = imm.map(|i| self.count(i));
        match (name, &values[..], &imm) {
            ("get", [x], Some(i)) => return self.bind(format!("b.lane_get({lane}, {x}, {i} as u8)")),
            ("set", [x, y], Some(i)) => return self.bind(format!("b.lane_set({lane}, {x}, {i} as u8, {y})")),
            ("table", [index, fallback, table @ ..], _) => {
                return self.bind(format!("b.table_lookup({index}, {fallback}, &[{}])", table.join(", ")));
            }
            _ => {}
        }
        // The IR writes signed-to-unsigned with two capitals.
        let op = match name.ends_with("_su") {
            true => crate::names::camel(&name[..name.len() - 3]) + "SU",
            false => crate::names::camel(name),
        };
        let imm = match (name, env, imm) {
            ("dup", ..) => format!("{:#x}", if width(&e.ty) > 64 { 0x100 } else { 0 }),
            (_, Some(env), None) => format!("{}", env.0),
            (_, Some(env), Some(i)) => format!("{i} << 32 | {}", env.0),
            (_, None, Some(i)) => i,
            (_, None, None) => "0".to_string(),
        };
        let method = if saturates { "vec_sat" } else { "vec" };
        self.bind(format!("b.{method}(Vop::{op}, {lane}, &[{}], {imm})", values.join(", ")))
    }
}
