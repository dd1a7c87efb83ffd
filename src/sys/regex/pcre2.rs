//! The wrapper over PCRE2.
//!
//! The module links no PCRE2 of its own: its functions are those that nginx
//! has. Memory for results, the JIT's stack and the limits are the worker's,
//! made once and used for all patterns.

use std::cell::{Cell, OnceCell};
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};

use ngx::ffi::{
    PCRE2_ALLOW_EMPTY_CLASS, PCRE2_ALT_BSUX, PCRE2_ANCHORED, PCRE2_CASELESS,
    PCRE2_CONFIG_MATCHLIMIT, PCRE2_DOTALL, PCRE2_DUPNAMES, PCRE2_ERROR_DFA_WSSIZE,
    PCRE2_ERROR_NOMATCH, PCRE2_EXTENDED, PCRE2_INFO_CAPTURECOUNT, PCRE2_INFO_HASBACKSLASHC,
    PCRE2_INFO_NAMECOUNT, PCRE2_INFO_NAMEENTRYSIZE, PCRE2_INFO_NAMETABLE, PCRE2_JIT_COMPLETE,
    PCRE2_MATCH_UNSET_BACKREF, PCRE2_MULTILINE, PCRE2_NO_UTF_CHECK, PCRE2_UTF, pcre2_code_8,
    pcre2_code_free_8, pcre2_compile_8, pcre2_config_8, pcre2_get_error_message_8,
    pcre2_get_ovector_pointer_8, pcre2_jit_compile_8, pcre2_jit_stack_assign_8,
    pcre2_jit_stack_create_8, pcre2_match_8, pcre2_match_context_8, pcre2_match_context_create_8,
    pcre2_match_data_8, pcre2_match_data_create_8, pcre2_match_data_free_8, pcre2_pattern_info_8,
    pcre2_set_match_limit_8,
};

use super::{Name, Options, RegexError, Utf};
use crate::sys::log::{self, Level};

/// PCRE2's PCRE2_MATCH_INVALID_UTF. Its headers have it from 10.34 on; an
/// older library refuses it.
const MATCH_INVALID_UTF: u32 = 0x0400_0000;
/// What an offset is that there is not.
const UNSET: usize = usize::MAX;
/// How many groups fit into memory that is made before it is known.
const USUAL_PAIRS: u32 = 16;
/// The JIT's stack grows from the one to the other.
const JIT_STACK: (usize, usize) = (32 * 1024, 1024 * 1024);
/// So does the memory for a search for the longest match, in words.
const DFA_WORKSPACE: (usize, usize) = (1000, 1024 * 1024);

/// A compiled pattern.
#[derive(Debug)]
pub struct Regex {
    code: NonNull<pcre2_code_8>,
    groups: u32,
    names: Vec<Name>,
    options: Options,
    /// A match of a valid text may end within a character (`\C`).
    splits_characters: bool,
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(pattern: &[u8], options: Options) -> Result<Regex, RegexError> {
        // Without a guard against invalid text PCRE2 would read beyond it.
        let lax = options.utf == Utf::Any && !options.longest;
        let code = match compile(pattern, bits(options, lax)) {
            Err(_) if lax => compile(pattern, bits(options, false)),
            result => result,
        }?;
        let mut regex = Regex {
            code,
            groups: 0,
            names: Vec::new(),
            options,
            splits_characters: true,
        };
        regex.groups = regex.info(PCRE2_INFO_CAPTURECOUNT, 0_u32);
        regex.splits_characters = regex.info(PCRE2_INFO_HASBACKSLASHC, 1_u32) != 0;
        if !options.longest {
            regex.names = regex.read_names();
        }
        if options.jit && !options.longest {
            regex.compile_to_machine_code();
        }
        Ok(regex)
    }

    /// How many groups the pattern has.
    pub fn groups(&self) -> usize {
        if self.options.longest {
            0
        } else {
            self.groups as usize
        }
    }

    /// The groups that have names.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Whether groups may share a name.
    pub fn same_names(&self) -> bool {
        self.options.same_names
    }

    /// The first match from byte `start` on.
    ///
    /// # Errors
    /// Limits of the search, or text that is not UTF-8.
    pub fn find(&self, subject: &[u8], start: usize) -> Result<Option<Match>, RegexError> {
        // SAFETY: no checks are left out.
        unsafe { self.search(subject, start, 0) }
    }

