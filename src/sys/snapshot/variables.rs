//! Values of a copy's variables.

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use ngx::ffi::{
    NGX_HTTP_VAR_CHANGEABLE, ngx_hash_elt_t, ngx_hash_t, ngx_http_core_main_conf_t,
    ngx_http_request_t, ngx_http_variable_t, ngx_http_variable_value_t,
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

/// A configuration's variables in the order of their addresses, without those
/// of families.
struct Catalogue {
    of: *const ngx_http_core_main_conf_t,
    variables: Rc<[*const ngx_http_variable_t]>,
}

thread_local! {
    static CATALOGUE: RefCell<Option<Catalogue>> = const { RefCell::new(None) };
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
    let mut values = Vec::with_capacity(variables.len());
    for &of in &*variables {
        let mut own = empty_value();
        // SAFETY: the variable is one of the live configuration, and its value
        // is live until another one is asked for.
        let (name, found, keeps) = unsafe {
            let name = (*of).name.as_bytes();
            let found = if name == b"request_body" {
                // The copy has it already.
                let body = copy.body_in_memory().and_then(|mut body| body.next());
                body.map(|body| *set_text(&mut own, body))
            } else if takes_system_calls(name) {
                request.known_value(of).copied()
            } else {
                request.value_of(of, &mut own).copied()
            };
            let keeps = (*of).flags & NGX_HTTP_VAR_CHANGEABLE as usize != 0;
            (name, found.filter(is_there), keeps)
        };
        let value = match found {
            Some(mut value) => {
                if value.len() > 0 && name != b"request_body" {
                    let len = value.len() as usize;
                    // SAFETY: as above.
                    value.data = pool.array(unsafe { slice::from_raw_parts(value.data, len) })?;
                }
                value
            }
            None if keeps => nothing(),
            None => continue,
        };
        values.push(Value { of, value });
    }
    Some(values)
}

fn is_there(value: &ngx_http_variable_value_t) -> bool {
    value.valid() != 0 && value.not_found() == 0
}

fn nothing() -> ngx_http_variable_value_t {
    let mut value = empty_value();
    value.set_not_found(1);
    value
}

/// Whether nginx asks the system for the value.
fn takes_system_calls(name: &[u8]) -> bool {
    name == b"realpath_root" || name.starts_with(b"tcpinfo_")
}

/// All variables that a request has by name.
fn variables_of(request: Request) -> Rc<[*const ngx_http_variable_t]> {
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
unsafe fn list(hash: *const ngx_hash_t) -> Rc<[*const ngx_http_variable_t]> {
    let mut variables = Vec::new();
    // SAFETY: by the caller's promise. A bucket is a row of elements, each as
    // long as its name, aligned to a word; one without a value ends it.
    unsafe {
        for i in 0..(*hash).size {
            let mut element = *(*hash).buckets.add(i);
            while let Some(found) = element.as_ref().filter(|e| !e.value.is_null()) {
                variables.push(found.value.cast_const().cast());
                let end = (&raw const found.name)
                    .cast::<u8>()
                    .add(usize::from(found.len));
                let padding = end.align_offset(align_of::<*mut u8>());
                element = end.add(padding).cast_mut().cast::<ngx_hash_elt_t>();
            }
        }
    }
    variables.sort_unstable();
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

    /// Whether the variables whose names begin with `family` can be evaluated:
    /// in a copy, those that nginx finds in its headers and arguments.
    pub(in crate::sys) fn has_family(self, family: &[u8]) -> bool {
        !self.is_copy() || FAMILIES.contains(&family)
    }
}
