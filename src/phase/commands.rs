//! The directives as nginx calls them.

use core::ffi::{c_char, c_void};
use std::rc::Rc;

use nginx_sys::{NGX_HTTP_LOC_CONF_OFFSET, ngx_command_t, ngx_conf_t, ngx_str_t};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf, NgxHttpCoreModule};

use super::module::{CosocketModule, guarded, module};
use super::{balancer, runner, set};
use crate::conf::{
    Action, Context, DIRECTIVES, Directive, DirectiveError, LocConf, SyntaxCheck, apply,
};
use crate::sys::conf::{Conf, DIRECTIVE_FAILED, Level};
use crate::sys::entry::request_handler;
use crate::sys::phase::Phase;
use crate::vm;

/// nginx's table of our directives, with the null entry that ends it.
pub static mut COMMANDS: [ngx_command_t; DIRECTIVES.len() + 1] = commands();

const fn commands() -> [ngx_command_t; DIRECTIVES.len() + 1] {
    let mut table = [ngx_command_t::empty(); DIRECTIVES.len() + 1];
    let mut index = 0;
    while index < DIRECTIVES.len() {
        let directive = &DIRECTIVES[index];
        table[index] = ngx_command_t {
            name: ngx_str_t {
                len: directive.name.count_bytes(),
                data: directive.name.as_ptr().cast_mut().cast(),
            },
            type_: directive.kind,
            set: Some(set),
            conf: NGX_HTTP_LOC_CONF_OFFSET,
            // Ours to use: the directive's place in the table.
            offset: index,
            post: core::ptr::null_mut(),
        };
        index += 1;
    }
    table
}

/// The handler of every directive.
unsafe extern "C" fn set(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    loc: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes its live parser, which is ours until we return.
    let mut conf = unsafe { Conf::new(cf) };
    let outcome = guarded(&mut conf, |conf| {
        // SAFETY: nginx passes the entry of `COMMANDS` that it matched.
        let directive = &DIRECTIVES[unsafe { (*command).offset }];
        // SAFETY: with NGX_HTTP_LOC_CONF_OFFSET, `loc` is what `create_loc_conf`
        // made, and no other reference to it is alive.
        let loc = unsafe { &mut *loc.cast::<LocConf>() };
        run(conf, directive, loc)
    });
    match outcome {
        Some(Ok(())) => core::ptr::null_mut(),
        Some(Err(DirectiveError::Directive(text))) => text.as_ptr().cast_mut(),
        Some(Err(DirectiveError::Message { text, line })) => {
            let line = line.unwrap_or_else(|| conf.line());
            conf.log_at(Level::Emergency, line, &text);
            DIRECTIVE_FAILED
        }
        Some(Err(DirectiveError::Reported)) | None => DIRECTIVE_FAILED,
    }
}

fn run(
    conf: &mut Conf<'_>,
    directive: &Directive,
    loc: &mut LocConf,
) -> Result<(), DirectiveError> {
    // SAFETY: nginx's parser is live, and inside of `http` its context is that
    // of the HTTP modules.
    let cf = unsafe { &*conf.as_ptr() };
    let main = CosocketModule::main_conf_mut(cf).ok_or(DirectiveError::Reported)?;
    let mut context = Context {
        syntax_check: conf.is_test().then_some(vm::syntax_check as SyntaxCheck),
        conf,
        main: &mut main.conf,
        loc,
    };
    apply(directive, &mut context)?;
    let Context { conf, loc, .. } = context;
    match directive.action {
        Action::Code(Phase::Content, _) => {
            let core = NgxHttpCoreModule::location_conf_mut(cf).ok_or(DirectiveError::Reported)?;
            core.handler = request_handler(runner::content);
        }
        Action::Code(Phase::Balancer, _) => {
            let source = loc.code.get(Phase::Balancer).cloned();
            let source = source.ok_or(DirectiveError::Reported)?;
            let chooser =
                Box::new(move |request, peer: &Rc<_>| balancer::choose(request, peer, &source));
            // SAFETY: `create_srv_conf` makes an `Upstream`.
            unsafe { conf.set_balancer(module(), chooser) };
        }
        Action::IdlePeers => {
            // SAFETY: as above.
            unsafe { conf.set_idle_peers(module(), loc.idle_peers.unwrap_or_default()) };
        }
        Action::SetVariable(_) => {
            let set = loc.variables.last().ok_or(DirectiveError::Reported)?;
            // SAFETY: it is boxed and lives as long as the location's settings.
            unsafe { conf.add_script_code(&**set, set::set_variable)? };
        }
        _ => {}
    }
    Ok(())
}
