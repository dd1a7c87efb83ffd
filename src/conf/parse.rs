//! Carries out a directive: reads its value, checks it, stores it.

use core::ffi::CStr;
use core::ops::ControlFlow;
use std::rc::Rc;

use super::directives::{Action, CodeForm, Directive};
use super::error::DirectiveError;
use super::location::LocConf;
use super::main::MainConf;
use super::scanner::{Scanner, Step, Unfinished, UnfinishedKind};
use super::source::{LuaCode, LuaFile, LuaSource, SetVariable, file_chunk_name, inline_chunk_name};
use crate::sys::conf::{Conf, Level, parse_size, parse_time};
use crate::sys::phase::Phase;
use crate::sys::ssl::Protocol;

/// Compiles code without running it; an error is Lua's message.
pub type SyntaxCheck = fn(&[u8], &CStr) -> Result<(), String>;

/// What a directive works on.
pub struct Context<'a, 'cf> {
    /// nginx's parser, at the directive.
    pub conf: &'a mut Conf<'cf>,
    /// Settings of the `http` block.
    pub main: &'a mut MainConf,
    /// Settings of the level the directive stands in.
    pub loc: &'a mut LocConf,
    /// Set where code must compile for the configuration to be good.
    pub syntax_check: Option<SyntaxCheck>,
}

type Result<T = (), E = DirectiveError> = core::result::Result<T, E>;

/// Carries out `directive`.
pub fn apply(directive: &Directive, cx: &mut Context<'_, '_>) -> Result {
    match directive.action {
        Action::Code(phase, form) => code(cx, phase, form),
        Action::SetVariable(form) => set_variable(cx, form),
        Action::MainFlag(slot) => set(slot(cx.main), || flag(cx.conf)),
        Action::MainNumber(slot) => set(slot(cx.main), || number(argument(cx.conf))),
        Action::IdlePeers => set(&mut cx.loc.idle_peers, || number(argument(cx.conf))),
        Action::MainTime(slot) => set(slot(cx.main), || time(cx.conf)),
        Action::LuaPath(slot) => set(slot(cx.main), || {
            Ok(expand_prefix(argument(cx.conf), cx.conf.prefix()))
        }),
        Action::Flag(slot) => set(slot(cx.loc), || flag(cx.conf)),
        Action::CodeCache => {
            set(&mut cx.loc.code_cache, || flag(cx.conf))?;
            if cx.loc.code_cache == Some(false) {
                let text = "lua_code_cache is off; this will hurt performance";
                cx.conf.log(Level::Warn, text);
            }
            Ok(())
        }
        Action::Time(slot) => set(slot(cx.loc), || time(cx.conf)),
        Action::Size(slot, least) => set(slot(cx.loc), || {
            parse_size(argument(cx.conf))
                .filter(|size| *size >= least)
                .ok_or(DirectiveError::INVALID_VALUE)
        }),
        Action::Number(slot, least) => set(slot(cx.loc), || {
            number(argument(cx.conf)).and_then(|number| {
                let enough = number >= least;
                enough
                    .then_some(number)
                    .ok_or(DirectiveError::INVALID_NUMBER)
            })
        }),
        Action::Text(slot) => set(slot(cx.loc), || Ok(argument(cx.conf).to_vec())),
        Action::Path(slot) => set(slot(cx.loc), || Ok(cx.conf.full_path(argument(cx.conf)))),
        Action::TextList(slot) => {
            let text = argument(cx.conf).to_vec();
            slot(cx.loc).get_or_insert_default().push(text);
            Ok(())
        }
        Action::Protocols => set(&mut cx.loc.ssl.settings.protocols, || protocols(cx.conf)),
        Action::SslCommand => {
            let word = |index| cx.conf.arg(index).unwrap_or_default().to_vec();
            let commands = &mut cx.loc.ssl.settings.conf_commands;
            commands.get_or_insert_default().push((word(1), word(2)));
            Ok(())
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: impl FnOnce() -> Result<T>) -> Result {
    if slot.is_some() {
        return Err(DirectiveError::DUPLICATE);
    }
    *slot = Some(value()?);
    Ok(())
}

/// The only argument; nginx checked that it is there.
fn argument<'a>(conf: &'a Conf<'_>) -> &'a [u8] {
    conf.arg(1).unwrap_or_default()
}

fn flag(conf: &Conf<'_>) -> Result<bool> {
    let value = argument(conf);
    if value.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if value.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(DirectiveError::message(format!(
            "invalid value \"{}\" in \"{}\" directive, it must be \"on\" or \"off\"",
            String::from_utf8_lossy(value),
            directive_name(conf),
        )))
    }
}

fn number(value: &[u8]) -> Result<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(DirectiveError::INVALID_NUMBER);
    }
    str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(DirectiveError::INVALID_NUMBER)
}

