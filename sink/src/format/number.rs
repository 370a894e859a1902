//! Numbers as text, appended to a buffer without allocating: a conn row has a dozen of them.

use std::io::Write as _;

/// Below this many seconds a double holds every microsecond, so that `value * 1e6` rounds right.
const SECONDS_EXACT: f64 = 1e9;
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// An unsigned number.
pub fn push_u64(out: &mut Vec<u8>, mut n: u64) {
    let mut text = [0u8; 20];
    let mut at = text.len();
    while n >= 100 {
        let pair = (n % 100) as usize * 2;
        n /= 100;
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if n >= 10 {
        let pair = n as usize * 2;
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        text[at] = b'0' + n as u8;
    }
    out.extend_from_slice(&text[at..]);
}

/// A signed number.
pub fn push_i64(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    push_u64(out, n.unsigned_abs());
}

/// Microseconds as seconds with six decimals, exactly.
pub fn push_micros(out: &mut Vec<u8>, us: i64) {
    if us < 0 {
        out.push(b'-');
    }
    push_unsigned_micros(out, us.unsigned_abs());
}

fn push_unsigned_micros(out: &mut Vec<u8>, us: u64) {
    push_u64(out, us / 1_000_000);
    let rest = (us % 1_000_000) as usize;
    let mut text = *b".000000";
    for (i, pair) in [rest / 10_000, rest / 100 % 100, rest % 100].into_iter().enumerate() {
        text[1 + 2 * i..3 + 2 * i].copy_from_slice(&PAIRS[2 * pair..2 * pair + 2]);
    }
    out.extend_from_slice(&text);
}

/// Seconds with six decimals, as C's `%.6f`.
pub fn push_seconds(out: &mut Vec<u8>, seconds: f64) {
    if seconds.abs() < SECONDS_EXACT {
        if seconds.is_sign_negative() {
            out.push(b'-');
        }
        return push_unsigned_micros(out, (seconds.abs() * 1e6).round_ties_even() as u64);
    }
    push_fixed(out, seconds);
}

/// A double as Zeek's ASCII writer prints it: at most six decimals, no zeros at the end, but `.0`
/// where it is whole.
pub fn push_double(out: &mut Vec<u8>, value: f64) {
    // Zeek prints -0.0 without its sign.
    let value = if value == 0.0 { 0.0 } else { value };
    push_fixed(out, value);
    if !value.is_finite() {
        return;
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    if (value - value.round_ties_even()).abs() < 1e-9 {
        out.extend_from_slice(b".0");
    }
}

fn push_fixed(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value:.6}");
}

/// A double in JSON: the shortest text that reads back the same, `null` where JSON has no word.
pub fn push_json(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let us = (value * 1e6).round_ties_even();
    if value.abs() >= SECONDS_EXACT || us / 1e6 != value || value == 0.0 {
        let _ = write!(out, "{value:?}");
        return;
    }
    // Most are whole microseconds; printing those needs no search for the shortest form.
    push_micros(out, us as i64);
    while out.ends_with(b"0") && !out.ends_with(b".0") {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn whole_numbers() {
        for n in [0, 7, 10, 99, 100, 101, 12_345, u64::MAX] {
            assert_eq!(text(|out| push_u64(out, n)), n.to_string());
        }
        for n in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(text(|out| push_i64(out, n)), n.to_string());
        }
    }

    #[test]
    fn times_and_intervals_have_six_decimals() {
        for (us, want) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (-1, "-0.000001"),
            (1_795_488_529_123_456, "1795488529.123456"),
            (i64::MIN, "-9223372036854.775808"),
        ] {
            assert_eq!(text(|out| push_micros(out, us)), want);
        }
        for value in [0.0, 1.5, -0.000001, 0.1, 2e9, 123.4567894, -1e18, f64::INFINITY] {
            assert_eq!(text(|out| push_seconds(out, value)), format!("{value:.6}"));
        }
        for us in (0..999_999_999_999_999).step_by(7_777_777_777_777) {
            let want = text(|out| push_micros(out, us));
            assert_eq!(text(|out| push_seconds(out, model::types::seconds(us))), want);
        }
    }

    /// The values of Zeek's own test of its writer.
    #[test]
    fn doubles_as_zeek_prints_them() {
        for (value, want) in [
            (2153226000.0, "2153226000.0"),
            (2153226000.1, "2153226000.1"),
            (2_153_226_000.123_457, "2153226000.123457"),
            (1.0, "1.0"),
            (-1.123456789, "-1.123457"),
            (0.1234, "0.1234"),
            (5e4, "50000.0"),
            (-3.14e15, "-3140000000000000.0"),
            (1.23456789e-5, "0.000012"),
            (2.23e-308, "0.0"),
            (-2.23e-308, "-0.0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "0.0"),
            (f64::NAN, "nan"),
            (100.0, "100.0"),
        ] {
            assert_eq!(text(|out| push_double(out, value)), want, "{value:e}");
        }
    }

    #[test]
    fn json_numbers_read_back_the_same() {
        for (value, want) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1.5, "1.5"),
            (-0.000001, "-0.000001"),
            (1.123456789, "1.123456789"),
            (1e300, "1e300"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(text(|out| push_json(out, value)), want);
        }
    }
}
