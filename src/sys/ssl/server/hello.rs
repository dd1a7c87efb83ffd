//! The ClientHello: put together from what a client sends, and read.
//!
//! Nothing here decides whether a client is served. What cannot be understood
//! is left to OpenSSL, which answers with the alert that fits.

use std::ops::Range;

/// The longest ClientHello that OpenSSL takes, without its header.
const MAX_MESSAGE: usize = 131_396;
/// The longest plain record (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// So many records without anything in them are skipped. OpenSSL takes no more
/// in a row; they would never end otherwise.
const MAX_EMPTY_RECORDS: usize = 32;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// Record type.
const HANDSHAKE: u8 = 22;
/// Handshake message type, the same in SSLv2.
const CLIENT_HELLO: u8 = 1;

/// A place is kept for so many extensions.
const MANY_EXTENSIONS: usize = 16;
/// Extension types.
const SERVER_NAME: u16 = 0;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// Protocol version of TLS 1.3 on the wire.
pub const TLS1_3: u16 = 0x0304;
/// Protocol version of TLS 1.2 on the wire.
const TLS1_2: u16 = 0x0303;

/// What is known of the message.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Incomplete,
    /// Here it is.
    Complete(ClientHello),
    /// It is no ClientHello, or none that OpenSSL would take.
    Unintelligible,
}

/// Puts the message together. It may be spread over records in any way.
#[derive(Default)]
pub struct Assembler {
    /// Bytes of whole records that were taken in.
    taken: usize,
    /// How many of the records were empty.
    empty: usize,
    message: Vec<u8>,
}

impl Assembler {
    /// Of how many bytes there is nothing left to look at. Once the message is
    /// complete they are all of it, and nothing else.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Looks at all bytes `received` so far; those of former calls are the
    /// same.
    pub fn look(&mut self, received: &[u8]) -> Progress {
        if self.taken == 0 && received.first().is_some_and(|first| first & 0x80 != 0) {
            return self.look_v2(received);
        }
        while let Some(header) = received.get(self.taken..self.taken + RECORD_HEADER) {
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            self.empty += usize::from(length == 0);
            if header[0] != HANDSHAKE
                || header[1] != 3
                || length > MAX_RECORD
                || self.empty > MAX_EMPTY_RECORDS
            {
                return Progress::Unintelligible;
            }
            let start = self.taken + RECORD_HEADER;
            let Some(payload) = received.get(start..start + length) else {
                break;
            };
            self.message.extend_from_slice(payload);
            self.taken = start + length;
            if self
                .message
                .first()
                .is_some_and(|&kind| kind != CLIENT_HELLO)
            {
                return Progress::Unintelligible;
            }
            let Some(&[_, a, b, c]) = self.message.first_chunk::<MESSAGE_HEADER>() else {
                continue;
            };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_MESSAGE {
                return Progress::Unintelligible;
            }
            if let Some(body) = self.message.get(MESSAGE_HEADER..MESSAGE_HEADER + length) {
                return match ClientHello::read(body) {
                    Some(hello) => Progress::Complete(hello),
                    None => Progress::Unintelligible,
                };
            }
        }
        Progress::Incomplete
    }

    /// The same for the format of SSLv2, in which OpenSSL takes a hello for later
    /// versions.
    fn look_v2(&mut self, received: &[u8]) -> Progress {
        let Some(&[high, low]) = received.first_chunk::<2>() else {
            return Progress::Incomplete;
        };
        let end = 2 + usize::from(u16::from_be_bytes([high & 0x7f, low]));
        if received.get(2).is_some_and(|&kind| kind != CLIENT_HELLO) {
            return Progress::Unintelligible;
        }
        let Some(body) = received.get(2..end) else {
            return Progress::Incomplete;
        };
        self.taken = end;
        match read_v2_body(body) {
            Some(hello) => Progress::Complete(hello),
            None => Progress::Unintelligible,
        }
    }
}

/// A ClientHello. Whatever is in it fits its lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    version: u16,
    random: Vec<u8>,
    session_id: Vec<u8>,
    ciphers: Vec<u16>,
    extensions: Vec<(u16, Range<usize>)>,
    body: Vec<u8>,
    versions: Option<Vec<u16>>,
    server_name: Option<Range<usize>>,
    identities: Vec<Range<usize>>,
}

impl ClientHello {
    /// Reads the body of a message.
    fn read(body: &[u8]) -> Option<ClientHello> {
        let mut input = Input::new(body);
        let version = input.u16()?;
        let random = input.bytes(32)?.to_vec();
        let session_id = input.prefixed(1)?.rest().to_vec();
        let ciphers = input.prefixed(2)?.u16_list()?;
        let compression = input.prefixed(1)?;
        if session_id.len() > 32 || ciphers.is_empty() || compression.is_empty() {
            return None;
        }
        let mut hello = ClientHello {
            version,
            random,
            session_id,
            ciphers,
            extensions: Vec::with_capacity(MANY_EXTENSIONS),
            body: body.to_vec(),
            versions: None,
            server_name: None,
            identities: Vec::new(),
        };
        if !input.is_empty() {
            let mut list = input.prefixed(2)?;
            while !list.is_empty() {
                let kind = list.u16()?;
                let data = list.prefixed(2)?;
                if hello.has(kind) {
                    return None;
                }
                hello.extensions.push((kind, data.range()));
                match kind {
                    SERVER_NAME => hello.server_name = Some(server_name(data)?),
                    SUPPORTED_VERSIONS => hello.versions = Some(supported_versions(data)?),
                    PRE_SHARED_KEY => hello.identities = identities(data)?,
                    _ => {}
                }
            }
        }
        input.is_empty().then_some(hello)
    }

