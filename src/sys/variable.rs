//! nginx's variables.

use ngx::ffi::{
    NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_INDEXED, NGX_OK, ngx_hash_find,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_get_flushed_variable,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_palloc, ngx_str_t,
};

use std::cell::RefCell;
use std::ptr;

use super::request::Request;
use super::text::{ShortText, hash_key};
use crate::rt::{Recent, worker_local};

/// Why a variable could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableError {
    /// There is none of that name.
    NotFound,
    /// It may only be read.
    NotChangeable,
    /// It has no place for a value.
    NotAssignable,
    /// The value is longer than nginx can count.
    TooLong,
    /// Memory is short.
    Memory,
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Named {
    Variable(*const ngx_http_variable_t),
    /// An argument of the query.
    Argument,
    /// A header of the request; its family.
    Header(*const ngx_http_variable_t),
    /// One of a family of variables, which nginx evaluates by its name in
    /// lower case, which this says it is.
    Member(*const ngx_http_variable_t, bool),
    Nothing,
}

worker_local! {
    /// What names stood for, in which configuration.
    static RECENT: RefCell<Recent<(*const ngx_http_core_main_conf_t, Named)>> =
        RefCell::new(Recent::EMPTY);
}

/// A configuration goes: the next one may have its address.
pub fn forget_configuration() {
    RECENT.with_borrow_mut(Recent::clear);
}

/// nginx keeps lengths of values in 28 bits.
const LONGEST_VALUE: usize = (1 << 28) - 1;

