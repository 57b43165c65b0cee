//! Date and time (reference, section 14.10).

use engine_event::Value;

use crate::EvalError;

use super::calendar::{self, Format, Instant, Unit, Zone};
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    NOW_TIMESTAMP,
    NOW_RFC3339,
    UNIX_TS_TO_RFC3339,
    RFC3339_TO_UNIX_TS,
    FORMAT_DATE,
    DATE_TO_UNIX_TS,
    TIMEZONE_TO_OFFSET_SECONDS,
    TIMEZONE_TO_SECOND,
    MONGO_DATE,
];

/// Offsets given as a number stay below a day.
const OFFSET_SECONDS_MAX: u64 = 86_399;

const ZONE: &[Arg] = &[Arg::text("zone")];

const NOW_TIMESTAMP: FunctionDef = FunctionDef {
    name: "now_timestamp",
    args: &[Arg::text("unit").optional()],
    returns: Type::Int,
    summary: "The Unix time now, in `'second'` (default), `'millisecond'`, `'microsecond'` or `'nanosecond'`. Fails on \
              other units.",
    examples: &[
        Example::new("is_int(now_timestamp())", "true"),
        Example::new("strlen(str(now_timestamp('millisecond')))", "13"),
        Example::fails("now_timestamp('minute')"),
        Example::fails("now_timestamp(undefined)"),
    ],
    eval: |args| Ok(now(args).in_unit(unit_or_second(args, 0)?)),
};

const NOW_RFC3339: FunctionDef = FunctionDef {
    name: "now_rfc3339",
    args: &[Arg::text("unit").optional()],
    returns: Type::Text,
    summary: "The time now in the server's zone as RFC 3339 says, with a numeric offset and as many decimals as the \
              unit has. Fails on other units.",
    examples: &[
        Example::new("strlen(now_rfc3339())", "25"),
        Example::new("strlen(now_rfc3339('millisecond'))", "29"),
        Example::fails("now_rfc3339('minute')"),
        Example::fails("now_rfc3339(undefined)"),
    ],
    eval: |args| {
        let unit = unit_or_second(args, 0)?;
        Ok(Value::from(rfc3339(args, now(args), unit)?))
    },
};

const UNIX_TS_TO_RFC3339: FunctionDef = FunctionDef {
    name: "unix_ts_to_rfc3339",
    args: &[Arg::int("timestamp"), Arg::text("unit").optional()],
    returns: Type::Text,
    summary: "A Unix time in the server's zone as RFC 3339 says, with a numeric offset and as many decimals as the unit \
              has. Fails on anything but an integer, outside the years 0 to 9999, and on other units.",
    examples: &[
        Example::new("unix_ts_to_rfc3339(0)", "'1970-01-01T00:00:00+00:00'"),
        Example::new("unix_ts_to_rfc3339(1600000000500, 'millisecond')", "'2020-09-13T12:26:40.500+00:00'"),
        Example::new("unix_ts_to_rfc3339(-1)", "'1969-12-31T23:59:59+00:00'"),
        Example::fails("unix_ts_to_rfc3339(1.0)"),
        Example::fails("unix_ts_to_rfc3339(9223372036854775807)"),
        Example::fails("unix_ts_to_rfc3339(undefined)"),
    ],
    eval: |args| {
        let unit = unit_or_second(args, 1)?;
        Ok(Value::from(rfc3339(args, Instant::from_unit(args.int(0)?, unit), unit)?))
    },
};

const RFC3339_TO_UNIX_TS: FunctionDef = FunctionDef {
    name: "rfc3339_to_unix_ts",
    args: &[Arg::text("text"), Arg::text("unit").optional()],
    returns: Type::Int,
    summary: "The Unix time that an RFC 3339 text says, `T` or a space in the middle, in a unit; what is finer is cut. \
              Fails on other texts, dates that do not exist, and other units.",
    examples: &[
        Example::new("rfc3339_to_unix_ts('2000-01-01T00:00:00.25Z', 'millisecond')", "946684800250"),
        Example::new("rfc3339_to_unix_ts('1970-01-01 01:00:00+01:00')", "0"),
        Example::new("rfc3339_to_unix_ts('1969-12-31T23:59:59.5Z')", "-1"),
        Example::fails("rfc3339_to_unix_ts('2023-02-29T00:00:00Z')"),
        Example::fails("rfc3339_to_unix_ts('2023-01-01')"),
        Example::fails("rfc3339_to_unix_ts(undefined)"),
    ],
    eval: |args| {
        let unit = unit_or_second(args, 1)?;
        let instant = calendar::parse_rfc3339(args.text(0)?.as_bytes());
        let instant = instant.ok_or_else(|| args.wrong(0, "a date and time as RFC 3339 says"))?;
        Ok(instant.in_unit(unit))
    },
};

