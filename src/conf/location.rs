//! Settings of a location, and of the levels around it.

use std::rc::Rc;

use super::socket::SocketConf;
use super::source::LuaSource;
use super::ssl::SslConf;

/// Configuration of one `location` (or `if`, `server`, `http`). `None` is "not
/// set here".
#[derive(Default)]
pub struct LocConf {
    /// `rewrite_by_lua*`
    pub rewrite: Option<Rc<LuaSource>>,
    /// `access_by_lua*`
    pub access: Option<Rc<LuaSource>>,
    /// `content_by_lua*`
    pub content: Option<Rc<LuaSource>>,
    /// `lua_code_cache`
    pub code_cache: Option<bool>,
    /// `lua_need_request_body`
    pub need_request_body: Option<bool>,
    /// `lua_use_default_type`
    pub use_default_type: Option<bool>,
    /// `lua_http10_buffering`
    pub http10_buffering: Option<bool>,
    /// `lua_transform_underscores_in_response_headers`
    pub transform_underscores: Option<bool>,
    /// `lua_check_client_abort`
    pub check_client_abort: Option<bool>,
    /// `lua_socket_*`
    pub socket: SocketConf,
    /// `lua_ssl_*`
    pub ssl: SslConf,
}

impl LocConf {
    /// Takes from the enclosing level what is not set here.
    pub fn merge(&mut self, parent: &Self) {
        inherit(&mut self.rewrite, &parent.rewrite);
        inherit(&mut self.access, &parent.access);
        // An `if` block without content code keeps its location's content
        // handler, which then looks here. A nested location does not run the
        // code: nginx does not inherit the handler.
        inherit(&mut self.content, &parent.content);
        self.code_cache = self.code_cache.or(parent.code_cache);
        self.need_request_body = self.need_request_body.or(parent.need_request_body);
        self.use_default_type = self.use_default_type.or(parent.use_default_type);
        self.http10_buffering = self.http10_buffering.or(parent.http10_buffering);
        self.transform_underscores = self.transform_underscores.or(parent.transform_underscores);
        self.check_client_abort = self.check_client_abort.or(parent.check_client_abort);
        self.socket.merge(&parent.socket);
        self.ssl.merge(&parent.ssl);
    }

    /// Whether compiled code and the Lua state are kept between requests.
    pub fn code_cache(&self) -> bool {
        self.code_cache.unwrap_or(true)
    }

    /// Whether the body is read before Lua runs.
    pub fn need_request_body(&self) -> bool {
        self.need_request_body.unwrap_or(false)
    }

    /// Whether responses of Lua get the location's `default_type`.
    pub fn use_default_type(&self) -> bool {
        self.use_default_type.unwrap_or(true)
    }

    /// Whether responses to HTTP/1.0 clients are buffered, to learn their
    /// length.
    pub fn http10_buffering(&self) -> bool {
        self.http10_buffering.unwrap_or(true)
    }

    /// Whether an underscore in the name of a response header means a hyphen.
    pub fn transform_underscores(&self) -> bool {
        self.transform_underscores.unwrap_or(true)
    }

    /// Whether a client that closes its connection is noticed at once.
    pub fn check_client_abort(&self) -> bool {
        self.check_client_abort.unwrap_or(false)
    }
}

fn inherit(own: &mut Option<Rc<LuaSource>>, parent: &Option<Rc<LuaSource>>) {
    if own.is_none() {
        own.clone_from(parent);
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::LuaCode;
    use super::*;

    fn source(id: u32) -> Option<Rc<LuaSource>> {
        Some(Rc::new(LuaSource {
            id,
            code: LuaCode::Inline(Box::default()),
            chunk_name: c"=test".into(),
        }))
    }

    #[test]
    fn defaults_are_openrestys() {
        let conf = LocConf::default();
        assert!(conf.code_cache());
        assert!(!conf.need_request_body());
        assert!(conf.use_default_type());
        assert!(conf.http10_buffering());
        assert!(conf.transform_underscores());
        assert!(!conf.check_client_abort());
    }

    #[test]
    fn code_and_settings_come_from_the_outer_level_unless_set() {
        let outer = LocConf {
            rewrite: source(0),
            access: source(1),
            code_cache: Some(false),
            ..LocConf::default()
        };
        let mut inner = LocConf {
            access: source(2),
            http10_buffering: Some(false),
            ..LocConf::default()
        };
        inner.merge(&outer);
        assert_eq!(inner.rewrite.as_ref().map(|source| source.id), Some(0));
        assert_eq!(inner.access.as_ref().map(|source| source.id), Some(2));
        assert!(inner.content.is_none());
        assert!(!inner.code_cache());
        assert!(!inner.http10_buffering());
    }
}