    /// Where to look for the next match after `found`, for which was looked
    /// from `start` on: behind it, or one character further where it is empty.
    pub fn next_start(&self, subject: &[u8], start: usize, found: &Match) -> usize {
        let (from, to) = found.whole();
        if to > from && to > start {
            return to;
        }
        let mut next = to.max(start) + 1;
        if self.options.utf != Utf::No {
            while !is_boundary(subject, next) {
                next += 1;
            }
        }
        next
    }

    /// All matches in a text, one after the other.
    pub fn scan<'a>(&'a self, subject: &'a [u8]) -> Scan<'a> {
        Scan {
            regex: self,
            subject,
            start: 0,
            checked: false,
        }
    }

    /// # Safety
    /// With PCRE2_NO_UTF_CHECK the text must be valid, and a character begin
    /// at `start`.
    unsafe fn search(
        &self,
        subject: &[u8],
        start: usize,
        bits: u32,
    ) -> Result<Option<Match>, RegexError> {
        if start > subject.len() {
            return Ok(None);
        }
        let data = MatchData::take(self.groups + 1)?;
        // SAFETY: pattern, text and memory are live; offsets are within the
        // text; the rest is the caller's promise.
        let rc = unsafe {
            if self.options.longest {
                self.search_longest(subject, start, bits, &data)?
            } else {
                pcre2_match_8(
                    self.code.as_ptr(),
                    subject.as_ptr(),
                    subject.len(),
                    start,
                    bits,
                    data.data.as_ptr(),
                    Context::current(),
                )
            }
        };
        if rc >= 0 {
            // 0 is a longest match of which shorter ones did not find room.
            let pairs = if self.options.longest { 1 } else { rc as usize };
            return Ok(Some(Match {
                data: Some(data),
                pairs,
            }));
        }
        data.give_back();
        if rc == PCRE2_ERROR_NOMATCH {
            Ok(None)
        } else {
            Err(RegexError::Search(rc))
        }
    }

    /// # Safety
    /// As `search`; `start` must be within the text.
    unsafe fn search_longest(
        &self,
        subject: &[u8],
        start: usize,
        bits: u32,
        data: &MatchData,
    ) -> Result<c_int, RegexError> {
        let search = dfa_match().ok_or(RegexError::Unavailable("nginx's PCRE2 has no DFA mode"))?;
        let mut words = DFA_WORKSPACE.0;
        loop {
            let mut workspace = vec![0; words];
            // SAFETY: as in `search`; the workspace is as long as said. The
            // limits of the usual search mean nothing here.
            let rc = unsafe {
                search(
                    self.code.as_ptr(),
                    subject.as_ptr(),
                    subject.len(),
                    start,
                    bits,
                    data.data.as_ptr(),
                    ptr::null_mut(),
                    workspace.as_mut_ptr(),
                    words,
                )
            };
            if rc != PCRE2_ERROR_DFA_WSSIZE || words >= DFA_WORKSPACE.1 {
                return Ok(rc);
            }
            words *= 4;
        }
    }

    fn compile_to_machine_code(&self) {
        // SAFETY: the pattern is live. Where the machine has no JIT, or the
        // pattern is too large for it, the pattern works without.
        let rc = unsafe { pcre2_jit_compile_8(self.code.as_ptr(), PCRE2_JIT_COMPLETE) };
        if rc == 0 {
            CONTEXT.with(Context::give_jit_stack);
        }
        if log::cycle_enabled(Level::Debug) {
            let result = u8::from(rc == 0);
            log::cycle(Level::Debug, format!("pcre JIT compiling result: {result}"));
        }
    }

    /// A fact about the pattern, of the type that PCRE2 documents for it.
    fn info<T: Copy>(&self, what: u32, default: T) -> T {
        let mut value = default;
        // SAFETY: the pattern is live; callers pass the right type.
        let rc = unsafe {
            pcre2_pattern_info_8(self.code.as_ptr(), what, (&raw mut value).cast::<c_void>())
        };
        if rc == 0 { value } else { default }
    }

