use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Scans `text` in one piece; the block's length without its closing brace.
fn end_of(text: &str) -> Option<usize> {
    match Scanner::new().feed(text.as_bytes()) {
        Step::Done(end) => Some(end - 1),
        Step::More => None,
        Step::Broken(what) => panic!("{what:?} in {text:?}"),
    }
}

/// Asserts that the block in `code` + `}` ends with that brace.
#[track_caller]
fn ends_after(code: &str) {
    assert_eq!(
        end_of(&format!("{code}}} tail }}")),
        Some(code.len()),
        "{code:?}"
    );
}

/// What is open at the end of `text`.
fn open_in(text: &str) -> Unfinished {
    let mut scanner = Scanner::new();
    match scanner.feed(text.as_bytes()) {
        Step::More => scanner.unfinished(),
        Step::Broken(what) => what,
        Step::Done(end) => panic!("{text:?} ends at {end}"),
    }
}

fn unfinished(kind: UnfinishedKind, line: usize) -> Unfinished {
    Unfinished { kind, line }
}

#[test]
fn an_empty_block_ends_at_once() {
    ends_after("");
    ends_after("\n\n");
}

#[test]
fn braces_nest() {
    ends_after("t = { { 1 }, {} } f{}");
    assert_eq!(end_of("{ }"), None);
}

