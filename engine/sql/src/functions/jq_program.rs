//! Compiling and running jq programs within limits.
//!
//! The interpreter has no limits of its own, so a program is rewritten before it is compiled: wherever it may loop,
//! recurse or grow a value, it passes through the filter [`TICK`], which looks at the clock, the steps, the stack and
//! the value, and stops the run. A stopped run cannot be caught by `try`.

use std::cell::Cell;
use std::fmt;

use engine_event::decode_json;
use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::load::parse::Def;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{Fun, bome, run as run_native, unary, v};
use jaq_core::{Compiler, Ctx, Cv, DataT, Error, Exn, Filter, Lut, Native, Vars};
use jaq_json::{Num, Val};

use super::FunctionContext;
use super::jq_rewrite::{Rewriter, TICK, TIMES};

/// The program as a definition, so that it can be rewritten before the interpreter sees it.
const PROGRAM: &str = "sluice_program";

/// Filters that reach outside (environment, clock, log, time zone) or know no bounds.
const REMOVED: [&str; 9] = [
    "env",
    "now",
    "localtime",
    "strflocaltime",
    "debug_empty",
    "stderr_empty",
    "fromjson",
    "input",
    "inputs",
];

const SOURCE_BYTES_MAX: usize = 16 << 10;
/// Stack for compiling: the parser recurses, at most once a byte. Only what is used takes memory.
const COMPILE_STACK_BYTES: usize = 256 << 20;
/// Nesting of a program's terms: running it recurses as deeply.
const TERM_DEPTH_MAX: usize = 100;
const STEPS_MAX: u64 = 10_000_000;
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;
const STACK_BYTES_MAX: usize = 512 << 10;
const ITEMS_MAX: usize = 1_000_000;
const TEXT_BYTES_MAX: usize = 64 << 20;
const INTEGER_BITS_MAX: u64 = 1 << 16;
const NESTING_MAX: usize = 256;

/// A compiled program.
pub(crate) struct Program(Filter<Jq>);

/// Why a run did not come to its end.
pub(super) enum Failure {
    /// The program raised an error.
    Program(String),
    /// The time limit passed.
    Time,
    /// Another limit was reached.
    Limit(&'static str),
}

impl Program {
    /// Compiles a program, on a thread with a stack that any program of the allowed size fits.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err("a jq program has at most 16 KiB".to_owned());
        }
        std::thread::scope(|scope| {
            let compiler = std::thread::Builder::new().name("jq-compile".to_owned());
            let compiler = compiler.stack_size(COMPILE_STACK_BYTES).spawn_scoped(scope, || compile(source));
            let compiled = compiler.map_err(|error| format!("cannot compile a jq program now: {error}"))?;
            compiled.join().unwrap_or_else(|_| Err("the interpreter gave up on this program".to_owned()))
        })
    }

    /// Runs the program and hands its results over, until there are no more or `take` returns false.
    pub(super) fn run(
        &self,
        context: &dyn FunctionContext,
        input: Val,
        limit_ms: u64,
        mut take: impl FnMut(Val) -> bool,
    ) -> Result<(), Failure> {
        let watch = Watch {
            context,
            deadline_ms: context.stopwatch_ms().saturating_add(limit_ms),
            steps: Cell::new(0),
            stack_start: stack_address(),
            stopped: Cell::new(None),
        };
        let run = Run { lut: &self.0.lut, watch: &watch };
        for result in self.0.id.run((Ctx::<Jq>::new(run, Vars::new([])), input)) {
            if let Some(reason) = watch.stopped.get() {
                return Err(reason.into());
            }
            match result.map_err(Exn::get_err) {
                Ok(value) => {
                    if !take(value) {
                        break;
                    }
                }
                Err(Ok(error)) => return Err(Failure::Program(error.to_string())),
                // `halt`: an early end without an error
                Err(Err(_)) => break,
            }
        }
        watch.stopped.get().map_or(Ok(()), |reason| Err(reason.into()))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

fn compile(source: &str) -> Result<Program, String> {
    let Some(term) = load::parse(source, |parser| parser.term()) else {
        return Err(format!("bad jq program: {}", parse_problem(source)));
    };
    let mut rewriter = Rewriter::default();
    let program = rewriter.guard_def(Def { name: PROGRAM, args: Vec::new(), body: term });
    if rewriter.deepest() > TERM_DEPTH_MAX {
        return Err(format!("a jq program nests at most {TERM_DEPTH_MAX} terms"));
    }
    let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let library = library.map(shorten).map(|def| rewriter.guard_def(def));
    let arena = Arena::default();
    let modules = Loader::new(library.chain([program]))
        .load(&arena, File { code: PROGRAM, path: () })
        .map_err(|_| "bad jq program".to_owned())?;
    let compiled = Compiler::default().with_funs(filters()).compile(modules);
    compiled.map(Program).map_err(|errors| {
        let unknown = errors.into_iter().flat_map(|(_, undefined)| undefined);
        let unknown: Vec<String> =
            unknown.map(|(name, kind)| format!("there is no {} `{name}`", kind.as_str())).collect();
        format!("bad jq program: {}", unknown.join(", "))
    })
}

/// What our filters work on, and what they can see.
struct Jq;

impl DataT for Jq {
    type V<'a> = Val;
    type Data<'a> = Run<'a>;
}

#[derive(Clone, Copy)]
struct Run<'a> {
    lut: &'a Lut<Jq>,
    watch: &'a Watch<'a>,
}

