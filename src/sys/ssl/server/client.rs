//! TLS of a client's connection, as Lua sees it: while its handshake waits, and
//! later.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    ERR_clear_error, NGX_OK, SSL, SSL_SESSION, SSL_clear_options, SSL_export_keying_material,
    SSL_get_client_random, SSL_get_servername, SSL_get_session, SSL_set_options, SSL_version,
    ngx_connection_local_sockaddr, ngx_connection_t, ngx_int_t, sockaddr,
};

use super::arrival::{Arrival, VERSIONS};
use super::hello::ClientHello;
use super::kept::arrival_of;
use super::session::{self, Prefetched};
use crate::sys::log;
use crate::sys::ssl::Protocol;

const RANDOM: usize = 32;
/// TLSEXT_NAMETYPE_host_name
const HOST_NAME: c_int = 0;

/// An address, as the kernel knows it.
#[derive(Debug, PartialEq, Eq)]
pub enum RawAddress {
    Unix(Vec<u8>),
    Inet([u8; 4], u16),
    Inet6([u8; 16], u16),
}

/// TLS of a client's connection. Good while the handler runs that it was made
/// for: what keeps one takes it away when the connection goes.
#[derive(Clone)]
pub struct Client {
    connection: *mut ngx_connection_t,
    arrival: Option<Rc<Arrival>>,
    /// A session that was just made; else null.
    session: *mut SSL_SESSION,
}

impl Client {
    /// The client whose handshake waits. None once it is gone.
    pub fn of_arrival(arrival: &Rc<Arrival>) -> Option<Client> {
        Some(Client {
            connection: arrival.connection()?,
            arrival: Some(arrival.clone()),
            session: ptr::null_mut(),
        })
    }

    /// # Safety
    /// `c` must be live, with TLS, and `session` live, as long as the value is
    /// used.
    pub(super) unsafe fn of_session(
        connection: *mut ngx_connection_t,
        session: *mut SSL_SESSION,
    ) -> Client {
        Client {
            connection,
            // SAFETY: by the caller's promise.
            arrival: unsafe { arrival_of(connection) },
            session,
        }
    }

    /// None where `c` has no TLS.
    ///
    /// # Safety
    /// `c` must be live as long as the value is used.
    pub(in crate::sys) unsafe fn of_connection(c: *mut ngx_connection_t) -> Option<Client> {
        // SAFETY: by the caller's promise.
        (!unsafe { (*c).ssl }.is_null()).then_some(Client {
            connection: c,
            arrival: None,
            session: ptr::null_mut(),
        })
    }

    /// The handshake, while it waits.
    pub fn arrival(&self) -> Option<&Rc<Arrival>> {
        self.arrival.as_ref()
    }

    fn hello(&self) -> Option<&ClientHello> {
        self.arrival.as_ref().and_then(|arrival| arrival.hello())
    }

    pub(in crate::sys) fn log(&self) -> *mut ngx::ffi::ngx_log_t {
        // SAFETY: the connection is live.
        unsafe { (*self.connection).log }
    }

    fn ssl(&self) -> *mut SSL {
        // SAFETY: the connection is live, and has TLS.
        unsafe { (*(*self.connection).ssl).connection }
    }

    /// Address of OpenSSL's structure.
    pub fn pointer(&self) -> usize {
        self.ssl().addr()
    }

