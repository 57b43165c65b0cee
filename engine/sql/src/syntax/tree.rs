//! The syntax tree. Trees are equal when they mean the same text; places do not count.

use engine_event::Value;

use crate::Span;

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it makes of an event.
    pub body: Body,
    /// The names after FROM; at least one.
    pub from: Vec<SourceName>,
    /// The condition after WHERE.
    pub condition: Option<Expr>,
}

/// What a rule makes of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// SELECT: one row.
    Select(Vec<Field>),
    /// FOREACH: a row for each element of an array.
    Foreach {
        /// The fields after FOREACH; the last one is the collection.
        fields: Vec<Field>,
        /// The fields after DO.
        each: Option<Vec<Field>>,
        /// The condition after INCASE.
        incase: Option<Expr>,
    },
}

/// A field of SELECT, FOREACH or DO.
#[derive(Clone, Debug)]
pub struct Field {
    /// What it is.
    pub kind: FieldKind,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// What a field is.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldKind {
    /// `*`: every column.
    All,
    /// An expression.
    Value {
        /// The expression.
        value: Expr,
        /// The place in the row that it was given.
        alias: Option<Path>,
    },
}

/// A name after FROM.
#[derive(Clone, Debug)]
pub struct SourceName {
    /// A topic filter, `$events/...` or `$bridges/...`.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for SourceName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
    /// Levels of the tree below and including this node.
    pub(super) height: u32,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number, text or boolean.
    Literal(Value),
    /// `[a, b]`
    Array(Vec<Expr>),
    /// `{a: 1, b: qos}`: no key is there twice.
    Map(Vec<(String, Expr)>),
    /// `[1..4]`: the integers from the first to the last.
    Range(i64, i64),
    /// A path, with the range taken of the array that it leads to: `a.b`, `a[2..3]`.
    Path(Path, Option<(i64, i64)>),
    /// A call. The name may be `module.name`.
    Call(String, Vec<Expr>),
    /// `-x`
    Negative(Box<Expr>),
    /// `+x`
    Positive(Box<Expr>),
    /// `NOT x`
    Not(Box<Expr>),
    /// `a AND b AND c`: at least two.
    And(Vec<Expr>),
    /// `a OR b OR c`: at least two.
    Or(Vec<Expr>),
    /// `a ?? b ?? c`: at least two.
    Default(Vec<Expr>),
    /// Two operands.
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `x [NOT] IN (a, b)`
    In {
        /// NOT was there.
        negated: bool,
        /// What is looked for.
        value: Box<Expr>,
        /// What it is looked for in; at least one.
        list: Vec<Expr>,
    },
    /// `x [NOT] BETWEEN low AND high`
    Between {
        /// NOT was there.
        negated: bool,
        /// What is compared.
        value: Box<Expr>,
        /// The least value.
        low: Box<Expr>,
        /// The greatest value.
        high: Box<Expr>,
    },
    /// `x [NOT] LIKE pattern`
    Like {
        /// NOT was there.
        negated: bool,
        /// What is matched.
        value: Box<Expr>,
        /// The pattern with `%` and `_`.
        pattern: Box<Expr>,
    },
    /// `x IS [NOT] NULL`
    IsNull {
        /// NOT was there.
        negated: bool,
        /// What is looked at.
        value: Box<Expr>,
    },
    /// `CASE [x] WHEN a THEN b ... [ELSE c] END`
    Case {
        /// What the values after WHEN are compared with; without it they are conditions.
        operand: Option<Box<Expr>>,
        /// At least one.
        branches: Vec<Branch>,
        /// The value when no branch is taken.
        otherwise: Option<Box<Expr>>,
    },
}

/// WHEN ... THEN ...
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The condition or value after WHEN.
    pub when: Expr,
    /// The value after THEN.
    pub then: Expr,
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `=~`
    Matches,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `||`
    Concat,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `div`
    Div,
    /// `mod`
    Mod,
}

impl Op {
    /// The operator as it is printed.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Matches => "=~",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Concat => "||",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Div => "div",
            Self::Mod => "mod",
        }
    }

    /// How tightly it binds.
    pub(super) const fn level(self) -> Level {
        match self {
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::Matches => Level::Comparison,
            Self::Add | Self::Subtract | Self::Concat => Level::Sum,
            Self::Multiply | Self::Divide | Self::Div | Self::Mod => Level::Product,
        }
    }
}

/// How tightly an operator binds, from loose to tight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    And,
    Not,
    Comparison,
    Default,
    Sum,
    Product,
    Sign,
    Operand,
}

impl Level {
    /// The level that binds tighter by one step.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Comparison,
            Self::Comparison => Self::Default,
            Self::Default => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Sign,
            Self::Sign | Self::Operand => Self::Operand,
        }
    }
}

/// A name followed by steps.
#[derive(Clone, Debug)]
pub struct Path {
    /// The first name.
    pub root: String,
    /// The steps after it.
    pub steps: Vec<Step>,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.steps == other.steps
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A key of a map.
    Key(String),
    /// An element of an array.
    Index(Index),
}

/// Which element.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// `[2]`: counted from 1; `[0]` is the place before the first.
    Start(u64),
    /// `[-2]`: counted from the last; `[-0]` is the place after the last.
    End(u64),
    /// `[i]`: the number that a path leads to.
    Path(Box<Path>),
}

impl Expr {
    /// Makes a node. Its height is counted from its children.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        let mut below = 0;
        kind.each_child(&mut |child| below = below.max(child.height));
        Self { kind, span, height: below + 1 }
    }
}

impl ExprKind {
    /// Calls `visit` with each expression right below this one.
    pub(crate) fn each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Literal(_) | Self::Range(..) | Self::Path(..) => {}
            Self::Array(items)
            | Self::Call(_, items)
            | Self::And(items)
            | Self::Or(items)
            | Self::Default(items) => {
                items.iter().for_each(visit);
            }
            Self::Map(entries) => entries.iter().for_each(|(_, value)| visit(value)),
            Self::Negative(value) | Self::Positive(value) | Self::Not(value) | Self::IsNull { value, .. } => {
                visit(value);
            }
            Self::Binary(_, left, right) => [left, right].into_iter().for_each(|child| visit(child)),
            Self::In { value, list, .. } => {
                visit(value);
                list.iter().for_each(visit);
            }
            Self::Between { value, low, high, .. } => {
                [value, low, high].into_iter().for_each(|child| visit(child));
            }
            Self::Like { value, pattern, .. } => [value, pattern].into_iter().for_each(|child| visit(child)),
            Self::Case { operand, branches, otherwise } => {
                operand.iter().for_each(|child| visit(child));
                for branch in branches {
                    visit(&branch.when);
                    visit(&branch.then);
                }
                otherwise.iter().for_each(|child| visit(child));
            }
        }
    }
}
