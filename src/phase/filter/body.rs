//! The body on its way to the client, part by part.

use std::rc::Rc;

use super::{AGAIN, ERROR, Filter, OK};
use crate::conf::LuaSource;
use crate::phase::module;
use crate::sys::filter::{self, Chain, Chunk};
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::vm::Outcome;

/// The body filter.
pub(in crate::phase) fn body(request: Request, chain: Chain) -> isize {
    let Some(source) = module::location_conf(request).code.get(Phase::BodyFilter) else {
        return filter::next_body(request, chain);
    };
    if request.connection_failed() {
        return ERROR;
    }
    let Some(filter) = Filter::of(request, Phase::BodyFilter) else {
        return ERROR;
    };
    if !filter.accepts(request, chain) {
        // With OK nginx might take the response for sent.
        return if request.is_held() { AGAIN } else { OK };
    }
    if filter.active.get().is_some() {
        request.hold_response();
        return match filter.behind_body.add(request, chain) {
            true => AGAIN,
            false => ERROR,
        };
    }
    if chain.is_empty() {
        return filter::next_body(request, chain);
    }
    match filter.run(request, source, chain) {
        Some(rc) => filter.work_off(request, rc),
        None if filter.current.add(request, chain) => {
            filter.chunk().move_to(filter.current.peek());
            request.hold_response();
            AGAIN
        }
        None => {
            filter.cancel();
            ERROR
        }
    }
}

/// The code has ended after a wait.
pub(super) fn ended(filter: &Rc<Filter>, request: Request, outcome: Outcome) {
    let chain = filter.current.take();
    let rc = filter.pass(request, outcome);
    filter::release(request, chain);
    let rc = filter.work_off(request, rc);
    if filter.active.get().is_none() {
        if rc == ERROR {
            request.fail_connection();
        }
        request.go_on_writing();
    }
}

impl Filter {
    /// What the code works on.
    fn chunk(&self) -> Rc<Chunk> {
        self.context.subject().unwrap_or_else(|| {
            let chunk = Rc::new(Chunk::default());
            self.context.set_subject(chunk.clone());
            chunk
        })
    }

    /// Runs the code for `chain` and passes on what it makes of it. None where
    /// it waits: then the chain must stay.
    fn run(self: &Rc<Self>, request: Request, source: &LuaSource, chain: Chain) -> Option<isize> {
        let chunk = self.chunk();
        if chunk.ended() {
            chain.discard();
            // What came before may still have to go out: whoever makes the
            // rest sees nothing of it, and would not see to that.
            return Some(match request.has_pending_output() {
                true => filter::next_body(request, Chain::EMPTY),
                false => OK,
            });
        }
        chunk.begin(request, chain);
        match self.start(request, Phase::BodyFilter, source) {
            Ok(outcome) => outcome.map(|outcome| self.pass(request, outcome)),
            Err(_) => Some(ERROR),
        }
    }

    /// Passes on what the code, which has ended, has made of its part.
    fn pass(&self, request: Request, outcome: Outcome) -> isize {
        // `return ngx.ERROR` cuts the response.
        if outcome == Outcome::Error || self.result.get() == Some(ERROR as f64) {
            return ERROR;
        }
        // A filter after ours may begin anew with something of its own, as that
        // of additions does: its turn comes later.
        self.active.set(Some(Phase::BodyFilter));
        let rc = self.chunk().pass(request);
        self.active.set(None);
        rc
    }

    /// Runs the code for the parts that have come meanwhile, unless the one
    /// before has failed. Returns nginx's code.
    fn work_off(self: &Rc<Self>, request: Request, mut rc: isize) -> isize {
        while rc != ERROR {
            let chain = self.behind_body.take();
            if chain.is_empty() {
                break;
            }
            let source = module::location_conf(request).code.get(Phase::BodyFilter);
            rc = match source.map(|source| self.run(request, source, chain)) {
                None => filter::next_body(request, chain),
                Some(Some(rc)) => rc,
                Some(None) => {
                    self.current.put_back(chain);
                    return AGAIN;
                }
            };
            filter::release(request, chain);
        }
        self.behind_body.discard(request);
        if request.is_held() {
            request.release_response();
        }
        rc
    }
}