    /// The name that the client asks for.
    pub fn server_name(&self) -> Option<&[u8]> {
        if let Some(hello) = self.hello() {
            return hello.server_name();
        }
        // SAFETY: the TLS is live; the name lives with it.
        unsafe {
            let name = SSL_get_servername(self.ssl(), HOST_NAME);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes())
        }
    }

    /// The version of TLS on the wire.
    pub fn version(&self) -> u16 {
        match &self.arrival {
            Some(arrival) if self.session.is_null() => arrival.version(),
            // SAFETY: the TLS is live.
            _ => unsafe { SSL_version(self.ssl()) as u16 },
        }
    }

    /// The client's random bytes.
    pub fn random(&self) -> Vec<u8> {
        if let Some(hello) = self.hello() {
            return hello.random().to_vec();
        }
        let mut random = vec![0; RANDOM];
        // SAFETY: the TLS is live, and there is so much room.
        let len = unsafe { SSL_get_client_random(self.ssl(), random.as_mut_ptr(), RANDOM) };
        random.truncate(len);
        random
    }

    /// Where the client comes from.
    pub fn client_address(&self) -> Option<RawAddress> {
        // SAFETY: the connection is live, and its address has that length.
        unsafe {
            raw_address(
                (*self.connection).sockaddr,
                (*self.connection).socklen as usize,
            )
        }
    }

    /// What the client connected to.
    pub fn server_address(&self) -> Option<RawAddress> {
        let c = self.connection;
        // SAFETY: the connection is live.
        unsafe {
            if ngx_connection_local_sockaddr(c, ptr::null_mut(), 0) != NGX_OK as ngx_int_t {
                return None;
            }
            raw_address((*c).local_sockaddr, (*c).local_socklen as usize)
        }
    }

    /// Key material for `label` (RFC 5705). None where the handshake is not
    /// done.
    pub fn export(&self, len: usize, label: &[u8], context: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut out = vec![0; len];
        let (data, data_len) = context.map_or((ptr::null(), 0), |c| (c.as_ptr(), c.len()));
        // SAFETY: the TLS is live, and all lengths are those given.
        unsafe {
            let exported = SSL_export_keying_material(
                self.ssl(),
                out.as_mut_ptr(),
                len,
                label.as_ptr().cast::<c_char>(),
                label.len(),
                data,
                data_len,
                context.is_some().into(),
            );
            if exported != 1 {
                ERR_clear_error();
                return None;
            }
        }
        Some(out)
    }

    /// Allows these versions and no others.
    pub fn set_protocols(&self, protocols: &[Protocol]) {
        let mut forbidden = 0;
        let mut allowed = 0;
        for (version, option) in VERSIONS {
            if protocols.iter().any(|p| p.version() == Some(version)) {
                allowed |= option;
            } else {
                forbidden |= option;
            }
        }
        // SAFETY: the TLS is live.
        unsafe {
            SSL_clear_options(self.ssl(), allowed);
            SSL_set_options(self.ssl(), forbidden);
        }
    }

    fn current_session(&self) -> *mut SSL_SESSION {
        if self.session.is_null() {
            // SAFETY: the TLS is live.
            unsafe { SSL_get_session(self.ssl()) }
        } else {
            self.session
        }
    }

    /// The id of the session that the client wants, or that was made.
    pub fn session_id(&self) -> Option<Vec<u8>> {
        if let Some(arrival) = self.arrival.as_ref().filter(|_| self.session.is_null()) {
            return arrival.session_id().map(<[u8]>::to_vec);
        }
        let session = self.current_session();
        // SAFETY: it is live where it is not null.
        (!session.is_null()).then(|| unsafe { session::id(session) })
    }

    /// The session that was made, as bytes.
    pub fn serialized_session(&self) -> Option<Vec<u8>> {
        let session = self.current_session();
        if session.is_null() {
            return None;
        }
        // SAFETY: the session is live.
        unsafe { session::serialize(session) }
    }

    /// Gives OpenSSL the session that it will look for. False where the bytes
    /// are none.
    pub fn prefetch_session(&self, serialized: &[u8]) -> bool {
        let Some(arrival) = &self.arrival else {
            return false;
        };
        let id = arrival.session_id();
        let Some(found) = id.and_then(|id| Prefetched::new(id, serialized)) else {
            return false;
        };
        *arrival.session.borrow_mut() = Some(found);
        true
    }

    /// Writes to the connection's error.log.
    pub fn log_error(&self, message: &[u8]) {
        // SAFETY: the connection is live, and so is its log.
        unsafe { log::write(self.log(), log::Level::Error, 0, message) }
    }
}

/// # Safety
/// `address` must be null or have `len` bytes.
unsafe fn raw_address(address: *const sockaddr, len: usize) -> Option<RawAddress> {
    // SAFETY: by the caller's promise; the family says what the bytes are.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let inet = &*address.cast::<libc::sockaddr_in>();
                let ip = inet.sin_addr.s_addr.to_ne_bytes();
                Some(RawAddress::Inet(ip, u16::from_be(inet.sin_port)))
            }
            libc::AF_INET6 => {
                let inet = &*address.cast::<libc::sockaddr_in6>();
                let port = u16::from_be(inet.sin6_port);
                Some(RawAddress::Inet6(inet.sin6_addr.s6_addr, port))
            }
            libc::AF_UNIX => {
                let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
                let path = address.cast::<u8>().add(start);
                let path = std::slice::from_raw_parts(path, len.saturating_sub(start));
                let end = path.iter().position(|&byte| byte == 0);
                Some(RawAddress::Unix(path[..end.unwrap_or(path.len())].to_vec()))
            }
            _ => None,
        }
    }
}
