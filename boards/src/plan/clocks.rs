//! The clock tree: what drives every clock input, and that it has no loop.

use super::{ClockSource, Planner};
use crate::diagnostic::{Diagnostic, suggest};
use crate::tree::{Data, Value};

impl Planner<'_> {
    pub(super) fn clocks(&mut self) {
        let board = self.board;
        for clock in &board.clocks {
            let source = clock.from.as_ref().and_then(|f| self.source(f));
            self.plan.clocks.push(source);
        }
        for (i, cpu) in board.cpus.iter().enumerate() {
            self.plan.cpus[i].clock = cpu.clock.as_ref().and_then(|c| self.source(c));
        }
        for (i, device) in board.devices.iter().enumerate() {
            let Some(kind) = self.plan.devices[i].kind else { continue };
            let mut inputs: Vec<Option<ClockSource>> = vec![None; kind.clocks_in.len()];
            let mut told = vec![false; kind.clocks_in.len()];
            if let Some(clock) = &device.clock {
                match inputs.first_mut() {
                    Some(first) => {
                        *first = self.source(clock);
                        told[0] = first.is_some() || !none(clock);
                    }
                    None if none(clock) => {}
                    None => {
                        let d = Diagnostic::error("no-clock", format!("type `{}` has no clock input", kind.name)).at(clock.span, "");
                        self.report(d.because(clock).help("remove `clock=`"));
                    }
                }
            }
            for (name, from) in &device.clocks {
                match kind.clocks_in.iter().position(|c| c.name == name.text()) {
                    Some(index) => {
                        if told[index] {
                            let first = device.clock.as_ref().map_or(device.name.span, |c| c.span);
                            let d = Diagnostic::error(
                                "double-driven",
                                format!("clock input `{}` of `{}` has two sources", name.text(), device.name.text()),
                            )
                            .at(from.span, "the second")
                            .and(first, "the first");
                            self.report(d.help("keep one of them"));
                        }
                        inputs[index] = self.source(from);
                        told[index] = inputs[index].is_some() || !none(from);
                    }
                    None => {
                        let d = Diagnostic::error("unknown-port", format!("type `{}` has no clock input `{}`", kind.name, name.to_text()));
                        let known = kind.clocks_in.iter().map(|c| c.name);
                        self.report(d.at(name.span, "").maybe_help(suggest(name.text(), "clock inputs", known)));
                    }
                }
            }
            for (index, spec) in kind.clocks_in.iter().enumerate() {
                if spec.required && !told[index] {
                    let d =
                        Diagnostic::error("unconnected", format!("clock input `{}` of `{}` has no source", spec.name, device.name.text()))
                            .at(device.name.span, format!("type `{}` needs it: {}", kind.name, spec.doc));
                    let edit = if index == 0 {
                        "add `clock=\"CLOCK\"`".to_string()
                    } else {
                        format!("add `clock \"{}\" from=\"CLOCK\"` inside its braces", spec.name)
                    };
                    let near = board.clocks.first().map(|c| format!("; clocks of this board begin with `{}`", c.name.text()));
                    let off = device.clock.as_ref().filter(|_| index == 0).or(device
                        .clocks
                        .iter()
                        .find(|(n, _)| n.text() == spec.name)
                        .map(|(_, f)| f));
                    let d = match off {
                        Some(value) => d.and(value.span, "switched off here"),
                        None => d,
                    };
                    self.report(d.help(edit + &near.unwrap_or_default()));
                }
            }
            self.plan.devices[i].clocks = inputs;
        }
        self.loops();
    }

    /// What a reference such as `ps-clk` or `slcr.uart-ref` names.
    fn source(&mut self, value: &Value) -> Option<ClockSource> {
        let board = self.board;
        let text = value.text();
        if none(value) || value.data == Data::Bad {
            return None;
        }
        if let Some(i) = board.clocks.iter().position(|c| c.name.text() == text) {
            return Some(ClockSource::Clock(i));
        }
        if let Some((name, output)) = text.split_once('.') {
            if self.disabled(name) {
                return None;
            }
            if let Some(i) = board.devices.iter().position(|d| d.name.text() == name) {
                let kind = self.plan.devices[i].kind?;
                let found = kind.clocks_out.iter().position(|c| c.name == output);
                if found.is_none() {
                    let d = Diagnostic::error("unknown-port", format!("`{name}` has no clock output `{output}`"));
                    let known = kind.clocks_out.iter().map(|c| c.name);
                    let d =
                        d.at(self.part(value, output), "").because(value).and(board.devices[i].name.span, format!("type `{}`", kind.name));
                    self.report(d.maybe_help(suggest(output, "clock outputs", known)));
                }
                return found.map(|o| ClockSource::Device(i, o));
            }
        } else if self.disabled(text) {
            return None;
        }
        let mut known: Vec<String> = board.clocks.iter().map(|c| c.name.to_text()).collect();
        for (i, device) in board.devices.iter().enumerate() {
            let outputs = self.plan.devices[i].kind.map_or(&[][..], |k| k.clocks_out);
            known.extend(outputs.iter().map(|o| format!("{}.{}", device.name.text(), o.name)));
        }
        let d = Diagnostic::error("unknown-name", format!("no clock `{}`", value.to_text())).at(value.span, "").because(value);
        self.report(d.maybe_help(suggest(&value.to_text(), "clocks", known.iter().map(String::as_str))));
        None
    }

    /// A clock must not depend on itself. A device's clock outputs are taken to depend on all its clock inputs.
    fn loops(&mut self) {
        let clocks = self.plan.clocks.len();
        let node = |s: &ClockSource| match s {
            ClockSource::Clock(i) => *i,
            ClockSource::Device(i, _) => clocks + i,
        };
        let mut sources: Vec<Vec<usize>> = self.plan.clocks.iter().map(|s| s.iter().map(node).collect()).collect();
        for device in &self.plan.devices {
            let outputs = device.kind.is_some_and(|k| !k.clocks_out.is_empty());
            sources.push(if outputs { device.clocks.iter().flatten().map(node).collect() } else { Vec::new() });
        }
        // Depth-first without recursion; 0 new, 1 on the path, 2 done.
        let mut state = vec![0u8; sources.len()];
        for root in 0..sources.len() {
            let mut path: Vec<(usize, usize)> = if state[root] == 0 { vec![(root, 0)] } else { continue };
            state[root] = 1;
            while let Some(&mut (at, ref mut next)) = path.last_mut() {
                let Some(&to) = sources[at].get(*next) else {
                    state[at] = 2;
                    path.pop();
                    continue;
                };
                *next += 1;
                match state[to] {
                    0 => {
                        state[to] = 1;
                        path.push((to, 0));
                    }
                    1 => {
                        let begin = path.iter().position(|(n, _)| *n == to).unwrap_or(0);
                        let mut ring: Vec<usize> = path[begin..].iter().map(|(n, _)| *n).collect();
                        ring.push(to);
                        self.report_loop(&ring, clocks);
                    }
                    _ => {}
                }
            }
        }
    }

    fn report_loop(&mut self, ring: &[usize], clocks: usize) {
        let board = self.board;
        let name = |n: &usize| if *n < clocks { &board.clocks[*n].name } else { &board.devices[*n - clocks].name };
        // Signals flow against the direction of the search.
        let chain: Vec<&str> = ring.iter().rev().map(|n| name(n).text()).collect();
        let mut d =
            Diagnostic::error("cycle", format!("clock loop: {}", chain.join(" -> "))).at(name(&ring[0]).span, "is derived from itself");
        for n in &ring[1..ring.len() - 1] {
            d = d.and(name(n).span, "through this");
        }
        self.report(d.help("give one of them a frequency of its own: `hz=...` instead of `from=`"));
    }
}

fn none(value: &Value) -> bool {
    value.data == Data::Null || value.text() == "none"
}
