//! What the board starts: a kernel, firmware from a file, or its built-in demo; as memory contents and CPU registers for every reset.

use emu_boards::{Board, Plan};
use emu_boot::linux::{NamedBytes, Request};
use emu_boot::{Load, Place, Protocol};
use emu_machine::{Image, Start};

/// The demo firmwares, by the name boards call them.
const DEMOS: &[(&str, &[u8])] = &[
    ("demo:zynq7000", include_bytes!(concat!(env!("OUT_DIR"), "/demo-zynq7000.bin"))),
    ("demo:microblaze", include_bytes!(concat!(env!("OUT_DIR"), "/demo-microblaze.bin"))),
    ("demo:microblazeel", include_bytes!(concat!(env!("OUT_DIR"), "/demo-microblazeel.bin"))),
];

/// What the user asked to start.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `--kernel`
    pub kernel: Option<String>,
    /// `--initrd`
    pub initrd: Option<String>,
    /// `--dtb`
    pub dtb: Option<String>,
    /// `--append`
    pub append: Option<String>,
    /// `--firmware`
    pub firmware: Option<String>,
    /// Nothing need be started: the board's own firmware is left out.
    pub nothing: bool,
}

fn file(what: &'static str, name: &str) -> Result<NamedBytes, String> {
    let bytes = emu_boot::read(what, name).map_err(|e| e.to_string())?;
    Ok(NamedBytes { name: name.to_string(), bytes })
}

fn place(board: &Board) -> Result<Place, String> {
    let (start, size) = board.main_memory().ok_or("the board has no memory to boot from")?;
    let isa = board.cpus.first().map_or("", |c| c.isa.text());
    let (name, own, offset, mut known): (_, &[&str], _, _) = match isa {
        "arm" => ("arm-linux", &["machine-id"], 0x8000, Protocol::Arm { machine_id: u32::MAX }),
        "microblaze" => ("microblaze-linux", &[], 0, Protocol::MicroBlaze),
        other => return Err(format!("kernels for `{other}` cannot be booted directly\n  help: give --firmware")),
    };
    let protocol = board.boot.as_ref().and_then(|b| b.protocol(name));
    if let Some(p) = protocol {
        let problems = p.check(&[&["kernel-at", "initrd-at", "dtb-at"], own].concat(), &[]);
        if !problems.is_empty() {
            return Err(emu_boards::diagnostic::render(&problems, &board.sources));
        }
    }
    let int = |key: &str| protocol.and_then(|p| p.int(key)).and_then(|v| u64::try_from(v).ok());
    if let (Protocol::Arm { machine_id }, Some(id)) = (&mut known, int("machine-id")) {
        *machine_id = id as u32;
    }
    Ok(Place {
        ram: start..start.saturating_add(size),
        kernel_at: int("kernel-at").unwrap_or(start.saturating_add(offset)),
        initrd_at: int("initrd-at"),
        dtb_at: int("dtb-at"),
        protocol: known,
        compatible: board.compatible.iter().map(|c| c.text().to_string()).collect(),
    })
}

/// Memory contents and CPU starts.
///
/// # Errors
/// One clear message naming the file, the rule and the fix.
pub fn start(wanted: &Wanted, board: &Board, plan: &Plan, code: &[emu_boards::realise::Image]) -> Result<(Vec<Image>, Vec<Start>), String> {
    let mut images: Vec<Image> =
        code.iter().map(|i| Image { bus: i.bus, at: i.at, bytes: i.bytes.clone(), name: i.name.clone() }).collect();
    let mut starts = Vec::new();
    if wanted.nothing && wanted.kernel.is_none() && wanted.firmware.is_none() {
        return Ok((images, starts));
    }
    let boot = if wanted.kernel.is_some() { kernel(wanted, board, plan)? } else { firmware(wanted, board, plan, code)? };
    images.extend(boot.loads.into_iter().map(|l| Image { bus: 0, at: l.at, bytes: l.bytes, name: l.name }));
    let registers = boot.registers.into_iter().map(|(n, v)| (n.to_string(), v)).collect();
    starts.push(Start { cpu: 0, pc: Some(boot.entry), registers });
    for s in board.boot.iter().flat_map(|b| &b.secondaries) {
        let cpu = board.cpus.iter().position(|c| c.name.text() == s.cpu.text());
        let at = s.at.as_ref().and_then(|a| match a.data.int() {
            Some(n) => u64::try_from(n).ok(),
            None => code.iter().find(|c| c.name == a.text()).map(|c| c.at),
        });
        if let (Some(cpu), Some(at)) = (cpu, at) {
            starts.push(Start { cpu, pc: Some(at), registers: vec![] });
        }
    }
    Ok((images, starts))
}

