//! Where the audit log goes: the section `[audit]`.

use std::path::PathBuf;

use super::reader::Reader;

/// syslog's port over UDP (RFC 5426, section 3.3) and, by custom, over TCP.
const SYSLOG_PORT: u16 = 514;

/// Where the audit log goes, and what it says of people.
#[derive(Clone, Debug, Default)]
pub struct AuditSettings {
    /// Where it goes.
    pub sink: AuditSink,
    /// What it says of people.
    pub subjects: Subjects,
    /// What happens while it cannot be written.
    pub on_full: OnFull,
}

/// Where the audit log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditSink {
    /// Nowhere: there is none.
    #[default]
    None,
    /// The standard output, which nothing else of `serve` is written to.
    Stdout,
    /// A file.
    File(PathBuf),
    /// A syslog daemon.
    Syslog(SyslogAddress),
}

/// Where a syslog daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A local socket.
    Unix(PathBuf),
    /// Host and port, over UDP (RFC 5426).
    Udp(String, u16),
    /// Host and port, over TCP (RFC 6587).
    Tcp(String, u16),
}

/// What the audit log says of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subjects {
    /// Their subject, as the provider calls them.
    #[default]
    Raw,
    /// A keyed hash of it.
    Hashed,
    /// Nothing.
    Omitted,
}

/// What happens while the audit log cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Lines are dropped, counted, and the gap is reported.
    #[default]
    Drop,
    /// Requests wait, and fail.
    Block,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Stdout,
    File,
    Syslog,
}

/// Reads the section.
pub(super) fn read(reader: &mut Reader<'_>) -> AuditSettings {
    let kinds = [("none", Kind::None), ("stdout", Kind::Stdout), ("file", Kind::File), ("syslog", Kind::Syslog)];
    let kind = reader.choice("audit.sink", &kinds);
    // Read in any case, so that a mistake in it is reported.
    let file = reader.path("audit.file");
    let syslog = reader.parsed("audit.syslog", syslog);
    for (key, of) in [("audit.file", Kind::File), ("audit.syslog", Kind::Syslog)] {
        if reader.is_set(key) && kind.is_some_and(|kind| kind != of) {
            let name = key.trim_start_matches("audit.");
            let help = format!("set audit.sink = \"{name}\", or leave it out");
            reader.fault(key, format!("is given, but audit.sink is not {name}"), Some(&help));
        }
    }
    if kind == Some(Kind::File) && !reader.is_set("audit.file") {
        reader.fault("audit.file", "is missing", Some("name the file that the audit log is written to"));
    }
    let sink = match kind {
        Some(Kind::Stdout) => AuditSink::Stdout,
        Some(Kind::File) => file.map_or(AuditSink::None, AuditSink::File),
        Some(Kind::Syslog) => syslog.map_or(AuditSink::None, AuditSink::Syslog),
        Some(Kind::None) | None => AuditSink::None,
    };
    let subjects = [("raw", Subjects::Raw), ("hashed", Subjects::Hashed), ("omitted", Subjects::Omitted)];
    AuditSettings {
        sink,
        subjects: reader.choice("audit.subjects", &subjects).unwrap_or_default(),
        on_full: reader
            .choice("audit.on_full", &[("drop", OnFull::Drop), ("block", OnFull::Block)])
            .unwrap_or_default(),
    }
}

/// Reads `unix:/dev/log`, `udp://host:port` or `tcp://host:port`.
fn syslog(text: &str) -> Result<SyslogAddress, String> {
    let wrong = || "is none of unix:/dev/log, udp://host:514 and tcp://host:514".to_owned();
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') { Ok(SyslogAddress::Unix(path.into())) } else { Err(wrong()) };
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    // Of a scheme that `url` does not know, the host would be taken as it is written.
    let url = url::Url::parse(&format!("http://{rest}")).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !rest.ends_with('/');
    let host = url.host_str().filter(|_| bare && url.username().is_empty() && url.password().is_none());
    let host = host.ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    // What `http` leaves out as its own port was written.
    let port = url.port().unwrap_or(if rest.ends_with(":80") { 80 } else { SYSLOG_PORT });
    match scheme {
        "udp" => Ok(SyslogAddress::Udp(host, port)),
        "tcp" => Ok(SyslogAddress::Tcp(host, port)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_syslog_is_a_socket_or_a_host() {
        assert_eq!(syslog("unix:/dev/log"), Ok(SyslogAddress::Unix("/dev/log".into())));
        assert_eq!(syslog("udp://logs.internal"), Ok(SyslogAddress::Udp("logs.internal".into(), 514)));
        assert_eq!(syslog("tcp://[::1]:6514"), Ok(SyslogAddress::Tcp("::1".into(), 6514)));
        assert_eq!(syslog("udp://logs.internal:80"), Ok(SyslogAddress::Udp("logs.internal".into(), 80)));
        for bad in ["", "/dev/log", "unix:log", "udp://", "tcp://h/path", "tcp://u:p@h", "tls://h", "udp://h:99999"] {
            assert!(syslog(bad).is_err(), "{bad}");
        }
    }
}
