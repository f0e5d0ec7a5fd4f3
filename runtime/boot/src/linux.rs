//! Boots Linux with a device tree: where kernel, initial RAM disk, device tree and command line go, and what the kernel finds in its registers
//! ([`Protocol`]).

use crate::fdt::Tree;
use crate::image::Image;
use crate::{Error, Load, Place, Plan, Protocol, check_fit};

/// A file with its name for messages.
#[derive(Clone, Debug)]
pub struct NamedBytes {
    /// Path or other name.
    pub name: String,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// What the user asked to boot.
#[derive(Clone, Debug)]
pub struct Request {
    /// Kernel: zImage, uImage, ELF, or raw; perhaps compressed.
    pub kernel: NamedBytes,
    /// Initial RAM disk, passed on as it is.
    pub initrd: Option<NamedBytes>,
    /// Flattened device tree.
    pub dtb: NamedBytes,
    /// Kernel command line; `None` keeps the device tree's.
    pub append: Option<String>,
}

/// Plans the boot.
///
/// # Errors
/// Damaged or foreign images, a device tree of another board, images that overlap or do not fit.
pub fn plan(request: &Request, place: &Place) -> Result<Plan, Error> {
    let kernel = &request.kernel;
    let mut plan = Plan::default();
    match Image::recognise("kernel", &kernel.name, kernel.bytes.clone())? {
        Image::ZImage(bytes) | Image::Raw(bytes) => {
            plan.loads.push(Load { name: kernel.name.clone(), at: place.kernel_at, bytes });
            plan.entry = place.kernel_at;
        }
        Image::UImage { load, entry, bytes, .. } => {
            plan.loads.push(Load { name: kernel.name.clone(), at: load, bytes });
            plan.entry = entry;
        }
        Image::Elf { segments, entry, machine } => {
            let (cpu, numbers) = place.protocol.machine();
            if !numbers.contains(&machine) {
                return Err(Error::Image {
                    what: "kernel",
                    file: kernel.name.clone(),
                    problem: format!("is an ELF file for another CPU (machine {machine})"),
                    help: format!("this board's CPU is {cpu} (machine {})", numbers[0]),
                });
            }
            plan.loads.extend(segments.into_iter().map(|(at, bytes)| Load { name: kernel.name.clone(), at, bytes }));
            // Linux links its ELF at virtual addresses; the entry point is physical in none of them.
            plan.entry = physical_entry(entry, &plan.loads);
        }
    }
    let size = place.ram.end - place.ram.start;
    let mut free = place.initrd_at.unwrap_or(place.ram.start + (size / 2).min(128 << 20));
    let mut initrd: Option<std::ops::Range<u64>> = None;
    if let Some(file) = &request.initrd {
        if file.bytes.is_empty() {
            return Err(Error::Image {
                what: "initrd",
                file: file.name.clone(),
                problem: "the file is empty".into(),
                help: "check how it was made".into(),
            });
        }
        let load = Load { name: file.name.clone(), at: free, bytes: file.bytes.clone() };
        let range = load.range();
        initrd = Some(range.clone());
        free = range.end.checked_next_multiple_of(0x1_0000).unwrap_or(u64::MAX);
        plan.loads.push(load);
    }
    let dtb_at = place.dtb_at.unwrap_or(free);
    let tree = device_tree(request, place, initrd.clone())?;
    let behind = dtb_at.checked_add(tree.len() as u64).and_then(|end| end.checked_next_multiple_of(0x1000));
    plan.loads.push(Load { name: request.dtb.name.clone(), at: dtb_at, bytes: tree });
    plan.registers = match place.protocol {
        Protocol::Arm { machine_id } => vec![("r0", 0), ("r1", machine_id.into()), ("r2", dtb_at)],
        Protocol::MicroBlaze => {
            let mut line = 0;
            if let Some(append) = &request.append {
                let bytes = append.bytes().filter(|b| *b != 0).chain([0]).collect();
                // At the end of the address space nothing fits, which `check_fit` will say.
                line = behind.unwrap_or(u64::MAX);
                plan.loads.push(Load { name: "command line".into(), at: line, bytes });
            }
            vec![("r5", line), ("r6", initrd.map_or(0, |r| r.start)), ("r7", dtb_at)]
        }
    };
    check_fit(&plan.loads, place)?;
    Ok(plan)
}

fn physical_entry(entry: u64, loads: &[Load]) -> u64 {
    let inside = loads.iter().any(|l| l.range().contains(&entry));
    if inside { entry } else { loads.iter().map(|l| l.at).min().unwrap_or(entry) }
}

fn device_tree(request: &Request, place: &Place, initrd: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, Error> {
    let file = &request.dtb.name;
    let bad = |problem: String, help: String| Error::Image { what: "device tree", file: file.clone(), problem, help };
    let mut tree =
        Tree::parse(&request.dtb.bytes).map_err(|problem| bad(problem, "give a compiled device tree (.dtb), as made by dtc".into()))?;
    let compatible = tree.root.strings("compatible");
    if !place.compatible.is_empty() && !compatible.iter().any(|c| place.compatible.contains(c)) {
        return Err(bad(
            format!("is for another machine: its root is compatible with {}", quoted(&compatible)),
            format!("this board is compatible with {}; give its device tree, or leave out --dtb", quoted(&place.compatible)),
        ));
    }
    let cells = |node: &crate::fdt::Node, name: &str, default: u32| node.cell(name).unwrap_or(default).clamp(1, 2) as usize;
    let (address, length) = (cells(&tree.root, "#address-cells", 2), cells(&tree.root, "#size-cells", 1));
    let be = |value: u64, cells: usize| value.to_be_bytes()[8 - 4 * cells..].to_vec();
    let mut reg = be(place.ram.start, address);
    reg.extend(be(place.ram.end - place.ram.start, length));
    let memory = tree.root.child("memory");
    memory.set_text("device_type", "memory");
    memory.set("reg", reg);
    let chosen = tree.root.child("chosen");
    if let Some(append) = &request.append {
        chosen.set_text("bootargs", append);
    }
    if let Some(range) = initrd {
        chosen.set("linux,initrd-start", be(range.start, address));
        chosen.set("linux,initrd-end", be(range.end, address));
    }
    tree.write().map_err(|problem| bad(problem, "simplify the device tree".into()))
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            ram: 0..512 << 20,
            kernel_at: 0x8000,
            initrd_at: None,
            dtb_at: None,
            protocol: Protocol::Arm { machine_id: !0 },
            compatible: vec!["acme,board".into()],
        }
    }

