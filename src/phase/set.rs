//! `set_by_lua*`: code that nginx's rewrite module runs among its own
//! directives, and which cannot wait.

use std::rc::Rc;

use super::code::with_chunk;
use super::handler::RequestHandler;
use super::{host, module};
use crate::conf::{self, LocConf, SetVariable};
use crate::lua::arg::SetArguments;
use crate::sys::context::{self, Context};
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::request::Request;

const HTTP_INTERNAL_SERVER_ERROR: isize = 500;

/// Gives the variable its value.
///
/// # Errors
/// The status to end the request with; what is wrong is in error.log.
pub(super) fn set_variable(request: Request, set: &SetVariable) -> Result<(), isize> {
    let handler = RequestHandler::of(request, Phase::Set).ok_or(HTTP_INTERNAL_SERVER_ERROR)?;
    let context = Context::beside(&handler.context, Phase::Set);
    let result = run(request, set, &handler, &context);
    context.end();
    result.map_err(|message| {
        request.log(
            Level::Error,
            format!("failed to run set_by_lua*: {message}"),
        );
        HTTP_INTERNAL_SERVER_ERROR
    })
}

fn run(
    request: Request,
    set: &SetVariable,
    handler: &RequestHandler,
    context: &Rc<Context>,
) -> Result<(), String> {
    let args = set.args.iter().map(|arg| request.evaluate(arg));
    let args: Option<Vec<_>> = args.collect();
    let args = args.ok_or("no memory for the arguments")?;
    context.set_subject(Rc::new(SetArguments(args)));
    let value = {
        let _running = Running::new(request, context);
        with_chunk(&set.source, Some(request), |chunk| {
            handler
                .vm
                .evaluate(chunk, |state| state.bytes(-1).unwrap_or_default().to_vec())
        })
        .ok_or("no memory for the name of the file")??
    };
    request
        .set_variable(&set.name, Some(&value))
        .map_err(|_| format!("a value of {} bytes cannot be kept", value.len()))
}

/// What Lua runs in while the VM runs code without the scheduler; on drop,
/// what it ran in before.
struct Running {
    context: Option<Rc<Context>>,
    conf: Option<&'static LocConf>,
}

impl Running {
    fn new(request: Request, context: &Rc<Context>) -> Running {
        let previous = Running {
            context: context::current(),
            conf: conf::current(),
        };
        host::enter(Some(module::location_conf(request)), context);
        previous
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        context::set_current(self.context.take());
        conf::set_current(self.conf);
    }
}