    /// The table of names, which PCRE2 sorts.
    fn read_names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let count = self.info(PCRE2_INFO_NAMECOUNT, 0_u32) as usize;
        let size = self.info(PCRE2_INFO_NAMEENTRYSIZE, 0_u32) as usize;
        let table: *const u8 = self.info(PCRE2_INFO_NAMETABLE, ptr::null());
        if count == 0 || size < 3 || table.is_null() {
            return names;
        }
        // SAFETY: the table has so many entries of that size, and lives as
        // long as the pattern.
        let table = unsafe { std::slice::from_raw_parts(table, count * size) };
        for entry in table.chunks_exact(size) {
            // Two bytes of number, the name, a zero.
            let group = usize::from(entry[0]) << 8 | usize::from(entry[1]);
            let name = entry[2..].split(|&byte| byte == 0).next();
            let name = name.unwrap_or_default();
            match names.last_mut() {
                Some(last) if *last.name == *name => last.groups.push(group),
                _ => names.push(Name {
                    name: name.into(),
                    groups: vec![group],
                }),
            }
        }
        for name in &mut names {
            name.groups.sort_unstable();
        }
        names
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: the pattern is ours, and nothing uses it any more.
        unsafe { pcre2_code_free_8(self.code.as_ptr()) }
    }
}

fn bits(options: Options, lax: bool) -> u32 {
    let javascript = PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF;
    [
        (options.anchored, PCRE2_ANCHORED),
        (options.same_names, PCRE2_DUPNAMES),
        (options.caseless, PCRE2_CASELESS),
        (options.javascript, javascript),
        (options.multiline, PCRE2_MULTILINE),
        (options.dotall, PCRE2_DOTALL),
        (options.extended, PCRE2_EXTENDED),
        (options.utf != Utf::No, PCRE2_UTF),
        (lax, MATCH_INVALID_UTF),
    ]
    .into_iter()
    .filter_map(|(set, bits)| set.then_some(bits))
    .fold(0, |all, bits| all | bits)
}

fn compile(pattern: &[u8], bits: u32) -> Result<NonNull<pcre2_code_8>, RegexError> {
    let (mut error, mut offset) = (0, 0);
    // SAFETY: the pattern is as long as said; the rest are our variables.
    let code = unsafe {
        pcre2_compile_8(
            pattern.as_ptr(),
            pattern.len(),
            bits,
            &mut error,
            &mut offset,
            ptr::null_mut(),
        )
    };
    NonNull::new(code)
        .ok_or_else(|| RegexError::Pattern(error_text(error), offset.min(pattern.len())))
}

fn error_text(error: c_int) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: the buffer is as long as said.
    let len = unsafe { pcre2_get_error_message_8(error, text.as_mut_ptr(), text.len()) };
    match usize::try_from(len) {
        Ok(len) => String::from_utf8_lossy(&text[..len.min(text.len())]).into_owned(),
        Err(_) => format!("error {error}"),
    }
}

/// Whether a character of UTF-8 can begin at the offset.
fn is_boundary(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80)
}

/// One match.
#[derive(Debug)]
pub struct Match {
    data: Option<MatchData>,
    pairs: usize,
}

impl Match {
    /// Where the whole match is.
    pub fn whole(&self) -> (usize, usize) {
        self.group(0).unwrap_or_default()
    }

    /// Where group `n` is; None where it took no part. Group 0 is the whole
    /// match.
    pub fn group(&self, n: usize) -> Option<(usize, usize)> {
        let data = self.data.as_ref().filter(|_| n < self.pairs)?;
        // SAFETY: the memory has room for at least `pairs` pairs.
        let (from, to) = unsafe {
            let offsets = pcre2_get_ovector_pointer_8(data.data.as_ptr());
            (*offsets.add(2 * n), *offsets.add(2 * n + 1))
        };
        // With `\K` in a lookahead a match begins behind its end.
        (from != UNSET).then_some((from, to.max(from)))
    }
}

impl Drop for Match {
    fn drop(&mut self) {
        if let Some(data) = self.data.take() {
            data.give_back();
        }
    }
}

/// Goes through the matches in one text.
pub struct Scan<'a> {
    regex: &'a Regex,
    subject: &'a [u8],
    start: usize,
    /// The text is known to be valid UTF-8.
    checked: bool,
}

impl Scan<'_> {
    /// The next match.
    ///
    /// # Errors
    /// As [`Regex::find`].
    pub fn next_match(&mut self) -> Result<Option<Match>, RegexError> {
        let skip_check = self.checked && is_boundary(self.subject, self.start);
        let bits = if skip_check { PCRE2_NO_UTF_CHECK } else { 0 };
        // SAFETY: the first search, from the start on, has checked the text.
        let found = unsafe { self.regex.search(self.subject, self.start, bits) }?;
        if let Some(found) = &found {
            let regex = self.regex;
            self.checked = regex.options.utf == Utf::Valid && !regex.splits_characters;
            self.start = regex.next_start(self.subject, self.start, found);
        }
        Ok(found)
    }
}

