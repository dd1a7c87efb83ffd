//! `SSL_CTX` of the `lua_ssl_*` directives.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    NGX_OK, NGX_SSL_SSLv2, NGX_SSL_SSLv3, NGX_SSL_TLSv1, NGX_SSL_TLSv1_1, NGX_SSL_TLSv1_2,
    NGX_SSL_TLSv1_3, SSL, SSL_CTX_get_ex_data, SSL_CTX_set_keylog_callback, SSL_CTX_set_verify,
    SSL_CTX_set_verify_depth, SSL_VERIFY_NONE, SSL_get_SSL_CTX, ngx_array_create, ngx_array_push,
    ngx_int_t, ngx_keyval_t, ngx_log_t, ngx_ssl_certificate, ngx_ssl_ciphers, ngx_ssl_cleanup_ctx,
    ngx_ssl_client_session_cache, ngx_ssl_conf_commands, ngx_ssl_create, ngx_ssl_crl,
    ngx_ssl_server_conf_index, ngx_ssl_t, ngx_ssl_trusted_certificate, ngx_str_t,
};

use crate::sys::conf::{Conf, Level, Reported};
use crate::sys::entry::{cycle_log, guard};

/// A protocol version of `lua_ssl_protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    SslV2,
    SslV3,
    TlsV1,
    TlsV1_1,
    TlsV1_2,
    TlsV1_3,
}

impl Protocol {
    /// The protocol that a configuration calls `name`.
    pub fn from_name(name: &[u8]) -> Option<Protocol> {
        Some(match name {
            b"SSLv2" => Protocol::SslV2,
            b"SSLv3" => Protocol::SslV3,
            b"TLSv1" => Protocol::TlsV1,
            b"TLSv1.1" => Protocol::TlsV1_1,
            b"TLSv1.2" => Protocol::TlsV1_2,
            b"TLSv1.3" => Protocol::TlsV1_3,
            _ => return None,
        })
    }

    /// Its number on the wire; None for SSLv2.
    pub fn version(self) -> Option<u16> {
        match self {
            Protocol::SslV2 => None,
            Protocol::SslV3 => Some(0x0300),
            Protocol::TlsV1 => Some(0x0301),
            Protocol::TlsV1_1 => Some(0x0302),
            Protocol::TlsV1_2 => Some(0x0303),
            Protocol::TlsV1_3 => Some(0x0304),
        }
    }

    fn bit(self) -> usize {
        (match self {
            Protocol::SslV2 => NGX_SSL_SSLv2,
            Protocol::SslV3 => NGX_SSL_SSLv3,
            Protocol::TlsV1 => NGX_SSL_TLSv1,
            Protocol::TlsV1_1 => NGX_SSL_TLSv1_1,
            Protocol::TlsV1_2 => NGX_SSL_TLSv1_2,
            Protocol::TlsV1_3 => NGX_SSL_TLSv1_3,
        }) as usize
    }
}

const DEFAULT_PROTOCOLS: [Protocol; 4] = [
    Protocol::TlsV1,
    Protocol::TlsV1_1,
    Protocol::TlsV1_2,
    Protocol::TlsV1_3,
];

/// What the `lua_ssl_*` directives of a location say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `lua_ssl_protocols`
    pub protocols: Option<Vec<Protocol>>,
    /// `lua_ssl_ciphers`
    pub ciphers: Option<Vec<u8>>,
    /// `lua_ssl_verify_depth`
    pub verify_depth: Option<usize>,
    /// `lua_ssl_certificate`, one entry a directive
    pub certificates: Option<Vec<Vec<u8>>>,
    /// `lua_ssl_certificate_key`
    pub certificate_keys: Option<Vec<Vec<u8>>>,
    /// `lua_ssl_trusted_certificate`
    pub trusted_certificate: Option<Vec<u8>>,
    /// `lua_ssl_crl`
    pub crl: Option<Vec<u8>>,
    /// `lua_ssl_key_log`: full path
    pub key_log: Option<Vec<u8>>,
    /// `lua_ssl_conf_command`
    pub conf_commands: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Settings {
    fn verify_depth(&self) -> usize {
        self.verify_depth.unwrap_or(1)
    }

    /// Whether no directive was given.
    pub fn is_default(&self) -> bool {
        self.protocols.is_none()
            && self.ciphers.is_none()
            && self.verify_depth.is_none()
            && self.certificates.is_none()
            && self.certificate_keys.is_none()
            && self.trusted_certificate.is_none()
            && self.crl.is_none()
            && self.key_log.is_none()
            && self.conf_commands.is_none()
    }
}