const FORMAT_DATE: FunctionDef = FunctionDef {
    name: "format_date",
    args: &[Arg::text("unit"), Arg::any("offset"), Arg::text("format"), Arg::int("timestamp").optional()],
    returns: Type::Text,
    summary: "A Unix time in `unit`, or now, written by a format: `%Y %m %d %H %M %S`, `%3N %6N %N` for milli-, micro- \
              and nanoseconds, `%z %:z %::z` for the offset; all else is copied. The offset is a text such as \
              `'+08:00'`, `'Z'`, `'local'` or `'Europe/Berlin'`, or a number of seconds. Fails on other units and \
              offsets, outside the years 0 to 9999, and on a timestamp that is not an integer.",
    examples: &[
        Example::new("format_date('second', '+08:00', '%H:%M', 0)", "'08:00'"),
        Example::new(
            "format_date('millisecond', 0, '%Y-%m-%dT%H:%M:%S.%3N', 1234)",
            "'1970-01-01T00:00:01.234'",
        ),
        Example::new("format_date('millisecond', 'Z', '%6N', 1234)", "'234000'"),
        Example::new("format_date('second', 'Europe/Berlin', '%H %z', 1720000000)", "'11 +0200'"),
        Example::new("format_date('second', 'Z', '%q %', 0)", "'%q %'"),
        Example::fails("format_date('minute', 'Z', '%H', 0)"),
        Example::fails("format_date('second', '8:00', '%H', 0)"),
        Example::fails("format_date('second', 'Z', '%H', 1.5)"),
        Example::fails("format_date('second', undefined, '%H', 0)"),
    ],
    eval: |args| {
        let (unit, zone, format) = (unit(args, 0)?, zone(args, 1)?, Format::new(args.str(2)?));
        let instant = if args.len() > 3 { Instant::from_unit(args.int(3)?, unit) } else { now(args) };
        let offset = zone.offset_at(instant.seconds(), args.context());
        format.write(instant, offset).map(Value::from).ok_or_else(|| out_of_range(args))
    },
};

const DATE_TO_UNIX_TS: FunctionDef = FunctionDef {
    name: "date_to_unix_ts",
    args: &[Arg::text("unit"), Arg::any("offset").optional(), Arg::text("format"), Arg::text("text")],
    returns: Type::Int,
    summary: "The Unix time in `unit` that a text says by a format (see `format_date`). Fields have fixed widths; other \
              characters of the format are skipped, whatever the text has there; what is left over is ignored. An \
              offset in the text wins over the argument, which wins over the server's zone. Fails when a field is \
              missing or is not a number, the format lacks one of `%Y %m %d %H %M %S`, the date does not exist, or on \
              other units and offsets.",
    examples: &[
        Example::new("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S', '1970-01-01 00:01:00')", "60"),
        Example::new(
            "date_to_unix_ts('second', '-01:00', '%Y-%m-%d %H:%M:%S', '1970-01-01 00:00:00')",
            "3600",
        ),
        Example::new(
            "date_to_unix_ts('millisecond', '%Y%m%d%H%M%S.%3N%z', '19700101010000.250+0100')",
            "250",
        ),
        Example::fails("date_to_unix_ts('second', '%Y-%m-%d', '1970-01-01')"),
        Example::fails("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S', '1970-02-30 00:00:00')"),
        Example::fails("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S', 'now')"),
        Example::fails("date_to_unix_ts('second', '%Y', undefined)"),
    ],
    eval: date_to_unix_ts,
};

const TIMEZONE_TO_OFFSET_SECONDS: FunctionDef = FunctionDef {
    name: "timezone_to_offset_seconds",
    args: ZONE,
    returns: Type::Int,
    summary: "The offset from UTC in seconds: of `'+08:00'`, `'-0130'`, `'+05:30:10'`, `'Z'`, and of `'local'` or a \
              name such as `'Europe/Berlin'` now. A number is taken as seconds. Fails on anything else.",
    examples: &[
        Example::new("timezone_to_offset_seconds('+08:00')", "28800"),
        Example::new("timezone_to_offset_seconds('-0130')", "-5400"),
        Example::new("timezone_to_offset_seconds('+05:30:10')", "19810"),
        Example::new("timezone_to_offset_seconds('z')", "0"),
        Example::fails("timezone_to_offset_seconds('08:00')"),
        Example::fails("timezone_to_offset_seconds('+24:00')"),
        Example::fails("timezone_to_offset_seconds(undefined)"),
    ],
    eval: |args| Ok(Value::from(zone(args, 0)?.offset_at(now(args).seconds(), args.context()))),
};

