//! Character back ends: `stdio`, `null`, `file:PATH[,append]`, `pty`, `unix:PATH`, `tcp:HOST:PORT` and `telnet:HOST:PORT`; sockets with `,server`,
//! `,wait` or `,reconnect=SECONDS`.
//!
//! Guest -> [`Output::send`], a queue of [`QUEUE`] bytes, after which the device is told to wait -> a writer thread -> the host; and back: a reader
//! thread -> [`Ends::input`], which may wait. A server waits for one client at a time and takes the next when it leaves; output without a client is
//! dropped, as on an unplugged cable. A client that does not read makes the guest wait.

use crate::telnet;
use crate::terminal::{self, Command, Escape, Typed};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes that wait for the host before the device is told to wait.
pub const QUEUE: usize = 64 << 10;
/// How long the end of a run waits for a host that does not take the last bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a serial port is connected to, as on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The terminal, or the standard streams.
    Stdio,
    /// Nothing.
    Null,
    /// Output to a file, which is created, and emptied or appended to.
    File {
        /// Path.
        path: String,
        /// Keep what it has.
        append: bool,
    },
    /// A new pseudo-terminal; its name is printed.
    Pty,
    /// A socket.
    Socket(Address, Way),
}

/// Where a socket is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A Unix socket's path.
    Unix(String),
    /// Host and port.
    Tcp(String),
    /// Host and port, with the Telnet protocol (RFC 854).
    Telnet(String),
}

/// How a socket comes to its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// Listens, instead of connecting.
    pub server: bool,
    /// The run does not begin before the peer is there.
    pub wait: bool,
    /// A client connects again after so many seconds when it has lost its peer, or not found it.
    pub reconnect: Option<u64>,
}

/// A back end that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one of the known forms.
    #[error(
        "unknown back end `{0}`\n  help: one of stdio, null, file:PATH[,append], pty, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT; \
         sockets may have ,server ,wait ,reconnect=SECONDS"
    )]
    Unknown(String),
    /// The host refused.
    #[error("cannot open back end `{backend}`: {source}")]
    Open {
        /// As on the command line.
        backend: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody can speak through it.
    #[error("nobody can speak through `{0}`\n  help: one of stdio, pty, unix:PATH[,server], tcp:HOST:PORT[,server]")]
    OneWay(String),
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Backend, Error> {
        let unknown = || Error::Unknown(text.to_string());
        let (mut rest, mut append, mut way) = (text, false, Way::default());
        while let Some((before, option)) = rest.rsplit_once(',') {
            match option {
                "append" => append = true,
                "server" => way.server = true,
                "wait" => way.wait = true,
                _ => match option.strip_prefix("reconnect=") {
                    Some(seconds) => way.reconnect = Some(seconds.parse().ok().filter(|s| (1..=86_400).contains(s)).ok_or_else(unknown)?),
                    None => break,
                },
            }
            rest = before;
        }
        let host = |address: &str| if address.contains(':') { Ok(address.to_string()) } else { Err(unknown()) };
        let backend = match rest.split_once(':') {
            None => match rest {
                "stdio" => Backend::Stdio,
                "null" | "none" => Backend::Null,
                "pty" => Backend::Pty,
                _ => return Err(unknown()),
            },
            Some((_, "")) => return Err(unknown()),
            Some(("file", path)) => Backend::File { path: path.to_string(), append },
            Some(("unix", path)) => Backend::Socket(Address::Unix(path.to_string()), way),
            Some(("tcp", address)) => Backend::Socket(Address::Tcp(host(address)?), way),
            Some(("telnet", address)) => Backend::Socket(Address::Telnet(host(address)?), way),
            _ => return Err(unknown()),
        };
        let fits = match backend {
            Backend::Socket(..) => !(append || way.server && way.reconnect.is_some()),
            Backend::File { .. } => way == Way::default(),
            _ => !append && way == Way::default(),
        };
        if fits { Ok(backend) } else { Err(unknown()) }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Stdio => f.write_str("stdio"),
            Backend::Null => f.write_str("null"),
            Backend::Pty => f.write_str("pty"),
            Backend::File { path, append } => write!(f, "file:{path}{}", if *append { ",append" } else { "" }),
            Backend::Socket(address, way) => {
                match address {
                    Address::Unix(path) => write!(f, "unix:{path}")?,
                    Address::Tcp(address) => write!(f, "tcp:{address}")?,
                    Address::Telnet(address) => write!(f, "telnet:{address}")?,
                }
                f.write_str(if way.server { ",server" } else { "" })?;
                f.write_str(if way.wait { ",wait" } else { "" })?;
                way.reconnect.map_or(Ok(()), |seconds| write!(f, ",reconnect={seconds}"))
            }
        }
    }
}

