//! The BIO that an [`Arrival`] reads through, and the one it replaces.

use std::marker::PhantomData;
use std::os::raw::{c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::ffi::{
    BIO, BIO_FLAGS_READ, BIO_FLAGS_RWS, BIO_FLAGS_SHOULD_RETRY, BIO_METHOD, BIO_TYPE_SOURCE_SINK,
    BIO_clear_flags, BIO_free, BIO_get_data, BIO_get_new_index, BIO_meth_new, BIO_meth_set_ctrl,
    BIO_meth_set_destroy, BIO_meth_set_read, BIO_new, BIO_read, BIO_set_data, BIO_set_flags,
    BIO_set_init, BIO_test_flags, BIO_up_ref, BIO_write, SSL, SSL_get_rbio, SSL_set0_rbio,
};

use super::arrival::Arrival;
use super::intake::Answer;
use crate::sys::entry::guard;

/// Where to put what is read; there may be nothing in it yet.
pub(super) struct Room<'a> {
    start: *mut u8,
    len: c_int,
    lent: PhantomData<&'a mut [u8]>,
}

impl Room<'_> {
    pub(super) fn of(bytes: &mut [u8]) -> Room<'_> {
        Room {
            start: bytes.as_mut_ptr(),
            len: c_int::try_from(bytes.len()).unwrap_or(c_int::MAX),
            lent: PhantomData,
        }
    }

    /// Puts in as many of the bytes as fit. How many that are.
    pub(super) fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(usize::try_from(self.len).unwrap_or(0));
        // SAFETY: there is so much room, which nobody else refers to.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, count) };
        count
    }
}

/// What OpenSSL read from: the connection's socket.
pub(super) struct Source(NonNull<BIO>);

impl Source {
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn of(ssl: *mut SSL) -> Option<Source> {
        // SAFETY: by the caller's promise; the reference is ours.
        unsafe {
            let bio = NonNull::new(SSL_get_rbio(ssl))?;
            (BIO_up_ref(bio.as_ptr()) == 1).then_some(Source(bio))
        }
    }

    pub(super) fn read(&self, room: &mut Room<'_>) -> Answer {
        // SAFETY: the BIO is live, and there is so much room.
        unsafe {
            match BIO_read(self.0.as_ptr(), room.start.cast(), room.len) {
                count if count > 0 => Answer::Bytes(count as usize),
                _ if BIO_test_flags(self.0.as_ptr(), BIO_FLAGS_SHOULD_RETRY as c_int) != 0 => {
                    Answer::TryAgain
                }
                0 => Answer::End,
                _ => Answer::Failed,
            }
        }
    }

    /// Sends what fits, which is all at the start of a connection.
    pub(super) fn write(&self, data: &[u8]) {
        // SAFETY: the BIO is live, and `data` has the length that is given.
        unsafe { BIO_write(self.0.as_ptr(), data.as_ptr().cast(), data.len() as c_int) };
    }

    /// Has OpenSSL read from it again.
    ///
    /// # Safety
    /// `ssl` must be live, and must not be reading.
    pub(super) unsafe fn put_back(self, ssl: *mut SSL) {
        // SAFETY: by the caller's promise; our reference becomes OpenSSL's.
        unsafe { SSL_set0_rbio(ssl, self.0.as_ptr()) };
        std::mem::forget(self);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: gives up our reference.
        unsafe { BIO_free(self.0.as_ptr()) };
    }
}

/// Has OpenSSL read through `arrival`. False where memory is short.
///
/// # Safety
/// `ssl` must be live, and must not be reading.
pub(super) unsafe fn insert(ssl: *mut SSL, arrival: &Rc<Arrival>) -> bool {
    let Some(method) = method() else {
        return false;
    };
    // SAFETY: the method lives for ever; the BIO owns the reference that is
    // put into it, until `destroy`.
    unsafe {
        let bio = BIO_new(method.as_ptr());
        if bio.is_null() {
            return false;
        }
        BIO_set_data(bio, Rc::into_raw(arrival.clone()).cast_mut().cast());
        BIO_set_init(bio, 1);
        SSL_set0_rbio(ssl, bio);
    }
    true
}

/// The method, made once.
fn method() -> Option<NonNull<BIO_METHOD>> {
    thread_local! {
        static METHOD: Option<NonNull<BIO_METHOD>> = make_method();
    }
    METHOD.with(|method| *method)
}

fn make_method() -> Option<NonNull<BIO_METHOD>> {
    // SAFETY: OpenSSL's own functions, with functions of the right type.
    unsafe {
        let kind = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK as c_int;
        let method = NonNull::new(BIO_meth_new(kind, c"ngx_cosocket arrival".as_ptr()))?;
        BIO_meth_set_read(method.as_ptr(), Some(read));
        BIO_meth_set_ctrl(method.as_ptr(), Some(ctrl));
        BIO_meth_set_destroy(method.as_ptr(), Some(destroy));
        Some(method)
    }
}

unsafe extern "C" fn read(bio: *mut BIO, out: *mut c_char, len: c_int) -> c_int {
    guard(-1, || {
        if out.is_null() || len < 0 {
            return -1;
        }
        // SAFETY: the data is what `insert` put there. Our reference keeps the
        // arrival if Lua's end closes the connection.
        let arrival = unsafe {
            BIO_clear_flags(bio, (BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY) as c_int);
            let arrival = BIO_get_data(bio).cast::<Arrival>().cast_const();
            Rc::increment_strong_count(arrival);
            Rc::from_raw(arrival)
        };
        let mut room = Room {
            start: out.cast(),
            len,
            lent: PhantomData,
        };
        match arrival.read(&mut room) {
            Answer::Bytes(count) => count as c_int,
            Answer::TryAgain => {
                // SAFETY: the BIO is live.
                unsafe {
                    BIO_set_flags(bio, (BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY) as c_int);
                }
                -1
            }
            Answer::End => 0,
            Answer::Failed => -1,
        }
    })
}

/// OpenSSL asks for nothing that has to be answered with yes.
unsafe extern "C" fn ctrl(_: *mut BIO, _: c_int, _: c_long, _: *mut c_void) -> c_long {
    0
}

unsafe extern "C" fn destroy(bio: *mut BIO) -> c_int {
    guard(0, || {
        // SAFETY: OpenSSL calls this once; the reference was put there by
        // `insert`.
        unsafe {
            let arrival = BIO_get_data(bio).cast::<Arrival>().cast_const();
            BIO_set_data(bio, ptr::null_mut());
            if !arrival.is_null() {
                drop(Rc::from_raw(arrival));
            }
        }
        1
    })
}