const TIMEZONE_TO_SECOND: FunctionDef = FunctionDef {
    name: "timezone_to_second",
    summary: "The same as `timezone_to_offset_seconds`.",
    examples: &[
        Example::new("timezone_to_second('Z')", "0"),
        Example::fails("timezone_to_second('+08:60')"),
        Example::fails("timezone_to_second(undefined)"),
    ],
    ..TIMEZONE_TO_OFFSET_SECONDS
};

const MONGO_DATE: FunctionDef = FunctionDef {
    name: "mongo_date",
    args: &[Arg::int("timestamp").optional(), Arg::text("unit").optional()],
    returns: Type::Text,
    summary: "A date for MongoDB as the text `ISODate(...)`: of now, or of a Unix time in `unit` (milliseconds when left \
              out); what is finer than a millisecond is cut. Fails outside the years 0 to 9999, on other units, and \
              on anything but an integer.",
    examples: &[
        Example::new("mongo_date(1700000000123)", "'ISODate(2023-11-14T22:13:20.123Z)'"),
        Example::new("mongo_date(0, 'second')", "'ISODate(1970-01-01T00:00:00.000Z)'"),
        Example::fails("mongo_date('now')"),
        Example::fails("mongo_date(undefined)"),
    ],
    eval: |args| {
        let unit = if args.len() > 1 { unit(args, 1)? } else { Unit::MILLISECOND };
        let instant = if args.len() > 0 { Instant::from_unit(args.int(0)?, unit) } else { now(args) };
        let text = Format::new("ISODate(%Y-%m-%dT%H:%M:%S.%3NZ)").write(instant, 0);
        text.map(Value::from).ok_or_else(|| out_of_range(args))
    },
};

fn now(args: &Args<'_>) -> Instant {
    Instant::from_nanoseconds(args.context().now_ns())
}

fn unit(args: &Args<'_>, place: usize) -> Result<Unit, EvalError> {
    args.one_of(place, &Unit::NAMES).map(Unit::by_place)
}

fn unit_or_second(args: &Args<'_>, place: usize) -> Result<Unit, EvalError> {
    if place < args.len() { unit(args, place) } else { Ok(Unit::SECOND) }
}

fn zone(args: &Args<'_>, place: usize) -> Result<Zone, EvalError> {
    let zone = match args.value(place) {
        Value::Int(seconds) if seconds.unsigned_abs() <= OFFSET_SECONDS_MAX => {
            Some(Zone::Fixed(*seconds as i32))
        }
        Value::Text(text) => Zone::parse(text.as_bytes()),
        _ => None,
    };
    zone.ok_or_else(|| {
        args.wrong(
            place,
            "an offset such as '+08:00', '-0130' or 'Z', 'local', a zone name, or seconds below a day",
        )
    })
}

fn rfc3339(args: &Args<'_>, instant: Instant, unit: Unit) -> Result<String, EvalError> {
    let format = match unit.decimals() {
        0 => "%Y-%m-%dT%H:%M:%S%:z",
        3 => "%Y-%m-%dT%H:%M:%S.%3N%:z",
        6 => "%Y-%m-%dT%H:%M:%S.%6N%:z",
        _ => "%Y-%m-%dT%H:%M:%S.%N%:z",
    };
    let offset = args.context().local_offset_seconds(instant.seconds());
    Format::new(format).write(instant, offset).ok_or_else(|| out_of_range(args))
}

fn date_to_unix_ts(args: &Args<'_>) -> Result<Value, EvalError> {
    let unit = unit(args, 0)?;
    let last = args.len() - 1;
    let zone = if last == 3 { zone(args, 1)? } else { Zone::Local };
    let (format, text) = (args.str(last - 1)?, args.text(last)?);
    let parsed = Format::new(format).read(text.as_bytes());
    let parsed = parsed.ok_or_else(|| args.wrong(last, format!("a date and time like '{format}'")))?;
    let offset = match parsed.offset {
        Some(offset) => offset,
        None => zone.offset_at_civil(parsed.civil.seconds(), args.context()),
    };
    Ok(parsed.civil.earlier_by(offset).in_unit(unit))
}

fn out_of_range(args: &Args<'_>) -> EvalError {
    args.fail("the time is outside the years 0 to 9999")
}
