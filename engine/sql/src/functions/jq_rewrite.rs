//! Rewriting jq programs so that they can be stopped.
//!
//! Wherever a program may loop, recurse or grow a value, it is made to pass through the filter [`TICK`].

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

/// The filter that passes its input on, or stops the run. The names of our filters cannot be written in a program.
pub(super) const TICK: &str = "!tick";

/// The filter that multiplies its input by its argument.
pub(super) const TIMES: &str = "!times";

type Node<'s> = Term<&'s str>;

/// Rewrites terms, and notes how deeply they nest.
#[derive(Default)]
pub(super) struct Rewriter {
    depth: usize,
    deepest: usize,
}

impl Rewriter {
    /// The deepest nesting of the terms rewritten so far.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Rewrites a definition: every entry is a step.
    pub(super) fn guard_def<'s>(&mut self, def: Def<&'s str>) -> Def<&'s str> {
        Def { body: pipe(tick(), self.guard(def.body)), ..def }
    }

    /// Rewrites a term. What stands last keeps standing last, so that a program that recurses at its end needs no stack.
    fn guard<'s>(&mut self, term: Node<'s>) -> Node<'s> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let guarded = self.guard_below(term);
        self.depth -= 1;
        guarded
    }

    fn guard_below<'s>(&mut self, term: Node<'s>) -> Node<'s> {
        match term {
            Term::Recurse => pipe(Term::Recurse, tick()),
            Term::Str(format, parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    StrPart::Term(term) => StrPart::Term(self.guard(term)),
                    other => other,
                });
                Term::Str(format, parts.collect())
            }
            Term::Arr(Some(items)) => pipe(Term::Arr(Some(self.guard_box(items))), tick()),
            Term::Obj(entries) => {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (self.guard(key), value.map(|part| self.guard(part))));
                pipe(Term::Obj(entries.collect()), tick())
            }
            Term::Neg(term) => Term::Neg(self.guard_box(term)),
            Term::BinOp(left, operator, right) => self.guard_operator(*left, operator, *right),
            Term::Label(label, term) => Term::Label(label, self.guard_box(term)),
            Term::Fold(kind, items, pattern, mut args) => {
                // `reduce` and `foreach`: start, update and perhaps a projection
                for (place, arg) in args.iter_mut().enumerate() {
                    let guarded = self.guard(std::mem::take(arg));
                    *arg = if place == 1 { pipe(guarded, tick()) } else { guarded };
                }
                Term::Fold(kind, self.guard_box(items), self.guard_pattern(pattern), args)
            }
            Term::TryCatch(term, catch) => {
                Term::TryCatch(self.guard_box(term), catch.map(|part| self.guard_box(part)))
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches.into_iter().map(|(test, term)| (self.guard(test), self.guard(term)));
                Term::IfThenElse(branches.collect(), otherwise.map(|part| self.guard_box(part)))
            }
            Term::Def(defs, term) => {
                Term::Def(defs.into_iter().map(|part| self.guard_def(part)).collect(), self.guard_box(term))
            }
            Term::Call(name, args) => {
                let is_generator = name == "range" && args.len() == 3;
                let call = Term::Call(name, args.into_iter().map(|part| self.guard(part)).collect());
                if is_generator { pipe(call, tick()) } else { call }
            }
            Term::Path(term, path) => self.guard_path(*term, path),
            other => other,
        }
    }

    fn guard_operator<'s>(
        &mut self,
        left: Node<'s>,
        operator: BinaryOp<&'s str>,
        right: Node<'s>,
    ) -> Node<'s> {
        let (left, right) = (self.guard(left), self.guard(right));
        match operator {
            BinaryOp::Pipe(pattern) => Term::BinOp(
                left.into(),
                BinaryOp::Pipe(pattern.map(|part| self.guard_pattern(part))),
                right.into(),
            ),
            BinaryOp::Comma => Term::BinOp(left.into(), BinaryOp::Comma, pipe(tick(), right).into()),
            BinaryOp::Math(Math::Mul) => pipe(bound(right, |factor| pipe(left, times_by(factor))), tick()),
            BinaryOp::Math(Math::Add) => {
                pipe(Term::BinOp(left.into(), BinaryOp::Math(Math::Add), right.into()), tick())
            }
            BinaryOp::UpdateMath(Math::Mul) => {
                bound(right, |factor| Term::BinOp(left.into(), BinaryOp::Update, times_by(factor).into()))
            }
            other => Term::BinOp(left.into(), other, right.into()),
        }
    }

    fn guard_path<'s>(&mut self, term: Node<'s>, path: Path<Node<'s>>) -> Node<'s> {
        let mut iterates = false;
        let parts = path.0.into_iter().map(|(part, optional)| {
            let part = match part {
                Part::Index(index) => Part::Index(self.guard(index)),
                Part::Range(from, to) => {
                    iterates |= from.is_none() && to.is_none();
                    Part::Range(from.map(|part| self.guard(part)), to.map(|part| self.guard(part)))
                }
            };
            (part, optional)
        });
        let path = Path(parts.collect());
        let term = Term::Path(self.guard(term).into(), path);
        if iterates { pipe(term, tick()) } else { term }
    }

    fn guard_pattern<'s>(&mut self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(items) => {
                Pattern::Arr(items.into_iter().map(|part| self.guard_pattern(part)).collect())
            }
            Pattern::Obj(entries) => {
                let entries =
                    entries.into_iter().map(|(key, pattern)| (self.guard(key), self.guard_pattern(pattern)));
                Pattern::Obj(entries.collect())
            }
        }
    }

    fn guard_box<'s>(&mut self, mut term: Box<Node<'s>>) -> Box<Node<'s>> {
        *term = self.guard(std::mem::take(&mut *term));
        term
    }
}

fn tick<'s>() -> Node<'s> {
    Term::Call(TICK, Vec::new())
}

fn pipe<'s>(left: Node<'s>, right: Node<'s>) -> Node<'s> {
    Term::BinOp(left.into(), BinaryOp::Pipe(None), right.into())
}

/// `term as $! | body`
fn bound<'s>(term: Node<'s>, body: impl FnOnce(Node<'s>) -> Node<'s>) -> Node<'s> {
    const FACTOR: &str = "$!factor";
    let body = body(Term::Var(FACTOR));
    Term::BinOp(term.into(), BinaryOp::Pipe(Some(Pattern::Var(FACTOR))), body.into())
}

fn times_by<'s>(factor: Node<'s>) -> Node<'s> {
    Term::Call(TIMES, vec![factor])
}
