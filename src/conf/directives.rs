//! The table of directives: name, contexts, and where the value goes.

use core::ffi::CStr;

use super::location::LocConf;
use super::main::MainConf;
use crate::sys::conf::kind::{
    BLOCK, FLAG, HTTP, LOCATION, LOCATION_IF, NO_ARGS, SERVER, SERVER_IF, TAKES_MANY, TAKES_ONE,
    TAKES_TWO, TAKES_TWO_OR_MORE, UPSTREAM,
};
use crate::sys::phase::Phase;

/// One directive.
pub struct Directive {
    /// Its name.
    pub name: &'static CStr,
    /// Contexts and arguments, as bits of [`crate::sys::conf::kind`].
    pub kind: usize,
    /// What it does.
    pub action: Action,
}

/// What a directive does with its value.
pub enum Action {
    /// Lua code for a phase.
    Code(Phase, CodeForm),
    /// Lua code whose result is the value of a variable.
    SetVariable(CodeForm),
    /// `on` or `off` for the whole server.
    MainFlag(fn(&mut MainConf) -> &mut Option<bool>),
    /// A plain number for the whole server.
    MainNumber(fn(&mut MainConf) -> &mut Option<usize>),
    /// `balancer_keepalive`: how many idle connections an upstream keeps.
    IdlePeers,
    /// A time for the whole server, kept in milliseconds.
    MainTime(fn(&mut MainConf) -> &mut Option<u64>),
    /// A Lua search path.
    LuaPath(fn(&mut MainConf) -> &mut Option<Vec<u8>>),
    /// `on` or `off`.
    Flag(fn(&mut LocConf) -> &mut Option<bool>),
    /// `lua_code_cache`: a flag that warns when it is off.
    CodeCache,
    /// A time, kept in milliseconds.
    Time(fn(&mut LocConf) -> &mut Option<u64>),
    /// A size in bytes, and the least that makes sense.
    Size(fn(&mut LocConf) -> &mut Option<usize>, usize),
    /// A plain number, and the least that makes sense.
    Number(fn(&mut LocConf) -> &mut Option<usize>, usize),
    /// A word.
    Text(fn(&mut LocConf) -> &mut Option<Vec<u8>>),
    /// The name of a file, relative to nginx's prefix.
    Path(fn(&mut LocConf) -> &mut Option<Vec<u8>>),
    /// A word; the directive may be repeated.
    TextList(fn(&mut LocConf) -> &mut Option<Vec<Vec<u8>>>),
    /// `lua_ssl_protocols`
    Protocols,
    /// `lua_ssl_conf_command`: two words; may be repeated.
    SslCommand,
}

/// How a directive gives its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeForm {
    /// `content_by_lua '…';`
    Quoted,
    /// `content_by_lua_block { … }`
    Block,
    /// `content_by_lua_file path;`
    File,
}

/// Where most settings may stand.
const ANYWHERE: usize = HTTP | SERVER | LOCATION | LOCATION_IF;
/// Where TLS settings may stand.
const NOT_IN_IF: usize = HTTP | SERVER | LOCATION;
/// Where code for all of a server may stand.
const OF_SERVER: usize = HTTP | SERVER;
/// Where nginx's own `set` may stand.
const AMONG_REWRITES: usize = SERVER | SERVER_IF | LOCATION | LOCATION_IF;
/// Where content code may stand.
const IN_LOCATION: usize = LOCATION | LOCATION_IF;

