//! What a rule is compiled to.

use engine_event::{Column, Text, Value};

use crate::evaluate::ReadStep;
use crate::functions::FunctionDef;
use crate::projection::ElementPaths;
use crate::syntax::Op;
use crate::{EvalError, Part};

/// A compiled rule.
#[derive(Debug)]
pub(super) enum Program {
    Select {
        fields: FieldList,
        condition: Option<Expr>,
        /// When the condition may go first: the fields that it reads, by their places.
        early: Option<Vec<usize>>,
    },
    Foreach {
        fields: FieldList,
        item: Text,
        condition: Option<Expr>,
        each: Option<FieldList>,
        incase: Option<Expr>,
        elements: Box<ElementPaths>,
    },
}

impl Program {
    /// What is read of the elements of FOREACH.
    pub(super) fn elements(&self) -> Option<&ElementPaths> {
        match self {
            Self::Select { .. } => None,
            Self::Foreach { elements, .. } => Some(elements),
        }
    }
}

/// The fields of SELECT, FOREACH or DO.
#[derive(Debug)]
pub(super) struct FieldList {
    pub(super) fields: Vec<Field>,
    pub(super) layout: Layout,
    /// The row may become large: it is counted.
    pub(super) counted: bool,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    /// None for `*`.
    pub(super) value: Option<Expr>,
    /// Where the value is kept during a run.
    pub(super) register: usize,
    /// Where the value goes in a row that is written step by step.
    pub(super) target: Vec<TargetStep>,
    pub(super) part: Part,
}

/// How the row of a list comes about.
#[derive(Debug)]
pub(super) enum Layout {
    /// Its keys are known beforehand.
    Fixed(FixedRow),
    /// Field after field is written into it.
    Written,
}

/// A row whose keys are known.
#[derive(Debug, Default)]
pub(super) struct FixedRow {
    /// `*` is among the fields.
    pub(super) all: bool,
    pub(super) entries: Vec<(Text, FixedValue)>,
}

/// A value in a row whose keys are known.
#[derive(Clone, Debug)]
pub(super) enum FixedValue {
    Register(usize),
    Map(Vec<(Text, FixedValue)>),
}

/// A step of the place where a field goes.
#[derive(Debug)]
pub(super) enum TargetStep {
    Key(Text),
    Start(u64),
    End(u64),
    /// The number that the first lookup with a value gives.
    Lookup(Vec<Lookup>),
}

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Constant(Value),
    /// Always fails.
    Fails(EvalError),
    Lookup(Lookup),
    /// `path[first..last]`
    Range(Lookup, i64, i64),
    /// The payload as the collection of FOREACH.
    DecodedPayload(Lookup),
    Array(Vec<Expr>),
    /// Keys, no two of which are equal, with their values.
    Map(Vec<Text>, Vec<Expr>),
    Call(&'static FunctionDef, Vec<Expr>),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// The first that does not fail and has a value, else the last.
    Try(Vec<Expr>),
    Compare(Op, Box<Expr>, Box<Expr>),
    Arithmetic(Op, Box<Expr>, Box<Expr>),
    MatchesTopic(Box<Expr>, Box<Expr>),
    In(bool, Box<Expr>, Vec<Expr>),
    InConstants(bool, Box<Expr>, Vec<Value>),
    Between(bool, Box<[Expr; 3]>),
    Like(bool, Box<Expr>, Box<Expr>),
    IsNull(bool, Box<Expr>),
    /// A value that may become large: it is counted.
    Counted(Box<Expr>),
    /// The first condition that is true.
    Conditions(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    /// The first value that is exactly equal.
    Switch(Box<Expr>, Vec<(Expr, Expr)>, Option<Box<Expr>>),
}

/// A path: the first of the candidates that gives a value.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    pub(super) candidates: Vec<Candidate>,
}

/// One place where a path may lead.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) origin: Origin,
    pub(super) steps: Steps,
    /// The origin is called `payload`: stepping into it fails when it is a text that is not JSON.
    pub(super) is_payload: bool,
}

/// Where a path begins.
#[derive(Debug)]
pub(super) enum Origin {
    /// A payload path.
    Slot(u16),
    /// A column of the event.
    Column(Option<Column>, Text),
    /// The value of a field.
    Register(usize),
    /// A map that is made of fields.
    Map(Vec<(Text, FixedValue)>),
    /// The element of FOREACH.
    Item,
    /// A path below the element of FOREACH.
    ItemSlot(u16),
    /// A key of the row so far.
    Output(Text),
    /// A key of the row that hides the columns. When it is there, no other candidate counts.
    Merged(Text),
}

/// The steps after the origin.
#[derive(Debug)]
pub(super) enum Steps {
    Known(Vec<ReadStep>),
    Looked(Vec<LookedStep>),
}

/// A step of which the place may have to be looked up.
#[derive(Debug)]
pub(super) enum LookedStep {
    Known(ReadStep),
    /// The number that the first lookup with a value gives.
    Lookup(Vec<Lookup>),
}
