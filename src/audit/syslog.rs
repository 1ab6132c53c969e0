//! The audit log by syslog: each line is the message of one entry (RFC 5424), over a local socket, UDP (RFC 5426) or TCP,
//! where the entry's length goes before it (RFC 6587, section 3.4.1).
//!
//! The crate `syslog` sends over TCP without any framing, so that a daemon cannot tell entries apart, and asks the
//! system for the time; what is left of it is a line of format.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::sink::{Appended, Line, Link, Sink};
use crate::config::SyslogAddress;

/// The facility `authpriv`: security and authorization (RFC 5424, section 6.2.1).
const FACILITY: u8 = 10;
/// How long the daemon may take to take an entry, or a connection.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A syslog daemon.
pub(super) struct Daemon {
    address: SyslogAddress,
    host: String,
    link: Option<Connection>,
}

enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Daemon {
    pub(super) fn new(address: SyslogAddress, host: &str) -> Self {
        // 1 to 255 printable characters (section 6).
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { address, host: if host.is_empty() { "-".to_owned() } else { host }, link: None }
    }

    fn send(&mut self, entry: &str) -> io::Result<()> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(connect(&self.address)?),
        };
        match link {
            Connection::Unix(socket) => socket.send(entry.as_bytes()).map(drop),
            Connection::Udp(socket) => socket.send(entry.as_bytes()).map(drop),
            Connection::Tcp(stream) => stream.write_all(format!("{} {entry}", entry.len()).as_bytes()),
        }
    }

    fn entry(&self, line: &Line) -> String {
        let priority = FACILITY * 8 + line.kind.severity() as u8;
        let (time, host, process, kind) = (&line.time, &self.host, std::process::id(), line.kind.name());
        format!("<{priority}>1 {time} {host} lychgate {process} {kind} - {}", line.text)
    }
}

impl Sink for Daemon {
    fn label(&self) -> &'static str {
        "syslog"
    }

    fn append(&mut self, lines: &mut dyn FnMut(Option<Link>) -> Vec<Line>) -> Appended {
        for (at, line) in lines(None).iter().enumerate() {
            let entry = self.entry(line);
            // A daemon that was started anew takes a new connection.
            let sent = self.send(&entry).or_else(|_| {
                self.link = None;
                self.send(&entry)
            });
            if let Err(error) = sent {
                self.link = None;
                return (at, Err(error));
            }
        }
        (usize::MAX, Ok(()))
    }
}

fn connect(address: &SyslogAddress) -> io::Result<Connection> {
    match address {
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            Ok(Connection::Unix(socket))
        }
        SyslogAddress::Udp(host, port) => {
            let to = resolve(host, *port)?;
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Connection::Udp(socket))
        }
        SyslogAddress::Tcp(host, port) => {
            let stream = TcpStream::connect_timeout(&resolve(host, *port)?, TIMEOUT)?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.set_nodelay(true)?;
            Ok(Connection::Tcp(stream))
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<std::net::SocketAddr> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    (host, port).to_socket_addrs()?.next().ok_or_else(missing)
}
