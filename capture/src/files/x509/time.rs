//! Times in certificates, as Zeek reads them (`X509Common::GetTimeFromAsn1`), with its ways where they are broken.

use x509_parser::asn1_rs::Tag;

use super::der::Element;

/// Microseconds since 1970, and the weird that a broken one is worth (it counts as 1970).
pub fn read(time: &Element<'_>) -> (i64, Option<&'static str>) {
    match seconds(time) {
        Ok(seconds) => (seconds.saturating_mul(1_000_000), None),
        Err(weird) => (0, Some(weird)),
    }
}

fn seconds(time: &Element<'_>) -> Result<i64, &'static str> {
    let data = time.data;
    let (century, rest) = if time.is(Tag::UtcTime) {
        if !(11..=17).contains(&data.len()) {
            return Err("x509_utc_length");
        }
        if data.last() != Some(&b'Z') {
            return Err("x509_utc_format");
        }
        (if data < &b"5"[..] { &b"20"[..] } else { b"19" }, data)
    } else {
        if !(12..=23).contains(&data.len()) {
            return Err("x509_gen_time_length");
        }
        data.split_at_checked(2).ok_or("x509_gen_time_length")?
    };
    let (date, rest) = rest.split_at_checked(10).ok_or("x509_utc_length")?;
    let (second, zone) = match rest {
        [] | [b'Z' | b'-' | b'+', ..] => (&b"00"[..], rest),
        [_] => return Err("x509_time_add_char"),
        _ => {
            let (second, mut rest) = rest.split_at_checked(2).ok_or("x509_time_add_char")?;
            if let [b'.', fraction @ ..] = rest {
                let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest = fraction.get(digits..).unwrap_or_default();
            }
            (second, rest)
        }
    };
    let offset = offset(zone)?;
    let digits = [century, date, second].concat();
    let two = |at: usize| -> i64 {
        let digit = |at: usize| digits.get(at).map_or(0, |byte| i64::from(*byte) - 48);
        digit(at) * 10 + digit(at + 1)
    };
    let year = two(0) * 100 + two(2);
    // What comes as a year before 1901 is taken for one since 1900.
    let year = if year > 1900 { year } else { year + 1900 };
    let days = days(year, two(4) - 1, two(6));
    let seconds = days * 86_400 + two(8) * 3600 + two(10) * 60 + two(12);
    Ok(if seconds == 0 { 0 } else { seconds + offset })
}

/// An offset from UTC; Zeek takes hours for minutes, and minutes for seconds.
fn offset(zone: &[u8]) -> Result<i64, &'static str> {
    let digit = |byte: &u8| i64::from(*byte) - 48;
    match zone {
        [] | [b'Z', ..] => Ok(0),
        [sign, a, b, c, d, ..] => {
            let offset = digit(a) * 10 + digit(b) * 60 + digit(c) * 10 + digit(d);
            match sign {
                b'+' => Ok(offset),
                b'-' => Ok(-offset),
                _ => Err("x509_time_offset_type"),
            }
        }
        _ => Err("x509_time_offset_underflow"),
    }
}

/// Days since 1970 of a year, a month from 0 and a day from 1, any of which may be out of range, as
/// `timegm` counts them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + month.div_euclid(12), month.rem_euclid(12));
    // Years begin in March, so that leap days come last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::asn1_rs::Class;

    fn time(tag: Tag, data: &[u8]) -> (i64, Option<&'static str>) {
        let (micros, weird) = read(&Element { class: Class::Universal, tag, data, whole: data });
        (micros / 1_000_000, weird)
    }

    #[test]
    fn times() {
        assert_eq!(time(Tag::UtcTime, b"200101000000Z"), (1_577_836_800, None));
        assert_eq!(time(Tag::UtcTime, b"2001010000Z"), (1_577_836_800, None));
        assert_eq!(time(Tag::UtcTime, b"500101000000Z"), (-631_152_000, None));
        assert_eq!(time(Tag::UtcTime, b"240229235959Z"), (1_709_251_199, None));
        assert_eq!(time(Tag::GeneralizedTime, b"99991231235959Z"), (253_402_300_799, None));
        assert_eq!(time(Tag::GeneralizedTime, b"20200101000000.5Z"), (1_577_836_800, None));
        assert_eq!(time(Tag::GeneralizedTime, b"202001010000"), (1_577_836_800, None));
        assert_eq!(time(Tag::GeneralizedTime, b"20201301000000Z"), (1_609_459_200, None));
    }

    #[test]
    fn broken_times_are_1970() {
        assert_eq!(time(Tag::UtcTime, b"20010100Z"), (0, Some("x509_utc_length")));
        assert_eq!(time(Tag::UtcTime, b"200101000000+"), (0, Some("x509_utc_format")));
        assert_eq!(time(Tag::GeneralizedTime, b"2020"), (0, Some("x509_gen_time_length")));
        assert_eq!(time(Tag::GeneralizedTime, b"2020010100001"), (0, Some("x509_time_add_char")));
        let zone = (0, Some("x509_time_offset_underflow"));
        assert_eq!(time(Tag::GeneralizedTime, b"20200101000000+1"), zone);
        let nonsense: Vec<u8> = (0..=255).cycle().take(14).collect();
        time(Tag::GeneralizedTime, &nonsense);
    }
}
