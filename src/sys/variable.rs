//! nginx's variables.

use ngx::ffi::{
    NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_INDEXED, NGX_OK, ngx_hash_find,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_get_flushed_variable,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_palloc, ngx_str_t,
};

use std::ptr;

use super::request::Request;
use super::text::{ShortText, hash_bytes, hash_key};

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

/// nginx keeps lengths of values in 28 bits.
const LONGEST_VALUE: usize = (1 << 28) - 1;

impl Request {
    /// The value of a variable; None where it has none.
    ///
    /// As `ngx_http_get_variable` does it, but without taking memory of the
    /// request for each value.
    pub fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let (name, hash) = lowercase(name);
        let mut own = empty_value();
        // SAFETY: the request and nginx's configuration are live; a handler
        // fills the value it is given when it returns NGX_OK, and an address
        // is data for what it is registered with.
        unsafe {
            let value = match self.find(&name, hash) {
                Some(v) if self.is_copy() => match self.copied_value(v) {
                    Some(value) => value.as_ref(),
                    None => self.late_value(v, &mut own)?,
                },
                Some(v) => self.value_of(v, &mut own)?,
                None => {
                    let family = self.find_prefix(&name)?;
                    if !self.has_family(family.name.as_bytes()) {
                        return None;
                    }
                    let mut name = borrowed(&name);
                    let get = family.get_handler?;
                    if get(self.raw(), &mut own, (&raw mut name).addr()) != NGX_OK as isize {
                        return None;
                    }
                    &own
                }
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
        let (name, hash) = lowercase(name);
        let v = self.find(&name, hash).ok_or(VariableError::NotFound)?;
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
                if v.get_handler.is_some() && which(v.name.as_bytes()) {
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

    /// The variable of that name, which is in lower case, and has that hash.
    fn find(self, name: &[u8], hash: usize) -> Option<*const ngx_http_variable_t> {
        // SAFETY: the configuration's hash is live; nginx only reads the name.
        let found = unsafe {
            ngx_hash_find(
                &raw mut (*self.core_main()).variables_hash,
                hash,
                name.as_ptr().cast_mut(),
                name.len(),
            )
        };
        (!found.is_null()).then_some(found.cast())
    }

    /// The family of variables with the longest prefix of that name, such as
    /// `arg_`.
    fn find_prefix(&self, name: &[u8]) -> Option<&ngx_http_variable_t> {
        // SAFETY: the configuration is live and its array of that type.
        let families = unsafe {
            (*self.core_main())
                .prefix_variables
                .as_slice::<ngx_http_variable_t>()
        };
        families
            .iter()
            .filter(|v| {
                // The first byte alone rules most of them out.
                let prefix = v.name.as_bytes();
                prefix.first() == name.first() && name.starts_with(prefix)
            })
            .max_by_key(|v| v.name.len)
    }
}

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

/// The name in lower case, and its hash.
fn lowercase(name: &[u8]) -> (ShortText<'_>, usize) {
    // One look at each byte: nearly all names are in lower case.
    let mut is_other = false;
    let hash = hash_bytes(name.iter().map(|&b| {
        is_other |= b.is_ascii_uppercase();
        b
    }));
    if !is_other {
        return (ShortText::Given(name), hash);
    }
    let name = ShortText::mapped(name, |b| b.to_ascii_lowercase());
    let hash = hash_key(&name);
    (name, hash)
}

fn borrowed(text: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}
