//! Network back ends as they are written on the command line.
//!
//! `none`, `user[,OPTION]...`, `tap:IFNAME`, `cable:NIC`, `socket:OPTION[,OPTION]`, each with `,dump=FILE` if wanted. A comma inside a value is written twice, as in
//! QEMU. Nothing is opened here; host names are looked up by [`super::open`].

use super::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;

/// A network back end, as on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What the guest is connected to.
    pub kind: Kind,
    /// Every frame is recorded here, in both directions.
    pub dump: Option<PathBuf>,
}

/// What a guest's network port is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing: frames are lost.
    None,
    /// A private network with address translation, for which the host needs no privileges.
    User(User),
    /// A tap interface of the host.
    Tap(String),
    /// Another emulator, through a socket.
    Socket(Socket),
    /// Another network port of the same machine, by its name.
    Cable(String),
}

/// Settings of the private network.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Its addresses.
    pub net: Net,
    /// Ports of the host that lead to the guest.
    pub hostfwd: Vec<HostFwd>,
    /// Addresses that lead to services of the host.
    pub guestfwd: Vec<GuestFwd>,
    /// A directory the gateway serves by TFTP.
    pub tftp: Option<PathBuf>,
    /// The file that DHCP tells the guest to boot.
    pub bootfile: Option<String>,
    /// Nothing outside can be reached, but for forwards.
    pub restrict: bool,
    /// The resolver that queries are forwarded to, instead of the host's first.
    pub dns: Option<SocketAddr>,
    /// The name DHCP gives to the guest.
    pub hostname: Option<String>,
}

/// The private network: the gateway is its second address, the name server its third, and DHCP gives addresses from the fifteenth on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    /// The network's address; host bits are zero.
    pub address: Ipv4Addr,
    /// Bits of the network, 8 to 27.
    pub prefix: u8,
}

impl Default for Net {
    fn default() -> Net {
        Net { address: Ipv4Addr::new(10, 0, 2, 0), prefix: 24 }
    }
}

impl Net {
    /// The network mask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(self.prefix)))
    }

    /// The address so far from the first.
    pub fn host(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | number)
    }

    /// The router, and the host itself.
    pub fn gateway(self) -> Ipv4Addr {
        self.host(2)
    }

    /// The name server.
    pub fn dns(self) -> Ipv4Addr {
        self.host(3)
    }

    /// The first address that DHCP gives.
    pub fn first(self) -> Ipv4Addr {
        self.host(15)
    }

    /// The broadcast address.
    pub fn broadcast(self) -> Ipv4Addr {
        self.host(!self.mask().to_bits())
    }

    /// Whether an address lies inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask().to_bits() == self.address.to_bits()
    }

    /// Whether a guest may have this address: inside, and neither ours nor the network's.
    pub fn is_guest(self, address: Ipv4Addr) -> bool {
        self.contains(address) && ![self.address, self.gateway(), self.dns(), self.broadcast()].contains(&address)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host that leads to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFwd {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where the host listens; the unspecified address is all of the host's.
    pub host: SocketAddrV4,
    /// The guest's address; none is the first that DHCP gives.
    pub guest: Option<Ipv4Addr>,
    /// The guest's port.
    pub port: u16,
}

/// An address that leads to a service of the host, by TCP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestFwd {
    /// What the guest connects to.
    pub address: SocketAddrV4,
    /// What answers.
    pub target: Target,
}

/// What answers a forwarded connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A TCP service, host and port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
    /// A shell command, started for each connection, with the connection as its standard input and output.
    Command(String),
}

/// A connection to another emulator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Socket {
    /// A stream to one that listens.
    Connect(Peer),
    /// A stream from one that connects; one at a time.
    Listen(Peer),
    /// A frame in each datagram.
    Udp {
        /// Where frames go.
        remote: String,
        /// Where they come from.
        local: String,
    },
}

/// An address of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Host and port.
    Tcp(String),
    /// A path.
    Unix(PathBuf),
}

const FORMS: &str = "one of none, user[,OPTION]..., tap:IFNAME, cable:NIC, socket:connect=HOST:PORT, socket:listen=HOST:PORT, \
                     socket:udp=HOST:PORT,localaddr=HOST:PORT; each with ,dump=FILE";
const USER: &str = "net=ADDRESS/BITS, hostfwd=tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, guestfwd=tcp:ADDR:PORT-TARGET, tftp=DIR, \
                    bootfile=NAME, restrict, dns=ADDR[:PORT], hostname=NAME, dump=FILE";
