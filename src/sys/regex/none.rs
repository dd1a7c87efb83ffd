//! Stands in where nginx was built without PCRE2: no pattern compiles.

use std::convert::Infallible;
use std::marker::PhantomData;

use super::{Name, Options, RegexError};

/// A compiled pattern: there is none.
#[derive(Debug)]
pub struct Regex(Infallible);

impl Regex {
    /// Always fails.
    pub fn compile(_pattern: &[u8], _options: Options) -> Result<Regex, RegexError> {
        Err(RegexError::Unavailable("nginx was built without PCRE2"))
    }

    /// How many groups the pattern has.
    pub fn groups(&self) -> usize {
        match self.0 {}
    }

    /// The groups that have names.
    pub fn names(&self) -> &[Name] {
        match self.0 {}
    }

    /// Whether groups may share a name.
    pub fn same_names(&self) -> bool {
        match self.0 {}
    }

    /// The first match from `start` on.
    pub fn find(&self, _subject: &[u8], _start: usize) -> Result<Option<Match>, RegexError> {
        match self.0 {}
    }

    /// Where to look for the next match.
    pub fn next_start(&self, _subject: &[u8], _start: usize, _found: &Match) -> usize {
        match self.0 {}
    }

    /// All matches.
    pub fn scan<'a>(&'a self, _subject: &'a [u8]) -> Scan<'a> {
        match self.0 {}
    }
}

/// One match: there is none.
#[derive(Debug)]
pub struct Match(Infallible);

impl Match {
    /// Where the whole match is.
    pub fn whole(&self) -> (usize, usize) {
        match self.0 {}
    }

    /// Where group `n` is.
    pub fn group(&self, _n: usize) -> Option<(usize, usize)> {
        match self.0 {}
    }
}

/// Goes through matches: there are none.
pub struct Scan<'a>(Infallible, PhantomData<&'a Regex>);

impl Scan<'_> {
    /// The next match.
    pub fn next_match(&mut self) -> Result<Option<Match>, RegexError> {
        match self.0 {}
    }
}

/// Does nothing.
pub fn set_match_limit(_limit: u32) {}
