//! Values of a copy's variables.

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use ngx::ffi::{
    NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_INDEXED, ngx_hash_elt_t, ngx_hash_t,
    ngx_http_core_main_conf_t, ngx_http_request_t, ngx_http_variable_t, ngx_http_variable_value_t,
};

use super::Pool;
use crate::sys::request::Request;
use crate::sys::variable::{empty_value, set_text};

/// Families of variables that nginx finds in the copy. Others would ask
/// modules that know the request only.
const FAMILIES: [&[u8]; 7] = [
    b"arg_",
    b"cookie_",
    b"http_",
    b"sent_http_",
    b"sent_trailer_",
    b"upstream_cookie_",
    b"upstream_http_",
];

/// The value of a variable that belongs to no family.
#[derive(Clone, Copy)]
pub(super) struct Value {
    of: *const ngx_http_variable_t,
    value: ngx_http_variable_value_t,
}

/// Variables whose values do not come from the request, and take nginx longest
/// to make: they are made for who asks, from the copy.
const FOR_ANY_REQUEST: [&[u8]; 3] = [b"date_gmt", b"date_local", b"request_id"];

/// How a variable comes into a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is evaluated.
    Evaluated,
    /// Its value is copied if it is there: nginx would ask the system for it.
    Known,
    /// It is the body, which the copy has already.
    Body,
}

#[derive(Clone, Copy)]
struct Variable {
    of: *const ngx_http_variable_t,
    way: Way,
}

/// A configuration's variables in the order of their addresses, without those
/// of families.
struct Catalogue {
    of: *const ngx_http_core_main_conf_t,
    variables: Rc<[Variable]>,
}

thread_local! {
    static CATALOGUE: RefCell<Option<Catalogue>> = const { RefCell::new(None) };
}

/// A configuration goes: the next one may have its address.
pub fn forget_configuration() {
    CATALOGUE.with_borrow_mut(|known| *known = None);
}

/// Evaluates the variables of `request` for its copy `to`, which has its body
/// already. None where memory is short.
///
/// # Safety
/// Both must be live, and the copy's body in one piece.
pub(super) unsafe fn values(
    pool: &Pool,
    request: Request,
    to: NonNull<ngx_http_request_t>,
) -> Option<Vec<Value>> {
    // SAFETY: by the caller's promise.
    let copy = unsafe { Request::from_raw(to) };
    let variables = variables_of(request);
    let _restore = request.is_subrequest().then(|| Restore::new(request));
    let mut values = Vec::with_capacity(variables.len());
    for &Variable { of, way } in &*variables {
        let mut own = empty_value();
        // SAFETY: the variable is one of the live configuration, and its value
        // is live until another one is asked for.
        let found = unsafe {
            match way {
                Way::Evaluated => request.value_of(of, &mut own),
                Way::Known => request.known_value(of),
                Way::Body => {
                    let body = copy.body_in_memory().and_then(|mut body| body.next());
                    body.map(|body| set_text(&mut own, body))
                }
            }
        };
        let value = match found.filter(|value| is_there(value)) {
            Some(&(mut value)) => {
                if value.len() > 0 && way != Way::Body {
                    let len = value.len() as usize;
                    // SAFETY: as above.
                    value.data = pool.bytes(unsafe { slice::from_raw_parts(value.data, len) })?;
                }
                value
            }
            // SAFETY: as above.
            None if unsafe { (*of).flags } & NGX_HTTP_VAR_CHANGEABLE as usize != 0 => nothing(),
            None => continue,
        };
        values.push(Value { of, value });
    }
    Some(values)
}

/// Gives the variables of a request back the values that they had, on drop. A
/// subrequest shares them with others, for whom they may have other values.
struct Restore {
    variables: *mut ngx_http_variable_value_t,
    values: Vec<ngx_http_variable_value_t>,
}

