//! `strftime_now` of chat templates, for a fixed day at midnight.

use super::ChatError;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The UTC day of a time, in seconds since 1970, as `YYYY-MM-DD`.
pub fn utc_day(seconds: u64) -> String {
    let (mut days, mut date) = (seconds / 86_400, Date { year: 1970, month: 1, day: 1 });
    loop {
        let length = u64::from(date.days_of_year());
        if days < length {
            break;
        }
        days -= length;
        date.year += 1;
    }
    while days >= u64::from(date.days_of_month(date.month)) {
        days -= u64::from(date.days_of_month(date.month));
        date.month += 1;
    }
    format!("{:04}-{:02}-{:02}", date.year, date.month, days + 1)
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    year: u32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
}

impl Date {
    /// Reads `YYYY-MM-DD`.
    pub(super) fn parse(text: &str) -> Result<Date, ChatError> {
        let wrong = || ChatError::Date(text.to_owned());
        let mut parts = text.split('-').zip([4, 2, 2]).map(|(part, digits)| {
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            if plain { part.parse::<u32>().map_err(|_| wrong()) } else { Err(wrong()) }
        });
        let mut next = || parts.next().unwrap_or_else(|| Err(wrong()));
        let date = Date { year: next()?, month: next()?, day: next()? };
        let whole = text.len() == 10 && date.year > 0 && (1..=12).contains(&date.month);
        if whole && (1..=date.days_of_month(date.month)).contains(&date.day) {
            Ok(date)
        } else {
            Err(wrong())
        }
    }

    fn days_of_month(self, month: u32) -> u32 {
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn days_of_year(self) -> u32 {
        (1..=12).map(|month| self.days_of_month(month)).sum()
    }

    /// From 1.
    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| self.days_of_month(month)).sum::<u32>() + self.day
    }

    /// 0 is Sunday.
    fn day_of_week(self) -> u32 {
        let years = self.year - 1;
        (years + years / 4 - years / 100 + years / 400 + self.day_of_year()) % 7
    }

    /// The day in a format of C's `strftime`, in the C locale; a directive without a meaning is the error.
    pub(super) fn format(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                out.push(char);
                continue;
            }
            let mut directive = chars.next();
            // glibc: no padding.
            let bare = directive == Some('-');
            if bare {
                directive = chars.next();
            }
            let number = |number: u32, width: usize| {
                if bare { number.to_string() } else { format!("{number:0width$}") }
            };
            let month = MONTHS[self.month as usize - 1];
            let weekday = DAYS[self.day_of_week() as usize];
            out += &match directive {
                Some('Y') => self.year.to_string(),
                Some('y') => number(self.year % 100, 2),
                Some('m') => number(self.month, 2),
                Some('d') => number(self.day, 2),
                Some('e') => format!("{:>2}", self.day),
                Some('j') => number(self.day_of_year(), 3),
                Some('B') => month.to_owned(),
                Some('b' | 'h') => month[..3].to_owned(),
                Some('A') => weekday.to_owned(),
                Some('a') => weekday[..3].to_owned(),
                Some('w') => self.day_of_week().to_string(),
                Some('u') => ((self.day_of_week() + 6) % 7 + 1).to_string(),
                Some('F') => self.format("%Y-%m-%d")?,
                Some('D' | 'x') => self.format("%m/%d/%y")?,
                Some('c') => self.format("%a %b %e %H:%M:%S %Y")?,
                Some('H' | 'M' | 'S') => number(0, 2),
                Some('I') => number(12, 2),
                Some('f') => "000000".into(),
                Some('p') => "AM".into(),
                Some('T' | 'X') => "00:00:00".into(),
                Some('R') => "00:00".into(),
                Some('Z' | 'z') => String::new(),
                Some('n') => "\n".into(),
                Some('t') => "\t".into(),
                Some('%') => "%".into(),
                other => return Err(format!("strftime_now: %{} is not supported", other.unwrap_or(' '))),
            };
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_day_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_164_800, "2024-02-29"),
            (1_735_603_200, "2024-12-31"),
            (1_795_910_400, "2026-11-29"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(utc_day(seconds), day);
        }
    }
}
