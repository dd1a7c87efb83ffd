//! Handlers of clients' TLS handshakes, which wait while Lua runs.

use std::cell::Cell;
use std::rc::Rc;

use super::host::{self, Entry};
use super::{install, module};
use crate::conf::{LocConf, LuaSource};
use crate::sys::conf::{Conf, Reported};
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::ssl::server::{self, Arrival, Client, Handlers, Server, Wishes};
use crate::vm::{Host, Outcome, Thread, Vm, sched};

/// What handshakes call.
pub static HANDLERS: Handlers = Handlers {
    is_wanted: |arrival| next_code(arrival, None).is_some(),
    run: start,
    store,
};

/// Has servers with code for handshakes call it.
pub fn install(conf: &Conf<'_>) -> Result<(), Reported> {
    server::install(conf, |server| {
        let code = |phase| module::server_conf(server).code.get(phase).is_some();
        let certificate = code(Phase::SslCertificate);
        let fetch = code(Phase::SslSessionFetch);
        Wishes {
            arrival: certificate || fetch || code(Phase::SslClientHello),
            certificate,
            sessions: fetch || code(Phase::SslSessionStore),
        }
    })
}

/// The phases of a handshake that can wait, in their order.
const ORDER: [Phase; 3] = [
    Phase::SslClientHello,
    Phase::SslSessionFetch,
    Phase::SslCertificate,
];

/// The code to run after that of `phase`, and the settings it finds.
fn next_code(
    arrival: &Arrival,
    phase: Option<Phase>,
) -> Option<(Phase, &'static LocConf, &'static Rc<LuaSource>)> {
    let done = phase.map_or(0, |phase| {
        ORDER
            .iter()
            .position(|&p| p == phase)
            .map_or(0, |at| at + 1)
    });
    ORDER[done..].iter().find_map(|&phase| {
        let code_of = |server: Server| {
            let conf = module::server_conf(server);
            conf.code.get(phase).map(|source| (phase, conf, source))
        };
        match phase {
            // OpenResty runs that of the default server, since no other is
            // known yet there.
            Phase::SslClientHello => {
                code_of(arrival.server()).or_else(|| code_of(arrival.default_server()))
            }
            // The session belongs to the server that the handshake began with.
            Phase::SslSessionFetch => {
                code_of(arrival.default_server()).filter(|_| arrival.session_id().is_some())
            }
            _ => code_of(arrival.server()),
        }
    })
}

/// A handshake whose Lua runs or waits.
struct TlsHandler {
    /// None once it is over: a session is stored.
    arrival: Option<Rc<Arrival>>,
    context: Rc<Context>,
    vm: Rc<Vm>,
    conf: Cell<&'static LocConf>,
    entry: Entry,
}

fn start(arrival: &Rc<Arrival>) {
    let Some(client) = Client::of_arrival(arrival) else {
        return;
    };
    let Some((phase, conf, _)) = next_code(arrival, None) else {
        return arrival.pass();
    };
    let Some(handler) = TlsHandler::new(Some(arrival), client, arrival.server(), phase, conf)
    else {
        return arrival.refuse();
    };
    let ending = handler.clone();
    arrival.on_end(move || ending.end());
    handler.run(arrival, None);
}

/// A session was made: OpenSSL does not wait until it is stored.
fn store(client: Client, server: Server) {
    let conf = module::server_conf(server);
    let phase = Phase::SslSessionStore;
    let Some(source) = conf.code.get(phase) else {
        return;
    };
    if let Some(handler) = TlsHandler::new(None, client, server, phase, conf) {
        if let Some((thread, None)) = handler.start_code(source) {
            sched::kill(&thread);
            let text = "ssl_session_store_by_lua: attempt to yield";
            handler.context.log(Level::Error, text);
        }
        handler.end();
    }
}

impl TlsHandler {
    fn new(
        arrival: Option<&Rc<Arrival>>,
        client: Client,
        server: Server,
        phase: Phase,
        conf: &'static LocConf,
    ) -> Option<Rc<TlsHandler>> {
        let vm = install::vm(module::server_main_conf(server), conf)
            .inspect_err(|error| client.log_error(error.as_bytes()))
            .ok()?;
        Some(Rc::new(TlsHandler {
            arrival: arrival.cloned(),
            context: Context::of_handshake(client, server, phase),
            vm,
            conf: Cell::new(conf),
            entry: Entry::default(),
        }))
    }

    /// Runs what comes after the code of `done`, until some of it has to wait.
    fn run(self: &Rc<Self>, arrival: &Arrival, mut done: Option<Phase>) {
        while let Some((phase, conf, source)) = self.next(arrival, done) {
            self.context.set_phase(phase);
            self.conf.set(conf);
            let outcome = match self.start_code(source) {
                Some((thread, None)) => {
                    self.entry.set(thread);
                    return;
                }
                Some((_, Some(outcome))) => outcome,
                None => Outcome::Error,
            };
            if !self.goes_on(arrival, outcome) {
                return self.refuse(arrival);
            }
            done = Some(phase);
        }
        self.end();
        arrival.pass();
    }

    fn next(
        &self,
        arrival: &Arrival,
        done: Option<Phase>,
    ) -> Option<(Phase, &'static LocConf, &'static Rc<LuaSource>)> {
        next_code(arrival, done)
            .filter(|(phase, ..)| *phase != Phase::SslCertificate || arrival.asks_for_certificate())
    }

    fn start_code(self: &Rc<Self>, source: &LuaSource) -> Option<(Rc<Thread>, Option<Outcome>)> {
        install::start(&self.vm, self.clone(), source)
            .inspect_err(|error| self.context.log(Level::Error, error))
            .ok()
    }

    /// Whether the handshake goes on after that end of a phase's code.
    fn goes_on(&self, arrival: &Arrival, outcome: Outcome) -> bool {
        self.context.close_sockets();
        let good = match outcome {
            Outcome::Done => true,
            Outcome::Exit(code) => (0..300).contains(&code),
            Outcome::Error => false,
        };
        match self.context.phase() {
            // A session that cannot be fetched is one that is not there.
            Phase::SslSessionFetch => return true,
            Phase::SslCertificate if good => arrival.set_certified(),
            _ => {}
        }
        good
    }

    fn refuse(&self, arrival: &Arrival) {
        self.end();
        arrival.refuse();
    }

    /// All of its code has run, or is not to go on.
    fn end(&self) {
        self.entry.kill();
        self.context.end();
    }
}

impl Drop for TlsHandler {
    fn drop(&mut self) {
        if let Some(anchor) = self.context.set_lua_table(None) {
            self.vm.release(anchor);
        }
    }
}

impl Host for TlsHandler {
    fn enter(&self) {
        host::enter(Some(self.conf.get()), &self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, outcome: Outcome) {
        self.entry.forget();
        let Some(arrival) = &self.arrival else {
            return;
        };
        if self.goes_on(arrival, outcome) {
            self.run(arrival, Some(self.context.phase()));
        } else {
            self.refuse(arrival);
        }
    }

    fn log_error(&self, message: &[u8]) {
        self.context.log(Level::Error, message);
    }
}
