//! Instants, zones and date formats.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, NaiveDate, Offset as _, TimeZone as _, Timelike as _};
use chrono_tz::Tz;
use engine_event::Value;
use num_bigint::BigInt;

use super::FunctionContext;

const NANOSECONDS: i128 = 1_000_000_000;

/// A unit of time, with its number of decimals of a second.
#[derive(Clone, Copy)]
pub(super) struct Unit(u32);

impl Unit {
    pub(super) const SECOND: Self = Self(0);
    pub(super) const MILLISECOND: Self = Self(3);
    pub(super) const NAMES: [&str; 4] = ["second", "millisecond", "microsecond", "nanosecond"];

    /// The unit at a place of [`Unit::NAMES`].
    pub(super) fn by_place(place: usize) -> Self {
        Self([0, 3, 6, 9][place.min(3)])
    }

    pub(super) fn decimals(self) -> u32 {
        self.0
    }

    fn nanoseconds(self) -> i128 {
        10_i128.pow(9 - self.0)
    }
}

/// A point in time, in nanoseconds since 1970, or one in a civil calendar, in nanoseconds since 1970 there.
#[derive(Clone, Copy)]
pub(super) struct Instant(i128);

impl Instant {
    pub(super) fn from_nanoseconds(nanoseconds: i128) -> Self {
        Self(nanoseconds)
    }

    pub(super) fn from_unit(time: i64, unit: Unit) -> Self {
        Self(i128::from(time) * unit.nanoseconds())
    }

    /// Whole seconds; the nearest that fit 64 bits.
    pub(super) fn seconds(self) -> i64 {
        let seconds = self.0.div_euclid(NANOSECONDS);
        i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX })
    }

    /// The time in a unit; what is finer is cut.
    pub(super) fn in_unit(self, unit: Unit) -> Value {
        Value::from_bigint(BigInt::from(self.0.div_euclid(unit.nanoseconds())))
    }

    pub(super) fn earlier_by(self, seconds: i32) -> Self {
        Self(self.0.saturating_sub(i128::from(seconds) * NANOSECONDS))
    }
}

/// Where a time is told.
pub(super) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// The server's zone.
    Local,
    /// A zone of the IANA database.
    Named(Tz),
}

impl Zone {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"local" => Some(Self::Local),
            _ => parse_offset(text).map(Self::Fixed).or_else(|| {
                let name = std::str::from_utf8(text).ok()?;
                name.parse().ok().map(Self::Named)
            }),
        }
    }

    /// The offset at a Unix time.
    pub(super) fn offset_at(&self, unix_seconds: i64, context: &dyn FunctionContext) -> i32 {
        match self {
            Self::Fixed(offset) => *offset,
            Self::Local => context.local_offset_seconds(unix_seconds),
            Self::Named(zone) => DateTime::from_timestamp(unix_seconds, 0)
                .map_or(0, |time| zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()),
        }
    }

    /// The offset at a civil time; where the clock is put back, one of the two.
    pub(super) fn offset_at_civil(&self, civil_seconds: i64, context: &dyn FunctionContext) -> i32 {
        let guess = self.offset_at(civil_seconds, context);
        self.offset_at(civil_seconds.saturating_sub(guess.into()), context)
    }
}

/// Reads `Z`, `z`, `+hh:mm`, `+hhmm`, `+hh:mm:ss` and `+hhmmss`.
fn parse_offset(text: &[u8]) -> Option<i32> {
    if matches!(text, b"Z" | b"z") {
        return Some(0);
    }
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes, seconds] = match &text[1..] {
        [h, i, b':', m, n] | [h, i, m, n] => [[*h, *i], [*m, *n], *b"00"],
        [h, i, b':', m, n, b':', s, t] | [h, i, m, n, s, t] => [[*h, *i], [*m, *n], [*s, *t]],
        _ => return None,
    };
    let (hours, minutes, seconds) = (digits(&hours)?, digits(&minutes)?, digits(&seconds)?);
    let fits = hours < 24 && minutes < 60 && seconds < 60;
    fits.then_some(sign * (hours * 3600 + minutes * 60 + seconds) as i32)
}

/// Reads digits only; at most 9 of them.
fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

/// Reads a date and time as RFC 3339 says, with `T`, `t` or a space in the middle.
pub(super) fn parse_rfc3339(text: &[u8]) -> Option<Instant> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let marks = [4, 7, 13, 16].map(|at| date_time[at]);
    if marks != *b"--::" || !matches!(date_time[10], b'T' | b't' | b' ') {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        None => (b"0".as_slice(), rest),
    };
    if !(matches!(zone, b"Z" | b"z") || (zone.len() == 6 && zone[3] == b':')) {
        return None;
    }
    let offset = parse_offset(zone)?;
    let read = Format::new("%Y-%m-%dT%H:%M:%S").read(date_time)?;
    // nine digits are all that count
    let kept = &fraction[..fraction.len().min(9)];
    let nanoseconds = i128::from(digits(kept)?) * 10_i128.pow(9 - kept.len() as u32);
    Some(Instant(read.civil.0 + nanoseconds).earlier_by(offset))
}

/// A date format, read once.
pub(super) struct Format<'f>(Vec<Part<'f>>);

#[derive(Clone, Copy)]
enum Part<'f> {
    Literal(&'f str),
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// This many decimals of the second.
    Fraction(u32),
    /// The offset, with `:` or not, with seconds or not.
    Offset {
        colon: bool,
        seconds: bool,
    },
}

