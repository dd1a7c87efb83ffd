//! Installs the hooks on the `SSL_CTX` of those servers that use them.

use std::os::raw::c_int;

use ngx::ffi::{
    SSL_CTX, SSL_CTX_callback_ctrl, SSL_CTX_ctrl, SSL_CTX_get_info_callback,
    SSL_CTX_sess_get_get_cb, SSL_CTX_sess_get_new_cb, SSL_CTX_sess_set_get_cb,
    SSL_CTX_sess_set_new_cb, SSL_CTX_set_cert_cb, SSL_CTX_set_info_callback, ngx_http_conf_addr_t,
    ngx_http_conf_ctx_t, ngx_http_conf_port_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_ssl_module, ngx_http_ssl_srv_conf_t,
};

use super::hooks::{on_certificate, on_get_session, on_info, on_new_session, on_status};
use super::kept::{Status, replaced_mut};
use super::names::Server;
use crate::sys::conf::{Conf, Level, Reported};

const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB: c_int = 63;
const SSL_CTRL_GET_TLSEXT_STATUS_REQ_CB: c_int = 128;

/// What a server's configuration has Lua do in handshakes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Code runs when the ClientHello is there.
    pub arrival: bool,
    /// Code chooses certificates.
    pub certificate: bool,
    /// Code finds or keeps sessions.
    pub sessions: bool,
}

/// Installs the hooks where servers wish so. The servers' configuration must
/// have been merged.
///
/// # Errors
/// A server that wants to choose certificates has no TLS, or memory is short.
pub fn install(conf: &Conf<'_>, wishes: impl Fn(Server) -> Wishes) -> Result<(), Reported> {
    // SAFETY: inside of `http` the parser's context is that of the HTTP
    // modules, and the core module has its lists of ports and servers.
    unsafe {
        let http = (*conf.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
        let core = (*(*http).main_conf.add(ngx_http_core_module.ctx_index))
            .cast::<ngx_http_core_main_conf_t>();
        let servers = (*core).servers.as_slice::<*mut ngx_http_core_srv_conf_t>();
        for &server in servers {
            let server = Server::from_raw((*server).ctx);
            let wishes = wishes(server);
            let settings = server.tls();
            let ctx = (*settings).ssl.ctx;
            if wishes.certificate {
                if ctx.is_null() {
                    conf.log(Level::Emergency, "no ssl configured for the server");
                    return Err(Reported);
                }
                SSL_CTX_set_cert_cb(ctx, Some(on_certificate), settings.cast());
                replaced_mut(ctx).ok_or(Reported)?.status = set_status_callback(ctx);
            }
        }
        let Some(ports) = (*core).ports.as_ref() else {
            return Ok(());
        };
        for port in ports.as_slice::<ngx_http_conf_port_t>() {
            for address in port.addrs.as_slice::<ngx_http_conf_addr_t>() {
                let servers = address.servers.as_slice::<*mut ngx_http_core_srv_conf_t>();
                // A handshake begins with the default server's settings.
                let first = Server::from_raw((*address.default_server).ctx);
                let all = servers
                    .iter()
                    .map(|&server| wishes(Server::from_raw((*server).ctx)))
                    .chain([wishes(first)])
                    .fold(Wishes::default(), |all, one| Wishes {
                        arrival: all.arrival || one.arrival,
                        certificate: all.certificate || one.certificate,
                        sessions: all.sessions || one.sessions,
                    });
                hook(first, all)?;
            }
        }
    }
    Ok(())
}

impl Server {
    fn tls(self) -> *mut ngx_http_ssl_srv_conf_t {
        // SAFETY: nginx fills the array for every module.
        unsafe { (*(*self.raw()).srv_conf.add(ngx_http_ssl_module.ctx_index)).cast() }
    }
}

/// # Safety
/// The configuration of `server` must have been merged.
unsafe fn hook(server: Server, wishes: Wishes) -> Result<(), Reported> {
    // SAFETY: by the caller's promise; the callbacks have the right types.
    unsafe {
        let ctx = (*server.tls()).ssl.ctx;
        if ctx.is_null() || !(wishes.arrival || wishes.sessions) {
            return Ok(());
        }
        let replaced = replaced_mut(ctx).ok_or(Reported)?;
        if replaced.info.is_some() {
            // The default server of another address, too.
            return Ok(());
        }
        replaced.server = Some(server);
        replaced.info = SSL_CTX_get_info_callback(ctx);
        SSL_CTX_set_info_callback(ctx, Some(on_info));
        if wishes.sessions {
            replaced.get_session = SSL_CTX_sess_get_get_cb(ctx);
            replaced.new_session = SSL_CTX_sess_get_new_cb(ctx);
            SSL_CTX_sess_set_get_cb(ctx, Some(on_get_session));
            SSL_CTX_sess_set_new_cb(ctx, Some(on_new_session));
        }
    }
    Ok(())
}

/// Has OpenSSL ask [`on_status`] for an OCSP answer. Returns whom it asked so
/// far.
///
/// # Safety
/// `ctx` must be live.
unsafe fn set_status_callback(ctx: *mut SSL_CTX) -> Option<Status> {
    let mut former: Option<Status> = None;
    // SAFETY: by the caller's promise. OpenSSL's macros cast the callbacks in
    // the same way.
    unsafe {
        let to = (&raw mut former).cast();
        SSL_CTX_ctrl(ctx, SSL_CTRL_GET_TLSEXT_STATUS_REQ_CB, 0, to);
        let callback = std::mem::transmute::<Status, unsafe extern "C" fn()>(on_status);
        SSL_CTX_callback_ctrl(ctx, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, Some(callback));
    }
    former
}
