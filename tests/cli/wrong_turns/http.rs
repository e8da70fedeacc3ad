//! Two on one host, and nobody there.

use std::net::TcpListener;

use super::{GOOD, Turn, snapshot};

#[test]
fn http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = |key: &str| format!("{GOOD}http: {{{key}: '{address}'}}\n");
    let us = format!("process {} (", std::process::id());
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let us = format!("{us}{})", comm.trim());
    let turn = |title, call, text: String| {
        let turn = Turn::new(title, call).file("my orders.yaml", &text).file("orders.yaml", text);
        turn.stand_in(us.clone(), "process PID (PROGRAM)").stand_in(address.port().to_string(), "PORT")
    };
    let nobody = || format!("{GOOD}http: {{listen: '127.0.0.1:1'}}\n");
    let off = format!("{GOOD}http: {{listen: off}}\n");
    let turns = [
        turn("a port that is taken", "run -c orders.yaml", taken("listen")),
        turn("a port of probes that is taken", "run -c orders.yaml", {
            taken("probes").replace("{probes", "{listen: '127.0.0.1:0', probes")
        }),
        turn(
            "an address of another machine",
            "run -c orders.yaml --set http.listen=192.0.2.1:9464",
            nobody(),
        ),
        turn("health of nobody", "health -c orders.yaml", nobody()),
        turn("health without endpoints", "health -c orders.yaml", off),
    ];
    snapshot("http", &turns);
}
