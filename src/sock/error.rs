//! Everything that can go wrong, with the text Lua gets (`Display`) and the line the error log
//! gets ([`Error::log_line`]).

use std::fmt;
use std::io;

/// The operation that occupies a slot of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Connecting,
    Reading,
    Writing,
}

/// What a socket was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a slot of a keepalive pool.
    Queue,
    /// The backend refused to begin a connect, and has logged why.
    Begin,
    Connect,
    Read,
    /// Waiting for a datagram.
    Datagram,
    Write,
    /// `close`, `setkeepalive` and the like.
    Other,
}

/// Why a socket operation failed. `Display` is the exact string handed to Lua.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer closed the connection.
    Closed,
    /// There is no connection, or this half of it is closed: also `closed`, but a mistake of the
    /// script, which is logged.
    NotConnected(Stage),
    /// A light thread is in this operation.
    Busy(Operation),
    /// A light thread is using the datagram socket.
    InUse,
    /// No progress within the timeout. On a read the connection stays open.
    Timeout(Stage),
    /// The client went away (request sockets).
    ClientAborted,
    /// What the client sends is no body (request sockets).
    InvalidBody,
    /// The client sends more than it may (request sockets).
    BodyTooLarge,
    /// A system call failed.
    System { errno: i32, stage: Stage },
    /// The backlog of the pool is full.
    TooManyWaiting,
    /// A host has no address. In a box: all operations return errors, most of them none.
    Unresolved(Box<Unresolved>),
    /// nginx has no connection left.
    NoLiveConnection,
    /// A result would be too large, or memory is short.
    NoMemory,
    /// `setkeepalive` with received data that were not read.
    UnreadData,
    /// `setkeepalive` on a connection on which the peer sent something.
    DubiousState,
}

/// A host of which there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    host: Box<str>,
    error: ResolveError,
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// It is not one: the reason in nginx's words.
    NoHost(&'static str),
    /// No `resolver` directive applies.
    NoResolver,
    /// The query could not be started.
    NotStarted,
    /// The resolver went away while the query ran.
    NotWorking,
    /// nginx's resolver code and its text, such as 3 and `Host not found`.
    Failed { code: i32, text: Box<str> },
}

impl ResolveError {
    /// `NGX_RESOLVE_NXDOMAIN`: the answer to an empty list of addresses.
    pub fn host_not_found() -> Self {
        Self::Failed {
            code: 3,
            text: "Host not found".into(),
        }
    }
}

impl Error {
    /// There is no address of `host`.
    pub fn unresolved(host: Box<str>, error: ResolveError) -> Self {
        Self::Unresolved(Box::new(Unresolved { host, error }))
    }

