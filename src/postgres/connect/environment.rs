//! Where settings of a connection come from beside its string.

/// A look at one variable of the environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;
