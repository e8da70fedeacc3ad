//! What users and machines meet: the HTTP endpoints and the command line.

mod command_line;
mod crowd;
mod dumps;
mod http;
mod rules;
mod runs;
mod servers;
mod service;
mod supervised;
mod wrong_turns;

use std::process::{Command, Output};

/// Runs the program with nothing in its environment but what is given.
fn tidegate(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("the program can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("standard output is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("standard error is text")
}
