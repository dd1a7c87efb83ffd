//! `ngx.re`: regular expressions.
//!
//! Patterns with the option `o` are kept, compiled, in a table of the VM that
//! all functions share: `cache[options][pattern]`. Lua's strings are unique,
//! so to find one costs two look-ups by address, and neither options nor
//! pattern are read again.

mod search;
mod split;
mod sub;
mod template;

use std::cell::Cell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::preload_with;
use super::text::{make_text, wrong_type};
use crate::sys::context;
use crate::sys::log::{self, Level};
use crate::sys::regex::{Match, Options, Regex, RegexError, Utf, set_match_limit};
use crate::vm::{Body, State, Throw, Type};

/// How many compiled patterns are kept unless the configuration says
/// otherwise.
const DEFAULT_CACHED: usize = 1024;
/// Upvalues of every function.
const CACHE: c_int = 1;
const COUNT: c_int = 2;
/// Arguments of every function.
const SUBJECT: c_int = 1;
const PATTERN: c_int = 2;

thread_local! {
    static MAX_CACHED: Cell<usize> = const { Cell::new(DEFAULT_CACHED) };
}

/// Sets the limits of the process: how many patterns are kept, and how much
/// a search may try (0: PCRE2's own limit).
pub fn configure(max_cached: Option<usize>, match_limit: Option<usize>) {
    MAX_CACHED.set(max_cached.unwrap_or(DEFAULT_CACHED));
    set_match_limit(match_limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)));
}

/// Adds `re` to the `ngx` table on the top, and has `require` find the module `ngx.re`.
pub fn open(state: &mut State) {
    state.new_table(0, 5);
    state.new_table(0, 16);
    state.push_userdata(Count::default());
    add(state, "match", search::find_captures);
    add(state, "find", search::find_position);
    add(state, "gmatch", search::iterate);
    sub::open(state);
    preload_with(state, "ngx.re", split::load, 2);
    state.raw_set_field(-2, "re");
}

/// Adds a function to the table below cache and count, which it gets.
fn add<F: Body>(state: &mut State, name: &str, body: F) {
    state.push_value(-2);
    state.push_value(-2);
    state.push_closure(body, 2);
    state.raw_set_field(-4, name);
}

/// How many patterns a VM keeps.
#[derive(Default)]
struct Count {
    kept: Cell<usize>,
    warned: Cell<bool>,
}

/// Makes text of the arguments `subject` and `pattern`.
fn take_texts(state: &mut State) -> Result<(), Throw> {
    take_text(state, SUBJECT)?;
    take_text(state, PATTERN)
}

/// Makes text of an argument as `tostring` does.
fn take_text(state: &mut State, idx: c_int) -> Result<(), Throw> {
    match state.type_of(idx) {
        Type::String => Ok(()),
        Type::Nil => {
            state.push_bytes("nil");
            state.replace(idx);
            Ok(())
        }
        _ if make_text(state, idx)? => {
            // A number becomes a string in its place.
            state.bytes(idx);
            Ok(())
        }
        _ => Err(wrong_type(state, idx, "string", idx)),
    }
}

/// The compiled argument `pattern`, with the options in argument `options`;
/// from the cache where it is there. The error is for the caller of the
/// Lua function, the one within for its result.
fn compiled(state: &mut State, options: c_int) -> Result<Result<Rc<Regex>, String>, Throw> {
    if state.is_none_or_nil(options) {
        return Ok(compile(state, Options::default()));
    }
    let cache = State::upvalue(CACHE);
    if state.type_of(options) == Type::String {
        state.push_value(options);
        state.raw_get(cache);
        if state.type_of(-1) == Type::Table {
            state.push_value(PATTERN);
            state.raw_get(-2);
            let found = state.userdata::<Rc<Regex>>(-1).cloned();
            state.pop(2);
            if let Some(regex) = found {
                return Ok(Ok(regex));
            }
        } else {
            state.pop(1);
        }
    }
    take_text(state, options)?;
    let (parsed, once) =
        parse_options(state.bytes(options).unwrap_or_default()).map_err(Throw::error)?;
    let result = compile(state, parsed);
    if let Ok(regex) = &result
        && once
        && may_keep(state)
    {
        state.push_value(options);
        state.raw_get(cache);
        if state.type_of(-1) != Type::Table {
            state.pop(1);
            state.new_table(0, 4);
            state.push_value(options);
            state.push_value(-2);
            state.raw_set(cache);
        }
        state.push_value(PATTERN);
        state.push_userdata(regex.clone());
        state.raw_set(-3);
        state.pop(1);
    }
    Ok(result)
}

fn compile(state: &State, options: Options) -> Result<Rc<Regex>, String> {
    let pattern = state.bytes(PATTERN).unwrap_or_default();
    Regex::compile(pattern, options)
        .map(Rc::new)
        .map_err(|error| error_text(&error, pattern))
}

