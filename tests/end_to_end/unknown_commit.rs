//! The connection breaks while COMMIT is under way: was it applied? The stored position decides.

use lab::generator::Plan;
use lab::proxy::{CommitAction, CommitFault, Proxy};

use super::{SOON, Scene};

/// Runs through a proxy that does `action` to the fifth COMMIT that moves progress.
fn commit_breaks(name: &str, action: CommitAction) {
    let mut scene = Scene::new(name, 2);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.more = "limits: {batch_rows: 200}\n".to_owned();
    scene.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(4_000) });
    proxy.arm(CommitFault::new(action).after(8));
    scene.run_to_end();
    assert_eq!(proxy.counters().fired, 1, "the fault must have happened: {:?}", proxy.counters());
    scene.prove();
}

#[test]
fn an_applied_commit_without_an_answer_is_recognised() {
    commit_breaks("commit applied", CommitAction::ForwardThenDrop);
}

#[test]
fn a_commit_that_never_arrived_is_written_again() {
    commit_breaks("commit swallowed", CommitAction::SwallowThenReset);
}

#[test]
fn every_answer_can_be_lost_in_turn() {
    let mut scene = Scene::new("commit storm", 2);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.more =
        "limits: {batch_rows: 500}\nretry: {transient: {strategy: linear, first: 10ms, max: 50ms}}\n"
            .to_owned();
    scene.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(4_000) });
    for action in [CommitAction::ForwardThenDrop, CommitAction::SwallowThenReset] {
        proxy.arm(CommitFault::new(action).after(6).times(3));
        scene.run_to_end();
        proxy.disarm();
        scene.send(&Plan { redelivered: 0.1, ..Plan::events(2_000) });
    }
    scene.run_to_end();
    scene.prove();
}

/// The count of unknown commits by how they were resolved, as `/metrics` tells it.
fn resolved(page: &str, how: &str) -> u64 {
    let series = format!("resolved=\"{how}\"");
    page.lines()
        .filter(|line| line.starts_with("tidegate_commit_unknown_total") && line.contains(&series))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn metrics_tell_how_unknown_commits_ended() {
    let mut scene = Scene::new("commit metrics", 1);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.send(&Plan::events(500));
    proxy.arm(CommitFault::new(CommitAction::ForwardThenDrop).after(2));
    let http = lab::process::free_address();
    let program = scene.program_at(&http);
    let worker = program.start("run").unwrap();
    scene.await_caught_up();
    let page = || lab::process::get(&http, "/metrics").map(|(_, page)| page).unwrap_or_default();
    worker
        .await_condition("an unknown commit found applied", SOON, |_| resolved(&page(), "applied") == 1)
        .unwrap();
    assert_eq!(resolved(&page(), "not_applied"), 0);
    scene.prove();
}
