//! Command lines that can't be.

use super::{GOOD, Turn, snapshot};

#[test]
fn usage() {
    let turns = [
        Turn::new("a command that doesn't exist", "start"),
        Turn::new("a command that is misspelt", "chek"),
        Turn::new("a flag that is misspelt", "check --ofline"),
        Turn::new("a flag without its value", "check -c"),
        Turn::new("two flags that contradict", "check --offline --sample 5"),
        Turn::new("a sample without end", "check --sample 1000000"),
        Turn::new("a form that doesn't exist", "check -o yaml"),
        Turn::new("a --set without value", "check --offline --set workers").file("tidegate.yaml", GOOD),
        Turn::new("a --set of a misspelt section", "lint --set kafak.bootstrap.servers=a:9092")
            .file("tidegate.yaml", GOOD),
        Turn::new("a --set of a misspelt key of a route", "lint --set routes[0].tabel=public.x")
            .file("tidegate.yaml", GOOD),
        Turn::new("a --set of a route that isn't there", "lint --set routes[3].table=public.x")
            .file("tidegate.yaml", GOOD),
        Turn::new(
            "a --set with a password in a wrong value",
            "lint --set postgres.url=mysql://app:geheim@h/d",
        )
        .file("tidegate.yaml", GOOD),
    ];
    snapshot("usage", &turns);
}