    /// The error of a failed `recv`, `send` or `connect`.
    pub fn from_io(error: &io::Error, stage: Stage) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::System { errno, stage },
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None if error.kind() == io::ErrorKind::ConnectionAborted => Self::ClientAborted,
            None if error.kind() == io::ErrorKind::InvalidData => Self::InvalidBody,
            None if error.kind() == io::ErrorKind::FileTooLarge => Self::BodyTooLarge,
            None => Self::System {
                errno: libc::EIO,
                stage,
            },
        }
    }

    /// Whether this is `timeout`, after which a socket can still be read.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether Lua sees `closed`.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed | Self::NotConnected(_))
    }

    /// The line for the error log where `lua_socket_log_errors` is on, if this deserves one.
    /// `peer` is the address a connect was under way to (queued: the host and port).
    pub fn log_line(&self, peer: Option<&str>) -> Option<String> {
        let peer = peer.unwrap_or("unknown");
        Some(match self {
            Self::NotConnected(Stage::Read | Stage::Datagram) => {
                "attempt to receive data on a closed socket".to_owned()
            }
            Self::NotConnected(Stage::Write) => {
                "attempt to send data on a closed socket".to_owned()
            }
            Self::Timeout(Stage::Connect) => {
                format!("lua tcp socket connect timed out, when connecting to {peer}")
            }
            Self::Timeout(Stage::Queue) => {
                format!("lua tcp socket queued connect timed out, when trying to connect to {peer}")
            }
            Self::Timeout(Stage::Read) => "lua tcp socket read timed out".to_owned(),
            Self::Timeout(Stage::Datagram) => "lua udp socket read timed out".to_owned(),
            Self::Timeout(Stage::Write) => "lua tcp socket write timed out".to_owned(),
            Self::System {
                stage: Stage::Begin,
                ..
            } => return None,
            Self::System { errno, stage } => {
                let call = match stage {
                    Stage::Read | Stage::Datagram => "recv",
                    Stage::Write => "send",
                    _ => "connect",
                };
                format!("{call}() failed ({errno}: {})", system_message(*errno))
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed | Self::NotConnected(_) => f.write_str("closed"),
            Self::Busy(Operation::Connecting) => f.write_str("socket busy connecting"),
            Self::Busy(Operation::Reading) => f.write_str("socket busy reading"),
            Self::Busy(Operation::Writing) => f.write_str("socket busy writing"),
            Self::InUse => f.write_str("socket busy"),
            Self::Timeout(_) => f.write_str("timeout"),
            Self::ClientAborted => f.write_str("client aborted"),
            Self::InvalidBody => f.write_str("invalid request body"),
            Self::BodyTooLarge => f.write_str("request body too large"),
            Self::System { errno, .. } => f.write_str(&system_message(*errno).to_lowercase()),
            Self::TooManyWaiting => f.write_str("too many waiting connect operations"),
            Self::Unresolved(unresolved) => unresolved.fmt(f),
            Self::NoLiveConnection => f.write_str("no live connection"),
            Self::NoMemory => f.write_str("no memory"),
            Self::UnreadData => f.write_str("unread data in buffer"),
            Self::DubiousState => f.write_str("connection in dubious state"),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.error {
            ResolveError::NoHost(reason) => {
                write!(f, "failed to parse host name \"{host}\": {reason}")
            }
            ResolveError::NoResolver => write!(f, "no resolver defined to resolve \"{host}\""),
            ResolveError::NotStarted => f.write_str("failed to start the resolver"),
            ResolveError::NotWorking => f.write_str("resolver not working"),
            ResolveError::Failed { code, text } => {
                write!(f, "{host} could not be resolved ({code}: {text})")
            }
        }
    }
}

/// The text that Lua gets for a failed system call.
pub fn system_text(error: &io::Error) -> String {
    system_message(error.raw_os_error().unwrap_or(libc::EIO)).to_lowercase()
}

/// The system's words for `errno`, without the suffix Rust adds.
fn system_message(errno: i32) -> String {
    let mut text = io::Error::from_raw_os_error(errno).to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(errno: i32, stage: Stage) -> Error {
        Error::from_io(&io::Error::from_raw_os_error(errno), stage)
    }

    #[test]
    fn system_messages_are_lower_case_and_bare() {
        for (errno, text) in [
            (libc::ECONNREFUSED, "connection refused"),
            (libc::ENOENT, "no such file or directory"),
            (libc::ENETUNREACH, "network is unreachable"),
            (libc::EHOSTUNREACH, "no route to host"),
            (libc::ECONNRESET, "connection reset by peer"),
            (libc::EPIPE, "broken pipe"),
            (libc::ETIMEDOUT, "connection timed out"),
        ] {
            assert_eq!(system(errno, Stage::Connect).to_string(), text);
        }
    }

    #[test]
    fn resolver_messages() {
        let text = |error| Error::unresolved("a.test".into(), error).to_string();
        assert_eq!(
            text(ResolveError::NoResolver),
            "no resolver defined to resolve \"a.test\""
        );
        assert_eq!(
            text(ResolveError::NotStarted),
            "failed to start the resolver"
        );
        assert_eq!(text(ResolveError::NotWorking), "resolver not working");
        assert_eq!(
            text(ResolveError::host_not_found()),
            "a.test could not be resolved (3: Host not found)"
        );
        let timed_out = ResolveError::Failed {
            code: 110,
            text: "Operation timed out".into(),
        };
        assert_eq!(
            text(timed_out),
            "a.test could not be resolved (110: Operation timed out)"
        );
    }

    #[test]
    fn parse_message() {
        let error = Error::unresolved("a/b".into(), ResolveError::NoHost("invalid host"));
        assert_eq!(
            error.to_string(),
            "failed to parse host name \"a/b\": invalid host"
        );
    }

    #[test]
    fn closed_by_the_peer_is_not_logged_but_misuse_is() {
        assert_eq!(Error::Closed.log_line(None), None);
        assert_eq!(
            Error::NotConnected(Stage::Write).log_line(None).as_deref(),
            Some("attempt to send data on a closed socket")
        );
        assert!(Error::Closed.is_closed() && Error::NotConnected(Stage::Other).is_closed());
    }

    #[test]
    fn log_lines_name_the_peer() {
        assert_eq!(
            Error::Timeout(Stage::Connect)
                .log_line(Some("127.0.0.1:80"))
                .as_deref(),
            Some("lua tcp socket connect timed out, when connecting to 127.0.0.1:80")
        );
        assert_eq!(
            Error::Timeout(Stage::Queue)
                .log_line(Some("h:80"))
                .as_deref(),
            Some("lua tcp socket queued connect timed out, when trying to connect to h:80")
        );
        assert_eq!(
            system(libc::ECONNREFUSED, Stage::Connect)
                .log_line(None)
                .as_deref(),
            Some("connect() failed (111: Connection refused)")
        );
    }
}