impl<'a> HasLut<'a, Jq> for Run<'a> {
    fn lut(&self) -> &'a Lut<Jq> {
        self.lut
    }
}

/// Keeps the limits of one run.
struct Watch<'a> {
    context: &'a dyn FunctionContext,
    deadline_ms: u64,
    steps: Cell<u64>,
    stack_start: usize,
    stopped: Cell<Option<Stop>>,
}

#[derive(Clone, Copy)]
enum Stop {
    Time,
    Limit(&'static str),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Time => Self::Time,
            Stop::Limit(what) => Self::Limit(what),
        }
    }
}

impl Watch<'_> {
    /// Counts a step and checks all limits; once one is reached, the run stays stopped.
    fn may_go_on(&self, value: &Val) -> bool {
        if self.stopped.get().is_none() {
            self.stopped.set(self.reason_to_stop(value));
        }
        self.stopped.get().is_none()
    }

    fn reason_to_stop(&self, value: &Val) -> Option<Stop> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps.is_multiple_of(STEPS_PER_LOOK) && self.context.stopwatch_ms() > self.deadline_ms {
            return Some(Stop::Time);
        }
        if steps > STEPS_MAX {
            return Some(Stop::Limit("the program took more than 10 million steps"));
        }
        if stack_address().abs_diff(self.stack_start) > STACK_BYTES_MAX {
            return Some(Stop::Limit("the program recurses too deeply"));
        }
        let too_large = match value {
            Val::Arr(items) => items.len() > ITEMS_MAX,
            Val::Obj(entries) => entries.len() > ITEMS_MAX,
            Val::TStr(bytes) | Val::BStr(bytes) => bytes.len() > TEXT_BYTES_MAX,
            _ => false,
        };
        if too_large || nests_too_deeply(value) {
            return Some(Stop::Limit("a value of the program is too large or nests too deeply"));
        }
        None
    }
}

/// Roughly where the stack ends now.
#[inline(never)]
fn stack_address() -> usize {
    let marker = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}

/// Follows one branch of a value downwards: enough to see a program that wraps a value again and again.
fn nests_too_deeply(value: &Val) -> bool {
    let mut at = value;
    for _ in 0..NESTING_MAX {
        let is_nested = |value: &&Val| matches!(value, Val::Arr(_) | Val::Obj(_));
        let below = match at {
            Val::Arr(items) => items.iter().take(2).chain(items.last()).find(is_nested),
            Val::Obj(entries) => {
                let last = entries.last().map(|(_, value)| value);
                entries.values().take(2).chain(last).find(is_nested)
            }
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => return false,
        }
    }
    true
}