/// Whether there is room for one more pattern; counts it.
fn may_keep(state: &State) -> bool {
    let Some(count) = state.userdata::<Count>(State::upvalue(COUNT)) else {
        return false;
    };
    let (kept, max) = (count.kept.get(), MAX_CACHED.get());
    if kept < max {
        count.kept.set(kept + 1);
        return true;
    }
    if !count.warned.replace(true) {
        report(
            Level::Warn,
            &format!("lua exceeding regex cache max entries ({max})"),
        );
    }
    false
}

fn report(level: Level, message: &str) {
    match context::current() {
        Some(context) => context.log(level, message),
        None => log::cycle(level, message),
    }
}

/// The options that the letters stand for, and whether the pattern is kept.
fn parse_options(letters: &[u8]) -> Result<(Options, bool), String> {
    let mut options = Options::default();
    let mut once = false;
    for &letter in letters {
        match letter {
            b'a' => options.anchored = true,
            b'd' => options.longest = true,
            b'D' => options.same_names = true,
            b'i' => options.caseless = true,
            b'j' => options.jit = true,
            b'J' => options.javascript = true,
            b'm' => options.multiline = true,
            b'o' => once = true,
            b's' => options.dotall = true,
            b'u' if options.utf == Utf::No => options.utf = Utf::Valid,
            b'u' => {}
            b'U' => options.utf = Utf::Any,
            b'x' => options.extended = true,
            _ => {
                return Err(format!(
                    "unknown flag \"{}\" (flags \"{}\")",
                    String::from_utf8_lossy(&[letter]),
                    String::from_utf8_lossy(letters)
                ));
            }
        }
    }
    Ok((options, once))
}

/// The error as Lua sees it.
fn error_text(error: &RegexError, pattern: &[u8]) -> String {
    match error {
        RegexError::Pattern(reason, at) => {
            let rest = pattern.get(*at..).unwrap_or_default();
            let pattern = String::from_utf8_lossy(pattern);
            let mut text = format!("pcre2_compile() failed: {reason} in \"{pattern}\"");
            if !rest.is_empty() {
                text.push_str(&format!(" at \"{}\"", String::from_utf8_lossy(rest)));
            }
            text
        }
        RegexError::Search(code) => format!("pcre_exec() failed: {code}"),
        RegexError::Unavailable(reason) => (*reason).to_owned(),
    }
}

/// Puts what `found` has matched in the text at `subject` into the table at
/// `table`: each group under its number, then those with names.
fn fill(state: &mut State, subject: c_int, table: c_int, regex: &Regex, found: &Match) {
    for n in 0..=regex.groups() {
        push_group(state, subject, found, n);
        state.raw_seti(table, n as c_int);
    }
    for name in regex.names() {
        state.push_bytes(&name.name);
        let groups = name.groups.iter().copied();
        let mut matched = groups.filter(|&n| found.group(n).is_some());
        match matched.next() {
            Some(first) if regex.same_names() => {
                state.new_table(name.groups.len() as c_int, 0);
                for (i, n) in (1..).zip(std::iter::once(first).chain(matched)) {
                    push_group(state, subject, found, n);
                    state.raw_seti(-2, i);
                }
            }
            Some(first) => push_group(state, subject, found, first),
            None => state.push_bool(false),
        }
        state.raw_set(table);
    }
}

/// Pushes a group; false where it took no part in the match.
fn push_group(state: &State, subject: c_int, found: &Match, n: usize) {
    match found.group(n) {
        Some((from, to)) => {
            let subject = state.bytes(subject).unwrap_or_default();
            state.push_bytes(subject.get(from..to).unwrap_or_default());
        }
        None => state.push_bool(false),
    }
}

/// Pushes a table for the groups of a pattern.
fn push_table(state: &State, regex: &Regex) {
    let groups = c_int::try_from(regex.groups()).unwrap_or_default();
    let names = c_int::try_from(regex.names().len()).unwrap_or_default();
    state.new_table(groups, names);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_an_option() {
        let (options, once) = parse_options(b"adDijJmosuUx").unwrap();
        assert!(once);
        assert_eq!(
            options,
            Options {
                anchored: true,
                longest: true,
                same_names: true,
                caseless: true,
                jit: true,
                javascript: true,
                multiline: true,
                dotall: true,
                extended: true,
                utf: Utf::Any,
            }
        );
        assert_eq!(parse_options(b"").unwrap(), (Options::default(), false));
        assert_eq!(parse_options(b"Uu").unwrap().0.utf, Utf::Any);
        assert_eq!(
            parse_options(b"iH").unwrap_err(),
            "unknown flag \"H\" (flags \"iH\")"
        );
    }

    #[test]
    fn errors_show_where_the_pattern_is_bad() {
        let error = |at| RegexError::Pattern("bad".into(), at);
        assert_eq!(
            error_text(&error(2), b"a(b"),
            "pcre2_compile() failed: bad in \"a(b\" at \"b\""
        );
        assert_eq!(
            error_text(&error(3), b"a(b"),
            "pcre2_compile() failed: bad in \"a(b\""
        );
    }
}
