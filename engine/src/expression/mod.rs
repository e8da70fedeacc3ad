//! Expressions that people write about records, in CEL (<https://cel.dev>): compiled once, evaluated for each
//! record. The only place that knows the crate `cel`.
//!
//! An expression sees `record` (the value's fields), `key`, `headers`, `topic`, `partition`, `offset` and
//! `timestamp`. What it asks for is known when it is compiled, so that a record's reader notes where those
//! fields stand, and nothing else of the record is ever turned into a value of the language. Whole numbers
//! are `int` (`uint` beyond its range), others `double`; a field that is absent ends the evaluation.

mod compile;
mod evaluate;
#[cfg(test)]
mod tests;
mod values;

use cel::IdedExpr;
use regex::Regex;

pub use self::compile::ExpressionError;
pub(crate) use self::values::Part;
use crate::source::Source;

/// A compiled expression. It has no state: any number of threads may evaluate it.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: IdedExpr,
    inputs: Vec<Input>,
}

/// What an expression asks of a record.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The part of the record.
    pub(crate) source: Source,
    /// What it is called in messages.
    label: String,
    asks: Asks,
}

/// What is asked about a part of a record.
#[derive(Clone, Debug)]
enum Asks {
    /// Its value.
    Value,
    /// Its value, which is JSON as a whole.
    Document,
    /// Whether it is there and not null.
    Presence,
    /// Whether it is text that holds a match. Patterns are compiled with the expression: the language's own
    /// function would do it for each record.
    Match(Regex),
}

impl Expression {
    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it asks for, in the order in which it is given.
    pub(crate) fn inputs(&self) -> &[Input] {
        &self.inputs
    }
}
