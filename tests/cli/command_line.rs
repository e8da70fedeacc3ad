//! Arguments, help and exit codes: all that needs no server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{stderr, stdout, tidegate};

/// All commands, the words of nested ones behind each other.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        all.push(path.to_vec());
        for inner in command.get_subcommands() {
            let path = [path, &[inner.get_name().to_owned()]].concat();
            walk(inner, &path, all);
        }
    }
    let mut all = Vec::new();
    walk(&tidegate::cli::command(), &[], &mut all);
    all
}

fn configuration(folder: &TempDir, listen: &str) -> PathBuf {
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "pipeline: orders\nkafka: {{bootstrap.servers: \"127.0.0.1:1\"}}\n\
         postgres: {{url: \"postgres://app:geheim@127.0.0.1:1/app\"}}\ntimeouts: {{connect: 1s}}\n\
         http: {{listen: \"{listen}\"}}\nroutes:\n  - {{topic: events, table: public.events, key: [id]}}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn each_help_is_as_the_snapshot_says_and_starts_with_examples() {
    for path in commands() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = tidegate(&arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let text = stdout(&output);
        assert!(text.starts_with("Examples:\n  tidegate"), "{arguments:?}\n{text}");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 120).collect();
        assert!(wide.is_empty(), "{arguments:?} is too wide: {wide:?}");
        let name = if path.is_empty() { "tidegate".to_owned() } else { path.join("_") };
        insta::assert_snapshot!(format!("help_{name}"), text);
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_meant() {
    let cases: [(&[&str], &str); 8] = [
        (&["stats"], "a similar subcommand exists: 'status'"),
        (&["status", "--wach"], "a similar argument exists: '--watch'"),
        (&["status", "-o", "xml"], "[possible values: table, json, ndjson]"),
        (&["quarantine"], "Usage: tidegate quarantine"),
        (&["quarantine", "show", "--partition", "1"], "--offset"),
        (&["quarantine", "list", "--since", "gestern"], "nor an age such as 30m, 2h or 7d"),
        (&["init", "--print", "--dry-run"], "cannot be used with"),
        (&[], "Usage: tidegate"),
    ];
    for (arguments, expected) in cases {
        let output = tidegate(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}\n{}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn the_version_is_told() {
    let output = tidegate(&["--version"], &[]);
    assert_eq!(
        (output.status.code(), stdout(&output).trim()),
        (Some(0), concat!("tidegate ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn a_configuration_that_can_t_be_used_ends_with_2_and_names_the_file() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("nowhere.yaml");
    for command in ["status", "verify", "init", "health"] {
        let output = tidegate(&[command, "-c", missing.to_str().unwrap()], &[]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(stderr(&output).contains("nowhere.yaml"), "{}", stderr(&output));
    }
    let path = configuration(&folder, "127.0.0.1:1");
    let output = tidegate(&["verify", "--set", "workres=3"], &[("TIDEGATE_CONFIG", path.to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("workers"), "{}", stderr(&output));
}

#[test]
fn a_database_that_can_t_be_reached_ends_with_4_without_telling_the_password() {
    let folder = TempDir::new().unwrap();
    let path = configuration(&folder, "127.0.0.1:1");
    let path = path.to_str().unwrap();
    let cases: [&[&str]; 5] = [
        &["status", "-c", path],
        &["verify", "-c", path],
        &["init", "-c", path],
        &["quarantine", "list", "-c", path],
        &["-c", path, "quarantine", "show", "--partition", "0", "--offset", "1"],
    ];
    for arguments in cases {
        let output = tidegate(arguments, &[]);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}\n{}", stderr(&output));
        assert!(stderr(&output).contains("127.0.0.1"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("geheim"), "{}", stderr(&output));
    }
}

#[test]
fn a_log_filter_that_can_t_be_read_is_wrong_usage() {
    let output = tidegate(&["verify"], &[("RUST_LOG", "a=loud")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: RUST_LOG is no log level"), "{}", stderr(&output));
}

#[test]
fn init_prints_the_ledger_s_sql_without_any_server() {
    let folder = TempDir::new().unwrap();
    let path = configuration(&folder, "127.0.0.1:1");
    let output = tidegate(
        &["init", "--print", "-c", path.to_str().unwrap(), "--set", "postgres.ledger=my_ledger"],
        &[],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let sql = stdout(&output);
    assert!(sql.contains("CREATE SCHEMA \"my_ledger\"") && sql.contains("GRANT"), "{sql}");
}

#[test]
fn a_check_without_servers_connects_to_nothing() {
    let folder = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "pipeline: orders\npostgres: {{url: \"postgres://app@{address}/app\"}}\nhttp: {{listen: \"{address}\"}}\n\
         kafka:\n  bootstrap.servers: \"{address}\"\n  security.protocol: sasl_plaintext\n  \
         sasl.mechanisms: OAUTHBEARER\n  sasl.oauthbearer.method: oidc\n  sasl.oauthbearer.client.id: me\n  \
         sasl.oauthbearer.client.secret: geheim\n  sasl.oauthbearer.token.endpoint.url: \"http://{address}/t\"\n\
         routes:\n  - {{topic: events, table: public.events, key: [id]}}\n"
    );
    std::fs::write(&path, text).unwrap();
    for command in [&["lint"][..], &["validate"], &["check", "--offline"]] {
        let output = tidegate(&[command, &["-c", path.to_str().unwrap()]].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{command:?}\n{}{}", stdout(&output), stderr(&output));
        let met = listener.accept().err().map(|error| error.kind());
        assert_eq!(met, Some(std::io::ErrorKind::WouldBlock), "{command:?} connects");
    }
}

#[test]
fn completions_and_manual_cover_each_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = tidegate(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("until") || stdout(&output).contains("quarantine"), "{shell}");
    }
    for path in commands() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let output = tidegate(&[&["man"], &words[..]].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{path:?}");
        let page = stdout(&output);
        let name = [&["tidegate"], &words[..]].concat().join("-");
        assert!(page.contains(".TH") && page.contains(&name.replace('-', "\\-")), "{name}\n{page}");
        assert!(page.contains("Examples"), "{name}\n{page}");
    }
    assert_eq!(tidegate(&["man", "nothing"], &[]).status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

/// Answers one HTTP request with this text and gives the request's first line.
fn answer(listener: TcpListener, text: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let head: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        stream.write_all(text.as_bytes()).unwrap();
        head[0].clone()
    })
}

#[test]
fn health_asks_livez_and_ends_as_the_answer_says() {
    let folder = TempDir::new().unwrap();
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n", 0, ""),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nlane-0: no beat for 61 s\n", 1, "lane-0: no beat for 61 s"),
    ];
    for (text, code, told) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let path = configuration(&folder, &format!("0.0.0.0:{}", address.port()));
        let asked = answer(listener, text);
        let output = tidegate(&["health", "-c", path.to_str().unwrap()], &[]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(asked.join().unwrap(), "GET /livez HTTP/1.1");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let probes = format!("http.probes={}", listener.local_addr().unwrap());
    let path = configuration(&folder, "127.0.0.1:1");
    let asked = answer(listener, cases[0].0);
    let output = tidegate(&["health", "-c", path.to_str().unwrap(), "--set", &probes], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(asked.join().unwrap(), "GET /livez HTTP/1.1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = configuration(&folder, &listener.local_addr().unwrap().to_string());
    let path = path.to_str().unwrap();
    let silent = tidegate(&["health", "-c", path, "--timeout", "1"], &[]);
    assert_eq!(silent.status.code(), Some(1), "{}", stderr(&silent));
    drop(listener);
    let refused = tidegate(&["health", "-c", path], &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("tidegate run"), "{}", stderr(&refused));
}

#[test]
fn the_documentation_names_each_command_and_flag() {
    let page = include_str!("../../docs/COMMANDS.md");
    for path in commands().iter().filter(|path| !path.is_empty()) {
        let mut command = tidegate::cli::command();
        for word in path {
            command = command.find_subcommand(word).unwrap().clone();
        }
        assert!(page.contains(&path.join(" ")), "{path:?} isn't in docs/COMMANDS.md");
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(
                page.contains(&format!("`--{flag}")) || page.contains(&format!(" --{flag}")),
                "--{flag} of {path:?}"
            );
        }
    }
}
