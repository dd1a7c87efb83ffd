//! The `lua_socket_*` directives.

use crate::sys::conf::page_size;

/// Socket settings of a location. `None` is "not set here".
#[derive(Debug, Default, Clone)]
pub struct SocketConf {
    /// `lua_socket_connect_timeout`, in milliseconds.
    pub connect_timeout: Option<u64>,
    /// `lua_socket_send_timeout`, in milliseconds.
    pub send_timeout: Option<u64>,
    /// `lua_socket_read_timeout`, in milliseconds.
    pub read_timeout: Option<u64>,
    /// `lua_socket_keepalive_timeout`, in milliseconds.
    pub keepalive_timeout: Option<u64>,
    /// `lua_socket_buffer_size`
    pub buffer_size: Option<usize>,
    /// `lua_socket_pool_size`
    pub pool_size: Option<usize>,
    /// `lua_socket_send_lowat`
    pub send_lowat: Option<usize>,
    /// `lua_socket_log_errors`
    pub log_errors: Option<bool>,
}

const TIMEOUT: u64 = 60_000;
const POOL_SIZE: usize = 30;

impl SocketConf {
    /// Takes from the enclosing level what is not set here.
    pub fn merge(&mut self, parent: &Self) {
        self.connect_timeout = self.connect_timeout.or(parent.connect_timeout);
        self.send_timeout = self.send_timeout.or(parent.send_timeout);
        self.read_timeout = self.read_timeout.or(parent.read_timeout);
        self.keepalive_timeout = self.keepalive_timeout.or(parent.keepalive_timeout);
        self.buffer_size = self.buffer_size.or(parent.buffer_size);
        self.pool_size = self.pool_size.or(parent.pool_size);
        self.send_lowat = self.send_lowat.or(parent.send_lowat);
        self.log_errors = self.log_errors.or(parent.log_errors);
    }

    /// Milliseconds a connect may take.
    pub fn connect_timeout(&self) -> u64 {
        self.connect_timeout.unwrap_or(TIMEOUT)
    }

    /// Milliseconds a send may wait for the socket.
    pub fn send_timeout(&self) -> u64 {
        self.send_timeout.unwrap_or(TIMEOUT)
    }

    /// Milliseconds a receive may wait for the socket.
    pub fn read_timeout(&self) -> u64 {
        self.read_timeout.unwrap_or(TIMEOUT)
    }

    /// Milliseconds an idle connection stays in its pool.
    pub fn keepalive_timeout(&self) -> u64 {
        self.keepalive_timeout.unwrap_or(TIMEOUT)
    }

    /// Bytes of a receive buffer.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size.unwrap_or_else(page_size)
    }

    /// Idle connections a pool holds.
    pub fn pool_size(&self) -> usize {
        self.pool_size.unwrap_or(POOL_SIZE)
    }

    /// `SO_SNDLOWAT`-like threshold of nginx's write events; 0 is none.
    pub fn send_lowat(&self) -> usize {
        self.send_lowat.unwrap_or(0)
    }

    /// Whether socket errors go to error.log.
    pub fn log_errors(&self) -> bool {
        self.log_errors.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_openrestys() {
        let conf = SocketConf::default();
        assert_eq!(conf.connect_timeout(), 60_000);
        assert_eq!(conf.send_timeout(), 60_000);
        assert_eq!(conf.read_timeout(), 60_000);
        assert_eq!(conf.keepalive_timeout(), 60_000);
        assert_eq!(conf.pool_size(), 30);
        assert_eq!(conf.send_lowat(), 0);
        assert!(conf.log_errors());
    }

    #[test]
    fn an_inner_level_overrides_the_outer_one() {
        let outer = SocketConf {
            read_timeout: Some(5),
            pool_size: Some(7),
            log_errors: Some(false),
            ..SocketConf::default()
        };
        let mut inner = SocketConf {
            read_timeout: Some(9),
            log_errors: Some(true),
            ..SocketConf::default()
        };
        inner.merge(&outer);
        assert_eq!(inner.read_timeout(), 9);
        assert_eq!(inner.pool_size(), 7);
        assert!(inner.log_errors());
        assert_eq!(inner.send_timeout(), 60_000);
    }
}
