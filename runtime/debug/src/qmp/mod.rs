//! The control socket: QMP, as QEMU speaks it, over a machine's monitor.
//!
//! Source: QEMU, "QEMU Machine Protocol Specification" and "QEMU QMP Reference Manual", version 7.2.
//! Data path: bytes -> [`frame`] -> `serde_json` -> the table of [`commands`] -> [`crate::monitor::Session`]; and events: the machine's threads ->
//! a bounded queue of each client -> its writer thread. A client that does not read its events is cut off; one that does not read its answers waits.
//! Not modelled: out-of-band execution, jobs, device objects (QOM), hot plug, the schema (`query-qmp-schema`).

mod commands;
mod frame;
mod input;
mod outbox;

pub use commands::COMMANDS;
use commands::{ErrorClass, QmpError};
pub use frame::{Frame, Framer};
use outbox::Outbox;

use crate::monitor::Session;
use emu_machine::control::{Cause, Event};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the end of the program waits for a client to take what it was sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A client and what it is sent.
struct Client {
    outbox: Outbox,
    /// It has negotiated: it gets events, and its commands are executed.
    ready: AtomicBool,
    /// A command of its is being done.
    busy: AtomicBool,
}

/// The control socket of a machine.
#[derive(Clone)]
pub struct Qmp {
    session: Session,
    clients: Arc<Mutex<Vec<Arc<Client>>>>,
}

fn lock(clients: &Mutex<Vec<Arc<Client>>>) -> MutexGuard<'_, Vec<Arc<Client>>> {
    clients.lock().unwrap_or_else(|e| e.into_inner())
}

/// The version QEMU's clients see: whose commands these are, and what this really is.
fn version() -> Value {
    json!({ "qemu": { "major": 7, "minor": 2, "micro": 0 }, "package": format!("emu {}", env!("CARGO_PKG_VERSION")) })
}

/// An event in the protocol's words.
fn event(event: Event) -> Value {
    let reason = |cause: Cause| match cause {
        Cause::GuestShutdown => (true, "guest-shutdown"),
        Cause::GuestReset => (true, "guest-reset"),
        Cause::Quit => (false, "host-qmp-quit"),
        Cause::Reset => (false, "host-qmp-system-reset"),
        Cause::Signal => (false, "host-signal"),
        Cause::User | Cause::Host => (false, "host-ui"),
    };
    let data = |cause: Cause| {
        let (guest, reason) = reason(cause);
        json!({ "guest": guest, "reason": reason })
    };
    let (name, data) = match event {
        Event::Held => ("STOP", None),
        Event::Resumed => ("RESUME", None),
        Event::Reset(cause) => ("RESET", Some(data(cause))),
        Event::PowerButton => ("POWERDOWN", None),
        Event::Ended(_, cause) => ("SHUTDOWN", Some(data(cause))),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut all = json!({ "event": name, "timestamp": { "seconds": now.as_secs(), "microseconds": now.subsec_micros() } });
    if let Some(data) = data {
        all["data"] = data;
    }
    all
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\r\n").into_bytes()
}

impl Qmp {
    /// A control socket; hears of the machine's events from now on.
    pub fn new(session: Session) -> Qmp {
        let clients: Arc<Mutex<Vec<Arc<Client>>>> = Arc::default();
        let hear = clients.clone();
        session.handle().listen(Box::new(move |e| {
            let text = line(&event(e));
            // Who does not read what he was told is told no more.
            lock(&hear).retain(|client| !client.ready.load(Ordering::Acquire) || client.outbox.post(text.clone()));
        }));
        Qmp { session, clients }
    }

    /// Serves one client until it leaves.
    pub fn talk(&self, mut reader: impl Read, writer: impl Write + Send + 'static) {
        let client = Arc::new(Client { outbox: Outbox::new(writer), ready: AtomicBool::new(false), busy: AtomicBool::new(false) });
        lock(&self.clients).push(client.clone());
        let mut conversation = Conversation { session: self.session.clone(), ready: false };
        client.outbox.send(line(&json!({ "QMP": { "version": version(), "capabilities": [] } })));
        let mut framer = Framer::default();
        let mut bytes = [0; 4096];
        'client: loop {
            let n = match reader.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for frame in framer.feed(&bytes[..n]) {
                client.busy.store(true, Ordering::Release);
                let (answer, after) = conversation.take(frame);
                // Events begin behind the answer to the negotiation.
                if !client.outbox.send(line(&answer)) {
                    break 'client;
                }
                client.ready.store(conversation.ready, Ordering::Release);
                after();
                client.busy.store(false, Ordering::Release);
            }
        }
        lock(&self.clients).retain(|c| !Arc::ptr_eq(c, &client));
    }

    /// Waits until clients have taken what they were sent, for a short time: for the end of the program.
    pub fn finish(&self) {
        let clients = lock(&self.clients).clone();
        let end = Instant::now() + LAST_WORDS;
        for client in clients {
            while client.busy.load(Ordering::Acquire) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            client.outbox.flush(end.saturating_duration_since(Instant::now()));
        }
    }
}