const SOCKET: &str = "connect=HOST:PORT or unix:PATH, listen=HOST:PORT or unix:PATH, udp=HOST:PORT with localaddr=HOST:PORT, dump=FILE";
const HOSTFWD: &str = "tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, such as tcp:127.0.0.1:2222-:22";
const GUESTFWD: &str = "tcp:ADDR:PORT-TARGET, the target tcp:HOST:PORT, unix:PATH or cmd:COMMAND";

/// Splits at commas; two are one that does not split.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ',' && rest.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn value(option: &str, value: &str, want: &'static str) -> Error {
    Error::Value { option: option.into(), value: value.into(), want }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Spec, Error> {
        let parts = split(text);
        let (head, mut options) = (parts[0].as_str(), &parts[1..]);
        let mut kind = match head.split_once(':') {
            None if head == "none" => Kind::None,
            None if head == "user" => Kind::User(User::default()),
            Some(("tap", name)) => Kind::Tap(interface(name)?),
            Some(("cable", name)) if !name.is_empty() => Kind::Cable(name.into()),
            Some(("socket", _)) => {
                options = &parts;
                Kind::None
            }
            _ => return Err(Error::Unknown { text: text.into(), forms: FORMS }),
        };
        let (mut dump, mut socket) = (None, SocketParts::default());
        for option in options {
            let option = option.strip_prefix("socket:").filter(|_| head.starts_with("socket:") && option == head).unwrap_or(option);
            let (name, text) = option.split_once('=').unwrap_or((option, ""));
            if name == "dump" {
                if text.is_empty() {
                    return Err(value(name, text, "the name of a file"));
                }
                once(&mut dump, name, PathBuf::from(text))?;
            } else if head.starts_with("socket:") {
                socket.set(name, text)?;
            } else if let Kind::User(user) = &mut kind {
                user.set(name, text)?;
            } else {
                return Err(Error::Option { option: name.into(), backend: head.into(), known: "dump=FILE" });
            }
        }
        if head.starts_with("socket:") {
            kind = Kind::Socket(socket.finish(text)?);
        }
        if let Kind::User(user) = &kind {
            user.check()?;
        }
        Ok(Spec { kind, dump })
    }
}

fn once<T>(slot: &mut Option<T>, name: &str, new: T) -> Result<(), Error> {
    if slot.replace(new).is_some() { Err(Error::Twice { option: name.into() }) } else { Ok(()) }
}

/// The kernel's limit for names of interfaces is 15 bytes.
fn interface(name: &str) -> Result<String, Error> {
    let fine = (1..16).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if fine { Ok(name.into()) } else { Err(value("tap", name, "the name of an interface, at most 15 characters")) }
}

impl User {
    fn set(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let filled = |want| if text.is_empty() { Err(value(name, text, want)) } else { Ok(()) };
        match name {
            "net" => self.net = text.parse()?,
            "hostfwd" => self.hostfwd.push(text.parse()?),
            "guestfwd" => self.guestfwd.push(text.parse()?),
            "tftp" => {
                filled("a directory")?;
                once(&mut self.tftp, name, text.into())?;
            }
            "bootfile" => {
                filled("the name of a file, at most 127 characters")?;
                if text.len() > 127 {
                    return Err(value(name, text, "the name of a file, at most 127 characters"));
                }
                once(&mut self.bootfile, name, text.into())?;
            }
            "hostname" => {
                if !(1..=63).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
                    return Err(value(name, text, "letters, digits, `-` and `.`, at most 63"));
                }
                once(&mut self.hostname, name, text.into())?;
            }
            "dns" => {
                let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)));
                once(&mut self.dns, name, address.map_err(|_| value(name, text, "an address, or ADDRESS:PORT"))?)?;
            }
            "restrict" => {
                self.restrict = match text {
                    "" | "on" | "yes" | "y" => true,
                    "off" | "no" | "n" => false,
                    _ => return Err(value(name, text, "on or off")),
                }
            }
            _ => return Err(Error::Option { option: name.into(), backend: "user".into(), known: USER }),
        }
        Ok(())
    }

    /// Forwards need addresses of the network, which may be given after them.
    fn check(&self) -> Result<(), Error> {
        for forward in &self.hostfwd {
            if forward.guest.is_some_and(|guest| !self.net.is_guest(guest)) {
                return Err(value("hostfwd", &forward.to_string(), "a guest's address inside the network"));
            }
        }
        for forward in &self.guestfwd {
            let ip = *forward.address.ip();
            if !self.net.contains(ip) || ip == self.net.address || ip == self.net.broadcast() || ip == self.net.first() {
                return Err(value("guestfwd", &forward.to_string(), "an address inside the network that is not the guest's"));
            }
        }
        Ok(())
    }
}