/// What a back end calls, from its threads.
#[derive(Clone)]
pub struct Ends {
    /// Takes bytes for the guest, and may wait until it has room; false: nobody wants them any more.
    pub input: Arc<dyn Fn(&[u8]) -> bool + Send + Sync>,
    /// Hears of console commands.
    pub commands: Arc<dyn Fn(Command) + Send + Sync>,
    /// An output that was full takes bytes again.
    pub drained: Arc<dyn Fn() + Send + Sync>,
}

/// The sending side of a back end; dropped, it waits a while until everything queued is written.
pub struct Output {
    queue: Option<Sender<Vec<u8>>>,
    /// Bytes in it.
    queued: Arc<AtomicUsize>,
    /// Closed when the writer has ended.
    ended: Receiver<()>,
}

impl Output {
    /// Queues bytes, never blocks; false: it is full, but took them. [`Ends::drained`] is called later.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(queue) = &self.queue else { return true };
        let before = self.queued.fetch_add(bytes.len(), Ordering::AcqRel);
        _ = queue.send(bytes.to_vec());
        before + bytes.len() < QUEUE
    }

    fn none() -> Output {
        Output { queue: None, queued: Arc::default(), ended: channel().1 }
    }

    fn start(drained: Arc<dyn Fn() + Send + Sync>, mut write: impl FnMut(&[u8]) + Send + 'static) -> Output {
        let (queue, pending): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
        let (lives, ended) = channel();
        let queued = Arc::<AtomicUsize>::default();
        let counter = queued.clone();
        thread::spawn(move || {
            let _lives = lives;
            while let Ok(mut bytes) = pending.recv() {
                // One system call for all that is waiting.
                while let Ok(more) = pending.try_recv() {
                    bytes.extend(more);
                }
                write(&bytes);
                if counter.fetch_sub(bytes.len(), Ordering::AcqRel) >= QUEUE {
                    drained();
                }
            }
        });
        Output { queue: Some(queue), queued, ended }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.queue.take().is_some() {
            _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

/// Opens a back end.
///
/// # Errors
/// [`Error::Open`] with the host's reason.
pub fn open(backend: &Backend, ends: Ends) -> Result<Output, Error> {
    let fail = |source| Error::Open { backend: backend.to_string(), source };
    match backend {
        Backend::Null => Ok(Output::none()),
        Backend::Stdio => Ok(stdio(ends)),
        Backend::File { path, append } => {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).write(true).append(*append).truncate(!append).open(path).map_err(fail)?;
            Ok(Output::start(ends.drained, move |bytes| _ = file.write_all(bytes)))
        }
        Backend::Pty => pty(ends).map_err(fail),
        Backend::Socket(address, way) => socket(backend, address, *way, ends).map_err(fail),
    }
}

fn read_all(mut from: impl Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(n) if n > 0 => {
                if !take(&buffer[..n]) {
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

fn stdio(ends: Ends) -> Output {
    terminal::raw();
    let tty = rustix::termios::isatty(io::stdin());
    let (input, commands) = (ends.input, ends.commands);
    thread::spawn(move || {
        let mut escape = Escape::default();
        read_all(io::stdin(), |bytes| {
            // Escapes are for people: a pipe's bytes go through as they are.
            if !tty {
                return input(bytes);
            }
            escape.feed(bytes).into_iter().all(|typed| match typed {
                Typed::Bytes(bytes) => input(&bytes),
                Typed::Command(command) => {
                    commands(command);
                    true
                }
            })
        });
    });
    Output::start(ends.drained, |bytes| {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes);
        let _ = out.flush();
    })
}

/// A connection.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Unix(s) => Stream::Unix(s.try_clone()?),
            Stream::Tcp(s) => Stream::Tcp(s.try_clone()?),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.read(buffer),
            Stream::Tcp(s) => s.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.write(bytes),
            Stream::Tcp(s) => s.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the next connection.
pub(crate) type Next = Box<dyn FnMut() -> io::Result<Stream> + Send>;

/// Gives connections to a peer, or of clients.
pub(crate) fn next(address: &Address, server: bool) -> io::Result<Next> {
    Ok(match (address.clone(), server) {
        (Address::Unix(path), false) => Box::new(move || UnixStream::connect(&path).map(Stream::Unix)),
        (Address::Unix(path), true) => {
            // A stale socket of an earlier run is in the way; anything else there is not ours to remove.
            if std::fs::symlink_metadata(&path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
                let _ = std::fs::remove_file(&path);
            }
            let listener = UnixListener::bind(path)?;
            Box::new(move || listener.accept().map(|(s, _)| Stream::Unix(s)))
        }
        (Address::Tcp(address) | Address::Telnet(address), false) => Box::new(move || {
            let stream = TcpStream::connect(&address)?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }),
        (Address::Tcp(address) | Address::Telnet(address), true) => {
            let listener = TcpListener::bind(address)?;
            Box::new(move || {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            })
        }
    })
}

fn socket(backend: &Backend, address: &Address, way: Way, ends: Ends) -> io::Result<Output> {
    let telnet = matches!(address, Address::Telnet(_));
    let mut next = next(address, way.server)?;
    let mut first = None;
    if way.wait {
        eprintln!("waiting for the peer of {backend}");
    }
    if way.wait || !way.server {
        first = match (next(), way.reconnect) {
            (Err(_), Some(_)) if !way.wait => None,
            (Err(_), Some(seconds)) => Some(patiently(&mut next, seconds)?),
            (stream, _) => Some(stream?),
        };
    }
    let peer: Arc<Mutex<Option<Stream>>> = Arc::default();
    let lock = |peer: &Mutex<Option<Stream>>, stream| *peer.lock().unwrap_or_else(|e| e.into_inner()) = stream;
    let (current, input) = (peer.clone(), ends.input);
    let serve = move |reader: Stream| {
        let Ok(mut writer) = reader.try_clone() else { return true };
        let mut decoder = telnet.then(telnet::Decoder::default);
        if telnet && way.server {
            _ = writer.write_all(telnet::GREETING);
        }
        lock(&current, Some(writer));
        let mut wanted = true;
        read_all(reader, |bytes| {
            wanted = match &mut decoder {
                Some(decoder) => input(&decoder.feed(bytes)),
                None => input(bytes),
            };
            wanted
        });
        lock(&current, None);
        wanted
    };
    thread::spawn(move || {
        if first.is_some_and(|first| !serve(first)) {
            return;
        }
        loop {
            let stream = match way.reconnect {
                Some(seconds) => patiently(&mut next, seconds),
                None if way.server => next(),
                None => return,
            };
            // What cannot be accepted will not be better at once.
            match stream.map(&serve) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    Ok(Output::start(ends.drained, move |bytes| {
        // The lock is not held while the peer lets us wait: the reader may find that it has gone.
        let writer = peer.lock().unwrap_or_else(|e| e.into_inner()).as_ref().and_then(|s| s.try_clone().ok());
        if let Some(mut writer) = writer {
            let _ = if telnet { writer.write_all(&telnet::encode(bytes)) } else { writer.write_all(bytes) };
        }
    }))
}

/// Tries again and again.
fn patiently(next: &mut Next, seconds: u64) -> io::Result<Stream> {
    loop {
        if let Ok(stream) = next() {
            return Ok(stream);
        }
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// A new pseudo-terminal: our side, the other side, which is to be kept, and its name.
pub(crate) fn open_pty() -> io::Result<(File, File, String)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    // Raw, so that the guest's bytes are not edited on the way; and held open, so that reads do not fail while nobody is there.
    let slave = OpenOptions::new().read(true).write(true).open(&name)?;
    let mut settings = rustix::termios::tcgetattr(&slave)?;
    settings.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings)?;
    Ok((File::from(master), slave, name))
}

fn pty(ends: Ends) -> io::Result<Output> {
    let (master, slave, name) = open_pty()?;
    eprintln!("serial port on {name}");
    let mut writer = master.try_clone()?;
    let input = ends.input;
    thread::spawn(move || {
        let _held = slave;
        read_all(master, |bytes| input(bytes));
    });
    Ok(Output::start(ends.drained, move |bytes| _ = writer.write_all(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Ends that go to a test: bytes received, and how often it drained.
    fn ends() -> (Ends, Receiver<Vec<u8>>, Arc<AtomicUsize>) {
        let (to_test, received) = channel();
        let drains = Arc::<AtomicUsize>::default();
        let count = drains.clone();
        let ends = Ends {
            input: Arc::new(move |bytes| to_test.send(bytes.to_vec()).is_ok()),
            commands: Arc::new(|_| {}),
            drained: Arc::new(move || _ = count.fetch_add(1, Ordering::SeqCst)),
        };
        (ends, received, drains)
    }

    fn next_of(received: &Receiver<Vec<u8>>, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            all.extend(received.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        all
    }

    #[test]
    fn backends_are_named_as_on_the_command_line() {
        for text in [
            "stdio",
            "null",
            "pty",
            "file:/tmp/x",
            "file:/tmp/x,append",
            "unix:/tmp/s,server",
            "unix:/tmp/a,b,server,wait",
            "tcp:127.0.0.1:5555",
            "tcp:localhost:1,server",
            "tcp:localhost:1,wait,reconnect=3",
            "telnet:localhost:1,server",
        ] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "std",
            "file:",
            "tcp:99",
            "stdio,server",
            "file:x,server",
            "tcp:h:1,append",
            "tcp:h:1,server,reconnect=1",
            "tcp:h:1,reconnect=0",
        ];
        for text in wrong {
            assert!(matches!(text.parse::<Backend>(), Err(Error::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn a_server_carries_bytes_both_ways_for_one_client_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial").to_string_lossy().into_owned();
        let (ends, received, _) = ends();
        let mut output = open(&format!("unix:{path},server").parse().unwrap(), ends).unwrap();
        for _ in 0..3 {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(b"hello").unwrap();
            assert_eq!(next_of(&received, 5), b"hello");
            output.send(b"there");
            let mut got = [0; 5];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"there");
        }
    }

    #[test]
    fn a_client_that_does_not_read_makes_the_guest_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial").to_string_lossy().into_owned();
        let (ends, received, drains) = ends();
        let mut output = open(&format!("unix:{path},server").parse().unwrap(), ends).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        next_of(&received, 1);
        let chunk = [7; 1024];
        let begun = Instant::now();
        let mut sent = 0;
        // What the host's socket takes comes first.
        while output.send(&chunk) {
            sent += chunk.len();
            assert!(sent < 64 << 20 && begun.elapsed() < Duration::from_secs(10), "never full");
        }
        sent += chunk.len();
        let before = drains.load(Ordering::SeqCst);
        let mut got = vec![0; sent];
        client.read_exact(&mut got).unwrap();
        while drains.load(Ordering::SeqCst) == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "never drained");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(output.send(b"more"));
    }

    #[test]
    fn a_client_of_ours_comes_back_when_its_server_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial").to_string_lossy().into_owned();
        let (ends, received, _) = ends();
        let _output = open(&format!("unix:{path},reconnect=1").parse().unwrap(), ends).unwrap();
        for _ in 0..2 {
            _ = std::fs::remove_file(&path);
            let mut stream = UnixListener::bind(&path).unwrap().accept().unwrap().0;
            stream.write_all(b"hello").unwrap();
            assert_eq!(next_of(&received, 5), b"hello");
        }
    }

    #[test]
    fn telnet_clients_are_asked_for_single_keys() {
        let (ends, received, _) = ends();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut output = open(&format!("telnet:{address},server").parse().unwrap(), ends).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let mut got = [0; 12];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, telnet::GREETING);
        client.write_all(&[255, 253, 1, b'h', 255, 255]).unwrap();
        assert_eq!(next_of(&received, 2), [b'h', 255]);
        output.send(&[1, 255]);
        client.read_exact(&mut got[..3]).unwrap();
        assert_eq!(got[..3], [1, 255, 255]);
    }

    #[test]
    fn a_file_has_everything_once_the_output_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log").to_string_lossy().into_owned();
        for (option, length) in [("", 5000), ("", 5000), (",append", 10_000)] {
            let mut output = open(&format!("file:{path}{option}").parse().unwrap(), ends().0).unwrap();
            for _ in 0..1000 {
                output.send(b"line\n");
            }
            drop(output);
            assert_eq!(std::fs::read(&path).unwrap().len(), length);
        }
    }
}
