//! [`Data`] -> what the template prints of each ABI.

use super::layout::{self, Layout};
use super::*;
use serde::Serialize;
use std::collections::BTreeSet;

impl Data {
    pub(super) fn fail(&mut self, span: Span, message: String) {
        self.errors.push(Diagnostic::new("abi", span, message));
    }

    /// Names of all structures that any ABI has.
    pub(super) fn struct_names(&self) -> BTreeSet<String> {
        let own = self.abis.iter().flat_map(|a| a.structs.keys());
        self.structs.keys().chain(own).cloned().chain(layout::SCALARS.iter().map(|s| s.0.to_string())).collect()
    }

    /// All ABIs; problems are added.
    pub(super) fn made(&mut self) -> Vec<Made> {
        let (structs, flags) = (self.struct_names(), self.flags.keys().cloned().collect::<Vec<_>>());
        let mut made = vec![];
        for abi in std::mem::take(&mut self.abis) {
            let layouts = structs.iter().filter_map(|name| layout::layout(self, &abi, name)).collect();
            let sets = flags.iter().filter_map(|name| self.set(&abi, name)).collect();
            for (name, own) in &abi.flags {
                if !self.flags.contains_key(name) {
                    self.fail(own.span, format!("there are no flags `{name}` to override"));
                }
            }
            let (calls, numbers) = self.numbers(&abi, &structs);
            let ioctls = std::mem::take(&mut self.ioctls);
            let made_ioctls = ioctls.iter().map(|i| self.made_ioctl(i, &abi, &structs)).collect();
            self.ioctls = ioctls;
            made.push(Made {
                upper: abi.name.to_ascii_uppercase(),
                name: abi.name,
                machine: abi.machine,
                uname: abi.uname,
                long: abi.rules.long,
                even_pairs: abi.even_pairs,
                numbers,
                calls,
                layouts,
                sets,
                ioctls: made_ioctls,
            });
        }
        made
    }

    /// An ABI's flags: the common ones with its own values.
    fn set(&mut self, abi: &Abi, name: &str) -> Option<MadeSet> {
        let common: Vec<Flag> = self.flags.get(name)?.flags.clone();
        let own = abi.flags.get(name).map_or(&[][..], |f| &f.flags);
        for f in own.iter().filter(|f| !common.iter().any(|c| c.name == f.name)) {
            self.fail(f.span, format!("there is no flag `{}` in `{name}` to override", f.name));
        }
        let flags: Vec<MadeFlag> = common
            .iter()
            .map(|c| {
                let guest = own.iter().find(|f| f.name == c.name).unwrap_or(c);
                MadeFlag {
                    name: c.name.clone(),
                    value: guest.value,
                    mask: guest.mask,
                    host: c.value,
                    host_mask: c.mask,
                    link: c.link.into(),
                }
            })
            .collect();
        let same = flags.iter().all(|f| f.value == f.host && f.mask == f.host_mask);
        Some(MadeSet { name: name.to_string(), same, flags })
    }

    /// The calls an ABI has, each once, and its numbers.
    fn numbers(&mut self, abi: &Abi, structs: &BTreeSet<String>) -> (Vec<MadeCall>, Vec<MadeNumber>) {
        let (mut calls, mut numbers, mut index) = (vec![], vec![], BTreeMap::new());
        for (number, n) in &abi.numbers {
            let Some((name, call)) = self.calls.remove_entry(&n.is) else {
                self.fail(n.span, format!("there is no call `{}`", n.is));
                continue;
            };
            let i = *index.entry(name.clone()).or_insert_with(|| {
                calls.push(self.made_call(&name, &call, abi, structs));
                calls.len() - 1
            });
            numbers.push(MadeNumber { number: *number, name: n.name.clone(), call: i });
            self.calls.insert(name, call);
        }
        (calls, numbers)
    }

    fn made_call(&mut self, name: &str, call: &Call, abi: &Abi, structs: &BTreeSet<String>) -> MadeCall {
        let mut register = 0;
        for arg in &call.args {
            register += match arg.kind.as_str() {
                "wide" if abi.rules.long == 8 => 1,
                "wide" if abi.even_pairs => 2 + register % 2,
                "wide" | "position" => 2,
                _ => 1,
            };
        }
        if register > MAX_ARGS {
            self.fail(call.span, format!("`{name}` needs {register} registers of {}, which has {MAX_ARGS}", abi.name));
        }
        let args = call.args.iter().map(|a| self.made_arg(a, abi, structs)).collect();
        let does = match &call.does {
            Does::Host(host) => format!("Does::Host(libc::SYS_{host})"),
            Does::Hand => format!("Does::Hand(Hand::{})", camel(name)),
            Does::Process => format!("Does::Process(Special::{})", camel(name)),
            Does::Absent => "Does::Absent".into(),
        };
        MadeCall { name: name.to_string(), does, args, returns: camel(call.returns) }
    }

    /// An argument as Rust.
    fn made_arg(&mut self, arg: &Arg, abi: &Abi, structs: &BTreeSet<String>) -> String {
        let upper = abi.name.to_ascii_uppercase();
        let count = format!("{:?}", arg.count);
        let known = |all: &mut Data, there: bool, what: &str| {
            if !there {
                all.fail(arg.span, format!("there is no {what} `{}`", arg.of.as_deref().unwrap_or("")));
            }
        };
        let of = arg.of.as_deref().unwrap_or("");
        match arg.kind.as_str() {
            "set" => {
                let there = self.flags.contains_key(of);
                known(self, there, "set of flags");
                format!("Arg::Set(&{upper}_FLAGS.{of})")
            }
            "in" | "out" | "inout" => {
                known(self, structs.contains(of), "struct");
                format!("Arg::{}(&{upper}_LAYOUTS.{of}, {count})", camel(&arg.kind))
            }
            "rest" => {
                known(self, structs.contains(of), "struct");
                format!("Arg::Rest(&{upper}_LAYOUTS.{of})")
            }
            "inbytes" => format!("Arg::InBytes({})", arg.count.unwrap_or(0)),
            "outbytes" => format!("Arg::OutBytes({})", arg.count.unwrap_or(0)),
            other => format!("Arg::{}", PLAIN.iter().find(|p| p.0 == other).map_or("None", |p| p.1)),
        }
    }

    fn made_ioctl(&mut self, ioctl: &Ioctl, abi: &Abi, structs: &BTreeSet<String>) -> MadeIoctl {
        let arg = self.made_arg(&ioctl.arg, abi, structs);
        MadeIoctl { number: ioctl.number, name: ioctl.name.clone(), host: ioctl.host, arg }
    }
}

#[derive(Serialize)]
pub(super) struct Made {
    name: String,
    upper: String,
    machine: u64,
    uname: String,
    long: u64,
    even_pairs: bool,
    numbers: Vec<MadeNumber>,
    calls: Vec<MadeCall>,
    layouts: Vec<Layout>,
    sets: Vec<MadeSet>,
    ioctls: Vec<MadeIoctl>,
}

#[derive(Serialize)]
struct MadeNumber {
    number: u64,
    name: String,
    call: usize,
}

#[derive(Serialize)]
struct MadeCall {
    name: String,
    does: String,
    args: Vec<String>,
    returns: String,
}

#[derive(Serialize)]
struct MadeSet {
    name: String,
    same: bool,
    flags: Vec<MadeFlag>,
}

#[derive(Serialize)]
struct MadeFlag {
    name: String,
    value: u64,
    mask: u64,
    host: u64,
    host_mask: u64,
    link: String,
}

#[derive(Serialize)]
struct MadeIoctl {
    number: u64,
    name: String,
    host: u64,
    arg: String,
}