    fn request(compatible: &str) -> Request {
        let mut tree = Tree::default();
        tree.root.set_text("compatible", compatible);
        tree.root.set("#address-cells", vec![0, 0, 0, 1]);
        tree.root.set("#size-cells", vec![0, 0, 0, 1]);
        Request {
            kernel: NamedBytes { name: "Image".into(), bytes: vec![1; 100] },
            initrd: Some(NamedBytes { name: "rd".into(), bytes: vec![2; 5000] }),
            dtb: NamedBytes { name: "b.dtb".into(), bytes: tree.write().unwrap() },
            append: Some("console=tty".into()),
        }
    }

    #[test]
    fn chosen_and_memory_are_filled_in() {
        let plan = plan(&request("acme,board"), &place()).unwrap();
        let mut tree = Tree::parse(&plan.loads[2].bytes).unwrap();
        let chosen = tree.root.child("chosen");
        assert_eq!(chosen.strings("bootargs"), ["console=tty"]);
        assert_eq!(chosen.cell("linux,initrd-start"), Some(128 << 20));
        assert_eq!(chosen.cell("linux,initrd-end"), Some((128 << 20) + 5000));
        assert_eq!(tree.root.child("memory").property("reg").unwrap(), [0, 0, 0, 0, 0x20, 0, 0, 0]);
        assert_eq!(plan.registers[2], ("r2", plan.loads[2].at));
    }

    #[test]
    fn a_device_tree_of_another_machine_is_refused() {
        let error = plan(&request("other,board"), &place()).unwrap_err().to_string();
        assert!(error.contains("b.dtb") && error.contains("other,board") && error.contains("acme,board"), "{error}");
    }

    #[test]
    fn an_initrd_over_the_kernel_is_refused() {
        let place = Place { initrd_at: Some(0x8010), ..place() };
        let error = plan(&request("acme,board"), &place).unwrap_err().to_string();
        assert!(error.contains("`rd`") && error.contains("`Image`") && error.contains("initrd-at"), "{error}");
    }

    #[test]
    fn places_at_the_end_of_the_address_space_are_refused() {
        for protocol in [Protocol::Arm { machine_id: 0 }, Protocol::MicroBlaze] {
            for at in [u64::MAX, u64::MAX - 0x800] {
                for place in [Place { initrd_at: Some(at), ..place() }, Place { dtb_at: Some(at), ..place() }] {
                    assert!(plan(&request("acme,board"), &Place { protocol, ..place }).is_err());
                }
            }
        }
    }

    #[test]
    fn too_little_memory_is_refused() {
        let place = Place { ram: 0..0x9000, initrd_at: None, ..place() };
        assert!(plan(&request("acme,board"), &place).unwrap_err().to_string().contains("--memory"));
    }
}