fn kernel(wanted: &Wanted, board: &Board, plan: &Plan) -> Result<emu_boot::Plan, String> {
    let kernel = file("kernel", wanted.kernel.as_deref().unwrap_or_default())?;
    let initrd = wanted.initrd.as_deref().map(|f| file("initrd", f)).transpose()?;
    let dtb = match &wanted.dtb {
        Some(f) => file("device tree", f)?,
        None => {
            let bytes = emu_boards::view::device_tree_blob(board, plan).map_err(|p| emu_boards::diagnostic::render(&p, &board.sources))?;
            NamedBytes { name: format!("device tree of {}", board.name), bytes }
        }
    };
    let request = Request { kernel, initrd, dtb, append: wanted.append.clone() };
    emu_boot::linux::plan(&request, &place(board)?).map_err(|e| e.to_string())
}

fn firmware(wanted: &Wanted, board: &Board, plan: &Plan, code: &[emu_boards::realise::Image]) -> Result<emu_boot::Plan, String> {
    for (given, flag) in [(&wanted.initrd, "--initrd"), (&wanted.dtb, "--dtb"), (&wanted.append, "--append")] {
        if given.is_some() {
            return Err(format!("{flag} needs a kernel\n  help: give one with --kernel FILE"));
        }
    }
    let boot = board.boot.as_ref();
    let at = boot.and_then(|b| b.firmware_at.as_ref()).map_or(0, |a| a.v);
    let mut made = match &wanted.firmware {
        Some(f) => {
            let f = file("firmware", f)?;
            emu_boot::firmware(&f.name, f.bytes, at).map_err(|e| e.to_string())?
        }
        None => {
            let Some(name) = boot.and_then(|b| b.firmware.as_ref()) else {
                return Err(format!("board `{}` has no firmware of its own\n  help: give --kernel or --firmware", board.name));
            };
            if let Some(code) = code.iter().find(|c| c.name == name.text()) {
                return Ok(emu_boot::Plan { entry: code.at, ..Default::default() });
            }
            match DEMOS.iter().find(|d| d.0 == name.text()) {
                Some((name, bytes)) => emu_boot::Plan {
                    loads: vec![Load { name: (*name).to_string(), at, bytes: bytes.to_vec() }],
                    entry: at,
                    registers: vec![],
                },
                None => {
                    let f = file("firmware", name.text())?;
                    emu_boot::firmware(&f.name, f.bytes, at).map_err(|e| e.to_string())?
                }
            }
        }
    };
    // The table of words firmware finds its hardware by, right below it; the register of a function's first argument points to it.
    let words = plan.words(board);
    if !words.is_empty() && wanted.firmware.is_none() {
        let big = board.buses.first().is_some_and(|bus| bus.big_endian);
        let bytes: Vec<u8> = words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
        let register = if board.cpus.first().is_some_and(|cpu| cpu.isa.text() == "microblaze") { "r5" } else { "r0" };
        let table = at.saturating_sub(0x100);
        made.loads.push(Load { name: "firmware table".into(), at: table, bytes });
        made.registers.push((register, table));
    }
    Ok(made)
}