/// Every directive of the module.
pub const DIRECTIVES: &[Directive] = &[
    quoted(c"init_by_lua", HTTP, Phase::Init),
    block(c"init_by_lua_block", HTTP, Phase::Init),
    file(c"init_by_lua_file", HTTP, Phase::Init),
    quoted(c"init_worker_by_lua", HTTP, Phase::InitWorker),
    block(c"init_worker_by_lua_block", HTTP, Phase::InitWorker),
    file(c"init_worker_by_lua_file", HTTP, Phase::InitWorker),
    quoted(c"server_rewrite_by_lua", OF_SERVER, Phase::ServerRewrite),
    block(
        c"server_rewrite_by_lua_block",
        OF_SERVER,
        Phase::ServerRewrite,
    ),
    file(
        c"server_rewrite_by_lua_file",
        OF_SERVER,
        Phase::ServerRewrite,
    ),
    Directive {
        name: c"set_by_lua",
        kind: AMONG_REWRITES | TAKES_TWO_OR_MORE,
        action: Action::SetVariable(CodeForm::Quoted),
    },
    Directive {
        name: c"set_by_lua_block",
        kind: AMONG_REWRITES | BLOCK | TAKES_ONE,
        action: Action::SetVariable(CodeForm::Block),
    },
    Directive {
        name: c"set_by_lua_file",
        kind: AMONG_REWRITES | TAKES_TWO_OR_MORE,
        action: Action::SetVariable(CodeForm::File),
    },
    quoted(c"rewrite_by_lua", ANYWHERE, Phase::Rewrite),
    block(c"rewrite_by_lua_block", ANYWHERE, Phase::Rewrite),
    file(c"rewrite_by_lua_file", ANYWHERE, Phase::Rewrite),
    quoted(c"access_by_lua", ANYWHERE, Phase::Access),
    block(c"access_by_lua_block", ANYWHERE, Phase::Access),
    file(c"access_by_lua_file", ANYWHERE, Phase::Access),
    quoted(c"precontent_by_lua", ANYWHERE, Phase::Precontent),
    block(c"precontent_by_lua_block", ANYWHERE, Phase::Precontent),
    file(c"precontent_by_lua_file", ANYWHERE, Phase::Precontent),
    quoted(c"content_by_lua", IN_LOCATION, Phase::Content),
    block(c"content_by_lua_block", IN_LOCATION, Phase::Content),
    file(c"content_by_lua_file", IN_LOCATION, Phase::Content),
    quoted(c"ssl_client_hello_by_lua", OF_SERVER, Phase::SslClientHello),
    block(
        c"ssl_client_hello_by_lua_block",
        OF_SERVER,
        Phase::SslClientHello,
    ),
    file(
        c"ssl_client_hello_by_lua_file",
        OF_SERVER,
        Phase::SslClientHello,
    ),
    quoted(c"ssl_certificate_by_lua", OF_SERVER, Phase::SslCertificate),
    block(
        c"ssl_certificate_by_lua_block",
        SERVER,
        Phase::SslCertificate,
    ),
    file(
        c"ssl_certificate_by_lua_file",
        SERVER,
        Phase::SslCertificate,
    ),
    quoted(c"ssl_session_fetch_by_lua", HTTP, Phase::SslSessionFetch),
    block(
        c"ssl_session_fetch_by_lua_block",
        HTTP,
        Phase::SslSessionFetch,
    ),
    file(
        c"ssl_session_fetch_by_lua_file",
        HTTP,
        Phase::SslSessionFetch,
    ),
    quoted(c"ssl_session_store_by_lua", HTTP, Phase::SslSessionStore),
    block(
        c"ssl_session_store_by_lua_block",
        HTTP,
        Phase::SslSessionStore,
    ),
    file(
        c"ssl_session_store_by_lua_file",
        HTTP,
        Phase::SslSessionStore,
    ),
    quoted(
        c"proxy_ssl_certificate_by_lua",
        NOT_IN_IF,
        Phase::ProxySslCertificate,
    ),
    block(
        c"proxy_ssl_certificate_by_lua_block",
        NOT_IN_IF,
        Phase::ProxySslCertificate,
    ),
    file(
        c"proxy_ssl_certificate_by_lua_file",
        NOT_IN_IF,
        Phase::ProxySslCertificate,
    ),
    quoted(c"proxy_ssl_verify_by_lua", NOT_IN_IF, Phase::ProxySslVerify),
    block(
        c"proxy_ssl_verify_by_lua_block",
        NOT_IN_IF,
        Phase::ProxySslVerify,
    ),
    file(
        c"proxy_ssl_verify_by_lua_file",
        NOT_IN_IF,
        Phase::ProxySslVerify,
    ),
    quoted(c"balancer_by_lua", UPSTREAM, Phase::Balancer),
    block(c"balancer_by_lua_block", UPSTREAM, Phase::Balancer),
    file(c"balancer_by_lua_file", UPSTREAM, Phase::Balancer),
    Directive {
        name: c"balancer_keepalive",
        kind: UPSTREAM | TAKES_ONE,
        action: Action::IdlePeers,
    },
    quoted(c"log_by_lua", ANYWHERE, Phase::Log),
    block(c"log_by_lua_block", ANYWHERE, Phase::Log),
    file(c"log_by_lua_file", ANYWHERE, Phase::Log),
    quoted(c"exit_worker_by_lua", HTTP, Phase::ExitWorker),
    block(c"exit_worker_by_lua_block", HTTP, Phase::ExitWorker),
    file(c"exit_worker_by_lua_file", HTTP, Phase::ExitWorker),
    quoted(c"header_filter_by_lua", ANYWHERE, Phase::HeaderFilter),
    block(c"header_filter_by_lua_block", ANYWHERE, Phase::HeaderFilter),
    file(c"header_filter_by_lua_file", ANYWHERE, Phase::HeaderFilter),
    quoted(c"body_filter_by_lua", ANYWHERE, Phase::BodyFilter),
    block(c"body_filter_by_lua_block", ANYWHERE, Phase::BodyFilter),
    file(c"body_filter_by_lua_file", ANYWHERE, Phase::BodyFilter),
    Directive {
        name: c"lua_package_path",
        kind: HTTP | TAKES_ONE,
        action: Action::LuaPath(|main| &mut main.package_path),
    },
    Directive {
        name: c"lua_package_cpath",
        kind: HTTP | TAKES_ONE,
        action: Action::LuaPath(|main| &mut main.package_cpath),
    },
    Directive {
        name: c"rewrite_by_lua_no_postpone",
        kind: HTTP | FLAG,
        action: Action::MainFlag(|main| &mut main.rewrite_no_postpone),
    },
    Directive {
        name: c"access_by_lua_no_postpone",
        kind: HTTP | FLAG,
        action: Action::MainFlag(|main| &mut main.access_no_postpone),
    },
    Directive {
        name: c"precontent_by_lua_no_postpone",
        kind: HTTP | FLAG,
        action: Action::MainFlag(|main| &mut main.precontent_no_postpone),
    },
    Directive {
        name: c"lua_regex_cache_max_entries",
        kind: HTTP | TAKES_ONE,
        action: Action::MainNumber(|main| &mut main.regex_cache_max_entries),
    },
    Directive {
        name: c"lua_regex_match_limit",
        kind: HTTP | TAKES_ONE,
        action: Action::MainNumber(|main| &mut main.regex_match_limit),
    },
    Directive {
        name: c"lua_max_pending_timers",
        kind: HTTP | TAKES_ONE,
        action: Action::MainNumber(|main| &mut main.max_pending_timers),
    },
    Directive {
        name: c"lua_max_running_timers",
        kind: HTTP | TAKES_ONE,
        action: Action::MainNumber(|main| &mut main.max_running_timers),
    },
    Directive {
        name: c"lua_max_waiting_logs",
        kind: HTTP | TAKES_ONE,
        action: Action::MainNumber(|main| &mut main.max_waiting_logs),
    },
    Directive {
        name: c"lua_exit_worker_timeout",
        kind: HTTP | TAKES_ONE,
        action: Action::MainTime(|main| &mut main.exit_worker_timeout),
    },
    Directive {
        name: c"lua_code_cache",
        kind: ANYWHERE | FLAG,
        action: Action::CodeCache,
    },
    flag(c"lua_need_request_body", |loc| &mut loc.need_request_body),
    flag(c"lua_use_default_type", |loc| &mut loc.use_default_type),
    flag(c"lua_http10_buffering", |loc| &mut loc.http10_buffering),
    flag(c"lua_transform_underscores_in_response_headers", |loc| {
        &mut loc.transform_underscores
    }),
    flag(c"lua_check_client_abort", |loc| &mut loc.check_client_abort),
    flag(c"lua_socket_log_errors", |loc| &mut loc.socket.log_errors),
    time(c"lua_socket_connect_timeout", |loc| {
        &mut loc.socket.connect_timeout
    }),
    time(c"lua_socket_send_timeout", |loc| {
        &mut loc.socket.send_timeout
    }),
    time(c"lua_socket_read_timeout", |loc| {
        &mut loc.socket.read_timeout
    }),
    time(c"lua_socket_keepalive_timeout", |loc| {
        &mut loc.socket.keepalive_timeout
    }),
    Directive {
        name: c"lua_socket_buffer_size",
        kind: ANYWHERE | TAKES_ONE,
        action: Action::Size(|loc| &mut loc.socket.buffer_size, 1),
    },
    Directive {
        name: c"lua_socket_send_lowat",
        kind: ANYWHERE | TAKES_ONE,
        action: Action::Size(|loc| &mut loc.socket.send_lowat, 0),
    },
    Directive {
        name: c"lua_socket_pool_size",
        kind: ANYWHERE | TAKES_ONE,
        action: Action::Number(|loc| &mut loc.socket.pool_size, 1),
    },
    Directive {
        name: c"lua_ssl_protocols",
        kind: NOT_IN_IF | TAKES_MANY,
        action: Action::Protocols,
    },
    ssl(
        c"lua_ssl_ciphers",
        Action::Text(|loc| &mut loc.ssl.settings.ciphers),
    ),
    ssl(
        c"lua_ssl_verify_depth",
        Action::Number(|loc| &mut loc.ssl.settings.verify_depth, 0),
    ),
    ssl(
        c"lua_ssl_certificate",
        Action::TextList(|loc| &mut loc.ssl.settings.certificates),
    ),
    ssl(
        c"lua_ssl_certificate_key",
        Action::TextList(|loc| &mut loc.ssl.settings.certificate_keys),
    ),
    ssl(
        c"lua_ssl_trusted_certificate",
        Action::Text(|loc| &mut loc.ssl.settings.trusted_certificate),
    ),
    ssl(
        c"lua_ssl_crl",
        Action::Text(|loc| &mut loc.ssl.settings.crl),
    ),
    ssl(
        c"lua_ssl_key_log",
        Action::Path(|loc| &mut loc.ssl.settings.key_log),
    ),
    Directive {
        name: c"lua_ssl_conf_command",
        kind: NOT_IN_IF | TAKES_TWO,
        action: Action::SslCommand,
    },
];

