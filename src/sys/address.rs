//! Socket addresses as the kernel takes them.

use std::net::SocketAddr;
use std::ptr;

use crate::sock::Address;

/// A socket address in the form that the kernel takes.
#[derive(Clone, Copy)]
pub struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    /// The address as system calls take it.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        (ptr::from_ref(&self.storage).cast(), self.len)
    }

    /// Its `AF_` number.
    pub(super) fn family(&self) -> libc::c_int {
        self.storage.ss_family.into()
    }

    /// An address of either kind; None when a path is too long for the kernel.
    pub fn of(address: &Address) -> Option<RawAddress> {
        match address {
            Address::Ip(address) => Some(RawAddress::inet(*address)),
            Address::Unix(path) => RawAddress::unix(path),
        }
    }

    /// An IPv4 or IPv6 address.
    pub fn inet(address: SocketAddr) -> RawAddress {
        // SAFETY: zeros are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let place = &raw mut storage;
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is larger than any address and aligned
                // for all of them.
                unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddress {
            storage,
            len: len as libc::socklen_t,
        }
    }

    /// A unix socket's path; None when it is too long for the kernel.
    pub fn unix(path: &[u8]) -> Option<RawAddress> {
        // SAFETY: zeros are valid for both types.
        let (mut storage, mut raw): (libc::sockaddr_storage, libc::sockaddr_un) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        if path.len() >= raw.sun_path.len() {
            return None;
        }
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        // SAFETY: the storage is larger than any address and aligned for all.
        unsafe { (&raw mut storage).cast::<libc::sockaddr_un>().write(raw) };
        Some(RawAddress {
            storage,
            len: size_of::<libc::sockaddr_un>() as libc::socklen_t,
        })
    }

    /// Has the kernel choose an address for a unix socket.
    pub(super) fn unnamed_unix() -> RawAddress {
        // SAFETY: zeros are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        RawAddress {
            storage,
            len: size_of::<libc::sa_family_t>() as libc::socklen_t,
        }
    }
}