fn time(conf: &Conf<'_>) -> Result<u64> {
    parse_time(argument(conf)).ok_or(DirectiveError::INVALID_VALUE)
}

fn protocols(conf: &Conf<'_>) -> Result<Vec<Protocol>> {
    let words = (1..).map_while(|index| conf.arg(index));
    words
        .map(|word| {
            Protocol::from_name(word).ok_or_else(|| {
                DirectiveError::message(format!(
                    "invalid value \"{}\"",
                    String::from_utf8_lossy(word)
                ))
            })
        })
        .collect()
}

/// Replaces `$prefix` and `${prefix}`, the only variables of Lua search paths.
fn expand_prefix(path: &[u8], prefix: &[u8]) -> Vec<u8> {
    // Paths read `$prefix/lua/?.lua`; nginx's prefix ends with a slash of its own.
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    let mut expanded = Vec::with_capacity(path.len() + prefix.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let after = [&b"$prefix"[..], b"${prefix}"]
            .into_iter()
            .find_map(|name| rest.strip_prefix(name));
        if let Some(after) = after {
            expanded.extend_from_slice(prefix);
            rest = after;
        } else {
            expanded.push(byte);
            rest = tail;
        }
    }
    expanded
}

fn code(cx: &mut Context<'_, '_>, phase: Phase, form: CodeForm) -> Result {
    // Before the block is read: the complaint is about its first line.
    if slot(cx, phase).is_some() {
        return Err(DirectiveError::DUPLICATE);
    }
    let source = read_source(cx, phase, form, 1)?;
    cx.main.use_phase(phase);
    *slot(cx, phase) = Some(Rc::new(source));
    Ok(())
}

/// Reads the code, which stands in word `index` of the directive unless it is
/// a block.
fn read_source(
    cx: &mut Context<'_, '_>,
    phase: Phase,
    form: CodeForm,
    index: usize,
) -> Result<LuaSource> {
    let line = cx.conf.line();
    let word = cx.conf.arg(index).unwrap_or_default();
    let code = match form {
        CodeForm::Quoted => LuaCode::Inline(word.into()),
        CodeForm::Block => LuaCode::Inline(block(cx.conf)?.into()),
        CodeForm::File => LuaCode::File(file(cx.conf, phase, word)?),
    };
    if let LuaCode::Inline(code) = &code
        && code.is_empty()
        && has_request(phase)
    {
        return Err(no_code());
    }
    let chunk_name = match &code {
        LuaCode::File(LuaFile::Fixed(path)) => file_chunk_name(path),
        _ => inline_chunk_name(phase.directive(), cx.conf.file_name(), line),
    };
    let source = LuaSource {
        id: cx.main.next_source_id(),
        code,
        chunk_name,
    };
    if let Err(text) = check_syntax(cx, phase, &source) {
        // The parser stands behind the block; the reader looks for its start.
        return Err(DirectiveError::Message {
            text,
            line: Some(line),
        });
    }
    Ok(source)
}

/// `set_by_lua $variable code args…`
fn set_variable(cx: &mut Context<'_, '_>, form: CodeForm) -> Result {
    let Some(name) = argument(cx.conf).strip_prefix(b"$") else {
        let name = String::from_utf8_lossy(argument(cx.conf));
        return Err(DirectiveError::message(format!(
            "invalid variable name \"{name}\""
        )));
    };
    let name: Box<[u8]> = name.into();
    let args = (3..)
        .map_while(|index| cx.conf.arg(index))
        .map(|arg| cx.conf.value(arg))
        .collect::<Result<_, _>>()?;
    cx.conf.declare_variable(&name)?;
    let source = read_source(cx, Phase::Set, form, 2)?;
    cx.loc
        .variables
        .push(Box::new(SetVariable { name, source, args }));
    Ok(())
}

fn slot<'a>(cx: &'a mut Context<'_, '_>, phase: Phase) -> &'a mut Option<Rc<LuaSource>> {
    match phase {
        Phase::Init => &mut cx.main.init,
        Phase::InitWorker => &mut cx.main.init_worker,
        Phase::ExitWorker => &mut cx.main.exit_worker,
        _ => cx.loc.code.slot(phase),
    }
}

/// Whether the code runs for a request.
fn has_request(phase: Phase) -> bool {
    use Phase::*;
    !matches!(
        phase,
        Init | InitWorker
            | ExitWorker
            | SslClientHello
            | SslSessionFetch
            | SslCertificate
            | SslSessionStore
    )
}