    /// The version of the message itself: TLS 1.2 where it is TLS 1.3.
    pub fn legacy_version(&self) -> u16 {
        self.version
    }

    /// The client's random bytes.
    pub fn random(&self) -> &[u8] {
        &self.random
    }

    /// The session id; in TLS 1.3 it has no meaning.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// Numbers of the cipher suites, in the client's order.
    pub fn ciphers(&self) -> &[u16] {
        &self.ciphers
    }

    /// Types of the extensions, in the client's order.
    pub fn extension_types(&self) -> impl ExactSizeIterator<Item = u16> {
        self.extensions.iter().map(|&(kind, _)| kind)
    }

    fn has(&self, kind: u16) -> bool {
        self.extensions.iter().any(|&(there, _)| there == kind)
    }

    /// The data of the extension of that type.
    pub fn extension(&self, kind: u16) -> Option<&[u8]> {
        let (_, range) = self.extensions.iter().find(|(there, _)| *there == kind)?;
        self.body.get(range.clone())
    }

    /// The name that the client asks for.
    pub fn server_name(&self) -> Option<&[u8]> {
        self.body.get(self.server_name.clone()?)
    }

    /// What the `supported_versions` extension lists.
    pub fn supported_versions(&self) -> Option<&[u16]> {
        self.versions.as_deref()
    }

    /// Whether the client can speak `version`.
    pub fn supports(&self, version: u16) -> bool {
        match &self.versions {
            Some(versions) => versions.contains(&version),
            None => version <= self.version.min(TLS1_2),
        }
    }

    /// The keys from earlier sessions that TLS 1.3 may go on with.
    pub fn identities(&self) -> impl Iterator<Item = &[u8]> {
        self.identities
            .iter()
            .filter_map(|range| self.body.get(range.clone()))
    }

    /// Whether the client has a session ticket of TLS 1.2 or below.
    pub fn has_ticket(&self) -> bool {
        self.extension(SESSION_TICKET)
            .is_some_and(|ticket| !ticket.is_empty())
    }
}

/// One name of the type `host_name`, as OpenSSL wants it.
fn server_name(mut data: Input<'_>) -> Option<Range<usize>> {
    let mut list = data.prefixed(2)?;
    let kind = list.u8()?;
    let name = list.prefixed(2)?;
    let length = name.rest().len();
    let good = kind == 0 && length <= 255 && !name.rest().contains(&0);
    (good && data.is_empty() && list.is_empty()).then(|| name.range())
}

fn supported_versions(mut data: Input<'_>) -> Option<Vec<u16>> {
    let versions = data.prefixed(1)?.u16_list()?;
    (data.is_empty() && !versions.is_empty()).then_some(versions)
}

fn identities(mut data: Input<'_>) -> Option<Vec<Range<usize>>> {
    let mut list = data.prefixed(2)?;
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.prefixed(2)?.range());
        // The age of the ticket.
        list.bytes(4)?;
    }
    Some(found)
}

fn read_v2_body(body: &[u8]) -> Option<ClientHello> {
    let mut input = Input::new(body);
    input.u8()?;
    let version = input.u16()?;
    let ciphers = usize::from(input.u16()?);
    let session_id = usize::from(input.u16()?);
    let challenge = usize::from(input.u16()?);
    let ciphers = input.bytes(ciphers)?;
    if ciphers.is_empty() || ciphers.len() % 3 != 0 || session_id > 32 {
        return None;
    }
    input.bytes(session_id)?;
    let challenge = input.bytes(challenge)?;
    let mut random = vec![0; 32];
    random.extend_from_slice(challenge);
    random.drain(..challenge.len());
    input.is_empty().then(|| ClientHello {
        version,
        random,
        session_id: Vec::new(),
        ciphers: ciphers
            .chunks_exact(3)
            .filter(|cipher| cipher[0] == 0)
            .map(|cipher| u16::from_be_bytes([cipher[1], cipher[2]]))
            .collect(),
        extensions: Vec::new(),
        body: Vec::new(),
        versions: None,
        server_name: None,
        identities: Vec::new(),
    })
}

/// What is left to read of a part of the message.
#[derive(Clone, Copy)]
struct Input<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Input<'a> {
    fn new(body: &'a [u8]) -> Input<'a> {
        Input {
            body,
            at: 0,
            end: body.len(),
        }
    }

    fn range(self) -> Range<usize> {
        self.at..self.end
    }

    fn rest(self) -> &'a [u8] {
        self.body.get(self.range()).unwrap_or_default()
    }

    fn is_empty(self) -> bool {
        self.at == self.end
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.rest().get(..count)?;
        self.at += count;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A part with its length, of `size` bytes, before it.
    fn prefixed(&mut self, size: usize) -> Option<Input<'a>> {
        let length = self
            .bytes(size)?
            .iter()
            .fold(0, |length, &byte| length << 8 | usize::from(byte));
        let at = self.at;
        self.bytes(length)?;
        Some(Input {
            body: self.body,
            at,
            end: self.at,
        })
    }

    fn u16_list(self) -> Option<Vec<u16>> {
        let (pairs, rest) = self.rest().as_chunks();
        rest.is_empty()
            .then(|| pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect())
    }
}

#[cfg(test)]
mod tests;
