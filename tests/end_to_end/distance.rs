//! A database that is far away: what only takes its time is no outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::generator::Plan;
use lab::process::{free_address, get};
use lab::proxy::{Link, Proxy};

use super::ownership::{await_progress, flowing, total, while_sending};
use super::{SOON, Scene};

/// Halfway around the world, over a satellite.
const ROUND_TRIP: Duration = Duration::from_millis(500);

/// A scene whose database is far away.
fn far(name: &str) -> (Scene, Proxy) {
    let mut scene = Scene::new(name, 4);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    proxy.link(Link { delay: ROUND_TRIP / 2, ..Link::default() });
    (scene, proxy)
}

/// Fails where a log tells of anything that an operator would look into. What the client says of a hint to
/// the group that came in the middle of a rebalance has nothing to do with the database.
fn assert_calm(log: &str) {
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !line.contains("Offset commit (manual) failed"))
        .collect();
    assert!(told.is_empty(), "{}\n\n{log}", told.join("\n"));
}

/// Asks for readiness again and again until it is stopped; gives every refusal.
fn watch_readiness(http: &str, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let (http, stop) = (http.to_owned(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut refusals = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            match get(&http, "/readyz") {
                Ok((200, _)) => {}
                Ok((status, page)) => refusals.push(format!("{status}: {page}")),
                Err(error) => refusals.push(format!("{error:#}")),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        refusals
    })
}

#[test]
fn half_a_second_to_the_database_is_no_outage() {
    let (mut scene, _proxy) = far("far");
    scene.send(&Plan::events(3_000));
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    worker.await_http(&http, "/readyz", SOON).unwrap();
    let stop = Arc::default();
    let watch = watch_readiness(&http, &stop);
    scene.await_caught_up();
    // A rebalance there and back while records flow.
    let mut logs = Vec::new();
    while_sending(&mut scene, flowing(4_000, 20), |scene| {
        let second = scene.worker();
        Scene::await_log(&second, &format!("assigned partitions={}", scene.fresh.topic));
        await_progress(scene, &second, total(scene));
        second.terminate().unwrap();
        let ended = second.wait(SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        logs.push(ended.errors);
    });
    scene.await_caught_up();
    stop.store(true, Ordering::SeqCst);
    let refusals = watch.join().unwrap();
    worker.terminate().unwrap();
    let ended = worker.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(refusals.is_empty(), "{}\n{}", refusals.join("\n"), ended.errors);
    logs.push(ended.errors);
    logs.iter().for_each(|log| assert_calm(log));
    scene.prove();
}

#[test]
fn a_run_with_an_end_reaches_it_from_afar() {
    let (mut scene, _proxy) = far("far to the end");
    scene.send(&Plan { redelivered: 0.3, ..Plan::events(30_000) });
    let ended = scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_calm(&ended.errors);
    scene.prove();
}
