//! Settings of a location, and of the levels around it.

use std::rc::Rc;

use super::socket::SocketConf;
use super::source::{LuaSource, SetVariable};
use super::ssl::SslConf;
use crate::sys::phase::Phase;

/// The code of each phase.
#[derive(Default)]
pub struct PhaseCode([Option<Rc<LuaSource>>; Phase::COUNT]);

impl PhaseCode {
    /// The code of `phase`, if there is any.
    pub fn get(&self, phase: Phase) -> Option<&Rc<LuaSource>> {
        self.0[phase as usize].as_ref()
    }

    /// The place of the code of `phase`.
    pub fn slot(&mut self, phase: Phase) -> &mut Option<Rc<LuaSource>> {
        &mut self.0[phase as usize]
    }

    /// Takes from the enclosing level what is not set here.
    ///
    /// Content code, too: an `if` block without any keeps its location's content
    /// handler, which then looks here. A nested location does not run it: nginx
    /// does not inherit the handler.
    fn merge(&mut self, parent: &Self) {
        for (own, parent) in self.0.iter_mut().zip(&parent.0) {
            if own.is_none() {
                own.clone_from(parent);
            }
        }
    }
}

/// Configuration of one `location` (or `if`, `server`, `http`). `None` is "not
/// set here".
#[derive(Default)]
pub struct LocConf {
    /// `…_by_lua*` of this level.
    pub code: PhaseCode,
    /// `set_by_lua*` of this level, which nginx's rewrite module runs. Boxed:
    /// it holds their addresses.
    pub variables: Vec<Box<SetVariable>>,
    /// `balancer_keepalive`
    pub idle_peers: Option<usize>,
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
        self.code.merge(&parent.code);
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
        let mut outer = LocConf {
            code_cache: Some(false),
            ..LocConf::default()
        };
        *outer.code.slot(Phase::Rewrite) = source(0);
        *outer.code.slot(Phase::Access) = source(1);
        let mut inner = LocConf {
            http10_buffering: Some(false),
            ..LocConf::default()
        };
        *inner.code.slot(Phase::Access) = source(2);
        inner.merge(&outer);
        let id = |phase| inner.code.get(phase).map(|source| source.id);
        assert_eq!(id(Phase::Rewrite), Some(0));
        assert_eq!(id(Phase::Access), Some(2));
        assert_eq!(id(Phase::Content), None);
        assert!(!inner.code_cache());
        assert!(!inner.http10_buffering());
    }
}