fn no_code() -> DirectiveError {
    DirectiveError::message("invalid location config: no runnable Lua code")
}

/// The path of a `…_file` directive. Variables need a request.
fn file(conf: &Conf<'_>, phase: Phase, path: &[u8]) -> Result<LuaFile> {
    if path.is_empty() {
        return Err(no_code());
    }
    if has_request(phase) && memchr::memchr(b'$', path).is_some() {
        return Ok(LuaFile::Variable(conf.path_value(path)?));
    }
    Ok(LuaFile::Fixed(conf.full_path(path).into()))
}

/// Reads `… }` from the configuration file.
fn block(conf: &mut Conf<'_>) -> Result<Vec<u8>> {
    let start = conf.line();
    let mut scanner = Scanner::new();
    let mut code = Vec::new();
    let mut broken = None;
    let complete = conf.read_raw(|piece| match scanner.feed(piece) {
        Step::More => {
            code.extend_from_slice(piece);
            ControlFlow::Continue(())
        }
        Step::Done(used) => {
            code.extend_from_slice(&piece[..used - 1]);
            ControlFlow::Break(used)
        }
        Step::Broken(unfinished) => {
            broken = Some(unfinished);
            ControlFlow::Break(0)
        }
    })?;
    match broken {
        None if complete => Ok(code),
        None => Err(unfinished(conf, start, scanner.unfinished())),
        Some(what) => Err(unfinished(conf, start, what)),
    }
}

/// The wording of OpenResty where it has one, after what it leaves out: which
/// block it is.
fn unfinished(conf: &Conf<'_>, start: usize, what: Unfinished) -> DirectiveError {
    let name = directive_name(conf);
    let text = match what.kind {
        UnfinishedKind::Block => format!(
            "\"{name}\" has no closing \"}}\": unexpected end of file, \
             expecting terminating characters for lua code block"
        ),
        UnfinishedKind::String(quote) => format!(
            "\"{name}\" of line {start} has an unfinished string: \
             Lua code block missing the closing quote [{}]",
            quote as char
        ),
        UnfinishedKind::LongString(level) => format!(
            "\"{name}\" of line {start} has an unfinished long string: \
             Lua code block missing the closing long bracket \"]{}]\"",
            "=".repeat(level)
        ),
        UnfinishedKind::LongComment(level) => format!(
            "\"{name}\" of line {start} has an unfinished long comment: \
             Lua code block missing the closing long bracket \"]{}]\"",
            "=".repeat(level)
        ),
    };
    DirectiveError::Message {
        text,
        line: Some(start + what.line),
    }
}

fn check_syntax(cx: &Context<'_, '_>, phase: Phase, source: &LuaSource) -> Result<(), String> {
    let Some(check) = cx.syntax_check else {
        return Ok(());
    };
    let name = phase.directive();
    match &source.code {
        LuaCode::Inline(code) => check(code, &source.chunk_name)
            .map_err(|error| format!("{name}: failed to load inlined Lua code: {error}")),
        LuaCode::File(LuaFile::Fixed(path)) => {
            // A missing file is no error yet: it is looked for when it is needed.
            let Some(code) = cx.conf.read_file(path) else {
                return Ok(());
            };
            check(&code, &source.chunk_name).map_err(|error| {
                let path = String::from_utf8_lossy(path);
                format!("{name}: failed to load external Lua file \"{path}\": {error}")
            })
        }
        LuaCode::File(LuaFile::Variable(_)) => Ok(()),
    }
}

fn directive_name<'a>(conf: &'a Conf<'_>) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(conf.arg(0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_know_the_prefix() {
        let expand =
            |path: &str| String::from_utf8(expand_prefix(path.as_bytes(), b"/opt/nginx/")).unwrap();
        assert_eq!(expand("$prefix/lua/?.lua;;"), "/opt/nginx/lua/?.lua;;");
        assert_eq!(expand("${prefix}/?.so;/x;;"), "/opt/nginx/?.so;/x;;");
        assert_eq!(expand("/a;$prefix/b"), "/a;/opt/nginx/b");
        assert_eq!(expand("/$other/$;;"), "/$other/$;;");
        assert_eq!(expand(""), "");
    }

    #[test]
    fn numbers_are_plain_digits() {
        assert_eq!(number(b"30"), Ok(30));
        for bad in [&b""[..], b"-1", b"+1", b"1k", b"99999999999999999999"] {
            assert_eq!(number(bad), Err(DirectiveError::INVALID_NUMBER));
        }
    }
}
