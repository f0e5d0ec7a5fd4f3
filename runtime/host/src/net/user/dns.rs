//! Where names are resolved: queries to the network's name server go to the host's resolver as they are, by UDP and TCP.
//!
//! Source: resolv.conf(5). Each guest port that asks has a host socket of its own, connected to the resolver: the kernel chooses its port and
//! only the resolver's answers arrive. The message with its number is not touched.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How long the host's settings are taken for true.
const FRESH: Duration = Duration::from_secs(5);

/// The host's resolver.
#[derive(Debug)]
pub struct Resolver {
    fixed: Option<SocketAddr>,
    server: SocketAddr,
    domain: Option<String>,
    read: Option<Instant>,
}

impl Resolver {
    /// The one given, or the host's first.
    pub fn new(fixed: Option<SocketAddr>) -> Resolver {
        Resolver { fixed, server: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53), domain: None, read: None }
    }

    fn refresh(&mut self) {
        if self.read.is_none_or(|at| at.elapsed() > FRESH) {
            (self.server, self.domain) = parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
            self.read = Some(Instant::now());
        }
    }

    /// Where queries go.
    pub fn server(&mut self) -> SocketAddr {
        self.refresh();
        self.fixed.unwrap_or(self.server)
    }

    /// The host's search domain.
    pub fn domain(&mut self) -> Option<&str> {
        self.refresh();
        self.domain.as_deref()
    }
}

fn parse(text: &str) -> (SocketAddr, Option<String>) {
    let words = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key)?.split_whitespace().next());
    let server = words("nameserver ").find_map(|word| word.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let domain = words("search ").chain(words("domain ")).next().filter(|d| d.len() <= 255 && *d != ".").map(String::from);
    (SocketAddr::new(server, 53), domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_server_is_taken() {
        let (server, domain) = parse("# c\nsearch corp.example other\nnameserver fe80::1%eth0\nnameserver 10.1.2.3\nnameserver 10.9.9.9\n");
        assert_eq!((server.to_string().as_str(), domain.as_deref()), ("10.1.2.3:53", Some("corp.example")));
        assert_eq!(parse("nameserver ::1").0.to_string(), "[::1]:53");
        assert_eq!(parse("").0.to_string(), "127.0.0.1:53");
    }
}
