//! Keys and values that can't be, each with its line.

use super::{GOOD, Turn, snapshot};

fn turn(title: &'static str, text: String) -> Turn {
    Turn::new(title, "check -c orders.yaml").file("orders.yaml", text)
}

#[test]
fn syntax() {
    let turns = [
        turn("a tab", GOOD.replace("  bootstrap", "\tbootstrap")),
        turn("an open quote", GOOD.replace("public.orders", "\"public.orders")),
        turn("a bracket that isn't closed", GOOD.replace("[id]", "[id")),
        turn("a key without a blank behind its colon", GOOD.replace("pipeline: ", "pipeline:")),
        turn("too deep a line", GOOD.replace("    table", "      table")),
        turn("two documents", format!("{GOOD}---\n{GOOD}")),
        turn("a reference in a flow section", GOOD.replace("{connect: 1s}", "{connect: ${WAIT}}")),
        turn("a template that was never rendered", GOOD.replace("127.0.0.1:1/app", "{{ host }}/app")),
        turn("a mistake behind a password", GOOD.replace("/app\n", "/app: x\n")),
    ];
    snapshot("syntax", &turns);
}

#[test]
fn keys() {
    let turns = [
        turn("a misspelt section", GOOD.replace("timeouts", "tiemouts")),
        turn("a misspelt key", GOOD.replace("table", "tabel")),
        turn("a dotted key at the top", GOOD.replace("kafka:\n  bootstrap", "kafak.bootstrap")),
        turn("a key of another section", format!("{GOOD}batch_rows: 5\n")),
        turn("a property of Kafka at the top", format!("{GOOD}client.id: me\n")),
        turn("a property of the Java client", GOOD.replace("bootstrap.servers", "max.poll.records")),
        turn("a property that Tidegate owns", format!("{}    enable.auto.commit: true\n", kafka_last())),
        turn("a misspelt password", GOOD.replace("bootstrap.servers: 127.0.0.1:1", "sasl.pasword: geheim")),
        turn("a password, then a misspelt property", {
            GOOD.replace("  bootstrap", "  sasl.password: geheim\n  clent.id: me\n  bootstrap")
        }),
        turn("a misspelt connection string", GOOD.replace("url", "ulr")),
        turn("a key twice", format!("{GOOD}pipeline: again\n")),
        turn("no routes", GOOD.split("routes").next().unwrap().to_owned()),
        turn("a route without a table", GOOD.replace("    table: public.orders\n", "")),
        turn(
            "a long line",
            format!("{GOOD}http: {{hosts: [{}], lisen: '0.0.0.0:80'}}\n", "a.example.com, ".repeat(12)),
        ),
    ];
    snapshot("keys", &turns);
}

/// The complete configuration with `kafka` at its end.
fn kafka_last() -> String {
    let kafka = "kafka:\n  bootstrap.servers: 127.0.0.1:1\n";
    GOOD.replace(kafka, "") + "kafka:\n    bootstrap.servers: 127.0.0.1:1\n"
}

#[test]
fn values() {
    let turns = [
        turn("a duration without unit", GOOD.replace("1s", "1")),
        turn("a number out of range", format!("{GOOD}workers: 100\n")),
        turn("a word that isn't one of a few", GOOD.replace("key:", "write: upset\n    key:")),
        turn("a source that doesn't exist", GOOD.replace("key:", "columns: {at: $timestmap}\n    key:")),
        turn("a route without a key", GOOD.replace("    key: [id]\n", "")),
        turn("a pipeline with a blank", GOOD.replace("pipeline: orders", "pipeline: my orders  # mine")),
        turn("a connection string of another kind", GOOD.replace("postgres://", "jdbc:postgresql://")),
        turn("an address by name", format!("{GOOD}http: {{listen: 'localhost:9464'}}\n")),
        turn("a list of brokers", GOOD.replace("127.0.0.1:1\n", "[a:9092, b:9092]\n")),
        turn("a pattern without slashes", GOOD.replace("topic: orders", "topic: orders.*")),
        turn("two that contradict", format!("{GOOD}limits: {{batch_bytes: 1GiB, memory: 64MiB}}\n")),
        turn("wide characters before the place", GOOD.replace("[id]", "[\"数据\", \"数据\"]")),
    ];
    snapshot("values", &turns);
}
