//! Request bodies that Lua puts in the place of the client's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{self, fn_addr_eq};

use ngx::ffi::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_fd_t, ngx_http_request_body_t, ngx_pcalloc,
    ngx_pool_cleanup_add, ngx_pool_cleanup_file, ngx_pool_cleanup_file_t, ngx_pool_delete_file,
    ngx_temp_file_t,
};

use super::headers::HeaderName;
use super::request::Request;

type Cleanup = unsafe extern "C" fn(*mut std::os::raw::c_void);

/// Why a body could not be replaced.
pub enum NewBodyError {
    /// This system call failed for the file.
    File(&'static str),
    /// What was to be the file is something else.
    NotAFile,
    /// Memory is short.
    Memory,
}

impl Request {
    /// Whether the client's body is out of the way: read, or thrown away.
    pub fn has_read_body(self) -> bool {
        // SAFETY: the request is live.
        let described = unsafe { !(*self.raw()).request_body.is_null() };
        (described || self.is_discarding_body()) && !self.is_reading_body()
    }

    /// Whether nginx is throwing away what the client still sends.
    pub fn is_discarding_body(self) -> bool {
        // SAFETY: the request is live, its main request at least as long.
        unsafe { (*(*self.raw()).main).discard_body() != 0 }
    }

    /// Has nginx throw away the client's body. Whoever reads it finds it empty.
    ///
    /// # Errors
    /// Memory is short.
    pub fn discard_body(self) -> Result<(), NewBodyError> {
        if self.has_read_body() || self.is_reading_body() || self.is_subrequest() {
            return Ok(());
        }
        self.discard_unread_body();
        if self.is_discarding_body() {
            return Ok(());
        }
        // All of it was there, or in HTTP/2 is passed by. nginx would look for a chunked body once
        // more, and promise one of that length to an upstream.
        // SAFETY: the request is live.
        unsafe {
            let headers = &mut (*self.raw()).headers_in;
            headers.set_chunked(0);
            headers.content_length_n = headers.content_length_n.min(0);
        }
        self.install(ptr::null_mut(), ptr::null_mut())
    }

    /// Makes `data` the request's body.
    ///
    /// # Errors
    /// Memory is short.
    pub fn set_body_data(self, data: &[u8]) -> Result<(), NewBodyError> {
        if data.is_empty() {
            return self.replace_body(ptr::null_mut(), ptr::null_mut(), 0);
        }
        let text = self.copy(&[data]).ok_or(NewBodyError::Memory)?;
        let (link, buf) = self.body_link()?;
        // SAFETY: the buffer is new; its text lives as long as the request.
        unsafe {
            (*buf).start = text.data;
            (*buf).pos = text.data;
            (*buf).last = text.data.add(text.len);
            (*buf).end = (*buf).last;
            (*buf).set_temporary(1);
        }
        self.replace_body(link, ptr::null_mut(), text.len as u64)
    }

    /// Makes the content of the file `name` the request's body; `delete`: the file goes with it.
    ///
    /// # Errors
    /// The file cannot be read; memory is short.
    pub fn set_body_file(self, name: &[u8], delete: bool) -> Result<(), NewBodyError> {
        let path = OsStr::from_bytes(name);
        let about = fs::metadata(path).map_err(|_| NewBodyError::File("stat"))?;
        if !about.is_file() {
            return Err(NewBodyError::NotAFile);
        }
        let opened = File::open(path).map_err(|_| NewBodyError::File("open"))?;
        let (link, buf) = self.body_link()?;
        let copied = self.copy(&[name, b"\0"]).ok_or(NewBodyError::Memory)?;
        // SAFETY: new structures of the request's memory, zeroed, then filled; the cleanup takes
        // the descriptor over.
        unsafe {
            let file = self.zeroed::<ngx_temp_file_t>()?;
            (*file).file.fd = opened.as_raw_fd();
            (*file).file.name.data = copied.data;
            (*file).file.name.len = name.len();
            (*file).file.log = self.log_ptr();
            (*file).file.offset = about.len() as _;
            (*file).offset = about.len() as _;
            (*file).pool = self.pool();
            (*buf).file = &raw mut (*file).file;
            (*buf).file_last = about.len() as _;
            (*buf).set_in_file(1);
            let cleanup = ngx_pool_cleanup_add(self.pool(), size_of::<ngx_pool_cleanup_file_t>());
            if cleanup.is_null() {
                return Err(NewBodyError::Memory);
            }
            let kept = (*cleanup).data.cast::<ngx_pool_cleanup_file_t>();
            (*kept).fd = opened.into_raw_fd();
            (*kept).name = copied.data;
            (*kept).log = self.log_ptr();
            (*cleanup).handler = Some(match delete {
                true => ngx_pool_delete_file,
                false => ngx_pool_cleanup_file,
            });
            // nginx complains about buffers without bytes.
            let link = if about.len() == 0 {
                ptr::null_mut()
            } else {
                link
            };
            self.replace_body(link, file, about.len())
        }
    }

