//! The module's hooks while nginx reads its configuration.

use core::ffi::{c_char, c_void};
use core::panic::AssertUnwindSafe;
use core::ptr;
use std::cell::OnceCell;
use std::panic::catch_unwind;
use std::rc::Rc;

use nginx_sys::{
    NGX_ERROR, NGX_OK, ngx_conf_t, ngx_cycle, ngx_http_module_t, ngx_int_t, ngx_module_t,
};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf};

use super::{install, quit, upstream};
use crate::conf::{LocConf, MainConf};
use crate::rt::panic_message;
use crate::sys::balancer::Upstream;
use crate::sys::conf::{Conf, DIRECTIVE_FAILED, Level, Reported, http_location_conf};
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::sys::snapshot;
use crate::sys::ssl::{self, server::Server};
use crate::sys::variable;
use crate::vm::Vm;

const NO_HOOKS: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

/// The hooks, as nginx wants them.
pub static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    create_srv_conf: Some(create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
    ..NO_HOOKS
};

/// The hooks of the module that stands behind all others.
pub static LAST_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    postconfiguration: Some(last_postconfiguration),
    ..NO_HOOKS
};

/// The hooks of the module that stands right after nginx's filter for chunked
/// coding.
pub static FRAME_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    postconfiguration: Some(frame_postconfiguration),
    ..NO_HOOKS
};

/// The module's main configuration: what was configured, and the VM that
/// came of it.
#[derive(Default)]
pub struct Main {
    pub conf: MainConf,
    /// Set after the configuration was read.
    pub vm: OnceCell<Rc<Vm>>,
}

impl Main {
    /// Tells the configuration, and its VMs, from those of another cycle.
    pub fn id(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        // What they may use of the configuration goes with it.
        quit::cancel_all_of(self.id());
        snapshot::forget_configuration();
        variable::forget_configuration();
    }
}

/// Our module, for nginx's functions that want to know it.
pub fn module() -> &'static ngx_module_t {
    CosocketModule::module()
}

/// The configuration of the request's location.
pub fn location_conf(request: Request) -> &'static LocConf {
    // SAFETY: `create_loc_conf` makes this type.
    unsafe { request.location_conf::<LocConf>(module()) }
}

/// The main configuration that the request runs under.
pub fn main_conf(request: Request) -> &'static Main {
    // SAFETY: `create_main_conf` makes this type.
    unsafe { request.main_conf::<Main>(module()) }
}

/// The configuration of a server outside of its locations.
pub fn server_conf(server: Server) -> &'static LocConf {
    // SAFETY: `create_loc_conf` makes this type.
    unsafe { server.location_conf::<LocConf>(module()) }
}

/// The main configuration that a server belongs to.
pub fn server_main_conf(server: Server) -> &'static Main {
    // SAFETY: `create_main_conf` makes this type.
    unsafe { server.main_conf::<Main>(module()) }
}

/// The main configuration of the current cycle, if there is an `http` block.
pub fn current_main() -> Option<&'static Main> {
    // SAFETY: the cycle is live.
    CosocketModule::main_conf(unsafe { &*ngx_cycle })
}

/// The configuration outside of any server, if there is an `http` block.
pub fn http_conf() -> Option<&'static LocConf> {
    // SAFETY: `create_loc_conf` makes this type.
    unsafe { http_location_conf::<LocConf>(module()) }
}

/// Finds the module's configuration in a request, a parser or a cycle.
pub struct CosocketModule;

impl HttpModule for CosocketModule {
    fn module() -> &'static ngx_module_t {
        let module = &raw const crate::ngx_http_cosocket_module;
        // SAFETY: nginx writes to the module only while it loads it.
        unsafe { &*module }
    }
}

// SAFETY: `create_main_conf` makes this type.
unsafe impl HttpModuleMainConf for CosocketModule {
    type MainConf = Main;
}

// SAFETY: `create_loc_conf` makes this type.
unsafe impl HttpModuleLocationConf for CosocketModule {
    type LocationConf = LocConf;
}

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes its live parser.
    unsafe { create::<Main>(cf) }
}

/// Of a server it holds nothing; of an `upstream` block what balances it.
unsafe extern "C" fn create_srv_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes its live parser.
    unsafe { create::<Upstream>(cf) }
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes its live parser.
    unsafe { create::<LocConf>(cf) }
}

/// # Safety
/// `cf` is nginx's live parser.
unsafe fn create<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: the caller's promise.
    let mut conf = unsafe { Conf::new(cf) };
    match guarded(&mut conf, |conf| conf.keep(T::default())) {
        Some(Some(value)) => value.as_ptr().cast(),
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    parent: *mut c_void,
    child: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes its live parser.
    let mut conf = unsafe { Conf::new(cf) };
    let merged = guarded(&mut conf, |conf| -> Result<(), Reported> {
        // SAFETY: both are what `create_loc_conf` made, for different levels.
        let (parent, child) =
            unsafe { (&*parent.cast::<LocConf>(), &mut *child.cast::<LocConf>()) };
        child.merge(parent);
        child.ssl.prepare(&parent.ssl, conf)?;
        let wanted = [Phase::ProxySslCertificate, Phase::ProxySslVerify];
        if wanted.iter().any(|&phase| child.code.get(phase).is_some()) {
            ssl::upstream::install(conf, &upstream::HANDLERS)?;
        }
        Ok(())
    });
    match merged {
        Some(Ok(())) => ptr::null_mut(),
        _ => DIRECTIVE_FAILED,
    }
}

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser.
    unsafe { configured(cf, install::install) }
}

unsafe extern "C" fn last_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    let last = |_: &mut Conf<'_>, main: &mut Main| {
        install::install_last(main);
        Ok(())
    };
    // SAFETY: nginx passes its live parser.
    unsafe { configured(cf, last) }
}

unsafe extern "C" fn frame_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    let frame = |_: &mut Conf<'_>, main: &mut Main| {
        install::install_frame(main);
        Ok(())
    };
    // SAFETY: nginx passes its live parser.
    unsafe { configured(cf, frame) }
}

/// # Safety
/// `cf` is nginx's live parser, after the `http` block.
unsafe fn configured(
    cf: *mut ngx_conf_t,
    f: impl FnOnce(&mut Conf<'_>, &mut Main) -> Result<(), Reported>,
) -> ngx_int_t {
    // SAFETY: the caller's promise.
    let mut conf = unsafe { Conf::new(cf) };
    let done = guarded(&mut conf, |conf| {
        // SAFETY: the parser is live and in the context of the HTTP modules.
        let main = CosocketModule::main_conf_mut(unsafe { &*conf.as_ptr() }).ok_or(Reported)?;
        f(conf, main)
    });
    match done {
        Some(Ok(())) => NGX_OK as ngx_int_t,
        _ => NGX_ERROR as ngx_int_t,
    }
}

/// Runs `body`; a panic ends here, as an error of the configuration.
pub(super) fn guarded<'cf, T>(
    conf: &mut Conf<'cf>,
    body: impl FnOnce(&mut Conf<'cf>) -> T,
) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| body(conf)));
    if let Err(panic) = &outcome {
        let reason = panic_message(&**panic);
        conf.log(
            Level::Emergency,
            &format!("panic while reading the configuration: {reason}"),
        );
    }
    outcome.ok()
}
