//! The form of a line: `TIME LEVEL service=NAME MESSAGE KEY=VALUE...`, with nothing in it that a terminal obeys.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Characters of one line; what is longer is cut, marked by `...`.
const LINE_CHARS: usize = 4096;

/// Formats events as lines.
#[derive(Debug)]
pub struct Line {
    service: &'static str,
}

impl Line {
    /// `service` names events that have no field of that name.
    pub fn new(service: &'static str) -> Self {
        Self { service }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = Rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let service = if fields.service.is_empty() { self.service } else { &fields.service };
        let line = format!("{time} {} service={service} {}{}", event.metadata().level(), fields.message, fields.others);
        writeln!(writer, "{}", Escaped(&line))
    }
}

/// The fields of one event as text.
#[derive(Default)]
struct Fields {
    service: String,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "service" => self.service = value.to_owned(),
            _ => self.record_debug(field, &value),
        }
    }
}

/// Text with every control, bidirectional and line-separating character shown as an escape, cut to [`LINE_CHARS`].
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in self.0.chars().enumerate() {
            if index == LINE_CHARS {
                return f.write_str("...");
            }
            match character {
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                control if control.is_control() => write!(f, "{}", control.escape_default())?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Time since 1970 as RFC 3339 in UTC with milliseconds.
struct Rfc3339(Duration);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.as_secs() / 86_400, self.0.as_secs() % 86_400);
        // Counted from 1 March of year 0, every 400 years have 146,097 days and every year ends with its leap day.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, self.0.subsec_millis());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Rfc3339(Duration::from_secs(seconds)).to_string(), text);
        }
        assert!(Rfc3339(Duration::from_millis(1_234)).to_string().ends_with("01.234Z"));
    }

    #[test]
    fn no_character_of_a_line_is_obeyed_by_a_terminal() {
        let hostile = "a\u{1b}[31m\nfake line\r\0\u{85}\u{202e}\u{2028}b\tü";
        let shown = Escaped(hostile).to_string();
        assert_eq!(shown, "a\\u{1b}[31m\\nfake line\\r\\u{0}\\u{85}\\u{202e}\\u{2028}b\\tü");
        assert!(Escaped(&"x".repeat(10_000)).to_string().len() < 5000);
    }
}
