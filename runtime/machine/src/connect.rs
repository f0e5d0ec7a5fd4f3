//! Connecting a machine's serial ports, drives and network ports to what is outside, see [`crate::backend`].

use crate::backend::{Cable, FrameSink, Posted, SerialLine, SharedDisk, Sink};
use crate::machine::lock;
use crate::record::Change;
use crate::run::Machine;

impl Machine {
    /// Connects a device's character port.
    pub fn connect(&mut self, device: usize, port: usize, sink: Option<Sink>) {
        if let Some(p) = self.core.devices.get(device).and_then(|d| d.ports.get(port)) {
            p.connect(sink);
        }
    }

    /// The host's end of a device's character port.
    pub fn serial_line(&self, device: usize, port: usize) -> Option<SerialLine> {
        Some(self.core.devices.get(device)?.ports.get(port)?.line(self.handle(), device, port))
    }

    /// Puts a disk into a device's drive, or takes it out.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn insert(&mut self, device: usize, port: usize, disk: Option<SharedDisk>) -> std::io::Result<()> {
        let Some(drive) = self.core.devices.get(device).and_then(|d| d.drives.get(port)) else { return Ok(()) };
        if !self.note(|| Change::Disk(device, port, disk.is_some())) {
            return Ok(());
        }
        let (handle, realtime) = (self.handle(), self.core.clock.is_realtime());
        drive.insert(disk, move || {
            if realtime {
                handle.post(Posted::Answers { device, port });
            }
        })?;
        self.core.call(device, None, |d, cx| d.medium_changed(port, cx));
        Ok(())
    }

    /// What is in a device's drive.
    pub fn disk(&self, device: usize, port: usize) -> Option<SharedDisk> {
        self.core.devices.get(device)?.drives.get(port)?.disk()
    }

    /// The host's end of a network port's cable.
    pub fn cable(&self, device: usize, port: usize) -> Option<Cable> {
        let nic = self.core.devices.get(device)?.nics.get(port)?;
        Some(Cable { handle: self.handle(), device, port, shared: nic.shared.clone() })
    }

    /// Connects a network port: its frames go to `sink`, and its link is up; or disconnects it.
    pub fn connect_network(&mut self, device: usize, port: usize, sink: Option<FrameSink>) {
        if let Some(nic) = self.core.devices.get(device).and_then(|d| d.nics.get(port)) {
            let up = sink.is_some();
            *lock(&nic.sink) = sink;
            if self.note(|| Change::Link(device, port, up)) {
                self.core.set_link(device, port, up);
            }
        }
    }
}
