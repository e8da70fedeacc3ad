//! From text to a program in which what is asked of the record has numbers.

use std::fmt;
use std::panic::catch_unwind;

use cel::IdedExpr;
use cel::common::ast::operators::INDEX;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo};
use regex::RegexBuilder;

use super::evaluate::language;
use super::{Asks, Expression, Input};
use crate::source::Source;

/// What an expression sees.
const NAMES: [&str; 7] = ["record", "key", "headers", "topic", "partition", "offset", "timestamp"];

/// The functions of the language, apart from operators and the macros `has`, `all`, `exists`, `exists_one`,
/// `map` and `filter`.
pub(super) const FUNCTIONS: [&str; 25] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "timestamp",
    "duration",
    "type",
    "dyn",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// Types as values, which `type(x)` is compared with.
const TYPES: [&str; 9] = ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type"];

/// Characters of an expression, and how deep its parts may stand in each other: compiling and evaluating go
/// as deep, on a lane's stack.
pub(super) const CHARACTERS_MAX: usize = 2048;
const DEPTH_MAX: usize = 64;
/// The stack that the parser gets: it goes through a dozen functions for each bracket.
const PARSER_STACK: usize = 64 << 20;

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Why a text is no expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpressionError {
    /// The character at which it goes wrong, from 1, where that is known.
    pub character: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.character {
            Some(character) => write!(f, "at character {character}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ExpressionError {}

impl Expression {
    /// Compiles a text.
    ///
    /// # Errors
    /// It isn't CEL, or names something that isn't there, with the place.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        shallow(text)?;
        // The crate's parser has panics of its own.
        let compiled = stacker::grow(PARSER_STACK, || catch_unwind(|| language().compile(text)));
        let program = match compiled {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => return Err(syntax(text, errors)),
            Err(_) => return Err(whole("it can't be read as CEL")),
        };
        let mut program_of =
            Rewriter { places: program.source_info(), inputs: Vec::new(), scope: Vec::new(), depth: 0 };
        let mut rewritten = program.expression().clone();
        program_of.rewrite(&mut rewritten)?;
        let inputs = program_of.inputs;
        Ok(Self { text: text.to_owned(), program: rewritten, inputs })
    }
}

/// Refuses what would go too deep.
fn shallow(text: &str) -> Result<(), ExpressionError> {
    if text.chars().count() > CHARACTERS_MAX {
        return Err(whole(format!("it is longer than {CHARACTERS_MAX} characters")));
    }
    let mut depth = 0_usize;
    for (place, character) in text.chars().enumerate() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("brackets stand deeper than {DEPTH_MAX} in each other");
            return Err(ExpressionError { character: Some(place + 1), message });
        }
    }
    Ok(())
}

fn whole(message: impl Into<String>) -> ExpressionError {
    ExpressionError { character: None, message: message.into() }
}

fn syntax(text: &str, errors: cel::ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.into_iter().next() else { return whole("it can't be read as CEL") };
    let (line, column) = (first.pos.0.max(1) as usize, first.pos.1.max(1) as usize);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    let message = match first.msg.split_once(" expecting ").map_or(&*first.msg, |(what, _)| what).trim() {
        what if what.contains("<EOF>") => "it ends too early".to_owned(),
        what => what.trim_start_matches("Syntax error: ").to_owned(),
    };
    ExpressionError { character: Some(before + column), message }
}

/// The name under which the program asks for an input; no name of the language begins like this.
pub(super) fn numbered(place: usize) -> String {
    format!("${place}")
}

struct Rewriter<'p> {
    places: &'p SourceInfo,
    inputs: Vec<Input>,
    /// Names that the macros around have brought in.
    scope: Vec<String>,
    depth: usize,
}

/// A name with the fields that lead on from it.
struct Path<'e> {
    root: &'e str,
    fields: Vec<String>,
}

/// Reads `a.b["c"]`; `None` for what isn't a path.
fn path(expr: &Expr) -> Option<Path<'_>> {
    match expr {
        Expr::Ident(root) => Some(Path { root, fields: Vec::new() }),
        Expr::Select(SelectExpr { operand, field, test: false }) => {
            let mut path = path(&operand.expr)?;
            path.fields.push(field.clone());
            Some(path)
        }
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == INDEX => {
            let [of, field] = &args[..] else { return None };
            let Expr::Literal(LiteralValue::String(field)) = &field.expr else { return None };
            let mut path = path(&of.expr)?;
            path.fields.push(field.inner().to_owned());
            Some(path)
        }
        _ => None,
    }
}

