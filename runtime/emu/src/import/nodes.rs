//! The nodes of a device tree with their addresses as CPUs see them (Devicetree Specification v0.4, 2.3.6 `reg`, 2.3.8 `ranges`).

use emu_boot::fdt::Node;

/// A node with its place.
pub(super) struct Found<'t> {
    pub(super) node: &'t Node,
    pub(super) path: String,
    /// By name of the soc's or the new device.
    pub(super) name: String,
    /// Address and size of each register range.
    pub(super) regs: Vec<(u64, u64)>,
    /// Its interrupt controller's phandle.
    pub(super) controller: Option<u32>,
    /// `intc.in 3`, `gic.spi 29`.
    pub(super) interrupts: Vec<String>,
    pub(super) enabled: bool,
    pub(super) phandle: Option<u32>,
    /// Inside this one.
    pub(super) parent: Option<usize>,
}

/// A property's value as cells of 32 bits; what does not fill one is left out.
pub(super) fn cells(value: &[u8]) -> Vec<u32> {
    value.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])).collect()
}

fn number(cells: &[u32]) -> u64 {
    cells.iter().fold(0, |all, c| all << 32 | u64::from(*c))
}

/// Sizes of addresses and sizes of a node's children, in cells.
fn widths(node: &Node) -> (usize, usize) {
    let get = |name, default| node.cell(name).unwrap_or(default).min(4) as usize;
    (get("#address-cells", 2), get("#size-cells", 1))
}

/// An address of a child as its parent's bus has it.
fn translate(node: &Node, at: u64, outer: usize) -> Option<u64> {
    let (address, size) = widths(node);
    let ranges = cells(node.property("ranges")?);
    if ranges.is_empty() {
        return Some(at);
    }
    ranges.chunks_exact((address + outer + size).max(1)).find_map(|r| {
        let (child, rest) = r.split_at(address);
        let (parent, size) = rest.split_at(outer);
        let inside = at.checked_sub(number(child))?;
        (inside < number(size)).then(|| number(parent).wrapping_add(inside))
    })
}

/// The child called `name`, or `name@...`.
pub(super) fn find<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.children.iter().find(|c| c.name == name || c.name.strip_prefix(name).is_some_and(|r| r.starts_with('@')))
}

/// All nodes that have registers or interrupts, with their addresses.
pub(super) fn walk<'t>(
    node: &'t Node,
    path: &str,
    up: &[(&'t Node, Option<u32>)],
    enabled: bool,
    parent: Option<usize>,
    out: &mut Vec<Found<'t>>,
) {
    let enabled = enabled && node.strings("status").first().is_none_or(|s| s == "okay" || s == "ok");
    let inherited = up.last().and_then(|(_, controller)| *controller);
    let controller = node.cell("interrupt-parent").or(inherited);
    let mut me = parent;
    if let Some((bus, _)) = up.last() {
        let (address, size) = widths(bus);
        let width = (address + size).max(1);
        // From the innermost bus outwards; what is on no memory bus has no address.
        let place = |at: u64| (1..up.len()).rev().try_fold(at, |at, i| translate(up[i].0, at, widths(up[i - 1].0).0));
        let reg = cells(node.property("reg").unwrap_or(&[]));
        let regs = reg.chunks_exact(width).filter(|_| size > 0);
        let regs = regs.filter_map(|r| Some((place(number(&r[..address]))?, number(&r[address..])))).collect();
        out.push(Found {
            node,
            path: path.into(),
            name: String::new(),
            regs,
            controller,
            interrupts: vec![],
            enabled,
            phandle: node.cell("phandle").or(node.cell("linux,phandle")),
            parent,
        });
        me = Some(out.len() - 1);
    }
    let up: Vec<_> = up.iter().copied().chain([(node, controller)]).collect();
    // A stack of nodes is as deep as the reader of trees allows.
    for child in &node.children {
        walk(child, &format!("{}/{}", path.trim_end_matches('/'), child.name), &up, enabled, me, out);
    }
}
