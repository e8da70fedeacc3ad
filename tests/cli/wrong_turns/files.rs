//! Configuration files that aren't there, or aren't what they should be.

use super::{GOOD, Turn, snapshot};

#[test]
fn files() {
    let utf16: Vec<u8> = "\u{feff}pipeline: a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let turns = [
        Turn::new("no file at all", "check"),
        Turn::new("a file that isn't there", "check -c orders.yaml"),
        Turn::new("a file that is called nearly so", "check -c order.yml").file("orders.yaml", GOOD),
        Turn::new("a file that isn't there, by the environment", "check")
            .variable("TIDEGATE_CONFIG", "x.yaml"),
        Turn::new("a folder", "check -c ."),
        Turn::new("an ending that says nothing", "check -c orders.conf").file("orders.conf", GOOD),
        Turn::new("UTF-16", "check -c orders.yaml").file("orders.yaml", utf16),
        Turn::new("Latin-1", "check -c orders.yaml").file("orders.yaml", b"pipeline: gr\xfc\xdfe\n"),
        Turn::new("an empty file", "check -c orders.yaml").file("orders.yaml", ""),
        Turn::new("JSON in a YAML file with a comma too many", "check -c orders.json")
            .file("orders.json", "{\n  \"pipeline\": \"orders\",\n}\n"),
        Turn::new("a secret's file that isn't there", "check -c orders.yaml")
            .file("orders.yaml", GOOD.replace("geheim", "${file:/run/secrets/none}")),
    ];
    snapshot("files", &turns);
}

#[test]
fn offline() {
    let with = |more: &str| GOOD.replace("kafka:\n", &format!("kafka:\n{more}"));
    let tls = GOOD.replace("/app\n", "/app?sslmode=verify-full&sslrootcert=/none/ca.crt\n");
    let turns = [
        Turn::new("nothing is wrong", "lint").file("tidegate.yaml", GOOD),
        Turn::new("nothing is wrong, by the other names", "check --offline").file("tidegate.yaml", GOOD),
        Turn::new("a certificate that isn't there", "validate")
            .file("tidegate.yaml", with("  security.protocol: ssl\n  ssl.ca.location: ca.pem\n")),
        Turn::new("a root certificate of PostgreSQL that isn't there", "lint").file("tidegate.yaml", tls),
        Turn::new("a value that librdkafka refuses", "lint")
            .file("tidegate.yaml", with("  fetch.min.bytes: many\n")),
        Turn::new("a connection string with an unknown keyword", "lint")
            .file("tidegate.yaml", GOOD.replace("/app\n", "/app?sslmod=require\n")),
        Turn::new("problems, for a program", "lint -o ndjson")
            .file("tidegate.yaml", GOOD.replace("key: [id]", "kee: [id]").replace("1s", "1")),
    ];
    snapshot("offline", &turns);
}