/// PCRE2's memory for the offsets of a match.
#[derive(Debug)]
struct MatchData {
    data: NonNull<pcre2_match_data_8>,
    pairs: u32,
}

thread_local! {
    /// Memory that is not in use.
    static SPARE: Cell<Option<MatchData>> = const { Cell::new(None) };
}

impl MatchData {
    fn take(pairs: u32) -> Result<MatchData, RegexError> {
        if let Some(data) = SPARE.take()
            && data.pairs >= pairs
        {
            return Ok(data);
        }
        let pairs = pairs.max(USUAL_PAIRS);
        // SAFETY: a plain constructor.
        let data = unsafe { pcre2_match_data_create_8(pairs, ptr::null_mut()) };
        NonNull::new(data)
            .map(|data| MatchData { data, pairs })
            .ok_or(RegexError::Unavailable("no memory"))
    }

    fn give_back(self) {
        SPARE.set(Some(self));
    }
}

impl Drop for MatchData {
    fn drop(&mut self) {
        // SAFETY: the memory is ours, and nothing uses it any more.
        unsafe { pcre2_match_data_free_8(self.data.as_ptr()) }
    }
}

/// The worker's limits and the JIT's stack; there until the process ends.
struct Context {
    /// Null, which means PCRE2's defaults, where memory was short.
    context: *mut pcre2_match_context_8,
    default_limit: u32,
    has_jit_stack: Cell<bool>,
}

thread_local! {
    static CONTEXT: Context = Context::new();
}

impl Context {
    fn new() -> Context {
        let mut default_limit = 0_u32;
        // SAFETY: a plain constructor, and a question about the library that
        // is answered with a number of this type.
        unsafe {
            pcre2_config_8(PCRE2_CONFIG_MATCHLIMIT, (&raw mut default_limit).cast());
            Context {
                context: pcre2_match_context_create_8(ptr::null_mut()),
                default_limit,
                has_jit_stack: Cell::new(false),
            }
        }
    }

    fn current() -> *mut pcre2_match_context_8 {
        CONTEXT.with(|cx| cx.context)
    }

    /// Gives the JIT more stack than the little that it has of its own.
    fn give_jit_stack(&self) {
        if self.has_jit_stack.replace(true) || self.context.is_null() {
            return;
        }
        // SAFETY: a plain constructor; context and stack stay.
        unsafe {
            let stack = pcre2_jit_stack_create_8(JIT_STACK.0, JIT_STACK.1, ptr::null_mut());
            if !stack.is_null() {
                pcre2_jit_stack_assign_8(self.context, None, stack.cast());
            }
        }
    }
}

/// Sets how much a search may try before it fails; 0 is PCRE2's own limit.
pub fn set_match_limit(limit: u32) {
    CONTEXT.with(|cx| {
        let limit = if limit == 0 { cx.default_limit } else { limit };
        if limit != 0 && !cx.context.is_null() {
            // SAFETY: the context is live.
            unsafe { pcre2_set_match_limit_8(cx.context, limit) };
        }
    });
}

/// `pcre2_dfa_match_8`
type DfaMatch = unsafe extern "C" fn(
    *const pcre2_code_8,
    *const u8,
    usize,
    usize,
    u32,
    *mut pcre2_match_data_8,
    *mut pcre2_match_context_8,
    *mut c_int,
    usize,
) -> c_int;

/// Where PCRE2 is built into nginx there is only what nginx itself uses of
/// it, so this function may be missing, which must not keep the module from
/// loading.
fn dfa_match() -> Option<DfaMatch> {
    thread_local! {
        static FOUND: OnceCell<Option<DfaMatch>> = const { OnceCell::new() };
    }
    FOUND.with(|found| {
        // SAFETY: the name is a C string, and PCRE2 gives what has that name
        // this type.
        *found.get_or_init(|| unsafe {
            let address = libc::dlsym(libc::RTLD_DEFAULT, c"pcre2_dfa_match_8".as_ptr());
            (!address.is_null()).then(|| std::mem::transmute::<*mut c_void, DfaMatch>(address))
        })
    })
}
