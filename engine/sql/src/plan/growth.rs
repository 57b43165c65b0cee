//! How much of an event an expression can hold, as far as its text tells.
//!
//! A field that holds an earlier one twice, and one that holds that one twice, and so on: forty of them make a value
//! that no memory holds, though it costs nothing until it is walked. Nearly no rule does that, so nearly no rule is to
//! pay for it. Every expression has a bound of the copies that it can hold of what it reads. Below a fixed number of
//! copies nothing is counted; above, values are counted when they are made, and rows when their fields are.

use engine_event::Text;

use crate::functions::{FunctionDef, Type};
use crate::syntax::Op;

use super::ir::{Expr, FixedValue, Lookup, Origin};

/// Copies of what a rule reads that an expression or row may hold uncounted.
const FREE_COPIES: u64 = 128;

/// What a function counts that may give much more than it was given.
const AMPLIFIED: u64 = 16;

/// Functions that may give much more than they were given.
const AMPLIFIERS: [&str; 14] = [
    "gunzip",
    "jq",
    "join_to_string",
    "kv_store_get",
    "pad",
    "proc_dict_del",
    "proc_dict_get",
    "proc_dict_put",
    "regex_replace",
    "replace",
    "sprintf",
    "sprintf_s",
    "unzip",
    "zip_uncompress",
];

/// Bounds of what was compiled so far.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Copies in the value of each field, by register.
    registers: Vec<u64>,
    /// Copies in the row that is being made.
    row: u64,
    /// Copies in the row whose names hide the columns.
    merged: u64,
    /// Copies in an element of FOREACH: no more than in the field that it is an element of.
    item: u64,
}

impl Growth {
    /// Adds `*` to the row: the columns, and what FOREACH has made.
    pub(super) fn add_all(&mut self) {
        self.registers.push(1);
        self.row = self.row.saturating_add(1).saturating_add(self.merged);
    }

    /// Adds the value of a field to the row.
    pub(super) fn add_field(&mut self, value: &mut Expr) {
        let copies = self.bound(value);
        self.registers.push(copies);
        self.row = self.row.saturating_add(copies);
    }

    /// Ends a list of fields, whose row hides the columns from now on.
    pub(super) fn end_list(&mut self) {
        self.merged = self.merged.saturating_add(std::mem::take(&mut self.row));
        self.item = self.registers.last().copied().unwrap_or(1);
    }

    /// Tells whether the row is to be counted.
    pub(super) fn is_counted(&self) -> bool {
        self.row > FREE_COPIES
    }

    /// Bounds an expression: parts of it that may hold too much are counted when they are made.
    pub(super) fn bound(&mut self, expr: &mut Expr) -> u64 {
        let copies = self.copies(expr);
        if copies > FREE_COPIES && makes_values(expr) {
            let made = std::mem::replace(expr, Expr::Array(Vec::new()));
            *expr = Expr::Counted(Box::new(made));
        }
        copies
    }

    fn copies(&mut self, expr: &mut Expr) -> u64 {
        match expr {
            Expr::Constant(_) | Expr::Fails(_) => 1,
            Expr::Lookup(lookup) | Expr::Range(lookup, ..) | Expr::DecodedPayload(lookup) => {
                self.of_lookup(lookup)
            }
            Expr::Array(items) | Expr::Map(_, items) => self.sum(items).saturating_add(1),
            Expr::Call(function, arguments) => {
                let read = self.sum(arguments);
                of_call(function, read)
            }
            Expr::Arithmetic(Op::Add | Op::Concat, left, right) => {
                self.bound(left).saturating_add(self.bound(right)).saturating_add(1)
            }
            Expr::Try(choices) => choices.iter_mut().fold(1, |most, choice| most.max(self.bound(choice))),
            Expr::Conditions(branches, otherwise) => {
                let taken = self.of_branches(branches);
                taken.max(otherwise.as_deref_mut().map_or(1, |otherwise| self.bound(otherwise)))
            }
            Expr::Switch(operand, branches, otherwise) => {
                self.bound(operand);
                let taken = self.of_branches(branches);
                taken.max(otherwise.as_deref_mut().map_or(1, |otherwise| self.bound(otherwise)))
            }
            other => {
                // a number or a boolean
                other.each_child_mut(&mut |child| {
                    self.bound(child);
                });
                1
            }
        }
    }

    fn sum(&mut self, list: &mut [Expr]) -> u64 {
        list.iter_mut().fold(0, |sum, expr| sum.saturating_add(self.bound(expr)))
    }

    fn of_branches(&mut self, branches: &mut [(Expr, Expr)]) -> u64 {
        branches.iter_mut().fold(1, |most, (when, then)| {
            self.bound(when);
            most.max(self.bound(then))
        })
    }

    fn of_lookup(&self, lookup: &Lookup) -> u64 {
        lookup.candidates.iter().map(|candidate| self.of_origin(&candidate.origin)).max().unwrap_or(1)
    }

    fn of_origin(&self, origin: &Origin) -> u64 {
        match origin {
            Origin::Slot(_) | Origin::Column(..) => 1,
            Origin::Register(register) => self.of_register(*register),
            Origin::Map(entries) => self.of_entries(entries),
            Origin::Item | Origin::ItemSlot(_) => self.item.max(1),
            Origin::Output(_) => self.row.max(1),
            Origin::Merged(_) => self.merged.max(1),
        }
    }

    fn of_fixed(&self, value: &FixedValue) -> u64 {
        match value {
            FixedValue::Register(register) => self.of_register(*register),
            FixedValue::Map(entries) => self.of_entries(entries),
        }
    }

    fn of_entries(&self, entries: &[(Text, FixedValue)]) -> u64 {
        entries.iter().fold(1, |sum, (_, value)| sum.saturating_add(self.of_fixed(value)))
    }

    fn of_register(&self, register: usize) -> u64 {
        self.registers.get(register).copied().unwrap_or(1)
    }
}

/// What a call holds whose arguments hold `read` copies.
fn of_call(function: &FunctionDef, read: u64) -> u64 {
    match function.returns {
        Type::Bool | Type::Int | Type::Float | Type::Number => 1,
        _ if AMPLIFIERS.contains(&function.name) => read.saturating_add(AMPLIFIED),
        _ => read.saturating_add(1),
    }
}

/// Tells whether the expression itself puts values together. Texts are counted when they are made.
fn makes_values(expr: &Expr) -> bool {
    match expr {
        Expr::Array(_) | Expr::Map(..) => true,
        Expr::Call(function, _) => matches!(function.returns, Type::Any | Type::Array | Type::Map),
        _ => false,
    }
}
