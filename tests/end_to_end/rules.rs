//! What records fail is counted with what becomes of them: once, whenever the process dies.

use lab::generator::Plan;
use tidegate::postgres::write::failpoint::Failpoint;

use super::{SOON, Scene, TABLE};

#[test]
fn failures_of_rules_count_once_across_crashes_around_the_commit() {
    assert!(Failpoint::ENABLED, "run the tests by ./dev test, or with --features failpoints");
    let mut scene = Scene::new("rule crash", 2);
    scene.more = "limits: {batch_rows: 300}\n".to_owned();
    scene.route = "    rules: [{name: even, check: offset % 2 == 0, on_fail: filter}]\n".to_owned();
    scene.send(&Plan::events(6_000));
    for point in [Failpoint::AfterProgress, Failpoint::BeforeCommit, Failpoint::AfterCommit] {
        let action = format!("{}=2*off->return", point.name());
        let program = scene.program().env("FAILPOINTS", &action).args(["--until-caught-up"]);
        let died = program.call("run", SOON).unwrap();
        assert_eq!(died.code, None, "it must die by a signal at {}: {}", point.name(), died.errors);
    }
    scene.run_to_end();
    let odd: i64 = scene.ends().values().map(|end| end / 2).sum();
    let filtered = scene.number("SELECT sum(filtered)::bigint FROM tidegate.progress");
    let failures =
        "SELECT sum(failures)::bigint FROM tidegate.rule_failures WHERE rule = 'even' AND on_fail = 'filter'";
    assert_eq!((scene.number(failures), filtered), (odd, odd));
    assert!(scene.number(&format!("SELECT count(*) FROM {TABLE}")) > 0);
}
