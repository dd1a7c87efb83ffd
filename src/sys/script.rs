//! Code of our own among the directives of nginx's rewrite module, which run
//! in the order in which they stand: `set`, `if`, `rewrite`.

use core::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_WEAK, NGX_OK, ngx_array_t, ngx_http_add_variable,
    ngx_http_conf_ctx_t, ngx_http_get_variable_index, ngx_http_request_t, ngx_http_script_code_pt,
    ngx_http_script_engine_t, ngx_http_script_start_code, ngx_http_variable_value_t, ngx_int_t,
    ngx_module_t,
};

use super::conf::{Conf, Level, Reported};
use super::entry::guard;
use super::request::Request;

/// What runs among the rewrite directives. Err: nginx answers the request with
/// this status.
pub type ScriptHandler<T> = fn(Request, &T) -> Result<(), isize>;

/// One piece of code as nginx's script engine wants it: its function first.
#[repr(C)]
struct Code<T: 'static> {
    run: ngx_http_script_code_pt,
    handler: ScriptHandler<T>,
    data: &'static T,
}

/// The part of the rewrite module's location configuration that we know: its
/// code is its first member.
#[repr(C)]
struct RewriteConf {
    codes: *mut ngx_array_t,
}

/// Where the engine finds the end of the code.
static END: usize = 0;

impl Conf<'_> {
    /// Declares `name`, without its dollar, as a variable that can be set.
    ///
    /// # Errors
    /// nginx has logged why it cannot be.
    pub fn declare_variable(&mut self, name: &[u8]) -> Result<(), Reported> {
        let mut name = self.pool_string(name).ok_or(Reported)?;
        let flags = (NGX_HTTP_VAR_CHANGEABLE | NGX_HTTP_VAR_WEAK) as usize;
        // SAFETY: the parser is live; the name is in its pool, and so is the
        // variable that nginx makes.
        unsafe {
            let variable = ngx_http_add_variable(self.as_ptr(), &mut name, flags);
            let variable = variable.as_mut().ok_or(Reported)?;
            let index = ngx_http_get_variable_index(self.as_ptr(), &mut name);
            if index < 0 {
                return Err(Reported);
            }
            if variable.get_handler.is_none() {
                variable.get_handler = Some(unset);
            }
        }
        Ok(())
    }

    /// Has `handler` called with `data` where the directive stands among those
    /// of the rewrite module.
    ///
    /// # Errors
    /// nginx was built without that module, or memory is short; it is logged.
    ///
    /// # Safety
    /// `data` lives as long as the configuration.
    pub unsafe fn add_script_code<T: 'static>(
        &mut self,
        data: &T,
        handler: ScriptHandler<T>,
    ) -> Result<(), Reported> {
        let Some(rewrite) = self.find_module(c"ngx_http_rewrite_module") else {
            let text = "this nginx was built without the rewrite module, which runs this directive";
            self.log(Level::Emergency, text);
            return Err(Reported);
        };
        // SAFETY: inside of `http` the parser's context is that of the HTTP
        // modules. Code of a location is in its pool; the engine finds the
        // next code by our size, in which the rounding up to words changes
        // nothing. The data outlives it, as the caller promises.
        unsafe {
            let http = (*self.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
            let conf = (*(*http).loc_conf.add(rewrite.ctx_index)).cast::<RewriteConf>();
            let code = ngx_http_script_start_code(
                (*self.as_ptr()).pool,
                &raw mut (*conf).codes,
                size_of::<Code<T>>(),
            );
            let code = NonNull::new(code.cast::<Code<T>>()).ok_or(Reported)?;
            code.write(Code {
                run: Some(run::<T>),
                handler,
                data: &*ptr::from_ref(data),
            });
        }
        Ok(())
    }

    fn find_module(&self, name: &core::ffi::CStr) -> Option<&'static ngx_module_t> {
        // SAFETY: the cycle has a null-terminated list of the modules, which
        // live as long as the process.
        unsafe {
            let mut module = (*(*self.as_ptr()).cycle).modules;
            while let Some(candidate) = (*module).as_ref() {
                if core::ffi::CStr::from_ptr(candidate.name) == name {
                    return Some(candidate);
                }
                module = module.add(1);
            }
        }
        None
    }
}

unsafe extern "C" fn run<T: 'static>(engine: *mut ngx_http_script_engine_t) {
    // SAFETY: nginx calls it with its live engine, which stands at our code.
    let (engine, code) = unsafe {
        let engine = &mut *engine;
        (&mut *ptr::from_mut(engine), &*engine.ip.cast::<Code<T>>())
    };
    let result = guard(Err(500), || {
        // SAFETY: the engine runs for a live request.
        let request = NonNull::new(engine.request).map(|r| unsafe { Request::from_raw(r) });
        request.map_or(Err(500), |request| (code.handler)(request, code.data))
    });
    match result {
        // SAFETY: nginx put the next code, or its end, behind ours.
        Ok(()) => engine.ip = unsafe { engine.ip.add(size_of::<Code<T>>()) },
        Err(status) => {
            engine.ip = (&raw const END).cast_mut().cast();
            engine.status = status;
        }
    }
}

/// The value of a variable that was declared and not set yet.
unsafe extern "C" fn unset(
    _r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a value to fill.
    let value = unsafe { &mut *value };
    value.set_len(0);
    value.set_valid(1);
    value.set_no_cacheable(0);
    value.set_not_found(0);
    value.data = NonNull::dangling().as_ptr();
    NGX_OK as ngx_int_t
}
