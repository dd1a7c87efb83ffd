//! Headers: the lists in which nginx keeps them, and the response's, which
//! Lua can change.

mod input;
mod name;
mod request;
mod response;
mod slot;

use std::marker::PhantomData;
use std::ptr::NonNull;

use ngx::ffi::{ngx_list_part_t, ngx_list_t, ngx_table_elt_t};

pub use name::{HeaderName, Known};
pub use request::Header;
pub(super) use response::wants_default_type;
pub use response::{HeaderError, ResponseHeaders};
#[cfg(not(nginx_1_23))]
pub(super) use slot::push;

/// The lines of one of nginx's header lists, removed ones too.
pub(super) struct Lines<'r> {
    part: *const ngx_list_part_t,
    index: usize,
    list: PhantomData<&'r ngx_list_t>,
}

impl<'r> Lines<'r> {
    /// # Safety
    /// `list` must be a live list of headers, and not grow while `'r` lasts.
    pub(super) unsafe fn of(list: *const ngx_list_t) -> Lines<'r> {
        Lines {
            // SAFETY: the list is live.
            part: unsafe { &raw const (*list).part },
            index: 0,
            list: PhantomData,
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = NonNull<ngx_table_elt_t>;

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the parts are live by the promise to `of`; each holds
        // `nelts` headers.
        unsafe {
            while let Some(part) = self.part.as_ref() {
                if self.index < part.nelts {
                    let line = part.elts.cast::<ngx_table_elt_t>().add(self.index);
                    self.index += 1;
                    return NonNull::new(line);
                }
                self.part = part.next;
                self.index = 0;
            }
        }
        None
    }

    /// Two plain loops, which is faster than [`Lines::next`] again and again.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let (mut result, mut part, mut first) = (init, self.part, self.index);
        // SAFETY: as in `next`.
        while let Some(p) = unsafe { part.as_ref() } {
            for index in first..p.nelts {
                // SAFETY: as in `next`.
                let line = unsafe { p.elts.cast::<ngx_table_elt_t>().add(index) };
                if let Some(line) = NonNull::new(line) {
                    result = f(result, line);
                }
            }
            (part, first) = (p.next, 0);
        }
        result
    }
}
