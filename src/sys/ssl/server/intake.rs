//! What a client sends until OpenSSL reads by itself.

use std::cell::{Cell, RefCell};

use super::bio::{Room, Source};
use super::hello::{Assembler, Progress};

/// Bytes that are read at once.
const PIECE: usize = 4096;
/// As many bytes are taken in while OpenSSL waits, the ClientHello among them.
const MOST_WAITING: usize = 65536;

/// What OpenSSL is told when it wants to read.
pub(super) enum Answer {
    Bytes(usize),
    TryAgain,
    End,
    Failed,
}

/// What was received, and where the rest comes from.
pub(super) struct Intake {
    /// None once OpenSSL reads from it.
    source: RefCell<Option<Source>>,
    assembler: RefCell<Assembler>,
    received: RefCell<Vec<u8>>,
    /// How many of the received bytes OpenSSL has.
    handed_on: Cell<usize>,
    /// Nothing was left to receive, and OpenSSL has not looked for more since.
    drained: Cell<bool>,
}

impl Intake {
    pub(super) fn of(source: Source) -> Intake {
        Intake {
            source: RefCell::new(Some(source)),
            assembler: RefCell::default(),
            received: RefCell::default(),
            handed_on: Cell::new(0),
            drained: Cell::new(false),
        }
    }

    /// Reads on until the ClientHello is complete. The end is left to OpenSSL,
    /// as what is unintelligible.
    pub(super) fn collect(&self) -> Progress {
        loop {
            match self.take_in() {
                Answer::Bytes(_) => {}
                Answer::TryAgain => return Progress::Incomplete,
                Answer::End | Answer::Failed => return Progress::Unintelligible,
            }
            let progress = self.assembler.borrow_mut().look(&self.received.borrow());
            if progress != Progress::Incomplete {
                return progress;
            }
        }
    }

    /// Takes in what has come since. False where that is the end.
    pub(super) fn go_on(&self) -> bool {
        while self.received.borrow().len() < MOST_WAITING {
            match self.take_in() {
                Answer::Bytes(_) => {}
                Answer::TryAgain => return true,
                Answer::End | Answer::Failed => return false,
            }
        }
        // There may be more.
        self.drained.set(false);
        true
    }

    /// Reads a piece, and keeps it.
    fn take_in(&self) -> Answer {
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else {
            return Answer::End;
        };
        let mut received = self.received.borrow_mut();
        let start = received.len();
        received.resize(start + PIECE, 0);
        let answer = source.read(&mut Room::of(&mut received[start..]));
        let (count, drained) = match answer {
            Answer::Bytes(count) => (count, count < PIECE),
            Answer::TryAgain => (0, true),
            Answer::End | Answer::Failed => (0, false),
        };
        received.truncate(start + count);
        self.drained.set(drained);
        answer
    }

    /// Hands on the ClientHello, and nothing else.
    pub(super) fn hand_on_hello(&self, room: &mut Room<'_>) -> Answer {
        let end = self.assembler.borrow().taken();
        match self.hand_on(room, end) {
            0 => Answer::TryAgain,
            count => Answer::Bytes(count),
        }
    }

    /// Hands on what was received, then what comes. `quiet`: nginx has told of
    /// nothing new, so that OpenSSL, which looks at once for an answer to what
    /// it has just sent, need not ask the kernel.
    pub(super) fn pass_on(&self, room: &mut Room<'_>, quiet: bool) -> Answer {
        let end = self.received.borrow().len();
        match self.hand_on(room, end) {
            0 if self.drained.take() && quiet => Answer::TryAgain,
            0 => match self.source.borrow().as_ref() {
                Some(source) => source.read(room),
                None => Answer::End,
            },
            count => Answer::Bytes(count),
        }
    }

    /// How many bytes up to `end` that was.
    fn hand_on(&self, room: &mut Room<'_>, end: usize) -> usize {
        let received = self.received.borrow();
        let at = self.handed_on.get();
        let count = received.get(at..end).map_or(0, |bytes| room.put(bytes));
        self.handed_on.set(at + count);
        count
    }

    /// What OpenSSL read from before, once it has all that was received, and
    /// has looked for more.
    pub(super) fn take_source(&self) -> Option<Source> {
        let over = self.handed_on.get() == self.received.borrow().len() && !self.drained.get();
        over.then(|| self.source.take()).flatten()
    }

    /// Whether that was taken.
    pub(super) fn is_spent(&self) -> bool {
        self.source.borrow().is_none()
    }

    /// Sends something in OpenSSL's place.
    pub(super) fn write(&self, data: &[u8]) {
        if let Some(source) = self.source.borrow().as_ref() {
            source.write(data);
        }
    }
}