    /// Makes what nginx has written to a temporary file the request's body.
    pub(super) fn set_body_to(self, file: *mut ngx_temp_file_t) -> Result<(), NewBodyError> {
        let (link, buf) = self.body_link()?;
        // SAFETY: the file is the request's, the buffer new.
        let size = unsafe {
            (*buf).file = &raw mut (*file).file;
            (*buf).file_last = (*file).offset;
            (*buf).set_in_file(1);
            (*file).offset as u64
        };
        self.replace_body(link, file, size)
    }

    /// The file that the body was written to; None where it is in memory, or was not read.
    pub fn body_file(&self) -> Option<&[u8]> {
        // SAFETY: the request is live; the name lives as long as it.
        unsafe {
            let body = (*self.raw()).request_body;
            if body.is_null() || (*body).temp_file.is_null() || self.is_reading_body() {
                return None;
            }
            Some((*(*body).temp_file).file.name.as_bytes())
        }
    }

    pub(super) fn zeroed<T>(self) -> Result<*mut T, NewBodyError> {
        // SAFETY: the pool is live.
        let memory = unsafe { ngx_pcalloc(self.pool(), size_of::<T>()) };
        if memory.is_null() {
            return Err(NewBodyError::Memory);
        }
        Ok(memory.cast())
    }

    /// A chain of one buffer.
    fn body_link(self) -> Result<(*mut ngx_chain_t, *mut ngx_buf_t), NewBodyError> {
        let buf = self.zeroed::<ngx_buf_t>()?;
        // SAFETY: the pool is live; the link is new.
        unsafe {
            let link = ngx_alloc_chain_link(self.pool());
            if link.is_null() {
                return Err(NewBodyError::Memory);
            }
            (*buf).set_last_buf(1);
            (*link).buf = buf;
            (*link).next = ptr::null_mut();
            Ok((link, buf))
        }
    }

    /// Installs the body of `size` bytes and says so in the header.
    fn replace_body(
        self,
        bufs: *mut ngx_chain_t,
        file: *mut ngx_temp_file_t,
        size: u64,
    ) -> Result<(), NewBodyError> {
        self.install(bufs, file)?;
        let size = size.to_string();
        let headers: [(&[u8], &[&[u8]]); 2] = [
            (b"Content-Length", &[size.as_bytes()]),
            (b"Transfer-Encoding", &[]),
        ];
        for (name, values) in headers {
            self.set_header(&HeaderName::new(name, false), values)
                .map_err(|_| NewBodyError::Memory)?;
        }
        // SAFETY: the request is live.
        unsafe { (*self.raw()).headers_in.set_chunked(0) };
        Ok(())
    }

    /// Puts a new description of the body in the place of the old one, which a parent may share.
    fn install(
        self,
        bufs: *mut ngx_chain_t,
        file: *mut ngx_temp_file_t,
    ) -> Result<(), NewBodyError> {
        let body = self.zeroed::<ngx_http_request_body_t>()?;
        // SAFETY: the request is live; so is what it has of an old body.
        unsafe {
            (*body).bufs = bufs;
            (*body).temp_file = file;
            let old = (*self.raw()).request_body;
            // Subrequests in the background, such as those of `mirror`, go on reading the old one.
            let shared = self.is_subrequest() || (*self.raw()).preserve_body() != 0;
            if !shared && !old.is_null() && !(*old).temp_file.is_null() {
                self.close_file((*(*old).temp_file).file.fd);
            }
            (*self.raw()).request_body = body;
        }
        Ok(())
    }

    /// Closes a file now that would be closed with the request, and deletes it if it is to be.
    pub(super) fn close_file(self, fd: ngx_fd_t) {
        let [close, delete]: [Cleanup; 2] = [ngx_pool_cleanup_file, ngx_pool_delete_file];
        // SAFETY: the pool and its cleanups are live; the data of these two are such a file.
        unsafe {
            let mut cleanup = (*self.pool()).cleanup;
            while let Some(entry) = cleanup.as_mut() {
                if let Some(handler) = entry.handler
                    && (fn_addr_eq(handler, close) || fn_addr_eq(handler, delete))
                    && (*entry.data.cast::<ngx_pool_cleanup_file_t>()).fd == fd
                {
                    entry.handler = None;
                    handler(entry.data);
                    return;
                }
                cleanup = entry.next;
            }
        }
    }
}