impl Request {
    /// The value of a variable; None where it has none.
    ///
    /// As `ngx_http_get_variable` does it, but without taking memory of the
    /// request for each value.
    pub fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let mut own = empty_value();
        // SAFETY: the request and nginx's configuration are live; a handler
        // fills the value it is given when it returns NGX_OK, and an address
        // is data for what it is registered with.
        unsafe {
            let value = match self.named(name) {
                Named::Variable(v) if self.is_copy() => match self.copied_value(v) {
                    Some(value) => value.as_ref(),
                    None => self.late_value(v, &mut own)?,
                },
                Named::Variable(v) => self.value_of(v, &mut own)?,
                Named::Member(family, is_lowercase) => {
                    let name = match is_lowercase {
                        true => ShortText::Given(name),
                        false => lowercase(name),
                    };
                    self.member(family, &name, &mut own)?
                }
                Named::Header(family) => match self.only_header(&name[HEADER.len()..]) {
                    Ok(value) => return value,
                    Err(Several) => self.member(family, name, &mut own)?,
                },
                Named::Argument => return self.argument(&name[ARGUMENT.len()..]),
                Named::Nothing => return None,
            };
            if value.not_found() != 0 || value.valid() == 0 {
                return None;
            }
            match value_len(value) {
                0 => Some(&[]),
                len => Some(std::slice::from_raw_parts(value.data, len)),
            }
        }
    }

    /// Evaluates a variable, into `own` where it has no place in the request.
    ///
    /// # Safety
    /// `v` must be a variable of the request's configuration, and one that the
    /// request has what it needs for. The value must not be used when nginx's code has run.
    pub(super) unsafe fn value_of(
        self,
        v: *const ngx_http_variable_t,
        own: &mut ngx_http_variable_value_t,
    ) -> Option<&ngx_http_variable_value_t> {
        // SAFETY: by the caller's promise; as in `variable`.
        unsafe {
            if (*v).flags & NGX_HTTP_VAR_INDEXED as usize != 0 {
                return ngx_http_get_flushed_variable(self.raw(), (*v).index).as_ref();
            }
            let get = (*v).get_handler?;
            (get(self.raw(), own, (*v).data) == NGX_OK as isize).then_some(own)
        }
    }

    /// Evaluates a variable of a family, whose name is in lower case, into
    /// `own`. None where it has no value.
    ///
    /// # Safety
    /// As [`Request::value_of`].
    unsafe fn member<'v>(
        self,
        family: *const ngx_http_variable_t,
        name: &[u8],
        own: &'v mut ngx_http_variable_value_t,
    ) -> Option<&'v ngx_http_variable_value_t> {
        // SAFETY: by the caller's promise.
        let family = unsafe { &*family };
        if !self.has_family(family.name.as_bytes()) {
            return None;
        }
        let mut name = borrowed(name);
        let get = family.get_handler?;
        // SAFETY: as in `variable`.
        let rc = unsafe { get(self.raw(), own, (&raw mut name).addr()) };
        (rc == NGX_OK as isize).then_some(own)
    }

    /// The value of a variable, if it was evaluated before.
    ///
    /// # Safety
    /// As [`Request::value_of`].
    pub(super) unsafe fn known_value<'v>(
        self,
        v: *const ngx_http_variable_t,
    ) -> Option<&'v ngx_http_variable_value_t> {
        // SAFETY: by the caller's promise; a variable with an index has its
        // place in the request's array.
        unsafe {
            let indexed = (*v).flags & NGX_HTTP_VAR_INDEXED as usize != 0;
            indexed.then(|| &*(*self.raw()).variables.add((*v).index))
        }
    }

    /// Sets a variable, or with None takes its value away.
    pub fn set_variable(self, name: &[u8], value: Option<&[u8]>) -> Result<(), VariableError> {
        let Named::Variable(v) = self.named(name) else {
            return Err(VariableError::NotFound);
        };
        // SAFETY: the configuration is live.
        let v = unsafe { &*v };
        if v.flags & NGX_HTTP_VAR_CHANGEABLE as usize == 0 {
            return Err(VariableError::NotChangeable);
        }
        let mut new = empty_value();
        match value {
            Some(value) if value.len() > LONGEST_VALUE => return Err(VariableError::TooLong),
            Some(value) => {
                let copy = self.copy(&[value]).ok_or(VariableError::Memory)?;
                set_text(&mut new, copy.as_bytes());
            }
            None => new.set_not_found(1),
        }
        if self.is_copy() {
            let value = self.copied_value(v).ok_or(VariableError::NotAssignable)?;
            // SAFETY: the copy is live.
            unsafe { value.write(new) };
            return Ok(());
        }
        // SAFETY: the request is live; a variable with an index has a place
        // in its array, and a handler gets memory that it may keep.
        unsafe {
            if let Some(set) = v.set_handler {
                let kept = ngx_palloc(self.pool(), size_of::<ngx_http_variable_value_t>())
                    .cast::<ngx_http_variable_value_t>();
                if kept.is_null() {
                    return Err(VariableError::Memory);
                }
                kept.write(new);
                set(self.raw(), kept, v.data);
            } else if v.flags & NGX_HTTP_VAR_INDEXED as usize != 0 {
                (*self.raw()).variables.add(v.index).write(new);
            } else {
                return Err(VariableError::NotAssignable);
            }
        }
        Ok(())
    }

    /// Has the values of variables computed again when they are asked for.
    /// Values that were set stay.
    pub(super) fn forget_variables(self, which: impl Fn(&[u8]) -> bool) {
        // SAFETY: the request and the configuration are live; each variable
        // of the list has its place in the request's array.
        unsafe {
            let list = (*self.core_main())
                .variables
                .as_slice::<ngx_http_variable_t>();
            for (i, v) in list.iter().enumerate() {
                if which(v.name.as_bytes()) && v.get_handler.is_some() {
                    let value = &mut *(*self.raw()).variables.add(i);
                    value.set_valid(0);
                    value.set_not_found(0);
                }
            }
        }
    }

    /// Group `n` of the regular expression that matched last, as `$1` means
    /// it; 0 is the whole match.
    #[cfg(ngx_feature = "pcre")]
    pub fn capture(&self, n: usize) -> Option<&[u8]> {
        // SAFETY: the request is live; nginx keeps pairs of offsets into the
        // text that was matched, which stays in the request's memory.
        unsafe {
            let r = &*self.raw();
            let first = n.checked_mul(2).filter(|&first| first < r.ncaptures)?;
            if r.captures.is_null() || r.captures_data.is_null() {
                return None;
            }
            let (from, to) = (*r.captures.add(first), *r.captures.add(first + 1));
            match (usize::try_from(from), usize::try_from(to)) {
                (Ok(from), Ok(to)) if from < to => Some(std::slice::from_raw_parts(
                    r.captures_data.add(from),
                    to - from,
                )),
                // Empty, or a group that took no part in the match: nginx
                // makes no difference.
                _ => Some(&[]),
            }
        }
    }

    /// An nginx without regular expressions has no groups.
    #[cfg(not(ngx_feature = "pcre"))]
    pub fn capture(&self, _n: usize) -> Option<&[u8]> {
        None
    }

    pub(super) fn core_main(self) -> *mut ngx_http_core_main_conf_t {
        // SAFETY: the core module has a main configuration.
        unsafe {
            (*(*self.raw()).main_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_main_conf_t>()
        }
    }

    /// What the name stands for, in any case.
    #[inline]
    fn named(self, name: &[u8]) -> Named {
        match RECENT.with_borrow(|recent| recent.get(name).copied()) {
            Some((of, named)) if ptr::eq(of, self.core_main()) => named,
            _ => self.learn(name),
        }
    }

    #[cold]
    fn learn(self, name: &[u8]) -> Named {
        let lowercase = lowercase(name);
        let named = self
            .find(&lowercase)
            .or_else(|| self.find_member(&lowercase, *lowercase == *name))
            .unwrap_or(Named::Nothing);
        let of = self.core_main().cast_const();
        RECENT.with_borrow_mut(|recent| recent.put(name, (of, named)));
        named
    }

    /// The variable of that name, which is in lower case.
    fn find(self, name: &[u8]) -> Option<Named> {
        // SAFETY: the configuration's hash is live; nginx only reads the name.
        let found = unsafe {
            ngx_hash_find(
                &raw mut (*self.core_main()).variables_hash,
                hash_key(name),
                name.as_ptr().cast_mut(),
                name.len(),
            )
        };
        (!found.is_null()).then_some(Named::Variable(found.cast()))
    }

    /// The variable of the family with the longest prefix of that name, such
    /// as `arg_`.
    fn find_member(self, name: &[u8], as_given: bool) -> Option<Named> {
        // SAFETY: the configuration is live and its array of that type.
        let families = unsafe {
            (*self.core_main())
                .prefix_variables
                .as_slice::<ngx_http_variable_t>()
        };
        let family = families
            .iter()
            .filter(|v| name.starts_with(v.name.as_bytes()))
            .max_by_key(|v| v.name.len)?;
        Some(match family.name.as_bytes() {
            ARGUMENT => Named::Argument,
            HEADER if as_given => Named::Header(family),
            _ => Named::Member(family, as_given),
        })
    }

    /// The value of the header whose name, in lower case and with underscores
    /// for hyphens, is `name`. What several lines come to, nginx decides.
    fn only_header(&self, name: &[u8]) -> Result<Option<&[u8]>, Several> {
        let is_named = |header: &[u8]| {
            header.len() == name.len()
                && header.iter().zip(name).all(|(&h, &n)| match h {
                    b'-' => n == b'_',
                    _ => h.to_ascii_lowercase() == n,
                })
        };
        let mut found = self.headers().filter(|header| is_named(header.name));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Several),
            (first, None) => Ok(first.map(|header| header.value)),
        }
    }

    /// The value of the first argument of that name, in any case. nginx looks
    /// for the name at every byte, and takes a length below zero for that of a
    /// value where there is `&` in the name.
    fn argument(&self, name: &[u8]) -> Option<&[u8]> {
        let mut rest = self.args();
        while name.len() < rest.len() {
            let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            let (argument, others) = rest.split_at(end);
            if argument.get(name.len()) == Some(&b'=')
                && argument[..name.len()].eq_ignore_ascii_case(name)
            {
                return (!name.is_empty()).then(|| &argument[name.len() + 1..]);
            }
            rest = others.get(1..).unwrap_or_default();
        }
        None
    }
}

