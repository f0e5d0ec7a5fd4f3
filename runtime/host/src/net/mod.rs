//! Networks: what a guest's network port is connected to.
//!
//! Guest -> [`open`]'s sink, which only queues ([`Inbox`]) -> the back end's thread -> a private network ([`user`]), a tap interface ([`tap`])
//! or another emulator ([`socket`]), or another port of the same machine ([`join`]); and back: the back end's thread -> [`Wire`] -> the machine. [`dump`] records both directions.
//!
//! Each back end has one thread, which ends before the sink's drop returns. What the guest's queue has no room for waits where the protocol
//! lets it wait (TCP, streams), and is lost else, as on a wire.

pub mod dump;
mod inbox;
pub mod socket;
mod spec;
pub mod tap;
pub mod user;

pub use inbox::{Inbox, Waker};
pub use spec::{GuestFwd, HostFwd, Kind, Net, Peer, Socket, Spec, Target, Transport, User};

use emu_machine::backend::{Cable, FrameSink};
use emu_machine::schema::Network;
use std::io;

/// The longest frame that back ends carry, in bytes: jumbo frames and more, but nobody's memory.
pub const LONGEST_FRAME: usize = 65_536 + 64;

/// The least Ethernet frame, in bytes without FCS. Others send shorter ones, which the guest sees as a wire would carry them.
const LEAST_FRAME: usize = 60;

/// The way to the guest: a [`Cable`], or whatever stands for one.
pub trait Wire: Send {
    /// Sends a frame, as [`Network`] says. False: there was no room, and it is lost. Never blocks.
    fn send(&self, frame: Vec<u8>) -> bool;
    /// How many more frames would be taken.
    fn room(&self) -> usize;
    /// Calls `room` whenever there is room again.
    fn on_room(&self, room: Box<dyn Fn() + Send>);
}

impl Wire for Cable {
    fn send(&self, frame: Vec<u8>) -> bool {
        Cable::send(self, frame)
    }

    fn room(&self) -> usize {
        Cable::room(self)
    }

    fn on_room(&self, room: Box<dyn Fn() + Send>) {
        Cable::on_room(self, room);
    }
}

/// A way to a guest that sees frames no shorter than a wire would carry them.
struct Padded(Box<dyn Wire>);

impl Wire for Padded {
    fn send(&self, mut frame: Vec<u8>) -> bool {
        frame.resize(frame.len().max(LEAST_FRAME), 0);
        self.0.send(frame)
    }

    fn room(&self) -> usize {
        self.0.room()
    }

    fn on_room(&self, room: Box<dyn Fn() + Send>) {
        self.0.on_room(room);
    }
}

/// A network back end that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one of the known forms.
    #[error("unknown network back end `{text}`\n  help: {forms}")]
    Unknown {
        /// What was given.
        text: String,
        /// What there is.
        forms: &'static str,
    },
    /// An option that the back end does not have.
    #[error("network back end `{backend}` has no option `{option}`\n  help: {known}")]
    Option {
        /// Its name.
        option: String,
        /// The back end's.
        backend: String,
        /// The options it has.
        known: &'static str,
    },
    /// A value that an option does not take.
    #[error("network option {option}={value}: want {want}")]
    Value {
        /// Its name.
        option: String,
        /// What was given.
        value: String,
        /// What it takes.
        want: &'static str,
    },
    /// An option that can be given once.
    #[error("network option `{option}` is given twice")]
    Twice {
        /// Its name.
        option: String,
    },
    /// Frames of another kind.
    #[error("network back end `{backend}` carries Ethernet, and this is a port for {network}\n  help: cable:NIC or socket:...")]
    Carries {
        /// As on the command line.
        backend: String,
        /// The port's.
        network: Network,
    },
    /// The host refused.
    #[error("cannot open network back end `{backend}`: {what}: {source}")]
    Open {
        /// As on the command line.
        backend: String,
        /// What was being done.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The host's refusal, and what was being done.
#[derive(Debug)]
pub struct Refused {
    what: String,
    source: io::Error,
}

/// Says what was being done when the host refused.
fn doing<T, E: Into<io::Error>>(what: impl Into<String>, result: Result<T, E>) -> Result<T, Refused> {
    result.map_err(|source| Refused { what: what.into(), source: source.into() })
}

/// Opens a back end: frames given to the sink go to the network, those of the network to `wire`. When the sink is dropped the back end ends.
/// [`Kind::Cable`] is the machine's affair: see [`join`].
///
/// # Errors
/// [`Error::Open`] with the host's reason; [`Error::Carries`] if the back end is for other frames.
pub fn open(spec: &Spec, network: Network, wire: impl Wire + 'static) -> Result<FrameSink, Error> {
    if network != Network::Ethernet && matches!(spec.kind, Kind::User(_) | Kind::Tap(_)) {
        return Err(Error::Carries { backend: spec.to_string(), network });
    }
    attach(spec, network, wire, |wire| match &spec.kind {
        Kind::None | Kind::Cable(_) => Ok(Box::new(|_: &[u8]| {})),
        Kind::User(user) => user::open(user, wire),
        Kind::Tap(name) => tap::open(name, wire),
        Kind::Socket(socket) => socket::open(socket, wire),
    })
}

/// Joins two ports of a machine by a cable: gives the sinks of the near and the far one. A dump is recorded at the near one.
///
/// # Errors
/// [`Error::Open`] with the host's reason.
pub fn join(spec: &Spec, network: Network, near: impl Wire + 'static, far: impl Wire + 'static) -> Result<(FrameSink, FrameSink), Error> {
    let mut back: Option<FrameSink> = None;
    let there = attach(spec, network, near, |near| {
        back = Some(Box::new(move |frame| _ = near.send(frame.to_vec())));
        Ok(Box::new(move |frame: &[u8]| _ = far.send(frame.to_vec())))
    })?;
    Ok((there, back.unwrap_or_else(|| Box::new(|_| {}))))
}

/// What is common to all back ends: frames of the least length for the guest, a dump of both directions.
fn attach(
    spec: &Spec,
    network: Network,
    wire: impl Wire + 'static,
    open: impl FnOnce(Box<dyn Wire>) -> Result<FrameSink, Refused>,
) -> Result<FrameSink, Error> {
    let fail = |refused: Refused| Error::Open { backend: spec.to_string(), what: refused.what, source: refused.source };
    let mut wire: Box<dyn Wire> = Box::new(wire);
    let mut recorder = None;
    if let Some(path) = &spec.dump {
        let new = dump::Recorder::create(path, network).map_err(fail)?;
        wire = Box::new(new.wire(wire));
        recorder = Some(new);
    }
    if network == Network::Ethernet {
        wire = Box::new(Padded(wire));
    }
    let sink = open(wire).map_err(fail)?;
    Ok(match recorder {
        Some(recorder) => recorder.sink(sink),
        None => sink,
    })
}