#[test]
fn braces_in_strings_do_not_count() {
    ends_after(r#" s = "}" "#);
    ends_after(r" s = '}' ");
    ends_after(r#" s = "'}" .. '"}' "#);
    ends_after(r#" s = "{{{" "#);
}

#[test]
fn escapes_keep_a_string_open() {
    ends_after(r#" s = "\"}" "#);
    ends_after(r" s = '\'}' ");
    ends_after(r#" s = "\\" "#);
    ends_after(r#" s = "\\\"}" "#);
    ends_after(r#" s = "\u{7d}\x7d\125" "#);
}

#[test]
fn strings_continue_on_the_next_line_after_a_backslash() {
    ends_after("s = \"a\\\n}\"");
    ends_after("s = \"a\\\r\n}\"");
    ends_after("s = \"a\\\n\r}\"");
    ends_after("s = \"a\\\r}\"");
    ends_after("s = \"a\\\n\\\n}\"");
}

#[test]
fn a_second_line_break_after_a_backslash_ends_the_line() {
    let open = unfinished(UnfinishedKind::String(b'"'), 0);
    assert_eq!(open_in("s = \"a\\\n\n}\""), open);
    assert_eq!(open_in("s = \"a\\\r\r}\""), open);
    assert_eq!(open_in("s = \"a\\\r\n\n}\""), open);
}

#[test]
fn backslash_z_skips_white_space_and_lines() {
    ends_after("s = \"a\\z \t\r\n\n \x0b\x0c }\"");
    ends_after("s = \"a\\z\"");
    ends_after("s = \"a\\z  \\\"}\"");
}

#[test]
fn long_strings_end_with_their_own_level() {
    ends_after("s = [[ } ]]");
    ends_after("s = [==[ } ]] } ]=] } ]===] } ]==]");
    ends_after("s = [==[ ]=]==]");
    ends_after("s = [=[ ]]=]");
    ends_after("s = [[\n}\n]]");
    ends_after("s = [[ \\]]");
    ends_after("s = [[ --]]");
    ends_after("s = [[ \" ' ]]");
}

#[test]
fn a_bracket_that_opens_nothing_is_an_index() {
    ends_after("a[1] = b[c[1]]");
    ends_after("a['}'] = 1");
    ends_after("a[{1}] = 1");
    ends_after("t[=");
    ends_after("t = {[1] = 2}");
}

#[test]
fn line_comments_end_with_their_line() {
    ends_after("-- }\n");
    ends_after("-- ' \" [[ {\n");
    ends_after("--}\r");
    ends_after("--\n");
    ends_after("--[ }\n");
    ends_after("--[=\n");
    ends_after("--[== }\n");
    ends_after("x = 1 --- }\n");
    ends_after("--]] }\n");
}

#[test]
fn a_minus_is_no_comment() {
    ends_after("x = a - {} - -b");
    ends_after("x = -'}'");
    ends_after("x = -[[}]]");
}

#[test]
fn long_comments_span_lines() {
    ends_after("--[[ }\n } ]]");
    ends_after("--[==[ }\n ]] } ]=] ]==]");
    ends_after("--[[ ' \" ]]");
    ends_after("--[[]]--[[}]]");
}

#[test]
fn an_open_block_is_blamed_on_its_first_line() {
    let block = unfinished(UnfinishedKind::Block, 0);
    for text in ["", "\n\n{ }\n", "-- }", "--", "-", "a[", "--[=", "\n{\n"] {
        assert_eq!(open_in(text), block, "{text:?}");
    }
}

#[test]
fn open_strings_and_brackets_are_blamed_on_their_own_line() {
    let string = UnfinishedKind::String;
    assert_eq!(open_in("\n\n s = 'abc }"), unfinished(string(b'\''), 2));
    assert_eq!(open_in("\n\"abc\n}"), unfinished(string(b'"'), 1));
    assert_eq!(open_in("\"abc\\z\n\n}"), unfinished(string(b'"'), 0));
    assert_eq!(open_in("\"abc\\"), unfinished(string(b'"'), 0));
    assert_eq!(
        open_in("\n x = [==[ }\n]=]"),
        unfinished(UnfinishedKind::LongString(2), 1)
    );
    assert_eq!(
        open_in("--[[\n]]\n--[[ }\n]"),
        unfinished(UnfinishedKind::LongComment(0), 2)
    );
}

/// One piece of Lua that the scanner must step over as a whole.
fn token() -> impl Strategy<Value = String> {
    let text = "[a-z{}\\[=\\- ]{0,6}";
    prop_oneof![
        "[a-z]{1,4} ",
        Just("\n".to_owned()),
        Just("- ".to_owned()),
        text.prop_map(|s| format!("\"{s}'\"")),
        text.prop_map(|s| format!("'{s}\"'")),
        Just(r#""\"}\\""#.to_owned()),
        Just("'\\\r\n}\\z \n }'".to_owned()),
        (0..3usize, text).prop_map(|(level, s)| {
            let level = "=".repeat(level);
            format!("[{level}[{s}\n'\"}}]{level}]")
        }),
        (0..3usize, text).prop_map(|(level, s)| {
            let level = "=".repeat(level);
            format!("--[{level}[{s}\n'\"}}]{level}]")
        }),
        // A leading letter keeps it from opening a long comment.
        text.prop_map(|s| format!("--x{s}'\"[[\n")),
    ]
}

/// Lua-like text with balanced braces.
fn balanced() -> impl Strategy<Value = String> {
    let leaf = vec(token(), 0..8).prop_map(|tokens| tokens.concat());
    leaf.prop_recursive(3, 24, 4, |inner| {
        (inner.clone(), inner.clone(), inner)
            .prop_map(|(before, within, after)| format!("{before}{{{within}}}{after}"))
    })
}

/// Feeds `text` in pieces that end where `cuts` say.
fn scan_split(text: &[u8], cuts: &[usize]) -> (Step, Unfinished) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    let mut scanner = Scanner::new();
    let mut start = 0;
    for cut in cuts {
        match scanner.feed(&text[start..cut]) {
            Step::More => start = cut,
            Step::Done(end) => return (Step::Done(start + end), scanner.unfinished()),
            broken => return (broken, scanner.unfinished()),
        }
    }
    (Step::More, scanner.unfinished())
}

proptest! {
    #[test]
    fn the_closing_brace_of_well_formed_code_is_found(
        code in balanced(),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let text = format!("{code}}} location / {{ }} }}");
        let (step, _) = scan_split(text.as_bytes(), &cuts);
        prop_assert_eq!(step, Step::Done(code.len() + 1));
    }

    #[test]
    fn splits_change_nothing(
        text in "[\\[\\]{}=\\-'\"\\\\\r\nzx ]{0,60}",
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let whole = scan_split(text.as_bytes(), &[]);
        prop_assert_eq!(scan_split(text.as_bytes(), &cuts), whole);
    }

    #[test]
    fn any_bytes_are_taken(text in vec(any::<u8>(), 0..200)) {
        let (step, _) = scan_split(&text, &[]);
        if let Step::Done(end) = step {
            prop_assert_eq!(text[end - 1], b'}');
        }
    }
}
