//! What `ngx.re.sub` puts in a match's place: text with `$1`, `${1}`, `$$`.

/// A piece of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a [u8]),
    /// What a group matched.
    Group(usize),
}

/// The pieces of a replacement. An error is what is wrong with it.
pub struct Pieces<'a> {
    template: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// The pieces of `template`.
    pub fn of(template: &'a [u8]) -> Pieces<'a> {
        Pieces {
            template,
            rest: template,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest;
        let Some(dollar) = memchr::memchr(b'$', text) else {
            self.rest = &[];
            return (!text.is_empty()).then_some(Ok(Piece::Text(text)));
        };
        if dollar > 0 {
            self.rest = &text[dollar..];
            return Some(Ok(Piece::Text(&text[..dollar])));
        }
        let piece = variable(text, self.template);
        self.rest = match piece {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(piece.map(|(piece, _)| piece))
    }
}

/// What stands at the dollar sign with which `text` begins, a part of `template`, and what comes
/// after it.
fn variable<'a>(text: &'a [u8], template: &[u8]) -> Result<(Piece<'a>, &'a [u8]), String> {
    let after = &text[1..];
    match after.first() {
        Some(b'$') => Ok((Piece::Text(&after[..1]), &after[1..])),
        Some(b'{') => {
            let (name, rest) = name(&after[1..]);
            match (group(name), rest.split_first()) {
                (Some(group), Some((b'}', rest))) => Ok((Piece::Group(group), rest)),
                (_, Some((b'}', _))) if !name.is_empty() => Err(named(name)),
                (_, None) | (Some(_), _) if !name.is_empty() => Err(format!(
                    "the closing bracket in \"{}\" variable is missing",
                    String::from_utf8_lossy(name)
                )),
                _ => Err(invalid(template)),
            }
        }
        _ => {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit());
            let (digits, rest) = after.split_at(digits.count());
            match group(digits) {
                Some(group) => Ok((Piece::Group(group), rest)),
                None => match name(after).0 {
                    [] => Err(invalid(template)),
                    name => Err(named(name)),
                },
            }
        }
    }
}

fn name(text: &[u8]) -> (&[u8], &[u8]) {
    let name = text
        .iter()
        .take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.split_at(name.count())
}

/// The number in `digits`, if they are that. No pattern has as many groups
/// as the largest number that this gives.
fn group(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

fn named(name: &[u8]) -> String {
    format!(
        "attempt to use named capturing variable \"{}\" (named captures not supported yet)",
        String::from_utf8_lossy(name)
    )
}

fn invalid(template: &[u8]) -> String {
    format!(
        "lua script: invalid capturing variable name found in \"{}\"",
        String::from_utf8_lossy(template)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
        Pieces::of(template.as_bytes()).collect()
    }

    #[test]
    fn templates_fall_into_text_and_groups() {
        use Piece::{Group, Text};
        let cases: [(&str, &[Piece<'_>]); 7] = [
            ("", &[]),
            ("plain", &[Text(b"plain")]),
            (
                "[$0][$1]",
                &[Text(b"["), Group(0), Text(b"]["), Group(1), Text(b"]")],
            ),
            ("${0}00", &[Group(0), Text(b"00")]),
            ("a$$1", &[Text(b"a"), Text(b"$"), Text(b"1")]),
            ("$12x", &[Group(12), Text(b"x")]),
            ("${99999999999999999999}", &[Group(usize::MAX)]),
        ];
        for (template, expected) in cases {
            assert_eq!(pieces(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_group_is_an_error() {
        let cases = [
            (
                "a$",
                "lua script: invalid capturing variable name found in \"a$\"",
            ),
            (
                "a$-1",
                "lua script: invalid capturing variable name found in \"a$-1\"",
            ),
            (
                "${}",
                "lua script: invalid capturing variable name found in \"${}\"",
            ),
            (
                "$1${-1}",
                "lua script: invalid capturing variable name found in \"$1${-1}\"",
            ),
            ("${1", "the closing bracket in \"1\" variable is missing"),
            (
                "$1${",
                "lua script: invalid capturing variable name found in \"$1${\"",
            ),
            ("${1-}", "the closing bracket in \"1\" variable is missing"),
            (
                "$name",
                "attempt to use named capturing variable \"name\" (named captures not supported yet)",
            ),
            (
                "${name}",
                "attempt to use named capturing variable \"name\" (named captures not supported yet)",
            ),
        ];
        for (template, expected) in cases {
            assert_eq!(pieces(template).unwrap_err(), expected, "{template}");
        }
    }
}