impl FromStr for Net {
    type Err = Error;

    fn from_str(text: &str) -> Result<Net, Error> {
        let bad = || value("net", text, "ADDRESS/BITS, 8 to 27 bits, such as 10.0.2.0/24");
        let (address, prefix) = text.split_once('/').unwrap_or((text, "24"));
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?);
        if !(8..=27).contains(&prefix) || address.is_multicast() || address.is_loopback() || address.octets()[0] == 0 {
            return Err(bad());
        }
        let net = Net { address, prefix };
        Ok(Net { address: Ipv4Addr::from_bits(address.to_bits() & net.mask().to_bits()), prefix })
    }
}

impl FromStr for HostFwd {
    type Err = Error;

    fn from_str(text: &str) -> Result<HostFwd, Error> {
        let parse = || {
            let (transport, rest) = text.split_once(':')?;
            let transport = match transport {
                "tcp" => Transport::Tcp,
                "udp" => Transport::Udp,
                _ => return None,
            };
            let (host, guest) = rest.split_once('-')?;
            let half = |text: &str| {
                let (ip, port) = text.split_once(':')?;
                let ip = if ip.is_empty() { None } else { Some(ip.parse::<Ipv4Addr>().ok()?) };
                Some((ip, port.parse::<u16>().ok().filter(|&p| p != 0)?))
            };
            let ((host, host_port), (guest, port)) = (half(host)?, half(guest)?);
            Some(HostFwd { transport, host: SocketAddrV4::new(host.unwrap_or(Ipv4Addr::UNSPECIFIED), host_port), guest, port })
        };
        parse().ok_or_else(|| value("hostfwd", text, HOSTFWD))
    }
}

impl FromStr for GuestFwd {
    type Err = Error;

    fn from_str(text: &str) -> Result<GuestFwd, Error> {
        let parse = || {
            let (address, target) = text.strip_prefix("tcp:")?.split_once('-')?;
            let address: SocketAddrV4 = address.parse().ok()?;
            let target = match target.split_once(':')? {
                (_, "") => return None,
                ("tcp", host) if is_host_port(host) => Target::Tcp(host.into()),
                ("unix", path) => Target::Unix(path.into()),
                ("cmd", command) => Target::Command(command.into()),
                _ => return None,
            };
            (address.port() != 0).then_some(GuestFwd { address, target })
        };
        parse().ok_or_else(|| value("guestfwd", text, GUESTFWD))
    }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[derive(Default)]
struct SocketParts {
    connect: Option<Peer>,
    listen: Option<Peer>,
    udp: Option<String>,
    local: Option<String>,
}

impl SocketParts {
    fn set(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let host_port = || if is_host_port(text) { Ok(text.to_string()) } else { Err(value(name, text, "HOST:PORT")) };
        let peer = || match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Peer::Unix(path.into())),
            None if is_host_port(text) => Ok(Peer::Tcp(text.into())),
            _ => Err(value(name, text, "HOST:PORT or unix:PATH")),
        };
        match name {
            "connect" => once(&mut self.connect, name, peer()?),
            "listen" => once(&mut self.listen, name, peer()?),
            "udp" => once(&mut self.udp, name, host_port()?),
            "localaddr" => once(&mut self.local, name, host_port()?),
            _ => Err(Error::Option { option: name.into(), backend: "socket".into(), known: SOCKET }),
        }
    }

    fn finish(self, text: &str) -> Result<Socket, Error> {
        match (self.connect, self.listen, self.udp, self.local) {
            (Some(peer), None, None, None) => Ok(Socket::Connect(peer)),
            (None, Some(peer), None, None) => Ok(Socket::Listen(peer)),
            (None, None, Some(remote), Some(local)) => Ok(Socket::Udp { remote, local }),
            _ => Err(value("socket", text, SOCKET)),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::None => f.write_str("none")?,
            Kind::User(user) => write!(f, "user{user}")?,
            Kind::Tap(name) => write!(f, "tap:{}", escaped(name))?,
            Kind::Cable(name) => write!(f, "cable:{}", escaped(name))?,
            Kind::Socket(Socket::Connect(peer)) => write!(f, "socket:connect={peer}")?,
            Kind::Socket(Socket::Listen(peer)) => write!(f, "socket:listen={peer}")?,
            Kind::Socket(Socket::Udp { remote, local }) => write!(f, "socket:udp={},localaddr={}", escaped(remote), escaped(local))?,
        }
        self.dump.as_ref().map_or(Ok(()), |path| write!(f, ",dump={}", escaped(&path.to_string_lossy())))
    }
}

fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.net != Net::default() {
            write!(f, ",net={}/{}", self.net.address, self.net.prefix)?;
        }
        for forward in &self.hostfwd {
            write!(f, ",hostfwd={forward}")?;
        }
        for forward in &self.guestfwd {
            write!(f, ",guestfwd={}", escaped(&forward.to_string()))?;
        }
        if let Some(folder) = &self.tftp {
            write!(f, ",tftp={}", escaped(&folder.to_string_lossy()))?;
        }
        if let Some(name) = &self.bootfile {
            write!(f, ",bootfile={}", escaped(name))?;
        }
        if self.restrict {
            f.write_str(",restrict")?;
        }
        if let Some(dns) = self.dns {
            write!(f, ",dns={dns}")?;
        }
        self.hostname.as_ref().map_or(Ok(()), |name| write!(f, ",hostname={name}"))
    }
}

impl fmt::Display for HostFwd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.transport == Transport::Tcp { "tcp" } else { "udp" };
        write!(f, "{transport}:")?;
        if !self.host.ip().is_unspecified() {
            write!(f, "{}", self.host.ip())?;
        }
        write!(f, ":{}-", self.host.port())?;
        self.guest.map_or(Ok(()), |guest| write!(f, "{guest}"))?;
        write!(f, ":{}", self.port)
    }
}

impl fmt::Display for GuestFwd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp:{}-", self.address)?;
        match &self.target {
            Target::Tcp(host) => write!(f, "tcp:{host}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Command(command) => write!(f, "cmd:{command}"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => f.write_str(&escaped(address)),
            Peer::Unix(path) => write!(f, "unix:{}", escaped(&path.to_string_lossy())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_are_written_as_they_are_read() {
        for text in [
            "none",
            "none,dump=a,,b.pcap",
            "user",
            "user,net=192.168.7.0/27,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-192.168.7.9:53,restrict,dump=x",
            "user,guestfwd=tcp:10.0.2.100:80-cmd:tr a,,b c,guestfwd=tcp:10.0.2.100:81-tcp:localhost:1,tftp=/srv,bootfile=u-boot,dns=[::1]:53,hostname=zynq",
            "tap:tap0",
            "cable:can1,dump=x",
            "socket:connect=localhost:1234",
            "socket:listen=unix:/tmp/a,dump=x",
            "socket:udp=127.0.0.1:1,localaddr=127.0.0.1:2",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
        let short = "user,net=10.9.8.7/24,dns=1.2.3.4,restrict=on".parse::<Spec>().unwrap();
        assert_eq!(short.to_string(), "user,net=10.9.8.0/24,restrict,dns=1.2.3.4:53");
    }

    #[test]
    fn what_is_wrong_is_said_with_help() {
        for (text, says) in [
            ("usr", "unknown network back end `usr`"),
            ("", "unknown network back end ``"),
            ("user,hostfw=x", "`user` has no option `hostfw`\n  help: net=ADDRESS/BITS, hostfwd="),
            ("none,x=1", "`none` has no option `x`\n  help: dump=FILE"),
            ("user,net=10.0.2.0/28", "net=10.0.2.0/28: want ADDRESS/BITS, 8 to 27 bits"),
            ("user,net=127.0.0.0/24", "want ADDRESS/BITS"),
            ("user,hostfwd=tcp:2222-22", "hostfwd=tcp:2222-22: want tcp|udp:[HOSTADDR]"),
            ("user,hostfwd=tcp::0-:22", "want tcp|udp:"),
            ("user,hostfwd=tcp::1-10.0.3.15:22", "a guest's address inside the network"),
            ("user,guestfwd=tcp:10.0.2.100:80", "want tcp:ADDR:PORT-TARGET"),
            ("user,guestfwd=tcp:10.0.2.15:80-tcp:a:1", "that is not the guest's"),
            ("user,tftp=a,tftp=b", "`tftp` is given twice"),
            ("user,restrict=perhaps", "want on or off"),
            ("tap:", "the name of an interface"),
            ("cable:", "unknown network back end `cable:`"),
            ("tap:a/b", "the name of an interface"),
            ("socket:", "`socket` has no option ``"),
            ("socket:connect=a:1,listen=b:1", "want connect="),
            ("socket:udp=a:1", "want connect="),
            ("socket:connect=1234", "want HOST:PORT or unix:PATH"),
            ("user,dump=", "the name of a file"),
        ] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