/// The filters of the interpreter without those that reach outside, and ours.
fn filters() -> impl Iterator<Item = Fun<Jq>> {
    let theirs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    theirs.filter(|(name, _, _)| !REMOVED.contains(name)).chain(our_filters())
}

fn our_filters() -> [Fun<Jq>; 6] {
    let tick: Native<Jq> = Native::new(|(context, value): Cv<'_, Jq>| {
        if context.data().watch.may_go_on(&value) { box_once(Ok(value)) } else { box_once(Err(Exn::halt(0))) }
    });
    let tick = tick.with_paths(|(_, at)| box_once(Ok(at))).with_update(|(_, value), change| change(value));
    [
        (TICK, v(0), tick),
        run_native((TIMES, v(1), |context| unary(context, times))),
        run_native(("now", v(0), |(context, _): Cv<'_, Jq>| {
            bome(Ok(Val::from(context.data().watch.context.now_ms() as f64 / 1000.0)))
        })),
        run_native(("fromjson", v(0), |(_, value)| bome(from_json(&value)))),
        run_native(("debug_empty", v(0), |_| Box::new(std::iter::empty()))),
        run_native(("stderr_empty", v(0), |_| Box::new(std::iter::empty()))),
    ]
}

/// Multiplies, unless the result would be far too large.
fn times(left: Val, right: Val) -> Result<Val, Error<Val>> {
    let size = |value: &Val| match value {
        Val::TStr(bytes) | Val::BStr(bytes) => bytes.len(),
        _ => 0,
    };
    let count = |value: &Val| match value {
        Val::Num(Num::Int(count)) => usize::try_from(*count).unwrap_or(0),
        Val::Num(Num::BigInt(_)) => usize::MAX,
        _ => 0,
    };
    let bits = |value: &Val| match value {
        Val::Num(Num::BigInt(value)) => value.bits(),
        _ => 0,
    };
    let bytes = size(&left).saturating_mul(count(&right)).max(size(&right).saturating_mul(count(&left)));
    if bytes > TEXT_BYTES_MAX || bits(&left) + bits(&right) > INTEGER_BITS_MAX {
        return Err(Error::str("the product is too large"));
    }
    left * right
}

fn from_json(value: &Val) -> Result<Val, Error<Val>> {
    let (Val::TStr(bytes) | Val::BStr(bytes)) = value else {
        return Err(Error::typ(value.clone(), "string"));
    };
    decode_json(bytes).map(|value| super::jq::to_val(&value)).map_err(Error::str)
}

/// Lets a definition of the library stand beside one of a program.
fn shorten<'s>(def: Def<&'static str>) -> Def<&'s str> {
    def
}

/// What is wrong with a program that does not parse.
fn parse_problem(source: &str) -> String {
    let arena = Arena::default();
    let Err(errors) = Loader::new([]).load(&arena, File { code: source, path: () }) else {
        return "modules cannot be used".to_owned();
    };
    let place = |found: &str| if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
    let problems = errors.into_iter().map(|(_, error)| match error {
        load::Error::Io(_) => "modules cannot be used".to_owned(),
        load::Error::Lex(errors) => {
            let problems = errors.iter().map(|(expected, found)| {
                let found: String = found.chars().take(20).collect();
                format!("expected {} at {}", expected.as_str(), place(&found))
            });
            problems.collect::<Vec<_>>().join(", ")
        }
        load::Error::Parse(errors) => {
            let problems = errors
                .iter()
                .map(|(expected, found)| format!("expected {}, found {}", expected.as_str(), place(found)));
            problems.collect::<Vec<_>>().join(", ")
        }
    });
    problems.collect::<Vec<_>>().join(", ")
}
