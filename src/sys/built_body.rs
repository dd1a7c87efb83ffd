//! Request bodies that Lua writes piece by piece.

use std::cell::Cell;
use std::os::raw::c_void;
use std::ptr::{self, fn_addr_eq};

use ngx::ffi::{
    NGX_ERROR, NGX_INVALID_FILE, ngx_buf_t, ngx_chain_t, ngx_fd_t, ngx_http_request_t,
    ngx_pool_cleanup_add, ngx_temp_file_t, ngx_write_chain_to_temp_file, off_t,
};

use super::new_body::NewBodyError;
use super::request::Request;

/// What has been written.
struct BuiltBody {
    memory: Vec<u8>,
    /// More bytes than this go to a file.
    limit: usize,
    /// Null as long as there are none.
    file: *mut ngx_temp_file_t,
}

/// Where it is kept: with a cleanup of the pool, for few requests have one. Subrequests share the
/// pool.
struct Place {
    owner: *mut ngx_http_request_t,
    body: Cell<Option<BuiltBody>>,
}

unsafe extern "C" fn drop_place(data: *mut c_void) {
    // SAFETY: nginx calls it once, with what `begin_new_body` has written.
    unsafe { data.cast::<Place>().drop_in_place() }
}

impl Request {
    /// Begins a body, of which `limit` bytes are kept in memory; by default as many as of a client's.
    ///
    /// # Errors
    /// Memory is short.
    pub fn begin_new_body(self, limit: Option<usize>) -> Result<(), NewBodyError> {
        // SAFETY: the request's location has a configuration.
        let default = unsafe { (*self.core_location()).client_body_buffer_size };
        let new = BuiltBody {
            memory: Vec::new(),
            limit: limit.unwrap_or(default),
            file: ptr::null_mut(),
        };
        if let Some(place) = self.place_of_body() {
            if let Some(unfinished) = place.replace(Some(new)) {
                self.discard_built(&unfinished);
            }
            return Ok(());
        }
        // SAFETY: the pool is live; its memory is aligned for pointers, and is written before the
        // handler is set.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.pool(), size_of::<Place>());
            if cleanup.is_null() {
                return Err(NewBodyError::Memory);
            }
            (*cleanup).data.cast::<Place>().write(Place {
                owner: self.raw(),
                body: Cell::new(Some(new)),
            });
            (*cleanup).handler = Some(drop_place);
        }
        Ok(())
    }

    /// Adds to the body that was begun; false where none was.
    ///
    /// # Errors
    /// Memory is short; nginx could not write the file, and has logged why. The body is lost.
    pub fn append_to_body(self, data: &[u8]) -> Result<bool, NewBodyError> {
        let Some(place) = self.place_of_body() else {
            return Ok(false);
        };
        let Some(mut body) = place.take() else {
            return Ok(false);
        };
        body.memory.extend_from_slice(data);
        if body.memory.len() > body.limit {
            self.spill(&mut body)
                .inspect_err(|_| self.discard_built(&body))?;
        }
        place.set(Some(body));
        Ok(true)
    }

    /// Makes what was written the request's body; false where none was begun.
    ///
    /// # Errors
    /// As [`append_to_body`](Self::append_to_body).
    pub fn finish_new_body(self) -> Result<bool, NewBodyError> {
        let Some(mut body) = self.place_of_body().and_then(Cell::take) else {
            return Ok(false);
        };
        if body.file.is_null() {
            self.set_body_data(&body.memory)?;
        } else {
            if !body.memory.is_empty() {
                self.spill(&mut body)
                    .inspect_err(|_| self.discard_built(&body))?;
            }
            self.set_body_to(body.file)?;
        }
        Ok(true)
    }

    /// Deletes the file of a body that nobody will see.
    fn discard_built(self, body: &BuiltBody) {
        if !body.file.is_null() {
            // SAFETY: the file is the request's.
            self.close_file(unsafe { (*body.file).file.fd });
        }
    }

    /// Writes what is in memory to the file.
    fn spill(self, body: &mut BuiltBody) -> Result<(), NewBodyError> {
        if body.file.is_null() {
            body.file = self.temp_file()?;
        }
        let data = body.memory.as_mut_slice();
        // SAFETY: nginx only reads buffer and chain, and keeps neither; they and the file are live.
        let written = unsafe {
            let mut buf: ngx_buf_t = std::mem::zeroed();
            buf.pos = data.as_mut_ptr();
            buf.last = buf.pos.add(data.len());
            buf.start = buf.pos;
            buf.end = buf.last;
            buf.set_temporary(1);
            let mut chain = ngx_chain_t {
                buf: &raw mut buf,
                next: ptr::null_mut(),
            };
            let written = ngx_write_chain_to_temp_file(body.file, &raw mut chain);
            (*body.file).offset += written.max(0) as off_t;
            written
        };
        if written == NGX_ERROR as isize {
            return Err(NewBodyError::File("write"));
        }
        // A large piece need not stay.
        body.memory = Vec::new();
        Ok(())
    }

    /// A file where nginx puts those of clients, which goes with the request.
    fn temp_file(self) -> Result<*mut ngx_temp_file_t, NewBodyError> {
        let file = self.zeroed::<ngx_temp_file_t>()?;
        // SAFETY: the structure is new, request and configuration are live.
        unsafe {
            (*file).file.fd = NGX_INVALID_FILE as ngx_fd_t;
            (*file).file.log = self.log_ptr();
            (*file).path = (*self.core_location()).client_body_temp_path;
            (*file).pool = self.pool();
            (*file).set_persistent(1);
            (*file).set_clean(1);
        }
        Ok(file)
    }

    fn place_of_body(&self) -> Option<&Cell<Option<BuiltBody>>> {
        let ours: unsafe extern "C" fn(*mut c_void) = drop_place;
        // SAFETY: the pool and its cleanups are live; with this handler, the data is a place.
        unsafe {
            let mut cleanup = (*self.pool()).cleanup;
            while let Some(entry) = cleanup.as_ref() {
                if entry
                    .handler
                    .is_some_and(|handler| fn_addr_eq(handler, ours))
                {
                    let place = &*entry.data.cast::<Place>();
                    if place.owner == self.raw() {
                        return Some(&place.body);
                    }
                }
                cleanup = entry.next;
            }
        }
        None
    }
}
