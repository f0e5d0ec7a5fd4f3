//! Parts: which controller each sits on, and where.
//!
//! `on="CONTROLLER"` is the controller's first slot of the part's kind of bus, `on="CONTROLLER.SLOT"` any by name; `at=` is the chip select, address or port,
//! but of a part with registers their address.

use super::{PlannedPart, Planner};
use crate::board::Device;
use crate::diagnostic::{Diagnostic, suggest};
use crate::tree::Value;
use emu_machine::parts::PartBus;
use emu_machine::schema::DeviceType;

impl Planner<'_> {
    pub(super) fn parts(&mut self) {
        let board = self.board;
        for (i, device) in board.devices.iter().enumerate() {
            let Some(kind) = self.plan.devices[i].kind else { continue };
            self.plan.devices[i].on = match (kind.part, &device.on) {
                (None, None) => None,
                (None, Some(on)) => {
                    let d = Diagnostic::error("no-part", format!("type `{}` is no part of a peripheral bus", kind.name)).at(on.span, "");
                    self.report(d.help("remove `on=`"));
                    None
                }
                (Some(bus), None) => {
                    let d = Diagnostic::error("unplaced", format!("`{}` sits on no {} bus", device.name.text(), bus.name()));
                    let example = self.slots(bus).into_iter().next().unwrap_or_else(|| "CONTROLLER".into());
                    let d = d.at(device.name.span, format!("type `{}`", kind.name));
                    self.report(d.help(format!("add `on=\"{example}\" at=...`")));
                    None
                }
                (Some(bus), Some(on)) => self.part_place(device, &kind, bus, on),
            };
        }
        self.taken();
    }

    /// What `on=` may say for a kind of bus.
    fn slots(&self, bus: PartBus) -> Vec<String> {
        let mut all = Vec::new();
        for (device, planned) in self.board.devices.iter().zip(&self.plan.devices) {
            let slots = planned.kind.map_or(&[][..], |k| k.slots);
            for (n, slot) in slots.iter().enumerate().filter(|(_, s)| s.bus == bus) {
                let first = slots.iter().position(|s| s.bus == bus) == Some(n);
                all.push(if first { device.name.to_text() } else { format!("{}.{}", device.name.text(), slot.name) });
            }
        }
        all
    }

    fn part_place(&mut self, part: &Device, kind: &DeviceType, bus: PartBus, on: &Value) -> Option<PlannedPart> {
        let board = self.board;
        let (name, slot_name) = on.text().split_once('.').map_or((on.text(), None), |(name, slot)| (name, Some(slot)));
        if self.disabled(name) {
            return None;
        }
        let controller = board.devices.iter().position(|d| d.name.text() == name);
        let slots = controller.and_then(|c| self.plan.devices[c].kind).map_or(&[][..], |k| k.slots);
        let wanted = |n: &usize| slots[*n].bus == bus && slot_name.is_none_or(|wanted| slots[*n].name == wanted);
        let (Some(controller), Some(slot)) = (controller, (0..slots.len()).find(wanted)) else {
            let d = match controller {
                None => Diagnostic::error("unknown-name", format!("no device `{name}`")),
                Some(_) => Diagnostic::error("type-mismatch", format!("`{}` has no {} bus", on.text(), bus.name())),
            };
            let known = self.slots(bus);
            let d = d.at(on.span, format!("type `{}` sits on {}", kind.name, bus.name())).because(on);
            self.report(d.maybe_help(suggest(on.text(), "such buses", known.iter().map(String::as_str))));
            return None;
        };
        let spec = &slots[slot];
        let range =
            if spec.last > 0x20 { format!("{:#x} to {:#x}", spec.first, spec.last) } else { format!("{} to {}", spec.first, spec.last) };
        let at = match part.places.first().filter(|_| kind.is_inside()) {
            Some(place) => place.at.v,
            None if spec.first == spec.last => spec.first.into(),
            None => {
                let d =
                    Diagnostic::error("unplaced", format!("where on `{}` is `{}`?", on.text(), part.name.text())).at(part.name.span, "");
                self.report(d.help(format!("add `at=...`, {range}: {}", spec.doc)));
                return None;
            }
        };
        match u32::try_from(at).ok().filter(|at| (spec.first..=spec.last).contains(at)) {
            Some(at) => Some(PlannedPart { controller, slot, at }),
            None => {
                let d = Diagnostic::error("value-range", format!("`at` on `{}` is {range}", on.text()));
                let span = part.places.first().map_or(part.name.span, |p| p.at.from.span);
                self.report(d.at(span, format!("{at:#x}")).help(spec.doc));
                None
            }
        }
    }

    /// Slots with two parts, and parts that hang on themselves.
    fn taken(&mut self) {
        let board = self.board;
        let places: Vec<(usize, PlannedPart)> = self.plan.devices.iter().enumerate().filter_map(|(i, d)| Some((i, d.on?))).collect();
        for (n, (part, place)) in places.iter().enumerate() {
            if let Some((first, _)) = places[..n].iter().find(|(_, other)| other == place) {
                let d = Diagnostic::error(
                    "overlap",
                    format!("`{}` and `{}` sit at the same place", board.devices[*part].name.text(), board.devices[*first].name.text()),
                );
                let d = d.at(board.devices[*part].name.span, "the second").and(board.devices[*first].name.span, "the first");
                self.report(d.help("give one of them another `at=`"));
            }
            let mut above = place.controller;
            for _ in 0..places.len() {
                above = self.plan.devices[above].on.filter(|_| above != *part).map_or(above, |on| on.controller);
            }
            if above == *part {
                let name = &board.devices[*part].name;
                let d = Diagnostic::error("cycle", format!("`{}` hangs on itself", name.text())).at(name.span, "");
                self.report(d.help("the controllers of parts form a tree"));
                self.plan.devices[*part].on = None;
            }
        }
    }
}
