use proptest::prelude::*;

use super::*;

fn prefixed(size: usize, data: &[u8]) -> Vec<u8> {
    let mut out = data.len().to_be_bytes()[8 - size..].to_vec();
    out.extend_from_slice(data);
    out
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(2, data)].concat()
}

fn name_extension(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &prefixed(2, name)].concat();
    extension(SERVER_NAME, &prefixed(2, &entry))
}

fn body(session_id: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(prefixed(1, session_id));
    body.extend(prefixed(2, &[0x13, 0x01, 0xc0, 0x2f]));
    body.extend(prefixed(1, &[0]));
    if let Some(extensions) = extensions {
        body.extend(prefixed(2, extensions));
    }
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[CLIENT_HELLO][..], &prefixed(3, body)].concat()
}

fn record(payload: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1][..], &prefixed(2, payload)].concat()
}

fn full() -> Vec<u8> {
    let versions = extension(SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]);
    let identity = [&prefixed(2, b"ticket")[..], &[0; 4]].concat();
    let key = [prefixed(2, &identity), prefixed(2, &prefixed(1, &[9; 32]))].concat();
    let list = [
        name_extension(b"a.test"),
        extension(SESSION_TICKET, b""),
        versions,
        extension(0x1234, b"custom"),
        extension(PRE_SHARED_KEY, &key),
    ]
    .concat();
    message(&body(b"session", Some(&list)))
}

fn look(bytes: &[u8]) -> Progress {
    Assembler::default().look(bytes)
}

fn complete(bytes: &[u8]) -> ClientHello {
    match look(bytes) {
        Progress::Complete(hello) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_that_a_client_says_is_found() {
    let hello = complete(&record(&full()));
    assert_eq!(hello.legacy_version(), 0x0303);
    assert_eq!(hello.random(), [7; 32]);
    assert_eq!(hello.session_id(), b"session");
    assert_eq!(hello.ciphers(), [0x1301, 0xc02f]);
    assert_eq!(hello.server_name(), Some(&b"a.test"[..]));
    assert_eq!(hello.supported_versions(), Some(&[0x0304, 0x0303][..]));
    assert_eq!(hello.extension(0x1234), Some(&b"custom"[..]));
    assert_eq!(hello.extension(0x4321), None);
    let types: Vec<_> = hello.extension_types().collect();
    assert_eq!(types, [0, 35, 43, 0x1234, 41]);
    let identities: Vec<_> = hello.identities().collect();
    assert_eq!(identities, [&b"ticket"[..]]);
    assert!(hello.supports(TLS1_3) && hello.supports(TLS1_2) && !hello.supports(0x0302));
    assert!(!hello.has_ticket());
}

#[test]
fn without_extensions_the_version_is_that_of_the_message() {
    let hello = complete(&record(&message(&body(b"", None))));
    assert_eq!(hello.server_name(), None);
    assert_eq!(hello.supported_versions(), None);
    assert!(hello.supports(0x0301) && hello.supports(TLS1_2) && !hello.supports(TLS1_3));
}

#[test]
fn a_ticket_is_seen() {
    let list = extension(SESSION_TICKET, b"ticket");
    assert!(complete(&record(&message(&body(b"", Some(&list))))).has_ticket());
}

#[test]
fn what_follows_the_message_does_not_matter() {
    let followed = [record(&full()), vec![0x17, 3, 3, 0, 1, 0]].concat();
    assert_eq!(look(&followed), look(&record(&full())));
}

#[test]
fn other_protocols_are_left_to_openssl() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        &[0x15, 3, 1, 0, 2, 1, 0],
        &[0x17, 3, 3, 0, 1, 0],
        &[0x16, 2, 0, 0, 1, 1],
        &[0x16, 3, 1, 0x40, 1],
        // A ServerHello
        &[0x16, 3, 1, 0, 1, 2],
        // Longer than OpenSSL allows
        &[0x16, 3, 1, 0, 4, 1, 2, 1, 0x45],
    ] {
        assert_eq!(look(bytes), Progress::Unintelligible, "{bytes:x?}");
    }
}

#[test]
fn empty_records_are_skipped() {
    let bytes = [&[0x16, 3, 1, 0, 0][..], &record(&full())].concat();
    assert_eq!(look(&bytes), look(&record(&full())));
    assert_eq!(look(&bytes[..5]), Progress::Incomplete);
}

