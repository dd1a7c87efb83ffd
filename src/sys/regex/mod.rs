//! Regular expressions, by the PCRE2 that nginx itself is linked with.

#[cfg(not(ngx_feature = "pcre2"))]
mod none;
#[cfg(ngx_feature = "pcre2")]
mod pcre2;

#[cfg(not(ngx_feature = "pcre2"))]
use none as engine;
#[cfg(ngx_feature = "pcre2")]
use pcre2 as engine;

pub use engine::{Match, Regex, Scan, set_match_limit};

/// How a pattern is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Matches only where the search starts.
    pub anchored: bool,
    /// Finds the longest match, and no groups.
    pub longest: bool,
    /// Groups may share a name.
    pub same_names: bool,
    /// Upper and lower case are the same.
    pub caseless: bool,
    /// Compiled to machine code.
    pub jit: bool,
    /// As JavaScript understands it.
    pub javascript: bool,
    /// `^` and `$` match at line breaks.
    pub multiline: bool,
    /// The dot matches line breaks.
    pub dotall: bool,
    /// Spaces and comments in the pattern mean nothing.
    pub extended: bool,
    /// Whether the text is UTF-8.
    pub utf: Utf,
}

/// What a text consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Utf {
    /// Bytes.
    #[default]
    No,
    /// UTF-8; anything else is an error.
    Valid,
    /// UTF-8; what is none does not match.
    Any,
}

/// Groups with the same name; mostly one.
#[derive(Debug)]
pub struct Name {
    /// The name.
    pub name: Box<[u8]>,
    /// The numbers of the groups.
    pub groups: Vec<usize>,
}

/// What went wrong.
#[derive(Debug)]
pub enum RegexError {
    /// The pattern is bad, from this byte on.
    Pattern(String, usize),
    /// The search failed; PCRE2's number of the error.
    Search(i32),
    /// nginx cannot do that.
    Unavailable(&'static str),
}
