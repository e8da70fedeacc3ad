//! Variables that aren't spelt as their keys are.

use super::{GOOD, Turn, snapshot};

#[test]
fn environment() {
    let turn =
        |title, name, value| Turn::new(title, "lint").file("tidegate.yaml", GOOD).variable(name, value);
    let own = GOOD.replace("app:geheim", "${TIDEGATE_POSTGRES_URL}");
    let turns = [
        turn("one underscore for two", "TIDEGATE_POSTGRES_URL", "postgres://app:geheim@h/d"),
        turn("two underscores, then one", "TIDEGATE__POSTGRES_URL", "postgres://app:geheim@h/d"),
        turn("a property of Kafka with one underscore", "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", "a:9092"),
        turn("a route's key with one underscore", "TIDEGATE_ROUTES_0_TABLE", "public.x"),
        turn("a misspelt section", "TIDEGATE__LIMIT__BATCH_ROWS", "5"),
        turn("a wrong value", "TIDEGATE__WORKERS", "many"),
        turn("what Kubernetes sets for a service of this name", "TIDEGATE_PORT", "tcp://10.0.0.1:9464"),
        Turn::new("a variable of the user's own", "lint")
            .file("tidegate.yaml", own)
            .variable("TIDEGATE_POSTGRES_URL", "app"),
        Turn::new("a variable that the file names and nobody sets", "lint")
            .file("tidegate.yaml", GOOD.replace("geheim", "${DATABASE_PASSWORD}")),
    ];
    snapshot("environment", &turns);
}
