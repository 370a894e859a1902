//! Moments as calendar dates, UTC. Small enough to write; names and headers need nothing more.

use std::fmt;

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;

/// A moment by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i64,
    /// Month from 1.
    pub month: i64,
    /// Day from 1.
    pub day: i64,
    /// Hour.
    pub hour: i64,
    /// Minute.
    pub minute: i64,
    /// Second.
    pub second: i64,
}

impl Civil {
    /// From seconds since the epoch, which may be negative.
    pub fn from_seconds(seconds: i64) -> Civil {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date(days);
        Civil { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }

    /// From microseconds since the epoch; fractions of a second are cut.
    pub fn from_us(us: i64) -> Civil {
        Civil::from_seconds(us.div_euclid(SECOND_US))
    }

    /// `YYYY-MM-DD`.
    pub fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `HH:MM:SS`.
    pub fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// `YYYYMMDDTHHMMSSZ`, for names.
    pub fn compact(&self) -> String {
        let Civil { year, month, day, hour, minute, second } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// Zeek's form in `#open` and `#close`: `YYYY-MM-DD-HH-MM-SS`.
impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { hour, minute, second, .. } = self;
        write!(f, "{}-{hour:02}-{minute:02}-{second:02}", self.date())
    }
}

/// Days since the epoch as year, month and day. Counts from a 1 March, so that the leap day is the
/// last of its year and months have a fixed pattern of lengths.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_400_YEARS: i64 = 146_097;
    const EPOCH_FROM_MARCH_0000: i64 = 719_468;
    let days = days + EPOCH_FROM_MARCH_0000;
    let (cycle, day) = (days.div_euclid(DAYS_400_YEARS), days.rem_euclid(DAYS_400_YEARS));
    let leap_days = day / 1460 - day / 36_524 + day / 146_096;
    let year = (day - leap_days) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, want) in [
            (0, "1970-01-01-00-00-00"),
            (-1, "1969-12-31-23-59-59"),
            (951_782_399, "2000-02-28-23-59-59"),
            (951_782_400, "2000-02-29-00-00-00"),
            (1_709_164_800, "2024-02-29-00-00-00"),
            (1_795_488_529, "2026-11-24-02-48-49"),
            (4_107_542_400, "2100-03-01-00-00-00"),
        ] {
            assert_eq!(Civil::from_seconds(seconds).to_string(), want, "{seconds}");
        }
        assert_eq!(Civil::from_us(-1).clock(), "23:59:59");
        assert_eq!(Civil::from_seconds(1_795_488_529).compact(), "20261124T024849Z");
    }
}
