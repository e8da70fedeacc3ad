//! Whatever a file holds, loading it answers with settings or with problems.

use proptest::prelude::*;
use tidegate::config::FileFormat::{Json, Toml, Yaml};

use super::{BASE, parse_with};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_answered(source in "\\PC{0,80}") {
        for format in [Yaml, Toml, Json] {
            let answer = parse_with(&source, format, &[], &[]);
            prop_assert!(answer.is_err(), "nothing this short is a whole configuration: {:?}", source);
        }
    }

    #[test]
    fn any_override_is_answered(key in "[a-z0-9_.]{0,30}", value in "\\PC{0,30}") {
        let variable = format!("TIDEGATE__{}", key.to_uppercase());
        let set = format!("{key}={value}");
        let _ = parse_with(BASE, Yaml, &[(&variable, &value)], &[&set]);
    }

    #[test]
    fn any_value_is_answered_at_every_key(value in "[ -~]{0,20}", key in prop::sample::select(vec![
        "workers", "start", "limits.memory", "limits.linger", "routes.0.topic", "routes.0.table",
        "routes.0.key", "routes.0.columns.x", "postgres.url", "http.listen", "http.probes", "http.hosts",
        "bad_records.halt_above", "kafka.client.id",
    ])) {
        if let Ok(settings) = parse_with(BASE, Yaml, &[], &[&format!("{key}={value}")]) {
            // What is accepted is printed in a form that is accepted again, with the same meaning.
            let printed = settings.redacted();
            if !printed.to_string().contains("***") {
                let again = parse_with(&printed.to_string().replace('$', "$$"), Json, &[], &[]);
                match again {
                    Ok(again) => prop_assert_eq!(again.redacted(), printed),
                    Err(error) => prop_assert!(false, "{} printed as {}: {}", value, printed, error),
                }
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_as_such() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (format, source, reason) in [
        (Yaml, deep.clone(), "recursion limit exceeded"),
        (Toml, format!("a = {deep}"), "max recursion depth"),
        (Json, deep.clone(), "nested too deep"),
    ] {
        match parse_with(&source, format, &[], &[]) {
            Ok(_) => panic!("{format:?} was accepted"),
            Err(error) => assert!(error.to_string().contains(reason), "{error}"),
        }
    }
}
