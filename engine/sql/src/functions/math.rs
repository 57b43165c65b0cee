//! Mathematics (reference, section 14.1).

use engine_event::{Map, Value};
use num_bigint::BigInt;
use num_traits::{FromPrimitive as _, Zero as _};

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    ABS, CEIL, FLOOR, ROUND, SQRT, POWER, EXP, LOG, LOG10, LOG2, SIN, COS, TAN, ASIN, ACOS, ATAN, SINH, COSH,
    TANH, ASINH, ACOSH, ATANH, FMOD, DIV, MOD, EQ, RANDOM,
];

const X: &[Arg] = &[Arg::number("x")];
const X_Y: &[Arg] = &[Arg::number("x"), Arg::number("y")];
const INT_X_Y: &[Arg] = &[Arg::int("x"), Arg::int("y")];

type Eval = fn(&Args<'_>) -> Result<Value, EvalError>;

/// A function of one number that gives a float.
const fn of_float(
    name: &'static str,
    summary: &'static str,
    examples: &'static [Example],
    eval: Eval,
) -> FunctionDef {
    FunctionDef { name, args: X, returns: Type::Float, summary, examples, eval }
}

/// A function of one number that gives an integer.
const fn rounding(
    name: &'static str,
    summary: &'static str,
    examples: &'static [Example],
    eval: Eval,
) -> FunctionDef {
    FunctionDef { name, args: X, returns: Type::Int, summary, examples, eval }
}

const ABS: FunctionDef = FunctionDef {
    name: "abs",
    args: X,
    returns: Type::Number,
    summary: "The number without its sign; an integer stays an integer, a float a float. Fails on anything else.",
    examples: &[
        Example::new("abs(-12)", "12"),
        Example::new("abs(-1.5)", "1.5"),
        Example::new("abs(-9223372036854775808)", "9223372036854775808"),
        Example::fails("abs('1')"),
        Example::fails("abs(undefined)"),
    ],
    eval: |args| match args.value(0) {
        Value::Int(value) => {
            Ok(value.checked_abs().map_or_else(|| Value::from_bigint(-BigInt::from(*value)), Value::Int))
        }
        Value::BigInt(value) => Ok(Value::from_bigint(BigInt::from(value.magnitude().clone()))),
        Value::Float(value) => Ok(Value::Float(value.abs())),
        _ => Err(args.wrong(0, Type::Number.expected())),
    },
};

const CEIL: FunctionDef = rounding(
    "ceil",
    "The smallest integer that is not below the number. Fails on anything but a number.",
    &[
        Example::new("ceil(0.1)", "1"),
        Example::new("ceil(-1.9)", "-1"),
        Example::new("ceil(1.0e20)", "100000000000000000000"),
        Example::fails("ceil('1.5')"),
        Example::fails("ceil(undefined)"),
    ],
    |args| rounded(args, f64::ceil),
);

const FLOOR: FunctionDef = rounding(
    "floor",
    "The largest integer that is not above the number. Fails on anything but a number.",
    &[
        Example::new("floor(0.9)", "0"),
        Example::new("floor(-1.2)", "-2"),
        Example::new("floor(7)", "7"),
        Example::fails("floor('1.5')"),
        Example::fails("floor(undefined)"),
    ],
    |args| rounded(args, f64::floor),
);

const ROUND: FunctionDef = rounding(
    "round",
    "The nearest integer; halves go away from zero. Fails on anything but a number.",
    &[
        Example::new("round(-1.5)", "-2"),
        Example::new("round(2.5)", "3"),
        Example::new("round(7)", "7"),
        Example::fails("round('1')"),
        Example::fails("round(undefined)"),
    ],
    |args| rounded(args, f64::round),
);

const SQRT: FunctionDef = of_float(
    "sqrt",
    "The square root. Fails below 0 and on anything but a number.",
    &[Example::new("sqrt(16)", "4.0"), Example::fails("sqrt(-1)"), Example::fails("sqrt(undefined)")],
    |args| finite(args, args.float(0)?.sqrt()),
);

const POWER: FunctionDef = FunctionDef {
    name: "power",
    args: X_Y,
    returns: Type::Float,
    summary: "`x` to the power of `y`, as a float. Fails when the result is too large or not a real number, and on \
              anything but numbers.",
    examples: &[
        Example::new("power(2, 10)", "1024.0"),
        Example::new("power(2, -1)", "0.5"),
        Example::fails("power(10, 1000)"),
        Example::fails("power(-8, 0.5)"),
        Example::fails("power(2, undefined)"),
    ],
    eval: |args| finite(args, args.float(0)?.powf(args.float(1)?)),
};

const EXP: FunctionDef = of_float(
    "exp",
    "e to the power of `x`. Fails when the result is too large and on anything but a number.",
    &[
        Example::new("exp(0)", "1.0"),
        Example::new("exp(-1000)", "0.0"),
        Example::fails("exp(1000)"),
        Example::fails("exp(undefined)"),
    ],
    |args| finite(args, args.float(0)?.exp()),
);

const LOG: FunctionDef = of_float(
    "log",
    "The natural logarithm. Fails at 0 and below and on anything but a number.",
    &[Example::new("log(1)", "0.0"), Example::fails("log(0)"), Example::fails("log(undefined)")],
    |args| finite(args, args.float(0)?.ln()),
);

const LOG10: FunctionDef = of_float(
    "log10",
    "The logarithm to base 10. Fails at 0 and below and on anything but a number.",
    &[Example::new("log10(1000)", "3.0"), Example::fails("log10(-1)"), Example::fails("log10(undefined)")],
    |args| finite(args, args.float(0)?.log10()),
);

const LOG2: FunctionDef = of_float(
    "log2",
    "The logarithm to base 2. Fails at 0 and below and on anything but a number.",
    &[Example::new("log2(8)", "3.0"), Example::fails("log2(0)"), Example::fails("log2(undefined)")],
    |args| finite(args, args.float(0)?.log2()),
);

const SIN: FunctionDef = of_float(
    "sin",
    "The sine of an angle in radians. Fails on anything but a number.",
    &[Example::new("sin(0)", "0.0"), Example::fails("sin('0')"), Example::fails("sin(undefined)")],
    |args| finite(args, args.float(0)?.sin()),
);

const COS: FunctionDef = of_float(
    "cos",
    "The cosine of an angle in radians. Fails on anything but a number.",
    &[Example::new("cos(0)", "1.0"), Example::fails("cos('0')"), Example::fails("cos(undefined)")],
    |args| finite(args, args.float(0)?.cos()),
);

const TAN: FunctionDef = of_float(
    "tan",
    "The tangent of an angle in radians. Fails on anything but a number.",
    &[Example::new("tan(0)", "0.0"), Example::fails("tan('0')"), Example::fails("tan(undefined)")],
    |args| finite(args, args.float(0)?.tan()),
);

const ASIN: FunctionDef = of_float(
    "asin",
    "The angle in radians whose sine is `x`. Fails outside -1 to 1 and on anything but a number.",
    &[Example::new("asin(0)", "0.0"), Example::fails("asin(2)"), Example::fails("asin(undefined)")],
    |args| finite(args, args.float(0)?.asin()),
);

const ACOS: FunctionDef = of_float(
    "acos",
    "The angle in radians whose cosine is `x`. Fails outside -1 to 1 and on anything but a number.",
    &[Example::new("acos(1)", "0.0"), Example::fails("acos(2)"), Example::fails("acos(undefined)")],
    |args| finite(args, args.float(0)?.acos()),
);

const ATAN: FunctionDef = of_float(
    "atan",
    "The angle in radians whose tangent is `x`. Fails on anything but a number.",
    &[Example::new("atan(0)", "0.0"), Example::fails("atan('0')"), Example::fails("atan(undefined)")],
    |args| finite(args, args.float(0)?.atan()),
);

const SINH: FunctionDef = of_float(
    "sinh",
    "The hyperbolic sine. Fails when the result is too large and on anything but a number.",
    &[Example::new("sinh(0)", "0.0"), Example::fails("sinh(1000)"), Example::fails("sinh(undefined)")],
    |args| finite(args, args.float(0)?.sinh()),
);

const COSH: FunctionDef = of_float(
    "cosh",
    "The hyperbolic cosine. Fails when the result is too large and on anything but a number.",
    &[Example::new("cosh(0)", "1.0"), Example::fails("cosh(1000)"), Example::fails("cosh(undefined)")],
    |args| finite(args, args.float(0)?.cosh()),
);

const TANH: FunctionDef = of_float(
    "tanh",
    "The hyperbolic tangent. Fails on anything but a number.",
    &[
        Example::new("tanh(0)", "0.0"),
        Example::new("tanh(1000)", "1.0"),
        Example::fails("tanh('0')"),
        Example::fails("tanh(undefined)"),
    ],
    |args| finite(args, args.float(0)?.tanh()),
);

const ASINH: FunctionDef = of_float(
    "asinh",
    "The inverse of the hyperbolic sine. Fails on anything but a number.",
    &[Example::new("asinh(0)", "0.0"), Example::fails("asinh('0')"), Example::fails("asinh(undefined)")],
    |args| finite(args, args.float(0)?.asinh()),
);

const ACOSH: FunctionDef = of_float(
    "acosh",
    "The inverse of the hyperbolic cosine. Fails below 1 and on anything but a number.",
    &[Example::new("acosh(1)", "0.0"), Example::fails("acosh(0.5)"), Example::fails("acosh(undefined)")],
    |args| finite(args, args.float(0)?.acosh()),
);

const ATANH: FunctionDef = of_float(
    "atanh",
    "The inverse of the hyperbolic tangent. Fails at -1 and 1, beyond them, and on anything but a number.",
    &[Example::new("atanh(0)", "0.0"), Example::fails("atanh(1)"), Example::fails("atanh(undefined)")],
    |args| finite(args, args.float(0)?.atanh()),
);

const FMOD: FunctionDef = FunctionDef {
    name: "fmod",
    args: X_Y,
    returns: Type::Float,
    summary: "The rest of dividing `x` by `y` as floats, with the sign of `x`. Fails when `y` is 0 and on anything \
              but numbers.",
    examples: &[
        Example::new("fmod(-7.5, 2)", "-1.5"),
        Example::new("fmod(7, 2)", "1.0"),
        Example::fails("fmod(1, 0)"),
        Example::fails("fmod(undefined, 2)"),
    ],
    eval: |args| {
        let (x, y) = (args.float(0)?, args.float(1)?);
        if y == 0.0 { Err(args.wrong(1, "a number other than 0")) } else { finite(args, x % y) }
    },
};

const DIV: FunctionDef = FunctionDef {
    name: "div",
    args: INT_X_Y,
    returns: Type::Int,
    summary: "The quotient of two integers, cut towards zero. Fails when `y` is 0 and on anything but integers.",
    examples: &[
        Example::new("div(9, 2)", "4"),
        Example::new("div(-7, 2)", "-3"),
        Example::new("div(-9223372036854775808, -1)", "9223372036854775808"),
        Example::fails("div(1, 0)"),
        Example::fails("div(9.0, 2)"),
        Example::fails("div(undefined, 2)"),
    ],
    eval: |args| divide(args, i64::checked_div, |x, y| x / y),
};

const MOD: FunctionDef = FunctionDef {
    name: "mod",
    args: INT_X_Y,
    returns: Type::Int,
    summary: "The rest of dividing two integers, with the sign of `x`. Fails when `y` is 0 and on anything but \
              integers.",
    examples: &[
        Example::new("mod(-7, 3)", "-1"),
        Example::new("mod(7, -3)", "1"),
        Example::new("mod(-9223372036854775808, -1)", "0"),
        Example::fails("mod(1, 0)"),
        Example::fails("mod(9.0, 2)"),
        Example::fails("mod(undefined, 2)"),
    ],
    eval: |args| divide(args, i64::checked_rem, |x, y| x % y),
};

const EQ: FunctionDef = FunctionDef {
    name: "eq",
    args: &[Arg::any("x"), Arg::any("y")],
    returns: Type::Bool,
    summary: "Tells whether two values are equal, integers and floats by their worth, also inside arrays and maps. \
              A text is never equal to a number; undefined is only equal to itself. Never fails.",
    examples: &[
        Example::new("eq(1, 1.0)", "true"),
        Example::new("eq('1', 1)", "false"),
        Example::new("eq([1], [1.0])", "true"),
        Example::new("eq(undefined, undefined)", "true"),
        Example::new("eq(9007199254740993, 9007199254740992.0)", "false"),
    ],
    eval: |args| Ok(Value::Bool(equal(args.value(0), args.value(1)))),
};

const RANDOM: FunctionDef = FunctionDef {
    name: "random",
    args: &[],
    returns: Type::Float,
    summary: "A random number, at least 0 and below 1. Never fails.",
    examples: &[Example::new("is_float(random())", "true")],
    eval: |args| {
        // the 53 bits that a float below 1 can hold
        Ok(Value::Float((args.context().random() >> 11) as f64 / (1_u64 << 53) as f64))
    },
};

/// A float as a result; fails when it is not a number or infinite.
fn finite(args: &Args<'_>, value: f64) -> Result<Value, EvalError> {
    if value.is_finite() {
        Ok(Value::Float(value))
    } else if value.is_nan() {
        Err(args.fail("the argument is outside the range in which the function is defined"))
    } else {
        Err(args.fail("the result does not fit a float"))
    }
}

fn rounded(args: &Args<'_>, round: fn(f64) -> f64) -> Result<Value, EvalError> {
    match args.value(0) {
        Value::Int(_) | Value::BigInt(_) => Ok(args.value(0).clone()),
        Value::Float(value) => Ok(whole(round(*value))),
        _ => Err(args.wrong(0, Type::Number.expected())),
    }
}

/// A float without a fraction as an integer.
pub(super) fn whole(value: f64) -> Value {
    // both bounds are floats that fit 64 bits
    if (-9.2e18..=9.2e18).contains(&value) {
        Value::Int(value as i64)
    } else {
        Value::from_bigint(BigInt::from_f64(value).unwrap_or_default())
    }
}

fn divide(
    args: &Args<'_>,
    small: fn(i64, i64) -> Option<i64>,
    big: fn(&BigInt, &BigInt) -> BigInt,
) -> Result<Value, EvalError> {
    if let (Value::Int(x), Value::Int(y)) = (args.value(0), args.value(1))
        && let Some(result) = small(*x, *y)
    {
        return Ok(Value::Int(result));
    }
    let (x, y) = (args.big_int(0)?, args.big_int(1)?);
    if y.is_zero() {
        return Err(args.wrong(1, "an integer other than 0"));
    }
    Ok(Value::from_bigint(big(&x, &y)))
}

/// Equality by worth: `1` and `1.0` are equal.
fn equal(x: &Value, y: &Value) -> bool {
    match (x, y) {
        (Value::Int(_) | Value::BigInt(_), Value::Float(y)) => same_worth(x, *y),
        (Value::Float(x), Value::Int(_) | Value::BigInt(_)) => same_worth(y, *x),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(&**y).all(|(x, y)| equal(x, y))
        }
        (Value::Map(x), Value::Map(y)) => equal_maps(x, y),
        _ => x == y,
    }
}

fn equal_maps(x: &Map, y: &Map) -> bool {
    x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| equal(x, y)))
}

fn same_worth(integer: &Value, float: f64) -> bool {
    float.fract() == 0.0 && whole(float) == *integer
}
