//! Character back ends: `stdio`, `null`, `file:PATH`, `pty`, `unix:PATH[,server]`, `tcp:HOST:PORT[,server]`.
//!
//! Each has at most a writer and a reader thread; both end when their peer does. A server waits for one client at a time and takes
//! the next when it leaves; output without a client is dropped, as on an unplugged cable.

use crate::terminal::{self, Command, Escape};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What a serial port is connected to, as on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The terminal, or the standard streams.
    Stdio,
    /// Nothing.
    Null,
    /// Output to a file, which is created or emptied.
    File(String),
    /// A new pseudo-terminal; its name is printed.
    Pty,
    /// A Unix socket: connects, or listens.
    Unix {
        /// Path.
        path: String,
        /// Listen instead of connecting.
        server: bool,
    },
    /// A TCP socket: connects, or listens.
    Tcp {
        /// Host and port.
        address: String,
        /// Listen instead of connecting.
        server: bool,
    },
}

/// A back end that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one of the known forms.
    #[error("unknown serial back end `{0}`\n  help: one of stdio, null, file:PATH, pty, unix:PATH[,server], tcp:HOST:PORT[,server]")]
    Unknown(String),
    /// The host refused.
    #[error("cannot open serial back end `{backend}`: {source}")]
    Open {
        /// As on the command line.
        backend: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Backend, Error> {
        let (rest, server) = match text.strip_suffix(",server") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let unknown = || Error::Unknown(text.to_string());
        match rest.split_once(':') {
            None if server => Err(unknown()),
            None => match rest {
                "stdio" => Ok(Backend::Stdio),
                "null" | "none" => Ok(Backend::Null),
                "pty" => Ok(Backend::Pty),
                _ => Err(unknown()),
            },
            Some((_, "")) => Err(unknown()),
            Some(("file", path)) if !server => Ok(Backend::File(path.to_string())),
            Some(("unix", path)) => Ok(Backend::Unix { path: path.to_string(), server }),
            Some(("tcp", address)) if address.contains(':') => Ok(Backend::Tcp { address: address.to_string(), server }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = |server: &bool| if *server { ",server" } else { "" };
        match self {
            Backend::Stdio => f.write_str("stdio"),
            Backend::Null => f.write_str("null"),
            Backend::Pty => f.write_str("pty"),
            Backend::File(path) => write!(f, "file:{path}"),
            Backend::Unix { path, server } => write!(f, "unix:{path}{}", tail(server)),
            Backend::Tcp { address, server } => write!(f, "tcp:{address}{}", tail(server)),
        }
    }
}

/// Called with bytes for the guest, from a reader thread.
pub type Input = Arc<dyn Fn(&[u8]) + Send + Sync>;
/// Called with console commands, from a reader thread.
pub type Commands = Arc<dyn Fn(Command) + Send + Sync>;

/// The sending side of a back end: never blocks; dropped, it waits until everything queued is written.
#[derive(Debug)]
pub struct Output {
    queue: Option<Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
}

impl Output {
    /// Queues bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(bytes.to_vec());
        }
    }

    fn none() -> Output {
        Output { queue: None, writer: None }
    }

    fn start(mut write: impl FnMut(&[u8]) + Send + 'static) -> Output {
        let (queue, pending): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
        let writer = thread::spawn(move || {
            while let Ok(mut bytes) = pending.recv() {
                // One system call for all that is waiting.
                while let Ok(more) = pending.try_recv() {
                    bytes.extend(more);
                }
                write(&bytes);
            }
        });
        Output { queue: Some(queue), writer: Some(writer) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Opens a back end. `input` and `commands` are called from its reader thread.
///
/// # Errors
/// [`Error::Open`] with the host's reason.
pub fn open(backend: &Backend, input: Input, commands: Commands) -> Result<Output, Error> {
    let fail = |source| Error::Open { backend: backend.to_string(), source };
    match backend {
        Backend::Null => Ok(Output::none()),
        Backend::Stdio => Ok(stdio(input, commands)),
        Backend::File(path) => {
            let mut file = std::fs::File::create(path).map_err(fail)?;
            Ok(Output::start(move |bytes| {
                let _ = file.write_all(bytes);
            }))
        }
        Backend::Pty => pty(input).map_err(fail),
        Backend::Unix { path, server: false } => {
            let stream = UnixStream::connect(path).map_err(fail)?;
            let writer = stream.try_clone().map_err(fail)?;
            Ok(stream_pair(stream, writer, input))
        }
        Backend::Tcp { address, server: false } => {
            let stream = TcpStream::connect(address).map_err(fail)?;
            let writer = stream.try_clone().map_err(fail)?;
            Ok(stream_pair(stream, writer, input))
        }
        Backend::Unix { path, server: true } => {
            // A stale socket of an earlier run is in the way; anything else there is not ours to remove.
            if std::fs::symlink_metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path).map_err(fail)?;
            Ok(server(move || listener.accept().and_then(|(s, _)| Ok((s.try_clone()?, s))), input))
        }
        Backend::Tcp { address, server: true } => {
            let listener = TcpListener::bind(address).map_err(fail)?;
            Ok(server(move || listener.accept().and_then(|(s, _)| Ok((s.try_clone()?, s))), input))
        }
    }
}

fn read_all(mut from: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => take(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn stdio(input: Input, commands: Commands) -> Output {
    terminal::raw();
    let tty = rustix::termios::isatty(io::stdin());
    thread::spawn(move || {
        let mut escape = Escape::default();
        read_all(io::stdin(), |bytes| {
            // Escapes are for people: a pipe's bytes go through as they are.
            if !tty {
                return input(bytes);
            }
            let (bytes, found) = escape.feed(bytes);
            if !bytes.is_empty() {
                input(&bytes);
            }
            for command in found {
                commands(command);
            }
        });
    });
    Output::start(|bytes| {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes);
        let _ = out.flush();
    })
}

fn stream_pair(reader: impl Read + Send + 'static, mut writer: impl Write + Send + 'static, input: Input) -> Output {
    thread::spawn(move || read_all(reader, |bytes| input(bytes)));
    Output::start(move |bytes| {
        let _ = writer.write_all(bytes);
    })
}

/// Serves one client after the other.
fn server<S: Read + Write + Send + 'static>(accept: impl Fn() -> io::Result<(S, S)> + Send + 'static, input: Input) -> Output {
    let client: Arc<Mutex<Option<S>>> = Arc::default();
    let current = client.clone();
    thread::spawn(move || {
        while let Ok((reader, writer)) = accept() {
            *current.lock().unwrap_or_else(|e| e.into_inner()) = Some(writer);
            read_all(reader, |bytes| input(bytes));
            *current.lock().unwrap_or_else(|e| e.into_inner()) = None;
        }
    });
    Output::start(move |bytes| {
        if let Some(client) = client.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
            let _ = client.write_all(bytes);
        }
    })
}

fn pty(input: Input) -> io::Result<Output> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    // Raw, so that the guest's bytes are not edited on the way; and held open, so that reads do not fail while nobody is there.
    let slave = std::fs::OpenOptions::new().read(true).write(true).open(&name)?;
    let mut settings = rustix::termios::tcgetattr(&slave)?;
    settings.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings)?;
    eprintln!("serial port on {name}");
    let master = std::fs::File::from(master);
    let mut writer = master.try_clone()?;
    thread::spawn(move || {
        let _held = slave;
        read_all(master, |bytes| input(bytes));
    });
    Ok(Output::start(move |bytes| {
        let _ = writer.write_all(bytes);
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn nothing() -> Commands {
        Arc::new(|_| {})
    }

    #[test]
    fn backends_are_named_as_on_the_command_line() {
        for text in ["stdio", "null", "pty", "file:/tmp/x", "unix:/tmp/s,server", "tcp:127.0.0.1:5555", "tcp:localhost:1,server"] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        for text in ["", "std", "file:", "tcp:99", "stdio,server", "file:x,server"] {
            assert!(matches!(text.parse::<Backend>(), Err(Error::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn a_socket_server_carries_bytes_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial").to_string_lossy().into_owned();
        let (to_test, received) = channel();
        let to_test = Mutex::new(to_test);
        let input: Input = Arc::new(move |bytes| to_test.lock().unwrap().send(bytes.to_vec()).unwrap());
        let mut output = open(&Backend::Unix { path: path.clone(), server: true }, input, nothing()).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        assert_eq!(received.recv_timeout(Duration::from_secs(10)).unwrap(), b"hello");
        output.send(b"there");
        let mut got = [0; 5];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"there");
    }

    #[test]
    fn a_file_has_everything_once_the_output_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut output = open(&Backend::File(path.to_string_lossy().into_owned()), Arc::new(|_| {}), nothing()).unwrap();
        for _ in 0..1000 {
            output.send(b"line\n");
        }
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap().len(), 5000);
    }
}
