//! What an expression comes to for one record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, OnceLock};

use cel::common::types::{CelBool, CelNull};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Value};

use super::values::{Part, document, scalar, text};
use super::{Asks, Expression, Input};

/// The language, made once: making it takes longer than evaluating thousands of expressions.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

pub(super) fn language() -> &'static Arc<Env> {
    &LANGUAGE
}

/// The inputs of an expression, in one record.
struct Inputs<'r, F> {
    inputs: &'r [Input],
    parts: F,
    /// Why an input that was asked for has no value.
    problem: OnceLock<String>,
}

impl<'r, F: Fn(usize) -> Part<'r>> Inputs<'r, F> {
    fn value(&self, place: usize) -> Option<CowVal<'r, 'r>> {
        let Input { label, asks, .. } = self.inputs.get(place)?;
        let part = (self.parts)(place);
        let found = match (asks, part) {
            (Asks::Presence, part) => {
                let is_there = !matches!(part, Part::Absent | Part::Blocked | Part::Null);
                Ok(CowVal::owned(CelBool::from(is_there)))
            }
            (_, Part::Blocked) => Err("can't be reached: a field on its path isn't an object"),
            (_, Part::Absent) => Err("is absent"),
            (Asks::Match(_), Part::Null) => Err("is null, not text"),
            (Asks::Value | Asks::Document, Part::Null) => Ok(CowVal::owned(CelNull)),
            (Asks::Value, found) => scalar(found).ok_or("isn't a value of CEL"),
            (Asks::Document, found) => document(found).ok_or("isn't a value of CEL"),
            (Asks::Match(pattern), found) => match text(found) {
                Some(text) => Ok(CowVal::owned(CelBool::from(pattern.is_match(&text)))),
                None => Err("isn't text"),
            },
        };
        found.map_err(|what| self.problem.set(format!("{label} {what}"))).ok()
    }
}

impl<'r, F: Fn(usize) -> Part<'r> + Send + Sync> VariableResolver for Inputs<'r, F> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let place = variable.strip_prefix('$')?.parse().ok()?;
        self.value(place)
    }
}

impl Expression {
    /// Whether the expression is true of a record, of which `parts` gives the inputs by their numbers.
    ///
    /// # Errors
    /// It can't be told, and why: a field is absent, or of another type than the expression takes. Values are
    /// never quoted.
    pub(crate) fn holds<'r>(
        &'r self,
        parts: impl Fn(usize) -> Part<'r> + Send + Sync,
    ) -> Result<bool, String> {
        let inputs = Inputs { inputs: &self.inputs, parts, problem: OnceLock::new() };
        let mut context = Context::with_env(Arc::clone(language()));
        context.set_variable_resolver(&inputs);
        // A panic of the interpreter is a record that can't be judged, not the end of a lane.
        let found = catch_unwind(AssertUnwindSafe(|| Value::resolve(&self.program, &context)));
        match found {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(_)) => Err("it comes to something else than true or false".to_owned()),
            Ok(Err(ExecutionError::UndeclaredReference(_))) => Err(inputs
                .problem
                .get()
                .cloned()
                .unwrap_or_else(|| "it asks for what isn't there".to_owned())),
            Ok(Err(error)) => Err(words(&error)),
            Err(_) => Err("it can't be evaluated".to_owned()),
        }
    }
}

/// An error of the interpreter without the values that it quotes.
fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(_) => "a field or key that it asks for isn't there".to_owned(),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            format!("{} doesn't take ({types})", overload.function().trim_matches('_'))
        }
        // What it met can be the value itself.
        ExecutionError::UnexpectedType { want, .. } => format!("it takes {want}, and met something else"),
        ExecutionError::FunctionError { function, .. } => format!("the function {function} fails"),
        ExecutionError::ValuesNotComparable(..) => "it compares what can't be compared".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number becomes too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index lies outside of its list".to_owned(),
        _ => "it can't be evaluated".to_owned(),
    }
}
