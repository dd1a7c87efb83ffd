//! The table of phases: where in nginx's work Lua code can run.

/// A place in nginx's work where Lua code runs.
///
/// The order is that in which a request meets them, after those of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Init,
    InitWorker,
    ExitWorker,
    Timer,
    SslClientHello,
    SslSessionFetch,
    SslCertificate,
    SslSessionStore,
    Set,
    ServerRewrite,
    Rewrite,
    Access,
    Precontent,
    Content,
    Balancer,
    ProxySslCertificate,
    ProxySslVerify,
    HeaderFilter,
    BodyFilter,
    Log,
}

impl Phase {
    /// How many there are.
    pub const COUNT: usize = Phase::Log as usize + 1;

    /// The name that `ngx.get_phase` gives, and what error messages call the
    /// phase.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Phase::Init => ("init", "init_by_lua*"),
            Phase::InitWorker => ("init_worker", "init_worker_by_lua*"),
            Phase::ExitWorker => ("exit_worker", "exit_worker_by_lua*"),
            Phase::Timer => ("timer", "ngx.timer"),
            Phase::SslClientHello => ("ssl_client_hello", "ssl_client_hello_by_lua*"),
            Phase::SslSessionFetch => ("ssl_session_fetch", "ssl_session_fetch_by_lua*"),
            Phase::SslCertificate => ("ssl_cert", "ssl_certificate_by_lua*"),
            Phase::SslSessionStore => ("ssl_session_store", "ssl_session_store_by_lua*"),
            Phase::Set => ("set", "set_by_lua*"),
            Phase::ServerRewrite => ("server_rewrite", "server_rewrite_by_lua*"),
            Phase::Rewrite => ("rewrite", "rewrite_by_lua*"),
            Phase::Access => ("access", "access_by_lua*"),
            Phase::Precontent => ("precontent", "precontent_by_lua*"),
            Phase::Content => ("content", "content_by_lua*"),
            Phase::Balancer => ("balancer", "balancer_by_lua*"),
            Phase::ProxySslCertificate => ("proxy_ssl_cert", "proxy_ssl_certificate_by_lua*"),
            Phase::ProxySslVerify => ("proxy_ssl_verify", "proxy_ssl_verify_by_lua*"),
            Phase::HeaderFilter => ("header_filter", "header_filter_by_lua*"),
            Phase::BodyFilter => ("body_filter", "body_filter_by_lua*"),
            Phase::Log => ("log", "log_by_lua*"),
        }
    }

    /// The name that `ngx.get_phase` gives.
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// What error messages call the phase: `content_by_lua*`.
    pub const fn title(self) -> &'static str {
        self.names().1
    }

    /// The directive of the phase's code, without `_block` and `_file`.
    pub fn directive(self) -> &'static str {
        let title = self.title();
        title.strip_suffix('*').unwrap_or(title)
    }
}

/// A set of phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(u32);

impl Phases {
    /// The handlers of a request that come before its response, and make it.
    pub const BEFORE_RESPONSE: Phases = Phases::of(&[
        Phase::ServerRewrite,
        Phase::Rewrite,
        Phase::Access,
        Phase::Precontent,
        Phase::Content,
    ]);

    /// Where a request can be changed.
    pub const BEFORE_LOG: Phases = Phases::BEFORE_RESPONSE
        .and(Phase::Set)
        .and(Phase::Balancer)
        .and(Phase::ProxySslCertificate)
        .and(Phase::ProxySslVerify)
        .and(Phase::HeaderFilter)
        .and(Phase::BodyFilter);

    /// Where code may wait: for a cosocket, the time, another thread.
    pub const WAITING: Phases = Phases::BEFORE_RESPONSE
        .and(Phase::Timer)
        .and(Phase::SslClientHello)
        .and(Phase::SslSessionFetch)
        .and(Phase::SslCertificate)
        .and(Phase::ProxySslCertificate)
        .and(Phase::ProxySslVerify)
        .and(Phase::InitWorker)
        .and(Phase::ExitWorker)
        .and(Phase::Log)
        .and(Phase::HeaderFilter)
        .and(Phase::BodyFilter);

    /// The phases of a list.
    pub const fn of(list: &[Phase]) -> Phases {
        let mut phases = Phases(0);
        let mut i = 0;
        while i < list.len() {
            phases = phases.and(list[i]);
            i += 1;
        }
        phases
    }

    /// These, and one more.
    pub const fn and(self, phase: Phase) -> Phases {
        Phases(self.0 | 1 << phase as u8)
    }

    /// Whether `phase` is among them.
    pub const fn contains(self, phase: Phase) -> bool {
        self.0 >> phase as u8 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let set = Phases::of(&[Phase::Init, Phase::Log]);
        assert!(set.contains(Phase::Init) && set.contains(Phase::Log));
        assert!(!set.contains(Phase::Content));
        assert!(set.and(Phase::Content).contains(Phase::Content));
        assert!(!Phases::default().contains(Phase::Init));
    }

    #[test]
    fn directives_are_named_after_their_phase() {
        assert_eq!(Phase::SslCertificate.directive(), "ssl_certificate_by_lua");
        assert_eq!(Phase::SslCertificate.name(), "ssl_cert");
        assert_eq!(Phase::Timer.title(), "ngx.timer");
    }
}
