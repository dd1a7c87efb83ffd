//! Virtual servers, as nginx finds them by the name that a client asks for.

use ngx::ffi::{
    ngx_connection_t, ngx_hash_find_combined, ngx_hash_key, ngx_http_conf_ctx_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_log_t,
    ngx_module_t,
};
#[cfg(ngx_feature = "pcre")]
use ngx::ffi::{ngx_regex_exec, ngx_str_t};

use super::arrival::Arrival;
use crate::sys::resolver::Resolver;

/// A `server` block: the configuration of all modules in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Server(*mut ngx_http_conf_ctx_t);

impl Server {
    /// # Safety
    /// `context` must be that of a server block, whose configuration lives.
    pub(super) unsafe fn from_raw(context: *mut ngx_http_conf_ctx_t) -> Server {
        Server(context)
    }

    pub(super) fn raw(self) -> *mut ngx_http_conf_ctx_t {
        self.0
    }

    /// The server that nginx has chosen so far.
    ///
    /// # Safety
    /// `c` must be live, and a connection of the HTTP server without a request.
    pub(super) unsafe fn current(c: *mut ngx_connection_t) -> Server {
        // SAFETY: by the caller's promise.
        unsafe { Server((*Arrival::http(c)).conf_ctx) }
    }

    /// The default server of the address.
    ///
    /// # Safety
    /// As `current`.
    pub(super) unsafe fn default_of(c: *mut ngx_connection_t) -> Server {
        // SAFETY: by the caller's promise; an address has a default server.
        unsafe { Server((*(*(*Arrival::http(c)).addr_conf).default_server).ctx) }
    }

    /// The server that nginx will choose for `name`.
    ///
    /// # Safety
    /// As `current`.
    pub(super) unsafe fn of_name(c: *mut ngx_connection_t, name: &[u8]) -> Server {
        // SAFETY: by the caller's promise.
        unsafe {
            let found = normalize(name).and_then(|mut name| find(c, &mut name));
            found.unwrap_or_else(|| Server::current(c))
        }
    }

    /// Our module's configuration at the level of the server.
    ///
    /// # Safety
    /// `T` must be the type that the module's create_loc_conf makes.
    pub unsafe fn location_conf<T>(self, module: &ngx_module_t) -> &'static T {
        // SAFETY: nginx fills the array for every module; the configuration
        // outlives the connections that use it.
        unsafe { &*(*(*self.0).loc_conf.add(module.ctx_index)).cast::<T>() }
    }

    /// Our module's main configuration.
    ///
    /// # Safety
    /// `T` must be the type that the module's create_main_conf makes.
    pub unsafe fn main_conf<T>(self, module: &ngx_module_t) -> &'static T {
        // SAFETY: as location_conf.
        unsafe { &*(*(*self.0).main_conf.add(module.ctx_index)).cast::<T>() }
    }

    fn core(self) -> *mut ngx_http_core_loc_conf_t {
        // SAFETY: the core module has a configuration in every server.
        unsafe { (*(*self.0).loc_conf.add(ngx_http_core_module.ctx_index)).cast() }
    }

    /// The server's `resolver`.
    pub(in crate::sys) fn resolver(self) -> Resolver {
        // SAFETY: the core module's configuration is live.
        unsafe {
            Resolver {
                resolver: (*self.core()).resolver,
                timeout: (*self.core()).resolver_timeout,
            }
        }
    }

    /// Where the server's `error_log` writes.
    pub(in crate::sys) fn error_log(self) -> *mut ngx_log_t {
        // SAFETY: the core module's configuration is live, and has a log.
        unsafe { (*self.core()).error_log }
    }
}

/// The name as nginx looks for it; None for one that it does not look for.
fn normalize(name: &[u8]) -> Option<Vec<u8>> {
    let find = |wanted: u8| name.iter().position(|&byte| byte == wanted);
    let end = if name.starts_with(b"[") {
        find(b']').map(|at| at + 1)
    } else {
        find(b':')
    };
    let host = &name[..end.unwrap_or(name.len())];
    let bad = |byte: &u8| *byte <= b' ' || *byte == 0x7f || *byte == b'/';
    if name.iter().any(bad) || name.windows(2).any(|pair| pair == b"..") {
        return None;
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// # Safety
/// As [`Server::current`].
unsafe fn find(c: *mut ngx_connection_t, name: &mut [u8]) -> Option<Server> {
    let server = |found: *mut ngx_http_core_srv_conf_t| {
        // SAFETY: what nginx's tables hold is live.
        (!found.is_null()).then(|| unsafe { Server((*found).ctx) })
    };
    // SAFETY: by the caller's promise; the tables live with the configuration.
    unsafe {
        let names = (*(*Arrival::http(c)).addr_conf).virtual_names.as_mut()?;
        let (data, len) = (name.as_mut_ptr(), name.len());
        let key = ngx_hash_key(data, len);
        let found = ngx_hash_find_combined(&raw mut names.names, key, data, len);
        if let Some(server) = server(found.cast()) {
            return Some(server);
        }
        #[cfg(ngx_feature = "pcre")]
        for i in 0..names.nregex {
            let entry = names.regex.add(i);
            let mut text = ngx_str_t { len, data };
            let regex = (*(*entry).regex).regex;
            if ngx_regex_exec(regex, &mut text, std::ptr::null_mut(), 0) >= 0 {
                return server((*entry).server);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn names_are_looked_for_as_nginx_does() {
        let normal = |name: &str| normalize(name.as_bytes()).map(|n| String::from_utf8(n).unwrap());
        assert_eq!(normal("A.Test").as_deref(), Some("a.test"));
        assert_eq!(normal("a.test.").as_deref(), Some("a.test"));
        assert_eq!(normal("a.test:443").as_deref(), Some("a.test"));
        assert_eq!(normal("[::1]:443").as_deref(), Some("[::1]"));
        for bad in ["", ".", "a..test", "a b", "a/b", "a\x7f"] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
