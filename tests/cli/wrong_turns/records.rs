//! Records and tables that don't fit, as `check` tells them on real servers.

use lab::sql;
use tidegate::postgres::ledger::Ledger;

use super::super::servers::Place;
use super::super::{stderr, stdout};
use super::written;

/// What a command says, without what differs from run to run.
pub(super) fn told(place: &Place, title: &str, command: &str) -> String {
    let output = place.call(command);
    let config = place.config();
    let said = stdout(&output) + &stderr(&output);
    let said = said.replace(&place.fresh.topic, "TOPIC").replace(&place.fresh.pipeline, "PIPELINE");
    let said = said.replace(config.to_str().unwrap(), "FILE").replace(&place.fresh.database, "DATABASE");
    let said = said.replace(&place.fresh.postgres_address, "HOST:PORT");
    let said = said.replace(&format!("version {}", Ledger::VERSION), "version N");
    format!("=== {title}\n$ tidegate {command}\n{said}→ exit code {}\n\n", output.status.code().unwrap())
}

const TABLE: &str =
    "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric(10,2) NOT NULL, note text)";

#[test]
fn records() {
    let mut text = String::new();
    let kinds: [(&str, &[&[u8]]); 8] = [
        ("an empty topic", &[]),
        ("Confluent's wire format", &[b"\x00\x00\x00\x00\x11\x02\x08abc"]),
        ("gzip", &[b"\x1f\x8b\x08\x00\x00"]),
        ("a byte order mark", &[b"\xef\xbb\xbf{\"id\":1,\"amount\":2}"]),
        ("an Avro file", &[b"Obj\x01\x04\x14"]),
        ("MessagePack", &[b"\x82\xa2id\x01\xa6amount\x02"]),
        ("JSON that is encoded twice", &[br#""{\"id\":1,\"amount\":2}""#]),
        (
            "several at once",
            &[
                br#"{"id":1,"amount":2}"#,
                br#"{"id":2}"#,
                br#"{"id":3,"amount":"x"}"#,
                br#"{"id":4,"amount":"y"}"#,
                b"no json",
            ],
        ),
    ];
    for (title, values) in kinds {
        let place = Place::new("wrong_records").with_table();
        place.expect("init", 0);
        place.put_bytes(0, values);
        text += &told(&place, title, "check");
    }
    written("records", text);
}

#[test]
fn tables() {
    let mut text = String::new();
    let role = format!("weak_{:x}", std::process::id());
    let mut told = |title: &str, ddl: &str, as_role: bool| {
        let mut place = Place::new("wrong_tables");
        place.put(0, &[r#"{"id":1,"amount":2}"#]);
        let superuser = place.fresh.superuser_url.clone();
        let run = |text: &str| sql::query(&superuser, text).unwrap();
        if as_role {
            run(&format!("CREATE ROLE {role} LOGIN"));
        }
        place.sql(&ddl.replace("ROLE", &role));
        if as_role {
            place.fresh.url = place.fresh.url.replace("app@", &format!("{role}@"));
        }
        text += &self::told(&place, title, "check").replace(&role, "ROLE");
        if as_role {
            run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
        }
    };
    told("no table", "SELECT 1", false);
    told(
        "partitions without a default",
        {
            "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric NOT NULL) PARTITION BY RANGE (id); \
         CREATE TABLE public.events_1 PARTITION OF public.events FOR VALUES FROM (0) TO (10); \
         CREATE TABLE public.events_2 PARTITION OF public.events FOR VALUES FROM (10) TO (20)"
        },
        false,
    );
    told(
        "no partition",
        {
            "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric NOT NULL) PARTITION BY RANGE (id)"
        },
        false,
    );
    told("a role without rights", TABLE, true);
    let partly = format!(
        "{TABLE}; GRANT USAGE ON SCHEMA public TO ROLE; GRANT SELECT, UPDATE ON public.events TO ROLE; \
         GRANT INSERT (id) ON public.events TO ROLE"
    );
    told("a role with rights on a column", &partly, true);
    let sequence = "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric, number bigserial); \
         GRANT USAGE ON SCHEMA public TO ROLE; GRANT SELECT, INSERT, UPDATE ON public.events TO ROLE";
    told("a sequence that may not be used", sequence, true);
    written("tables", text);
}

#[test]
fn a_member_that_doesn_t_inherit_is_told_what_lets_it() {
    let mut place = Place::new("wrong_member").with_table();
    place.put(0, &[r#"{"id":1,"amount":2}"#]);
    place.expect("init", 0);
    let (role, group) = (format!("m_{:x}", std::process::id()), format!("g_{:x}", std::process::id()));
    let superuser = place.fresh.superuser_url.clone();
    let run = |text: &str| sql::query(&superuser, text).unwrap();
    run(&format!(
        "CREATE ROLE {group}; CREATE ROLE {role} LOGIN NOINHERIT IN ROLE {group}; \
         GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT, INSERT, UPDATE ON public.events TO {group}"
    ));
    place.fresh.url = place.fresh.url.replace("app@", &format!("{role}@"));
    let refused = place.call("init");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("`tidegate check` names the grants"), "{}", stderr(&refused));
    let report = place.json("check", 3);
    let findings = report["findings"].as_array().unwrap().iter();
    let insert = findings
        .filter(|finding| finding["code"] == "privilege")
        .find(|finding| finding["finding"].as_str().is_some_and(|text| text.contains("INSERT to write it")))
        .unwrap();
    let (text, remedy) = (insert["finding"].as_str().unwrap(), insert["remedy"].as_str().unwrap());
    assert!(text.contains(&format!("a member of {group}, which has it, and doesn't inherit")), "{text}");
    // What is told helps.
    run(remedy);
    let report = place.json("check", 3).to_string();
    assert!(!report.contains("to write it"), "{report}");
    run(&format!("DROP OWNED BY {role}, {group}; DROP ROLE {role}, {group}"));
}
