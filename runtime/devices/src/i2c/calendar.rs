//! Seconds and calendar dates, for clocks of boards: the Gregorian calendar, without leap seconds or time zones.

use serde::{Deserialize, Serialize};

/// A date and a time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Date {
    /// Year.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

/// Seconds in a day.
pub const DAY: u64 = 86_400;

/// Days before each month in a year that begins in March, from March on.
fn days_before(month: u64) -> u64 {
    (153 * month + 2) / 5
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

impl Date {
    /// A number of seconds since 1970.
    pub fn of(seconds: u64) -> Date {
        let (days, time) = (seconds / DAY + EPOCH, seconds % DAY);
        // Years begin in March, so that the leap day is the last; 400 of them are 146,097 days.
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let next = u64::from(month >= 10);
        Date {
            year: u32::try_from(era * 400 + year + next).unwrap_or(u32::MAX),
            month: (month + 3 - 12 * next) as u32,
            day: (day - days_before(month) + 1) as u32,
            hour: (time / 3600) as u32,
            minute: (time / 60 % 60) as u32,
            second: (time % 60) as u32,
        }
    }

    /// Seconds since 1970. A date that does not exist is the one as many days on; what is before 1970 is 1970.
    pub fn seconds(&self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        // January and February belong to the year before.
        let year = u64::from(self.year.max(1)) - u64::from(month < 3);
        let month = (month + 9) % 12;
        let (era, of_era) = (year / 400, year % 400);
        let days = era * 146_097 + 365 * of_era + of_era / 4 - of_era / 100 + days_before(month) + u64::from(self.day.max(1)) - 1;
        let time = u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second);
        days.saturating_sub(EPOCH) * DAY + time
    }

    /// `2024-02-29`, or with a time, `2024-02-29T23:59:58`.
    pub fn parse(text: &str) -> Option<Date> {
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "0:0:0"));
        let numbers = |text: &str, by: char| -> Option<[u32; 3]> {
            let all: Option<Vec<u32>> = text.split(by).map(|n| n.parse().ok()).collect();
            all?.try_into().ok()
        };
        let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
        let date = Date { year, month, day, hour, minute, second };
        // It is one if it comes back.
        ((1970..10_000).contains(&year) && day <= 31 && hour < 24 && Date::of(date.seconds()) == date).then_some(date)
    }

    /// 0 is Sunday.
    pub fn weekday(&self) -> u32 {
        ((self.seconds() / DAY + 4) % 7) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_and_seconds_are_the_same() {
        // By date(1).
        for (text, seconds, weekday) in [
            ("1970-01-01", 0, 4),
            ("2000-02-29T12:00:00", 951_825_600, 2),
            ("2000-03-01", 951_868_800, 3),
            ("2024-12-31T23:59:59", 1_735_689_599, 2),
            ("2099-12-31", 4_102_358_400, 4),
            ("2100-03-01", 4_107_542_400, 1),
        ] {
            let date = Date::parse(text).unwrap();
            assert_eq!((date.seconds(), Date::of(seconds), date.weekday()), (seconds, date, weekday), "{text}");
        }
        for day in 0..60_000 {
            assert_eq!(Date::of(day * super::DAY).seconds(), day * super::DAY);
        }
        for text in ["", "2024", "2023-02-29", "2024-13-01", "2024-01-01T24:00:00", "2024-1-1T0:0", "1969-12-31"] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