const fn ssl(name: &'static CStr, action: Action) -> Directive {
    Directive {
        name,
        kind: NOT_IN_IF | TAKES_ONE,
        action,
    }
}

const fn quoted(name: &'static CStr, contexts: usize, phase: Phase) -> Directive {
    Directive {
        name,
        kind: contexts | TAKES_ONE,
        action: Action::Code(phase, CodeForm::Quoted),
    }
}

const fn block(name: &'static CStr, contexts: usize, phase: Phase) -> Directive {
    Directive {
        name,
        kind: contexts | BLOCK | NO_ARGS,
        action: Action::Code(phase, CodeForm::Block),
    }
}

const fn file(name: &'static CStr, contexts: usize, phase: Phase) -> Directive {
    Directive {
        name,
        kind: contexts | TAKES_ONE,
        action: Action::Code(phase, CodeForm::File),
    }
}

const fn flag(name: &'static CStr, slot: fn(&mut LocConf) -> &mut Option<bool>) -> Directive {
    Directive {
        name,
        kind: ANYWHERE | FLAG,
        action: Action::Flag(slot),
    }
}

const fn time(name: &'static CStr, slot: fn(&mut LocConf) -> &mut Option<u64>) -> Directive {
    Directive {
        name,
        kind: ANYWHERE | TAKES_ONE,
        action: Action::Time(slot),
    }
}
