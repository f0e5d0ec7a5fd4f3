//! `--gdb` and `--paused`: a machine that debuggers may connect to while it runs, or a program that waits for one.

use emu_debug::gdb::{End, serve};
use emu_debug::user;
use emu_machine::{Exit, Machine};
use emu_user::debug::{Debuggee, forget, reserve};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

/// Where debuggers connect.
pub enum Listener {
    /// `[HOST:]PORT`
    Tcp(TcpListener),
    /// `unix:PATH`
    Unix(UnixListener),
}

impl Listener {
    /// Listens on `[HOST:]PORT` (the host is this one if it is not given) or `unix:PATH`.
    ///
    /// # Errors
    /// What is wrong with the address, in words.
    pub fn new(address: &str) -> Result<Listener, String> {
        let said = |e: std::io::Error| format!("--gdb {address}: {e}");
        if let Some(path) = address.strip_prefix("unix:") {
            // A socket that an earlier run left behind is in the way.
            if std::fs::metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
                std::fs::remove_file(path).map_err(said)?;
            }
            return UnixListener::bind(path).map(Listener::Unix).map_err(said);
        }
        let full = if address.contains(':') { address.to_string() } else { format!("127.0.0.1:{address}") };
        TcpListener::bind(&full).map(Listener::Tcp).map_err(|e| format!("{}\n  help: --gdb [HOST:]PORT or unix:PATH", said(e)))
    }

    /// The same, where a program that is run does not find its descriptor.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn reserved(self) -> std::io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(l) => Listener::Tcp(reserve(l.into())?.into()),
            Listener::Unix(l) => Listener::Unix(reserve(l.into())?.into()),
        })
    }

    /// Serves debuggers of a program, one after the other.
    pub fn serve_program(&self, program: &Arc<dyn Debuggee>) {
        loop {
            let served = match self {
                Listener::Tcp(l) => l.accept().and_then(|(c, _)| {
                    _ = c.set_nodelay(true);
                    let fd = reserve(c.into())?;
                    Ok((fd.as_raw_fd(), user::serve(program, TcpStream::from(fd))))
                }),
                Listener::Unix(l) => l.accept().and_then(|(c, _)| {
                    let fd = reserve(c.into())?;
                    Ok((fd.as_raw_fd(), user::serve(program, UnixStream::from(fd))))
                }),
            };
            if let Ok((fd, _)) = &served {
                forget(*fd);
            }
            match served {
                Ok((_, Ok(()))) => {}
                Ok((_, Err(e))) => eprintln!("the debugger's connection ended: {e}"),
                Err(e) => {
                    eprintln!("error: --gdb: {e}");
                    return program.leave();
                }
            }
        }
    }

    /// Serves a debugger if one wants to connect. What it finds held only for it (`paused`) goes on as it says.
    fn serve(&self, machine: &mut Machine, paused: bool) -> Option<Result<End, String>> {
        let begin = |machine: &mut Machine| {
            if paused {
                machine.resume();
            }
        };
        match self {
            Listener::Tcp(l) => l.accept().ok().map(|(c, _)| {
                _ = c.set_nonblocking(false);
                _ = c.set_nodelay(true);
                begin(machine);
                serve(machine, c)
            }),
            Listener::Unix(l) => l.accept().ok().map(|(c, _)| {
                _ = c.set_nonblocking(false);
                begin(machine);
                serve(machine, c)
            }),
        }
    }
}

/// Runs the machine, and serves debuggers, one at a time. `paused`: it is held until the first has connected, or the monitor lets it go.
///
/// # Errors
/// As [`Machine::run`].
pub fn run(machine: &mut Machine, listener: &Listener, mut paused: bool) -> Result<Exit, String> {
    _ = match listener {
        Listener::Tcp(l) => l.set_nonblocking(true),
        Listener::Unix(l) => l.set_nonblocking(true),
    };
    loop {
        let session = listener.serve(machine, paused);
        paused &= session.is_none();
        match session {
            Some(Ok(End::Exited(exit))) => return Ok(exit),
            Some(Ok(End::Killed)) => return Ok(Exit::Stopped(0)),
            Some(Ok(End::Detached)) | None => {}
            Some(Err(e)) => return Err(e),
        }
        if let Some(exit) = machine.round()? {
            return Ok(exit);
        }
    }
}
