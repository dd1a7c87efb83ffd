//! The URI of a request: changing it, and going elsewhere with it.

use ngx::ffi::{
    NGX_OK, ngx_http_internal_redirect, ngx_http_named_location, ngx_http_parse_unsafe_uri,
    ngx_http_set_exten, ngx_str_t, ngx_uint_t,
};

use super::request::Request;

const HTTP_INTERNAL_SERVER_ERROR: isize = 500;

/// Where a request can go on.
#[derive(Debug)]
pub enum Target {
    /// Another URI, with arguments.
    Uri(Vec<u8>, Vec<u8>),
    /// `location @name`
    Named(Vec<u8>),
}

impl Request {
    /// Replaces the URI. With `jump` nginx looks for the location anew when
    /// the phase ends. False where memory is short.
    pub fn set_uri(self, uri: &[u8], jump: bool) -> bool {
        let Some(uri) = self.copy(&[uri]) else {
            return false;
        };
        // SAFETY: the request is live; the URI is in its memory.
        unsafe {
            let r = self.raw();
            (*r).uri = uri;
            (*r).set_internal(1);
            (*r).set_valid_unparsed_uri(0);
            if jump {
                (*r).set_uri_changed(1);
            } else {
                (*r).set_valid_location(0);
                (*r).set_uri_changed(0);
            }
            ngx_http_set_exten(r);
        }
        true
    }

    /// Replaces the query string. False where memory is short.
    pub fn set_args(self, args: &[u8]) -> bool {
        let Some(args) = self.copy(&[args]) else {
            return false;
        };
        // SAFETY: the request is live; the text is in its memory.
        unsafe {
            (*self.raw()).args = args;
            (*self.raw()).set_valid_unparsed_uri(0);
        }
        true
    }

    /// Takes a URI apart into its path and arguments; None where it leads
    /// out of the root, or is none.
    pub fn split_uri(self, uri: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut uri = self.copy(&[uri])?;
        let mut args = ngx_str_t::empty();
        let mut flags: ngx_uint_t = 0;
        // SAFETY: the texts are the request's; nginx puts what it unescapes
        // into its memory.
        let rc = unsafe { ngx_http_parse_unsafe_uri(self.raw(), &mut uri, &mut args, &mut flags) };
        (rc == NGX_OK as isize).then(|| (uri.as_bytes().to_vec(), args.as_bytes().to_vec()))
    }

    /// Goes on at another location. One more count of the request is then
    /// held, which [`Request::finalize`] with DONE gives back; the request
    /// may have ended by then.
    pub fn redirect(self, target: &Target) {
        let none = Some(ngx_str_t::empty());
        let copies = match target {
            // To have no arguments is not the same as to have empty ones.
            Target::Uri(uri, args) if args.is_empty() => self.copy(&[uri]).zip(none),
            Target::Uri(uri, args) => self.copy(&[uri]).zip(self.copy(&[args])),
            Target::Named(name) => self.copy(&[name]).zip(none),
        };
        let Some((mut uri, mut args)) = copies else {
            self.hold();
            return self.finalize(HTTP_INTERNAL_SERVER_ERROR);
        };
        // SAFETY: the request is live; nginx copies the two structures.
        unsafe {
            match target {
                Target::Uri(..) => ngx_http_internal_redirect(self.raw(), &mut uri, &mut args),
                Target::Named(_) => ngx_http_named_location(self.raw(), &mut uri),
            };
        }
    }

    /// When the request began, in seconds.
    pub fn start_time(self) -> f64 {
        // SAFETY: the request is live.
        let (sec, msec) = unsafe { ((*self.raw()).start_sec, (*self.raw()).start_msec) };
        sec as f64 + msec as f64 / 1000.0
    }
}