/// The family of the arguments of the query.
const ARGUMENT: &[u8] = b"arg_";
/// The family of the headers of the request.
const HEADER: &[u8] = b"http_";

/// There is more than one line of the header.
struct Several;

pub(super) fn empty_value() -> ngx_http_variable_value_t {
    // SAFETY: zeros are a valid value: an empty one, neither valid nor missing.
    unsafe { std::mem::zeroed() }
}

/// Makes `text` the value, which is not to be used for longer than that.
pub(super) fn set_text<'v>(
    value: &'v mut ngx_http_variable_value_t,
    text: &[u8],
) -> &'v ngx_http_variable_value_t {
    set_value_len(value, text.len());
    value.set_valid(1);
    value.data = text.as_ptr().cast_mut();
    value
}

/// The length of a value. (What bindgen makes of nginx's bit field goes bit by
/// bit, which takes longer than to find the variable.)
pub(super) fn value_len(value: &ngx_http_variable_value_t) -> usize {
    if cfg!(target_endian = "big") {
        return value.len() as usize;
    }
    // SAFETY: a value begins with 28 bits of length and four flags.
    let word = unsafe { ptr::from_ref(value).cast::<u32>().read() };
    word as usize & LONGEST_VALUE
}

fn set_value_len(value: &mut ngx_http_variable_value_t, len: usize) {
    debug_assert!(len <= LONGEST_VALUE);
    if cfg!(target_endian = "big") {
        return value.set_len(len as u32);
    }
    let word = ptr::from_mut(value).cast::<u32>();
    // SAFETY: as in `value_len`.
    unsafe { word.write(word.read() & !(LONGEST_VALUE as u32) | len as u32) }
}

/// The name in lower case.
fn lowercase(name: &[u8]) -> ShortText<'_> {
    if name.iter().any(u8::is_ascii_uppercase) {
        ShortText::mapped(name, |b| b.to_ascii_lowercase())
    } else {
        ShortText::Given(name)
    }
}

fn borrowed(text: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}