/// A client's `SSL_CTX`.
pub struct SslContext {
    ssl: Box<ngx_ssl_t>,
    /// nginx's function to free it. A pointer, since settings are tested
    /// without nginx at hand.
    free: unsafe extern "C" fn(*mut c_void),
    // The SSL_CTX refers to it.
    _key_log: Option<Box<KeyLog>>,
}

struct KeyLog(RefCell<File>);

impl SslContext {
    /// The context of handlers for which no `lua_ssl_*` directive was given.
    pub fn default_of_worker() -> Option<Rc<SslContext>> {
        thread_local! {
            static DEFAULT: RefCell<Option<Rc<SslContext>>> = const { RefCell::new(None) };
        }
        DEFAULT.with_borrow_mut(|context| {
            if context.is_none() {
                let settings = Settings::default();
                *context = SslContext::create(&settings, cycle_log(), None)
                    .and_then(|made| made.apply_plain(&settings, ptr::null_mut()))
                    .ok()
                    .map(Rc::new);
            }
            context.clone()
        })
    }

    /// The context that `settings` describe. Files are read now.
    ///
    /// # Errors
    /// What is wrong has been logged with file and line.
    pub fn new(conf: &Conf<'_>, settings: &Settings) -> Result<SslContext, Reported> {
        let key_log = match &settings.key_log {
            Some(path) => Some(open_key_log(conf, path)?),
            None => None,
        };
        let cf = conf.as_ptr();
        // SAFETY: nginx's parser is live.
        let log = unsafe { (*cf).log };
        let made = SslContext::create(settings, log, key_log)?.apply_plain(settings, cf)?;
        made.apply_files(conf, settings)?;
        Ok(made)
    }

    fn create(
        settings: &Settings,
        log: *mut ngx_log_t,
        key_log: Option<Box<KeyLog>>,
    ) -> Result<SslContext, Reported> {
        let protocols = settings.protocols.as_deref().unwrap_or(&DEFAULT_PROTOCOLS);
        let bits = protocols.iter().fold(0, |bits, p| bits | p.bit());
        // SAFETY: zeros are nginx's initial state.
        let mut ssl: Box<ngx_ssl_t> = Box::new(unsafe { std::mem::zeroed() });
        ssl.log = log;
        let data = key_log
            .as_deref()
            .map_or(ptr::null_mut(), |k| ptr::from_ref(k).cast_mut().cast());
        // SAFETY: the structure is initialised; the data lives in the context.
        let rc = unsafe { ngx_ssl_create(&mut *ssl, bits, data) };
        if rc != NGX_OK as ngx_int_t {
            return Err(Reported);
        }
        let context = SslContext {
            ssl,
            free: ngx_ssl_cleanup_ctx,
            _key_log: key_log,
        };
        // SAFETY: the SSL_CTX is live.
        unsafe { SSL_CTX_set_verify_depth(context.ssl.ctx, settings.verify_depth() as c_int) };
        if context._key_log.is_some() {
            // SAFETY: the SSL_CTX is live.
            unsafe { SSL_CTX_set_keylog_callback(context.ssl.ctx, Some(on_key)) };
        }
        Ok(context)
    }

    /// Settings that need no file. `cf` may be null outside of a configuration.
    fn apply_plain(
        mut self,
        settings: &Settings,
        cf: *mut ngx::ffi::ngx_conf_t,
    ) -> Result<SslContext, Reported> {
        // nginx hands the text to OpenSSL as a C string.
        let mut text = settings.ciphers.as_deref().unwrap_or(b"DEFAULT").to_vec();
        text.push(0);
        let mut ciphers = ngx_str_t {
            len: text.len() - 1,
            data: text.as_mut_ptr(),
        };
        // SAFETY: the SSL_CTX is live, and so is the text during the call.
        unsafe {
            let ssl: *mut ngx_ssl_t = &mut *self.ssl;
            if ngx_ssl_ciphers(cf, ssl, &mut ciphers, 0) != NGX_OK as ngx_int_t {
                return Err(Reported);
            }
            ngx_ssl_client_session_cache(cf, ssl, 1);
        }
        Ok(self)
    }

