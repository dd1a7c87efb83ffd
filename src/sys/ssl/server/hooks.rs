//! OpenSSL's callbacks on the `SSL_CTX` of servers that use Lua in handshakes.
//! Where no such directive is used, nothing here is installed.

use std::cell::Cell;
use std::os::raw::{c_int, c_long, c_uchar, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::OnceLock;

use ngx::ffi::{
    CRYPTO_EX_DATA, CRYPTO_EX_INDEX_SSL, CRYPTO_EX_INDEX_SSL_CTX, CRYPTO_get_ex_new_index,
    ERR_clear_error, OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE, OSSL_HANDSHAKE_STATE_TLS_ST_SR_CLNT_HELLO,
    SSL, SSL_CB_ACCEPT_LOOP, SSL_CB_HANDSHAKE_DONE, SSL_CB_HANDSHAKE_START, SSL_CTX,
    SSL_CTX_callback_ctrl, SSL_CTX_ctrl, SSL_CTX_get_ex_data, SSL_CTX_get_info_callback,
    SSL_CTX_sess_get_get_cb, SSL_CTX_sess_get_new_cb, SSL_CTX_sess_set_get_cb,
    SSL_CTX_sess_set_new_cb, SSL_CTX_set_cert_cb, SSL_CTX_set_ex_data, SSL_CTX_set_info_callback,
    SSL_SESSION, SSL_get_SSL_CTX, SSL_get_ex_data, SSL_get_state, SSL_set_ex_data,
    SSL_set_info_callback, ngx_connection_t, ngx_http_conf_addr_t, ngx_http_conf_ctx_t,
    ngx_http_conf_port_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_ssl_certificate, ngx_http_ssl_module,
    ngx_http_ssl_srv_conf_t, ngx_ssl_connection_index,
};

use super::arrival::Arrival;
use super::client::Client;
use super::names::Server;
use super::rehearsal;
use crate::rt::worker_local;
use crate::sys::conf::{self, Conf, Reported};
use crate::sys::entry::guard;
use crate::sys::log::{self, Level};

const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB: c_int = 63;
const SSL_CTRL_GET_TLSEXT_STATUS_REQ_CB: c_int = 128;
const SSL_TLSEXT_ERR_OK: c_int = 0;
const SSL_TLSEXT_ERR_NOACK: c_int = 3;

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

/// The Lua side.
pub struct Handlers {
    /// Whether there is code to run for it.
    pub is_wanted: fn(&Arrival) -> bool,
    /// Runs it; calls `pass` or `refuse` in the end.
    pub run: fn(&Rc<Arrival>),
    /// A session was made.
    pub store: fn(Client),
}

worker_local! {
    static HANDLERS: Cell<Option<&'static Handlers>> = Cell::new(None);
}

/// Says who runs the code.
pub fn set_handlers(handlers: &'static Handlers) {
    HANDLERS.set(Some(handlers));
}

pub(super) fn is_wanted(arrival: &Arrival) -> bool {
    HANDLERS
        .get()
        .is_some_and(|handlers| (handlers.is_wanted)(arrival))
}

pub(super) fn run(arrival: &Rc<Arrival>) {
    match HANDLERS.get() {
        Some(handlers) => (handlers.run)(arrival),
        None => arrival.pass(),
    }
}

type Info = unsafe extern "C" fn(ssl: *const SSL, kind: c_int, value: c_int);
type GetSession =
    unsafe extern "C" fn(*mut SSL, *const c_uchar, c_int, *mut c_int) -> *mut SSL_SESSION;
type Status = unsafe extern "C" fn(*mut SSL, *mut c_void) -> c_int;
type NewSession = unsafe extern "C" fn(*mut SSL, *mut SSL_SESSION) -> c_int;

/// nginx's own callbacks, which are called as well.
#[derive(Default)]
struct Replaced {
    info: Option<Info>,
    get_session: Option<GetSession>,
    new_session: Option<NewSession>,
    status: Option<Status>,
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
                    conf.log(conf::Level::Emergency, "no ssl configured for the server");
                    return Err(Reported);
                }
                SSL_CTX_set_cert_cb(ctx, Some(on_certificate), settings.cast());
                replaced_of(ctx).ok_or(Reported)?.status = set_status_callback(ctx);
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
                hook((*first.tls()).ssl.ctx, all)?;
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
/// `ctx` must be null or live.
unsafe fn hook(ctx: *mut SSL_CTX, wishes: Wishes) -> Result<(), Reported> {
    if ctx.is_null() || !(wishes.arrival || wishes.sessions) {
        return Ok(());
    }
    // SAFETY: by the caller's promise; the callbacks have the right types.
    unsafe {
        let replaced = replaced_of(ctx).ok_or(Reported)?;
        if replaced.info.is_some() {
            // The default server of another address, too.
            return Ok(());
        }
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

/// The place for the callbacks of `ctx`, made where there is none. None where
/// memory is short.
///
/// # Safety
/// `ctx` must be live, and no other reference to the place.
unsafe fn replaced_of<'a>(ctx: *mut SSL_CTX) -> Option<&'a mut Replaced> {
    let index = replaced_index();
    // SAFETY: by the caller's promise; the box goes with the SSL_CTX.
    unsafe {
        if SSL_CTX_get_ex_data(ctx, index).is_null() {
            let made = Box::into_raw(Box::<Replaced>::default());
            if SSL_CTX_set_ex_data(ctx, index, made.cast()) != 1 {
                drop(Box::from_raw(made));
            }
        }
        SSL_CTX_get_ex_data(ctx, index).cast::<Replaced>().as_mut()
    }
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

/// Where an `SSL_CTX` keeps the callbacks that were replaced.
fn replaced_index() -> c_int {
    unsafe extern "C" fn free(
        _parent: *mut c_void,
        value: *mut c_void,
        _: *mut CRYPTO_EX_DATA,
        _: c_int,
        _: c_long,
        _: *mut c_void,
    ) {
        if !value.is_null() {
            // SAFETY: `hook` put a box there; OpenSSL calls this once.
            drop(unsafe { Box::from_raw(value.cast::<Replaced>()) });
        }
    }
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| new_index(CRYPTO_EX_INDEX_SSL_CTX, free))
}

/// Where an `SSL` keeps its arrival.
fn arrival_index() -> c_int {
    unsafe extern "C" fn free(
        _parent: *mut c_void,
        value: *mut c_void,
        _: *mut CRYPTO_EX_DATA,
        _: c_int,
        _: c_long,
        _: *mut c_void,
    ) {
        if !value.is_null() {
            guard((), || {
                // SAFETY: `begin` put a reference there; OpenSSL calls this once.
                let arrival = unsafe { Rc::from_raw(value.cast::<Arrival>().cast_const()) };
                arrival.abandon();
            });
        }
    }
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| new_index(CRYPTO_EX_INDEX_SSL, free))
}

type Free =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *mut CRYPTO_EX_DATA, c_int, c_long, *mut c_void);

fn new_index(class: u32, free: Free) -> c_int {
    // SAFETY: the function has the right type and lives as long as the process.
    unsafe { CRYPTO_get_ex_new_index(class as c_int, 0, ptr::null_mut(), None, None, Some(free)) }
}

/// nginx's connection of an `SSL`.
///
/// # Safety
/// `ssl` must be live and one of nginx's.
unsafe fn connection(ssl: *const SSL) -> *mut ngx_connection_t {
    // SAFETY: by the caller's promise.
    unsafe { SSL_get_ex_data(ssl, ngx_ssl_connection_index).cast() }
}

/// The arrival of a connection that has not finished its handshake.
///
/// # Safety
/// `c` must be live and have TLS.
pub(super) unsafe fn arrival_of(c: *mut ngx_connection_t) -> Option<Rc<Arrival>> {
    // SAFETY: by the caller's promise; what the index holds is a reference.
    unsafe {
        let arrival = SSL_get_ex_data((*(*c).ssl).connection, arrival_index());
        let arrival = arrival.cast::<Arrival>().cast_const();
        if arrival.is_null() {
            return None;
        }
        Rc::increment_strong_count(arrival);
        Some(Rc::from_raw(arrival))
    }
}

/// # Safety
/// `c` must be live and have TLS.
unsafe fn replaced<'a>(c: *mut ngx_connection_t) -> Option<&'a Replaced> {
    // SAFETY: by the caller's promise; the SSL_CTX that the handshake began with
    // has what `hook` put there.
    unsafe {
        SSL_CTX_get_ex_data((*(*c).ssl).session_ctx, replaced_index())
            .cast::<Replaced>()
            .as_ref()
    }
}

/// OpenSSL tells where the handshake stands.
unsafe extern "C" fn on_info(ssl: *const SSL, kind: c_int, value: c_int) {
    guard((), || {
        // SAFETY: OpenSSL passes its live TLS, which nginx has made.
        unsafe {
            let c = connection(ssl);
            if c.is_null() || (*c).ssl.is_null() {
                return;
            }
            if let Some(info) = replaced(c).and_then(|replaced| replaced.info) {
                info(ssl, kind, value);
            }
            match kind as u32 {
                SSL_CB_HANDSHAKE_START => begin(ssl.cast_mut(), c),
                SSL_CB_ACCEPT_LOOP => go_on(ssl.cast_mut(), c),
                SSL_CB_HANDSHAKE_DONE => finish(ssl.cast_mut(), c),
                _ => {}
            }
        }
    });
}

/// # Safety
/// `ssl` must be the live TLS of the live connection `c`.
unsafe fn begin(ssl: *mut SSL, c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise. A renegotiation is none of ours, and
    // QUIC's TLS does not read.
    unsafe {
        let again = (*(*c).ssl).handshaked() != 0 || arrival_of(c).is_some();
        if again || !(*c).udp.is_null() {
            return;
        }
        if let Some(arrival) = Arrival::begin(ssl, c) {
            SSL_set_ex_data(
                ssl,
                arrival_index(),
                Rc::into_raw(arrival).cast_mut().cast(),
            );
            // nginx may change to another SSL_CTX, one without hooks.
            SSL_set_info_callback(ssl, Some(on_info));
        }
    }
}

/// # Safety
/// As [`begin`].
unsafe fn go_on(ssl: *mut SSL, c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; OpenSSL does not read while it tells.
    unsafe {
        let Some(arrival) = arrival_of(c) else {
            return;
        };
        if let Some(source) = arrival.take_drained_source() {
            source.put_back(ssl);
        }
        let state = SSL_get_state(ssl);
        let reads_hello = state == OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE
            || state == OSSL_HANDSHAKE_STATE_TLS_ST_SR_CLNT_HELLO;
        if !reads_hello && arrival.was_passed_by() {
            let text = b"TLS handshake refused: its ClientHello cannot be understood";
            log::write((*c).log, Level::Error, 0, text);
            // There is no other way to have OpenSSL stop here.
            libc::shutdown((*c).fd, libc::SHUT_RDWR);
        }
    }
}

/// # Safety
/// As [`begin`].
unsafe fn finish(ssl: *mut SSL, c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; the reference of the index is ours again.
    unsafe {
        go_on(ssl, c);
        if let Some(arrival) = arrival_of(c) {
            SSL_set_ex_data(ssl, arrival_index(), ptr::null_mut());
            SSL_set_info_callback(ssl, None);
            Rc::decrement_strong_count(Rc::as_ptr(&arrival));
        }
    }
}

/// OpenSSL needs a certificate.
unsafe extern "C" fn on_certificate(ssl: *mut SSL, settings: *mut c_void) -> c_int {
    guard(0, || {
        // SAFETY: OpenSSL passes its live TLS, nginx's connection is live with
        // it, and the settings are those that `install` gave.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return 0;
            }
            let arrival = arrival_of(c);
            if let Some(arrival) = &arrival
                && rehearsal::is_rehearsal(arrival, ssl)
            {
                arrival.asked.set(true);
                return -1;
            }
            let configured = settings.cast::<ngx_http_ssl_srv_conf_t>();
            if !(*configured).certificate_values.is_null() {
                let rc = ngx_http_ssl_certificate(ssl, settings);
                if rc != 1 {
                    return rc;
                }
            }
            let applied = match arrival.filter(|arrival| arrival.is_certified()) {
                Some(arrival) => arrival.credentials.borrow().apply(ssl),
                None => Err("it could not run for this connection"),
            };
            match applied {
                Ok(()) => 1,
                Err(reason) => {
                    let text = format!("ssl_certificate_by_lua: {reason}");
                    log::write((*c).log, Level::Error, 0, text.as_bytes());
                    // OpenSSL adds that the callback failed.
                    ERR_clear_error();
                    0
                }
            }
        }
    })
}