/// What comes after `%`.
const SPECIFIERS: [(&str, Part<'static>); 12] = [
    ("Y", Part::Year),
    ("m", Part::Month),
    ("d", Part::Day),
    ("H", Part::Hour),
    ("M", Part::Minute),
    ("S", Part::Second),
    ("3N", Part::Fraction(3)),
    ("6N", Part::Fraction(6)),
    ("N", Part::Fraction(9)),
    ("z", Part::Offset { colon: false, seconds: false }),
    (":z", Part::Offset { colon: true, seconds: false }),
    ("::z", Part::Offset { colon: true, seconds: true }),
];

/// What a text said.
pub(super) struct Parsed {
    /// The time in the civil calendar of its zone.
    pub(super) civil: Instant,
    /// The offset, if the text had one.
    pub(super) offset: Option<i32>,
}

impl<'f> Format<'f> {
    pub(super) fn new(format: &'f str) -> Self {
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            let after = &rest[at + 1..];
            let found = SPECIFIERS.iter().find(|(name, _)| after.starts_with(name));
            let (literal_end, next) = match found {
                Some((name, _)) => (at, at + 1 + name.len()),
                // an unknown specifier is copied whole
                None => {
                    let end = at + 1 + after.chars().next().map_or(0, char::len_utf8);
                    (end, end)
                }
            };
            parts.push(Part::Literal(&rest[..literal_end]));
            parts.extend(found.map(|(_, part)| *part));
            rest = &rest[next..];
        }
        parts.push(Part::Literal(rest));
        Self(parts)
    }

    /// Writes a time at an offset; none outside the years 0 to 9999.
    pub(super) fn write(&self, instant: Instant, offset: i32) -> Option<String> {
        let civil_seconds = instant.seconds().checked_add(offset.into())?;
        let nanoseconds = instant.0.rem_euclid(NANOSECONDS) as u32; // fits: below a second
        let time = DateTime::from_timestamp(civil_seconds, nanoseconds)?.naive_utc();
        if !(0..=9999).contains(&time.year()) {
            return None;
        }
        let mut out = String::with_capacity(32);
        for part in &self.0 {
            let written = match *part {
                Part::Literal(text) => out.write_str(text),
                Part::Year => write!(out, "{:04}", time.year()),
                Part::Month => write!(out, "{:02}", time.month()),
                Part::Day => write!(out, "{:02}", time.day()),
                Part::Hour => write!(out, "{:02}", time.hour()),
                Part::Minute => write!(out, "{:02}", time.minute()),
                Part::Second => write!(out, "{:02}", time.second()),
                Part::Fraction(decimals) => {
                    let value = nanoseconds / 10_u32.pow(9 - decimals);
                    write!(out, "{value:0width$}", width = decimals as usize)
                }
                Part::Offset { colon, seconds } => out.write_str(&offset_text(offset, colon, seconds)),
            };
            written.expect("writing to a string does not fail");
        }
        Some(out)
    }

    /// Reads a text: fields of fixed width, literals skipped without a look. None when it does not fit, the date does
    /// not exist, or a field from year to second is missing.
    pub(super) fn read(&self, text: &[u8]) -> Option<Parsed> {
        let mut rest = text;
        let (mut year, mut month, mut day, mut hour, mut minute, mut second) =
            (None, None, None, None, None, None);
        let (mut nanoseconds, mut offset) = (0, None);
        for part in &self.0 {
            let (field, after) = rest.split_at_checked(width(*part, rest))?;
            rest = after;
            match *part {
                Part::Literal(_) => {}
                Part::Year => year = Some(digits(field)?),
                Part::Month => month = Some(digits(field)?),
                Part::Day => day = Some(digits(field)?),
                Part::Hour => hour = Some(digits(field)?),
                Part::Minute => minute = Some(digits(field)?),
                Part::Second => second = Some(digits(field)?),
                Part::Fraction(decimals) => nanoseconds = digits(field)? * 10_u32.pow(9 - decimals),
                Part::Offset { .. } => offset = Some(parse_offset(field)?),
            }
        }
        let date = NaiveDate::from_ymd_opt(year? as i32, month?, day?)?;
        let seconds = date.and_hms_opt(hour?, minute?, second?)?.and_utc().timestamp();
        let civil = Instant(i128::from(seconds) * NANOSECONDS + i128::from(nanoseconds));
        Some(Parsed { civil, offset })
    }
}

/// Bytes that a part takes of a text.
fn width(part: Part<'_>, rest: &[u8]) -> usize {
    match part {
        Part::Literal(literal) => literal.len(),
        Part::Year => 4,
        Part::Month | Part::Day | Part::Hour | Part::Minute | Part::Second => 2,
        Part::Fraction(decimals) => decimals as usize,
        Part::Offset { .. } if matches!(rest.first(), Some(b'Z' | b'z')) => 1,
        Part::Offset { colon: false, .. } => 5,
        Part::Offset { seconds: false, .. } => 6,
        Part::Offset { .. } => 9,
    }
}

fn offset_text(offset: i32, colon: bool, with_seconds: bool) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let total = offset.unsigned_abs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (colon, with_seconds) {
        (_, true) => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
        (true, false) => format!("{sign}{hours:02}:{minutes:02}"),
        (false, false) => format!("{sign}{hours:02}{minutes:02}"),
    }
}
