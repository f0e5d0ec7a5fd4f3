//! What a qtest client sends: a machine with memory, a serial port and a timer serves it until the bytes end.
#![no_main]

mod small;

use emu_debug::qtest::{Port, Session, Unit, serve};
use emu_machine::driven::Line;
use emu_machine::machine::Input;
use emu_machine::schema::DeviceType;
use libfuzzer_sys::fuzz_target;
use small::{DEVICES, machine};
use std::time::Duration;

fn ports(specs: &[emu_machine::schema::PortSpec], line: impl Fn(usize, u32) -> Line) -> Vec<Port> {
    let port =
        |(n, spec): (usize, &emu_machine::schema::PortSpec)| Port { name: spec.name.into(), lines: (0..3).map(|i| line(n, i)).collect() };
    specs.iter().enumerate().map(port).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let unit = |(device, (name, kind)): (usize, &(&str, DeviceType))| Unit {
        names: vec![(*name).into()],
        inputs: ports(kind.inputs, |port, index| Line::Input(Input::Device { device, port, index })),
        outputs: ports(kind.outputs, |port, index| Line::DeviceOutput { device, port, index }),
    };
    let units = DEVICES.iter().enumerate().map(unit).collect();
    let mut machine = machine();
    let session = Session::new(units, false, Box::new(std::io::sink()), Some(Box::new(std::io::sink())));
    let (handle, from) = (machine.handle(), std::io::Cursor::new(bytes.to_vec()));
    // A step over all time with a timer that is always due takes that long: somebody ends it.
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let stop = handle.clone();
    std::thread::spawn(move || {
        if end.recv_timeout(Duration::from_millis(200)).is_err() {
            stop.stop(1);
        }
    });
    std::thread::spawn(move || serve(&handle, session, from));
    _ = machine.run_without_cpus();
    _ = ended.send(());
});