    fn apply_files(&self, conf: &Conf<'_>, settings: &Settings) -> Result<(), Reported> {
        let cf = conf.as_ptr();
        let ssl = ptr::from_ref(&*self.ssl).cast_mut();
        let check = |rc: ngx_int_t| {
            if rc == NGX_OK as ngx_int_t {
                Ok(())
            } else {
                Err(Reported)
            }
        };
        let text = |text: &[u8]| conf.pool_string(text).ok_or(Reported);
        let certificates = settings.certificates.as_deref().unwrap_or_default();
        let keys = settings.certificate_keys.as_deref().unwrap_or_default();
        if certificates.len() > keys.len() {
            conf.log(
                Level::Emergency,
                "no \"lua_ssl_certificate_key\" is defined for certificate",
            );
            return Err(Reported);
        }
        // SAFETY: the parser and the SSL_CTX are live, the strings in the
        // configuration's pool.
        unsafe {
            for (certificate, key) in certificates.iter().zip(keys) {
                let (mut certificate, mut key) = (text(certificate)?, text(key)?);
                check(ngx_ssl_certificate(
                    cf,
                    ssl,
                    &mut certificate,
                    &mut key,
                    ptr::null_mut(),
                ))?;
            }
            let depth = settings.verify_depth() as ngx_int_t;
            let mut trusted = text(settings.trusted_certificate.as_deref().unwrap_or_default())?;
            check(ngx_ssl_trusted_certificate(cf, ssl, &mut trusted, depth))?;
            // nginx has OpenSSL go on after an error; the first one tells more.
            SSL_CTX_set_verify(self.ssl.ctx, SSL_VERIFY_NONE as i32, None);
            let mut crl = text(settings.crl.as_deref().unwrap_or_default())?;
            check(ngx_ssl_crl(cf, ssl, &mut crl))?;
            let commands = settings.conf_commands.as_deref().unwrap_or_default();
            if commands.is_empty() {
                return Ok(());
            }
            let list = ngx_array_create((*cf).pool, commands.len(), size_of::<ngx_keyval_t>());
            if list.is_null() {
                return Err(Reported);
            }
            for (key, value) in commands {
                let entry = ngx_array_push(list).cast::<ngx_keyval_t>();
                if entry.is_null() {
                    return Err(Reported);
                }
                entry.write(ngx_keyval_t {
                    key: text(key)?,
                    value: text(value)?,
                });
            }
            check(ngx_ssl_conf_commands(cf, ssl, list))
        }
    }

    pub(super) fn raw(&self) -> *mut ngx_ssl_t {
        ptr::from_ref(&*self.ssl).cast_mut()
    }
}

impl Drop for SslContext {
    fn drop(&mut self) {
        // SAFETY: frees the SSL_CTX; connections keep their own reference.
        unsafe { (self.free)(ptr::from_mut(&mut *self.ssl).cast()) }
    }
}

fn open_key_log(conf: &Conf<'_>, path: &[u8]) -> Result<Box<KeyLog>, Reported> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(std::ffi::OsStr::from_bytes(path))
        .map(|file| Box::new(KeyLog(RefCell::new(file))))
        .map_err(|e| {
            let path = String::from_utf8_lossy(path);
            conf.log(
                Level::Emergency,
                &format!("\"lua_ssl_key_log\": cannot open \"{path}\": {e}"),
            );
            Reported
        })
}

/// Appends a line to the key log, in the format of NSS.
unsafe extern "C" fn on_key(ssl: *const SSL, line: *const c_char) {
    guard((), || {
        // SAFETY: OpenSSL passes its live connection and a C string; the data
        // of the SSL_CTX is the KeyLog that was put there.
        let (log, line) = unsafe {
            let ctx = SSL_get_SSL_CTX(ssl);
            let data: *mut c_void = SSL_CTX_get_ex_data(ctx, ngx_ssl_server_conf_index);
            match data.cast::<KeyLog>().as_ref() {
                Some(log) => (log, std::ffi::CStr::from_ptr(line)),
                None => return,
            }
        };
        let text = [line.to_bytes(), b"\n"].concat();
        // A debugging aid: the handshake goes on where it cannot be written.
        let _ = log.0.borrow_mut().write_all(&text);
    });
}
