//! Decimal numbers as text, without `fmt`.

/// The digits of `number`, which are put into `room`.
#[inline]
pub fn decimal(number: u32, room: &mut [u8; 10]) -> &[u8] {
    let (mut rest, mut start) = (number, room.len());
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    room.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::decimal;
    use proptest::prelude::*;

    #[test]
    fn the_least_and_the_largest() {
        assert_eq!(decimal(0, &mut [0; 10]), b"0");
        assert_eq!(decimal(u32::MAX, &mut [0; 10]), b"4294967295");
    }

    proptest! {
        #[test]
        fn digits_are_those_of_fmt(number: u32) {
            let mut room = [0; 10];
            let text = number.to_string();
            prop_assert_eq!(decimal(number, &mut room), text.as_bytes());
        }
    }
}