/// What is done when the answer is on its way.
pub(crate) type After = Box<dyn FnOnce()>;

/// One client's conversation.
pub struct Conversation {
    session: Session,
    ready: bool,
}

impl Conversation {
    /// A new one.
    pub fn new(session: Session) -> Conversation {
        Conversation { session, ready: false }
    }

    /// The answer to a command, and what is to be done when it is on its way.
    pub fn take(&mut self, frame: Frame) -> (Value, After) {
        let nothing = || -> After { Box::new(|| {}) };
        let parsed = match frame {
            Frame::Value(text) => serde_json::from_slice::<Value>(&text).map_err(|e| e.to_string()),
            Frame::Refused(why) => Err(why.to_string()),
        };
        let (id, result) = match parsed {
            Ok(Value::Object(mut command)) => (command.remove("id"), self.execute(command)),
            Ok(_) => (None, Err(QmpError::generic("QMP input must be a JSON object"))),
            Err(e) => (None, Err(QmpError::generic(format!("JSON parse error, {e}")))),
        };
        let (mut answer, after) = match result {
            Ok((value, after)) => (json!({ "return": value }), after.unwrap_or_else(nothing)),
            Err(e) => (json!({ "error": { "class": e.class.name(), "desc": e.text } }), nothing()),
        };
        if let Some(id) = id {
            answer["id"] = id;
        }
        (answer, after)
    }

    fn execute(&mut self, mut command: Map<String, Value>) -> Result<(Value, Option<After>), QmpError> {
        let name = match command.remove("execute") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(QmpError::generic("QMP input member 'execute' must be a string")),
            None if command.contains_key("exec-oob") => {
                return Err(QmpError::generic("QMP input member 'exec-oob' is unexpected: out-of-band execution is not enabled"));
            }
            None => return Err(QmpError::generic("QMP input lacks member 'execute'")),
        };
        let arguments = match command.remove("arguments") {
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(QmpError::generic("QMP input member 'arguments' must be an object")),
            None => Map::new(),
        };
        if let Some(other) = command.keys().next() {
            return Err(QmpError::generic(format!("QMP input member '{other}' is unexpected")));
        }
        let not_found = |text: String| QmpError { class: ErrorClass::CommandNotFound, text };
        if name == "qmp_capabilities" {
            if self.ready {
                return Err(not_found("Capabilities negotiation is already complete, command ignored".into()));
            }
            commands::negotiate(arguments)?;
            self.ready = true;
            return Ok((json!({}), None));
        }
        if !self.ready {
            return Err(not_found(format!("Expecting capabilities negotiation with 'qmp_capabilities' before command '{name}'")));
        }
        let command = commands::find(&name).ok_or_else(|| not_found(format!("The command {name} has not been found")))?;
        commands::run(command, &mut self.session, arguments)
    }
}