/// OpenSSL wants an OCSP answer to staple.
unsafe extern "C" fn on_status(ssl: *mut SSL, data: *mut c_void) -> c_int {
    guard(SSL_TLSEXT_ERR_NOACK, || {
        // SAFETY: as on_certificate. The TLS's SSL_CTX is one that `install`
        // has seen, since it asks here.
        unsafe {
            let c = connection(ssl);
            let arrival = (!c.is_null()).then(|| arrival_of(c)).flatten();
            if arrival.is_some_and(|arrival| arrival.credentials.borrow().is_stapled()) {
                return SSL_TLSEXT_ERR_OK;
            }
            match replaced_of(SSL_get_SSL_CTX(ssl)).and_then(|replaced| replaced.status) {
                Some(status) => status(ssl, data),
                None => SSL_TLSEXT_ERR_NOACK,
            }
        }
    })
}

/// OpenSSL looks for a session.
unsafe extern "C" fn on_get_session(
    ssl: *mut SSL,
    id: *const c_uchar,
    len: c_int,
    copy: *mut c_int,
) -> *mut SSL_SESSION {
    guard(ptr::null_mut(), || {
        // SAFETY: as on_certificate; the id has the length that is given.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return ptr::null_mut();
            }
            if let Some(arrival) = arrival_of(c)
                && let Some(session) = arrival.session.borrow().as_ref()
                && let Ok(len) = usize::try_from(len)
                && std::slice::from_raw_parts(id, len) == session.id
            {
                let session = session.session();
                if !session.is_null() {
                    // The reference becomes OpenSSL's.
                    *copy = 0;
                    return session;
                }
            }
            match replaced(c).and_then(|replaced| replaced.get_session) {
                Some(get) => get(ssl, id, len, copy),
                None => ptr::null_mut(),
            }
        }
    })
}

/// OpenSSL has made a session.
unsafe extern "C" fn on_new_session(ssl: *mut SSL, session: *mut SSL_SESSION) -> c_int {
    guard(0, || {
        // SAFETY: as on_certificate; the session is live during the call.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return 0;
            }
            if let Some(handlers) = HANDLERS.get() {
                (handlers.store)(Client::of_session(c, session));
                // Nothing of what Lua tried is OpenSSL's business.
                ERR_clear_error();
            }
            match replaced(c).and_then(|replaced| replaced.new_session) {
                Some(new) => new(ssl, session),
                None => 0,
            }
        }
    })
}
