//! Addresses: what is where on each bus, and what overlaps.

use super::{Owner, Planner, Region};
use crate::board::Place;
use crate::diagnostic::{Diagnostic, suggest};
use crate::elaborate::glob;
use crate::source::{FileId, Span};

impl Planner<'_> {
    pub(super) fn places(&mut self) {
        let board = self.board;
        let mut overs = Vec::new();
        for (i, memory) in board.memories.iter().enumerate() {
            let bus = self.bus(memory.bus.as_ref());
            for (n, place) in memory.places.iter().enumerate() {
                self.region(Owner::Memory(i, n), memory.name.to_text(), bus, place, memory.size, &mut overs);
            }
        }
        for (i, stub) in board.stubs.iter().enumerate() {
            let bus = self.bus(stub.bus.as_ref());
            self.region(Owner::Stub(i), stub.name.to_text(), bus, &stub.place, stub.size, &mut overs);
        }
        for (i, device) in board.devices.iter().enumerate() {
            let planned = self.plan.devices[i].clone();
            let Some(kind) = planned.kind.filter(|k| !k.is_inside()) else { continue };
            let regions = || kind.regions.iter().map(|r| r.name);
            for place in &device.places {
                let index = match &place.region {
                    Some(name) => match kind.regions.iter().position(|r| r.name == name.text()) {
                        Some(index) => index,
                        None => {
                            let d = Diagnostic::error("unknown-region", format!("type `{}` has no region `{}`", kind.name, name.to_text()));
                            self.report(d.at(name.span, "").maybe_help(suggest(name.text(), "regions", regions())));
                            continue;
                        }
                    },
                    None if kind.regions.len() == 1 => 0,
                    None => {
                        let d = Diagnostic::error("unknown-region", format!("type `{}` has {} regions", kind.name, kind.regions.len()));
                        let help = match kind.regions.first() {
                            Some(first) => format!(
                                "place each by name, as in `map \"{}\" at={:#x}`; regions: {}",
                                first.name,
                                place.at.v,
                                regions().collect::<Vec<_>>().join(", ")
                            ),
                            None => "remove `at=`".to_string(),
                        };
                        self.report(d.at(place.at.from.span, "which one?").help(help));
                        continue;
                    }
                };
                let natural = kind.regions[index].size.of(&planned.props).max(1);
                let size = place.size.as_ref().map_or(natural, |s| s.v);
                if size > natural {
                    let span = place.size.as_ref().map_or(place.at.from.span, |s| s.from.span);
                    let d = Diagnostic::error(
                        "value-range",
                        format!("region `{}` of type `{}` has {natural:#x} bytes", kind.regions[index].name, kind.name),
                    );
                    self.report(d.at(span, format!("{size:#x} is more")).help(format!("give at most `size={natural:#x}`, or remove it")));
                    continue;
                }
                let name = match kind.regions.len() {
                    1 => device.name.to_text(),
                    _ => format!("{}.{}", device.name.text(), kind.regions[index].name),
                };
                self.region(Owner::Device(i, index), name, planned.bus, place, size, &mut overs);
            }
            for (index, region) in kind.regions.iter().enumerate() {
                let there = |p: &Place| p.region.as_ref().map_or(kind.regions.len() == 1, |n| n.text() == region.name);
                let any_at = device.places.iter().any(|p| p.region.is_none());
                if !(device.places.iter().any(there) || any_at && kind.regions.len() > 1) {
                    let help =
                        if kind.regions.len() == 1 { "add `at=...`".to_string() } else { format!("add `map \"{}\" at=...`", region.name) };
                    let d = match index {
                        _ if device.places.is_empty() => {
                            Diagnostic::error("unplaced", format!("`{}` has registers but no address", device.name.text()))
                        }
                        _ => {
                            Diagnostic::warning("unplaced", format!("region `{}` of `{}` has no address", region.name, device.name.text()))
                        }
                    };
                    self.report(d.at(device.name.span, format!("type `{}`", kind.name)).help(help));
                    if device.places.is_empty() {
                        break;
                    }
                }
            }
        }
        self.covers(overs);
        self.plan.regions.sort_by_key(|r| (r.bus, r.start, r.size));
        self.overlaps();
    }

    fn region(
        &mut self,
        owner: Owner,
        name: String,
        bus: Option<usize>,
        place: &Place,
        size: u64,
        overs: &mut Vec<(usize, crate::tree::Value)>,
    ) {
        let bus_index = bus.unwrap_or(0);
        let (at, size) = (place.at.v, size.max(1));
        if let Some(bus) = self.board.buses.get(bus_index)
            && bus.width < 64
            && at.checked_add(size - 1).is_none_or(|last| last >> bus.width != 0)
        {
            let d = Diagnostic::error("off-bus", format!("`{name}` ends past the {} address bits of bus `{}`", bus.width, bus.name.text()))
                .at(place.at.from.span, format!("{at:#x} + {size:#x}"))
                .because(&place.at.from)
                .and(bus.name.span, "the bus");
            self.report(d.help("move it, or give the bus more `width`"));
            return;
        }
        if let Some(over) = &place.over {
            overs.push((self.plan.regions.len(), over.clone()));
        }
        self.plan.regions.push(Region {
            owner,
            name,
            bus: bus_index,
            start: at,
            size,
            priority: place.priority,
            at: place.at.from.clone(),
            size_span: place.size.as_ref().map(|s| s.from.span),
            when: place.when.clone(),
        });
    }

    /// `over="NAME"` puts a region above those it names.
    fn covers(&mut self, overs: Vec<(usize, crate::tree::Value)>) {
        for (index, over) in overs {
            let owner = |r: &Region| r.name.split('.').next().unwrap_or("").to_string();
            let below: Vec<i32> = self.plan.regions.iter().filter(|r| glob(over.text(), &owner(r))).map(|r| r.priority).collect();
            match below.into_iter().max() {
                Some(top) => {
                    let region = &mut self.plan.regions[index];
                    region.priority = region.priority.max(top.saturating_add(1));
                }
                None if self.disabled(over.text()) => {}
                None => {
                    let names: Vec<String> = self.plan.regions.iter().map(owner).collect();
                    let d = Diagnostic::error("unknown-name", format!("`over`: nothing called `{}` has an address", over.text()));
                    self.report(d.at(over.span, "").maybe_help(suggest(over.text(), "names", names.iter().map(String::as_str))));
                }
            }
        }
    }

    pub(super) fn rank(&self, span: Span) -> (bool, std::cmp::Reverse<FileId>, u32) {
        (self.board.sources.name(span.file).starts_with("--"), std::cmp::Reverse(span.file), span.start)
    }

    fn overlaps(&mut self) {
        let regions = self.plan.regions.clone();
        // Regions that may still reach a later one.
        let mut open: Vec<usize> = Vec::new();
        for (i, b) in regions.iter().enumerate() {
            open.retain(|&k| regions[k].bus == b.bus && regions[k].last() >= b.start);
            for &k in &open {
                let a = &regions[k];
                if a.priority != b.priority || a.when.is_some() || b.when.is_some() {
                    continue;
                }
                if self.problems.len() > 200 {
                    return;
                }
                // Report at what was written later or further out: an argument, the user's file rather than one it includes.
                let (first, second) = if self.rank(a.at.span) <= self.rank(b.at.span) { (a, b) } else { (b, a) };
                let covers = |r: &Region| format!("covers {:#x}..={:#x}", r.start, r.last());
                let from = match a.owner {
                    Owner::Device(d, _) if a.size_span.is_none() => {
                        format!(" (its size comes from type {})", self.board.devices[d].kind.text())
                    }
                    _ => String::new(),
                };
                let base = |r: &Region| r.name.split('.').next().unwrap_or("").to_string();
                let help = if b.start > a.start {
                    let shrink = format!("give `{}` `size={:#x}`", a.name, b.start - a.start);
                    format!("{shrink}, move one of them, or write `over=\"{}\"` on `{}` if the overlay is intended", base(a), b.name)
                } else {
                    format!("move one of them, or write `over=\"{}\"` on `{}` if the overlay is intended", base(a), b.name)
                };
                let mut d = Diagnostic::error("overlap", format!("`{}` overlaps `{}`", second.name, first.name))
                    .at(second.at.span, covers(second))
                    .and(first.at.span, covers(first))
                    .because(&second.at)
                    .because(&first.at);
                if !from.is_empty() {
                    d = d.note(format!("`{}` has {:#x} bytes{from}", a.name, a.size));
                }
                self.report(d.help(help));
            }
            open.push(i);
        }
    }
}