impl Restore {
    fn new(request: Request) -> Restore {
        // SAFETY: the request and its configuration are live; its array has a
        // place for each variable with an index.
        unsafe {
            let variables = (*request.raw()).variables;
            let count = (*request.core_main()).variables.nelts;
            let values = slice::from_raw_parts(variables, count).to_vec();
            Restore { variables, values }
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: the request is live where this is used, and its array as long
        // as before.
        unsafe {
            ptr::copy_nonoverlapping(self.values.as_ptr(), self.variables, self.values.len());
        }
    }
}

fn is_there(value: &ngx_http_variable_value_t) -> bool {
    value.valid() != 0 && value.not_found() == 0
}

fn nothing() -> ngx_http_variable_value_t {
    let mut value = empty_value();
    value.set_not_found(1);
    value
}

/// None for those that a copy does not need.
fn way_of(name: &[u8], indexed: bool) -> Option<Way> {
    match name {
        b"request_body" => Some(Way::Body),
        b"realpath_root" => Some(Way::Known),
        _ if name.starts_with(b"tcpinfo_") => Some(Way::Known),
        // With a place in the request it is the same whenever it is read.
        _ if !indexed && FOR_ANY_REQUEST.contains(&name) => None,
        _ => Some(Way::Evaluated),
    }
}

/// All variables that a request has by name.
fn variables_of(request: Request) -> Rc<[Variable]> {
    let main = request.core_main();
    CATALOGUE.with_borrow_mut(|known| match known {
        Some(known) if ptr::eq(known.of, main) => known.variables.clone(),
        _ => {
            // SAFETY: the configuration is live, and complete.
            let variables = unsafe { list(&raw const (*main).variables_hash) };
            *known = Some(Catalogue {
                of: main,
                variables: variables.clone(),
            });
            variables
        }
    })
}

/// # Safety
/// `hash` must be a live hash of variables.
unsafe fn list(hash: *const ngx_hash_t) -> Rc<[Variable]> {
    let mut variables = Vec::new();
    // SAFETY: by the caller's promise. A bucket is a row of elements, each as
    // long as its name, aligned to a word; one without a value ends it.
    unsafe {
        for i in 0..(*hash).size {
            let mut element = *(*hash).buckets.add(i);
            while let Some(found) = element.as_ref().filter(|e| !e.value.is_null()) {
                let of = found.value.cast_const().cast::<ngx_http_variable_t>();
                let indexed = (*of).flags & NGX_HTTP_VAR_INDEXED as usize != 0;
                if let Some(way) = way_of((*of).name.as_bytes(), indexed) {
                    variables.push(Variable { of, way });
                }
                let end = (&raw const found.name)
                    .cast::<u8>()
                    .add(usize::from(found.len));
                let padding = end.align_offset(align_of::<*mut u8>());
                element = end.add(padding).cast_mut().cast::<ngx_hash_elt_t>();
            }
        }
    }
    variables.sort_unstable_by_key(|variable| variable.of);
    variables.into()
}

impl Request {
    /// The value of a variable of a copy, if it has one of its own.
    pub(in crate::sys) fn copied_value(
        self,
        of: *const ngx_http_variable_t,
    ) -> Option<NonNull<ngx_http_variable_value_t>> {
        // SAFETY: the values are live with the copy, and nobody else looks at
        // them meanwhile.
        let values = unsafe { &mut *self.values() };
        let at = values.binary_search_by_key(&of, |value| value.of).ok()?;
        Some(NonNull::from(&mut values[at].value))
    }

    /// Evaluates a variable for a copy that does not have it, into `own`.
    ///
    /// # Safety
    /// As [`Request::value_of`].
    pub(in crate::sys) unsafe fn late_value(
        self,
        of: *const ngx_http_variable_t,
        own: &mut ngx_http_variable_value_t,
    ) -> Option<&ngx_http_variable_value_t> {
        // SAFETY: by the caller's promise. Those variables need nothing of the
        // request but its memory.
        unsafe {
            let indexed = (*of).flags & NGX_HTTP_VAR_INDEXED as usize != 0;
            let name = (*of).name.as_bytes();
            (!indexed && FOR_ANY_REQUEST.contains(&name)).then(|| self.value_of(of, own))?
        }
    }

    /// Whether the variables whose names begin with `family` can be evaluated:
    /// in a copy, those that nginx finds in its headers and arguments.
    pub(in crate::sys) fn has_family(self, family: &[u8]) -> bool {
        !self.is_copy() || FAMILIES.contains(&family)
    }
}