#[test]
fn empty_records_have_an_end() {
    let with = |count| [record(b"").repeat(count), record(&full())].concat();
    assert!(matches!(look(&with(32)), Progress::Complete(_)));
    assert_eq!(look(&with(33)), Progress::Unintelligible);
    assert_eq!(look(&record(b"").repeat(33)), Progress::Unintelligible);
}

#[test]
fn malformed_messages_are_left_to_openssl() {
    let odd_name = extension(SERVER_NAME, &prefixed(2, b"\x01\0\x01a"));
    let zero_name = name_extension(b"a\0b");
    let long_name = name_extension(&[b'a'; 256]);
    let two_names = [name_extension(b"a"), name_extension(b"b")].concat();
    let short_versions = extension(SUPPORTED_VERSIONS, &[3, 3, 4, 3]);
    let cut = [0, 0, 0, 9, 1];
    for list in [
        &odd_name[..],
        &zero_name,
        &long_name,
        &two_names,
        &short_versions,
        &cut,
    ] {
        let bytes = record(&message(&body(b"", Some(list))));
        assert_eq!(look(&bytes), Progress::Unintelligible, "{list:x?}");
    }
    let long_id = record(&message(&body(&[1; 33], None)));
    assert_eq!(look(&long_id), Progress::Unintelligible);
    let mut extra = body(b"", Some(&[]));
    extra.push(0);
    assert_eq!(look(&record(&message(&extra))), Progress::Unintelligible);
}

#[test]
fn a_hello_in_the_format_of_sslv2_is_read() {
    let mut body = vec![CLIENT_HELLO, 3, 1, 0, 6, 0, 0, 0, 16];
    body.extend([0, 0, 0x2f, 1, 0, 0x80]);
    body.extend([5; 16]);
    let bytes = [&[0x80, body.len() as u8][..], &body].concat();
    let hello = complete(&bytes);
    assert_eq!(hello.ciphers(), [0x002f]);
    assert_eq!(hello.random(), [[0; 16], [5; 16]].concat());
    assert!(hello.supports(0x0301) && !hello.supports(TLS1_2));
    for cut in 1..bytes.len() {
        assert_eq!(look(&bytes[..cut]), Progress::Incomplete);
    }
    assert_eq!(look(&[0x80, 20, 4]), Progress::Unintelligible);
    assert_eq!(taken_of(&bytes), bytes.len());
    assert_eq!(look(&[0x80, 1, 1]), Progress::Unintelligible);
}

/// Of how many bytes nothing is left when a hello and more have come.
fn taken_of(hello: &[u8]) -> usize {
    let mut assembler = Assembler::default();
    let bytes = [hello, b"what follows"].concat();
    assert!(matches!(assembler.look(&bytes), Progress::Complete(_)));
    assembler.taken()
}

#[test]
fn what_follows_the_message_is_not_taken() {
    let whole = record(&full());
    assert_eq!(taken_of(&whole), whole.len());
    let message = full();
    let (first, second) = message.split_at(20);
    let cut = [record(first), record(second)].concat();
    assert_eq!(taken_of(&cut), cut.len());
}

/// Feeds `bytes` in pieces that end where `cuts` say.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Progress {
    let mut assembler = Assembler::default();
    for &cut in cuts {
        match assembler.look(&bytes[..cut.min(bytes.len())]) {
            Progress::Incomplete => {}
            over => return over,
        }
    }
    assembler.look(bytes)
}

proptest! {
    #[test]
    fn however_it_is_spread_it_is_the_same(
        sizes in prop::collection::vec(1usize..40, 1..80),
        mut cuts in prop::collection::vec(0usize..400, 0..40),
    ) {
        let whole = full();
        let mut bytes = Vec::new();
        let (mut rest, mut sizes) = (&whole[..], sizes.into_iter());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
            bytes.extend(record(piece));
            rest = after;
        }
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(&bytes, &cuts), look(&record(&whole)));
        prop_assert_eq!(look(&bytes[..bytes.len() - 1]), Progress::Incomplete);
    }

    #[test]
    fn garbage_harms_nobody(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        look(&bytes);
        look(&record(&message(&bytes)));
        look(&record(&message(&body(b"", Some(&bytes)))));
    }

    #[test]
    fn damage_harms_nobody(at in 0usize..160, byte in any::<u8>()) {
        let mut bytes = record(&full());
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Progress::Complete(hello) = look(&bytes) {
            let _ = (hello.server_name(), hello.identities().count(), hello.extension(41));
        }
    }
}