impl Rewriter<'_> {
    fn wrong(&self, at: u64, message: impl Into<String>) -> ExpressionError {
        let place = self.places.offset_for(at).map(|(start, _)| start as usize);
        let character = place.map(|bytes| self.places.source.chars().count().min(bytes) + 1);
        ExpressionError { character, message: message.into() }
    }

    fn rewrite(&mut self, node: &mut IdedExpr) -> Result<(), ExpressionError> {
        if self.depth == DEPTH_MAX {
            return Err(whole(format!("more than {DEPTH_MAX} of its parts stand in each other")));
        }
        self.depth += 1;
        let done = self.rewrite_here(node);
        self.depth -= 1;
        done
    }

    fn rewrite_here(&mut self, node: &mut IdedExpr) -> Result<(), ExpressionError> {
        if let Some(name) = self.input(node)? {
            node.expr = Expr::Ident(name);
            return Ok(());
        }
        let id = node.id;
        match &mut node.expr {
            Expr::Ident(name) => self.known(id, name),
            Expr::Select(SelectExpr { operand, .. }) => self.rewrite(operand),
            Expr::Call(call) => {
                self.known_function(id, &call.func_name)?;
                call.target.iter_mut().try_for_each(|target| self.rewrite(target))?;
                call.args.iter_mut().try_for_each(|argument| self.rewrite(argument))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.rewrite(element)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr)),
            Expr::Struct(_) => Err(self.wrong(id, "it makes a message, of which there are no types here")),
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry(&mut self, entry: &mut EntryExpr) -> Result<(), ExpressionError> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.rewrite(&mut entry.key)?;
                self.rewrite(&mut entry.value)
            }
            EntryExpr::StructField(field) => self.rewrite(&mut field.value),
        }
    }

    fn comprehension(&mut self, of: &mut ComprehensionExpr) -> Result<(), ExpressionError> {
        self.rewrite(&mut of.iter_range)?;
        self.rewrite(&mut of.accu_init)?;
        let outside = self.scope.len();
        self.scope.extend([of.iter_var.clone(), of.accu_var.clone()]);
        self.scope.extend(of.iter_var2.clone());
        for inside in [&mut of.loop_cond, &mut of.loop_step, &mut of.result] {
            self.rewrite(inside)?;
        }
        self.scope.truncate(outside);
        Ok(())
    }

    fn known(&self, id: u64, name: &str) -> Result<(), ExpressionError> {
        if self.scope.iter().any(|known| known == name) || TYPES.contains(&name) {
            return Ok(());
        }
        let names = NAMES.join(", ");
        Err(self.wrong(id, format!("there is no `{name}`; an expression sees {names}")))
    }

    fn known_function(&self, id: u64, name: &str) -> Result<(), ExpressionError> {
        // As the parser calls them: `_+_`, `!_`, `_[_]`, `@in`.
        let is_operator = name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if is_operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        let functions = FUNCTIONS.join(", ");
        Err(self.wrong(id, format!("there is no function `{name}`; there are {functions}")))
    }

    /// The name of the input that a node stands for, if it is one.
    fn input(&mut self, node: &IdedExpr) -> Result<Option<String>, ExpressionError> {
        let (path, asks) = match &node.expr {
            Expr::Select(SelectExpr { operand, field, test: true }) => match path(&operand.expr) {
                Some(mut path) => {
                    path.fields.push(field.clone());
                    (Some(path), Asks::Presence)
                }
                None => (None, Asks::Presence),
            },
            Expr::Call(CallExpr { func_name, target: Some(target), args }) if func_name == "matches" => {
                let [pattern] = &args[..] else { return Ok(None) };
                let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else { return Ok(None) };
                let built = RegexBuilder::new(text.inner()).size_limit(PATTERN_BYTES_MAX).build();
                let regex = built.map_err(|error| {
                    // The last line says what is wrong; those before it draw the pattern.
                    let text = error.to_string();
                    let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    self.wrong(pattern.id, format!("the pattern: {what}"))
                })?;
                (path(&target.expr), Asks::Match(regex))
            }
            expr => (path(expr), Asks::Value),
        };
        let Some(Path { root, fields }) = path else { return Ok(None) };
        if self.scope.iter().any(|known| known == root) || !NAMES.contains(&root) {
            return Ok(None);
        }
        let label = [&[root.to_owned()][..], &fields].concat().join(".");
        let (source, asks) = match (root, &fields[..], asks) {
            ("record", [], Asks::Value) => (Source::Value, Asks::Document),
            ("record", [], asks) => (Source::Value, asks),
            ("record", _, asks) => (Source::Field(fields), asks),
            ("key", [], asks) => (Source::Key, asks),
            ("key", _, asks) => (Source::KeyField(fields), asks),
            ("headers", [name], asks) => (Source::Header(name.clone()), asks),
            ("headers", _, _) => {
                return Err(self.wrong(node.id, "name one header: headers.NAME or headers[\"NAME\"]"));
            }
            ("topic", [], asks) => (Source::Topic, asks),
            ("partition", [], asks) => (Source::Partition, asks),
            ("offset", [], asks) => (Source::Offset, asks),
            ("timestamp", [], asks) => (Source::Timestamp, asks),
            (root, ..) => return Err(self.wrong(node.id, format!("{root} has no fields"))),
        };
        self.inputs.push(Input { source, label, asks });
        Ok(Some(numbered(self.inputs.len() - 1)))
    }
}
