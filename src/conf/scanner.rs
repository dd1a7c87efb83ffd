//! Finds the end of a Lua block in nginx's configuration.
//!
//! `content_by_lua_block { … }` holds Lua, which nginx's own tokenizer cannot
//! read. The scanner knows just enough of Lua's lexical rules to tell a brace
//! that counts from one inside of a string, a long bracket or a comment. It
//! takes the text in pieces of any size, as the configuration buffer gives it.

/// What [`Scanner::feed`] found in a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The block goes on after the piece.
    More,
    /// The block's closing brace was found; this many bytes of the piece belong
    /// to the block, the brace included.
    Done(usize),
    /// The text cannot be Lua: something in it ends too early.
    Broken(Unfinished),
}

/// Something that was opened and never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// What it is.
    pub kind: UnfinishedKind,
    /// The line it began in; the line of the block's opening brace is 0.
    pub line: usize,
}

/// The constructs that can be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfinishedKind {
    /// The block itself, or a table constructor in it.
    Block,
    /// A string; the value is its quote.
    String(u8),
    /// A long string, with this many `=` in its brackets.
    LongString(usize),
    /// A long comment, likewise.
    LongComment(usize),
}

/// A scanner at some point of one block. A new one stands just behind the
/// block's opening brace.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// Open braces, the block's own included.
    depth: usize,
    /// Lines passed so far.
    line: usize,
    /// Where the string or long bracket that `state` is in began.
    opened: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    /// Behind one `-`.
    Dash,
    /// Behind `--`.
    Comment,
    LineComment,
    /// Behind `[` and `level` times `=`: perhaps a long bracket.
    Opening {
        level: usize,
        comment: bool,
    },
    /// In a long bracket.
    Long {
        level: usize,
        comment: bool,
    },
    /// In a long bracket, behind `]` and `seen` times `=`.
    Closing {
        level: usize,
        comment: bool,
        seen: usize,
    },
    Quoted(u8),
    /// In a string, behind a backslash.
    Escape(u8),
    /// In a string, behind a backslash and the first byte of a line break: the
    /// second byte of a pair (CR LF or LF CR) belongs to it.
    EscapedBreak {
        quote: u8,
        first: u8,
    },
    /// In a string, behind `\z`: white space is skipped, line breaks as well.
    SkipSpace(u8),
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Code,
            depth: 1,
            line: 0,
            opened: 0,
        }
    }
}

impl Scanner {
    /// A scanner just behind the block's opening brace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next piece of the text.
    pub fn feed(&mut self, piece: &[u8]) -> Step {
        for (at, &byte) in piece.iter().enumerate() {
            match self.step(byte) {
                Ok(false) => {}
                Ok(true) => return Step::Done(at + 1),
                Err(unfinished) => return Step::Broken(unfinished),
            }
            if byte == b'\n' {
                self.line += 1;
            }
        }
        Step::More
    }

    /// What is still open where the text ends.
    pub fn unfinished(&self) -> Unfinished {
        let kind = match self.state {
            State::Code
            | State::Dash
            | State::Comment
            | State::LineComment
            | State::Opening { .. } => {
                return Unfinished {
                    kind: UnfinishedKind::Block,
                    line: 0,
                };
            }
            State::Long { level, comment } | State::Closing { level, comment, .. } => {
                if comment {
                    UnfinishedKind::LongComment(level)
                } else {
                    UnfinishedKind::LongString(level)
                }
            }
            State::Quoted(quote)
            | State::Escape(quote)
            | State::EscapedBreak { quote, .. }
            | State::SkipSpace(quote) => UnfinishedKind::String(quote),
        };
        Unfinished {
            kind,
            line: self.opened,
        }
    }

    /// Takes one byte; true when it is the block's closing brace.
    fn step(&mut self, byte: u8) -> Result<bool, Unfinished> {
        self.state = match self.state {
            State::Code => return self.code(byte),
            State::Dash if byte == b'-' => State::Comment,
            State::Dash => return self.code(byte),
            State::Comment if byte == b'[' => self.opening(true),
            State::Comment | State::LineComment => line_comment(byte),
            State::Opening { level, comment } => match byte {
                b'=' => State::Opening {
                    level: level + 1,
                    comment,
                },
                b'[' => State::Long { level, comment },
                _ if comment => line_comment(byte),
                _ => return self.code(byte),
            },
            State::Long { level, comment } => long(byte, level, comment),
            State::Closing {
                level,
                comment,
                seen,
            } => match byte {
                b'=' => State::Closing {
                    level,
                    comment,
                    seen: seen + 1,
                },
                b']' if seen == level => State::Code,
                _ => long(byte, level, comment),
            },
            State::Quoted(quote) => self.quoted(byte, quote)?,
            State::Escape(quote) => match byte {
                b'z' => State::SkipSpace(quote),
                b'\n' | b'\r' => State::EscapedBreak { quote, first: byte },
                _ => State::Quoted(quote),
            },
            State::EscapedBreak { quote, first } => match byte {
                b'\n' | b'\r' if byte != first => State::Quoted(quote),
                _ => self.quoted(byte, quote)?,
            },
            State::SkipSpace(quote) => match byte {
                b' ' | b'\t'..=b'\r' => State::SkipSpace(quote),
                _ => self.quoted(byte, quote)?,
            },
        };
        Ok(false)
    }

    fn code(&mut self, byte: u8) -> Result<bool, Unfinished> {
        self.state = match byte {
            b'-' => State::Dash,
            b'[' => self.opening(false),
            b'"' | b'\'' => {
                self.opened = self.line;
                State::Quoted(byte)
            }
            b'{' => {
                self.depth += 1;
                State::Code
            }
            b'}' => {
                self.depth -= 1;
                State::Code
            }
            _ => State::Code,
        };
        Ok(self.depth == 0)
    }

    fn opening(&mut self, comment: bool) -> State {
        self.opened = self.line;
        State::Opening { level: 0, comment }
    }

    fn quoted(&self, byte: u8, quote: u8) -> Result<State, Unfinished> {
        match byte {
            b'\\' => Ok(State::Escape(quote)),
            // Lua strings end on their line. To read on would take the rest of
            // the configuration for a string, and blame its last line.
            b'\n' | b'\r' => Err(Unfinished {
                kind: UnfinishedKind::String(quote),
                line: self.opened,
            }),
            _ if byte == quote => Ok(State::Code),
            _ => Ok(State::Quoted(quote)),
        }
    }
}

fn line_comment(byte: u8) -> State {
    match byte {
        b'\n' | b'\r' => State::Code,
        _ => State::LineComment,
    }
}

fn long(byte: u8, level: usize, comment: bool) -> State {
    match byte {
        b']' => State::Closing {
            level,
            comment,
            seen: 0,
        },
        _ => State::Long { level, comment },
    }
}

#[cfg(test)]
mod tests;
