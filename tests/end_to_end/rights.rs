//! Rights and passwords that are taken away and given back under a running worker: readiness tells the cause
//! while it holds, and nothing of it afterwards.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::keeper::keeper;
use lab::process::{Running, free_address, get};
use lab::servers::{Listener, PgOptions, Postgres, Resource, Right, SecuredKafka};
use lab::sql;

use super::Scene;
use super::outage::{on_postgres, prove_recovered};

/// Time for a change to be noticed on a busy machine: topics' metadata is fresh for half a minute.
const NOTICED: Duration = Duration::from_secs(120);

/// Retries often, so that a test doesn't wait out a long delay.
const QUICK: &str = "retry: {transient: {strategy: exponential, first: 50ms, max: 1s}}\n";

/// The broker of the tests that change rights; passwords are changed on brokers of their own.
fn shared() -> &'static SecuredKafka {
    static BROKER: OnceLock<SecuredKafka> = OnceLock::new();
    BROKER.get_or_init(|| SecuredKafka::start().unwrap())
}

/// A scene whose workers log in as a user of their own, who may do what is needed.
fn guarded(name: &str, secured: &SecuredKafka) -> Scene {
    let mut fresh = Fresh::new(name);
    fresh.bootstrap = secured.kafka().bootstrap().to_owned();
    let mut scene = Scene::of(fresh, 2, &[], &Options::default());
    let user = scene.fresh.pipeline.clone();
    secured.set_password(&user, "first-word").unwrap();
    secured.allow(&user, Right::Read(Resource::Topic(&scene.fresh.topic))).unwrap();
    secured.allow(&user, Right::Read(Resource::Group(&user))).unwrap();
    scene.bootstrap = secured.bootstrap(Listener::Login);
    scene.kafka = login(&user, "first-word");
    scene.more = QUICK.to_owned();
    scene
}

fn login(user: &str, password: &str) -> String {
    format!(
        "  security.protocol: sasl_plaintext\n  sasl.mechanisms: SCRAM-SHA-256\n  \
         sasl.username: {user}\n  sasl.password: {password}\n"
    )
}

/// A worker that has caught up and is ready, with the address that it listens on.
fn ready(scene: &mut Scene) -> (Running, String) {
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(200));
    prove_recovered(scene, &worker);
    worker.await_http(&http, "/readyz", NOTICED).unwrap();
    (worker, http)
}

#[track_caller]
fn await_cause(worker: &Running, http: &str, cause: &str) {
    let told =
        |_: &Running| get(http, "/readyz").is_ok_and(|(code, text)| code == 503 && text.contains(cause));
    let noticed = worker.await_condition("not ready for this cause", NOTICED, told);
    assert!(noticed.is_ok(), "{cause}: {:?}\n{}", get(http, "/readyz"), worker.errors());
}

#[track_caller]
fn await_ready(worker: &Running, http: &str) {
    let ready = worker.await_http(http, "/readyz", NOTICED);
    assert!(ready.is_ok(), "{:?}\n{}", get(http, "/readyz"), worker.errors());
}

/// Records flow again.
#[track_caller]
fn prove_flowing(scene: &mut Scene, worker: &Running, http: &str) {
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(200) });
    prove_recovered(scene, worker);
    await_ready(worker, http);
}

#[test]
fn a_topic_s_right_that_comes_back_makes_an_idle_worker_ready() {
    let secured = shared();
    let mut scene = guarded("topic right", secured);
    let (worker, http) = ready(&mut scene);
    let (user, topic) = (scene.fresh.pipeline.clone(), scene.fresh.topic.clone());
    let (read, describe) = (Right::Read(Resource::Topic(&topic)), Right::Describe(Resource::Topic(&topic)));
    // Without DESCRIBE the topic vanishes; with it, only its records are kept back.
    for stays in [false, true] {
        if stays {
            secured.allow(&user, describe).unwrap();
        }
        secured.disallow(&user, read).unwrap();
        await_cause(&worker, &http, "TOPIC_AUTHORIZATION_FAILED");
        assert!(get(&http, "/readyz").unwrap().1.contains("TG-106"), "{}", worker.errors());
        secured.allow(&user, read).unwrap();
        await_ready(&worker, &http);
        prove_flowing(&mut scene, &worker, &http);
    }
}

#[test]
fn a_group_s_right_is_missed_at_once_and_after_the_session_is_lost() {
    let secured = shared();
    for session_ms in [60_000, 6_000] {
        let mut scene = guarded("group right", secured);
        scene.session_ms = session_ms;
        let (worker, http) = ready(&mut scene);
        let user = scene.fresh.pipeline.clone();
        secured.disallow(&user, Right::Read(Resource::Group(&user))).unwrap();
        await_cause(&worker, &http, "GROUP_AUTHORIZATION_FAILED");
        if session_ms < 60_000 {
            Scene::await_log(&worker, "lost partitions=");
            await_cause(&worker, &http, "GROUP_AUTHORIZATION_FAILED");
        }
        secured.allow(&user, Right::Read(Resource::Group(&user))).unwrap();
        await_ready(&worker, &http);
        prove_flowing(&mut scene, &worker, &http);
        let lost = worker.errors().contains("lost partitions=");
        assert_eq!(lost, session_ms < 60_000, "{}", worker.errors());
    }
}

#[test]
fn a_password_that_is_changed_and_changed_back_is_told_while_it_is_wrong() {
    let secured = SecuredKafka::start().unwrap();
    let mut scene = guarded("kafka password", &secured);
    let (worker, http) = ready(&mut scene);
    let user = scene.fresh.pipeline.clone();
    secured.set_password(&user, "other-word").unwrap();
    // Connections that stand were let in before.
    secured.kafka().restart().unwrap();
    await_cause(&worker, &http, "refused our credentials");
    let told = get(&http, "/readyz").unwrap().1;
    assert!(told.contains("TG-106") && told.contains("kafka.sasl.password"), "{told}");
    secured.set_password(&user, "first-word").unwrap();
    await_ready(&worker, &http);
    prove_flowing(&mut scene, &worker, &http);
    assert!(!worker.errors().contains("-word"), "{}", worker.errors());
}

#[test]
fn a_worker_goes_on_with_a_kafka_password_that_rotates_in_its_file() {
    let secured = SecuredKafka::start().unwrap();
    let mut scene = guarded("kafka rotation", &secured);
    let user = scene.fresh.pipeline.clone();
    let file = keeper().folder("secret").unwrap().join("password");
    std::fs::write(&file, "first-word\n").unwrap();
    scene.kafka = login(&user, &format!("${{file:{}}}", file.display()));
    let (worker, http) = ready(&mut scene);
    for password in ["second-word", "third-word"] {
        secured.set_password(&user, password).unwrap();
        std::fs::write(&file, format!("{password}\n")).unwrap();
        secured.kafka().restart().unwrap();
        prove_flowing(&mut scene, &worker, &http);
    }
    assert!(worker.errors().contains("the login to Kafka has changed"), "{}", worker.errors());
    assert!(!worker.errors().contains("-word"), "{}", worker.errors());
}

#[test]
fn certificates_that_are_exchanged_are_taken_up_by_a_running_worker() {
    let secured = shared();
    let mut scene = guarded("certificates", secured);
    let (topic, group) = (scene.fresh.topic.clone(), scene.fresh.pipeline.clone());
    secured.allow("CN=reader", Right::Read(Resource::Topic(&topic))).unwrap();
    secured.allow("CN=reader", Right::Read(Resource::Group(&group))).unwrap();
    let folder = keeper().folder("client").unwrap();
    let show = |name: &str| {
        for kind in ["key", "crt"] {
            let from = secured.file(&format!("{name}.{kind}"));
            std::fs::copy(from, folder.join(format!("shown.{kind}"))).unwrap();
        }
    };
    show("foreign");
    scene.bootstrap = secured.bootstrap(Listener::Mutual);
    scene.kafka = format!(
        "  security.protocol: ssl\n  ssl.ca.location: {}\n  ssl.certificate.location: {}\n  \
         ssl.key.location: {}\n",
        secured.file("ca.crt").display(),
        folder.join("shown.crt").display(),
        folder.join("shown.key").display(),
    );
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_cause(&worker, &http, "refuses our certificate");
    show("client");
    prove_flowing(&mut scene, &worker, &http);
}

#[test]
fn check_and_status_tell_what_kafka_refuses() {
    let secured = shared();
    let mut scene = guarded("told refusals", secured);
    scene.send(&Plan::events(50));
    scene.run_to_end();
    let call = |scene: &Scene, command: &str| {
        let called = scene.program().args(["-o", "json"]).call(command, NOTICED).unwrap();
        (called.code, called.output + &called.errors)
    };
    let (code, told) = call(&scene, "check");
    assert!(code == Some(0) && !told.contains("kafka_right"), "{told}");
    let user = scene.fresh.pipeline.clone();
    secured.disallow(&user, Right::Read(Resource::Group(&user))).unwrap();
    let grant = format!("User:{user} --operation Read --group {user}");
    let until = Instant::now() + NOTICED;
    loop {
        let (code, told) = call(&scene, "check");
        if code == Some(3) {
            assert!(
                told.contains("kafka_right") && told.contains("TG-106") && told.contains(&grant),
                "{told}"
            );
            break;
        }
        assert!(Instant::now() < until, "{told}");
    }
    scene.kafka = login(&user, "other-word");
    for command in ["check", "status"] {
        let (code, told) = call(&scene, command);
        assert!(
            told.contains("TG-106") && told.contains("refused our credentials"),
            "{command} {code:?}: {told}"
        );
        assert!(told.contains("check kafka.sasl.username") && !told.contains("other-word"), "{told}");
    }
}

#[test]
fn rights_on_the_ledger_that_come_back_make_the_worker_ready() {
    let mut scene = Scene::new("ledger right", 2);
    scene.more = QUICK.to_owned();
    let (worker, http) = ready(&mut scene);
    for right in
        ["SELECT ON tidegate.progress", "UPDATE ON tidegate.progress", "SELECT ON tidegate.quarantine"]
    {
        let superuser = scene.fresh.superuser_url.clone();
        let run = |text: String| sql::query(&superuser, &text).unwrap();
        run(format!("REVOKE {right} FROM app"));
        scene.send(&Plan::events(100));
        await_cause(&worker, &http, "permission denied");
        run(format!("GRANT {right} TO app"));
        await_ready(&worker, &http);
        prove_flowing(&mut scene, &worker, &http);
    }
}

#[test]
fn a_table_s_right_halts_by_name_and_goes_on_when_it_comes_back() {
    let mut scene = Scene::new("table right", 2);
    scene.more = QUICK.to_owned();
    let (worker, http) = ready(&mut scene);
    let run = |scene: &Scene, text: &str| sql::query(&scene.fresh.superuser_url, text).unwrap();
    run(&scene, "REVOKE INSERT ON public.events FROM app");
    scene.send(&Plan::events(100));
    let halted = |_: &Running| get(&http, "/status").is_ok_and(|(_, text)| text.contains("TG-303"));
    worker.await_condition("a halt", NOTICED, halted).unwrap();
    let (_, status) = get(&http, "/status").unwrap();
    assert!(status.contains("a privilege is missing"), "{status}");
    run(&scene, "GRANT INSERT ON public.events TO app");
    prove_flowing(&mut scene, &worker, &http);
    assert!(!get(&http, "/status").unwrap().1.contains("TG-303"), "{}", worker.errors());
}

#[test]
fn a_role_s_password_that_is_changed_back_makes_the_worker_ready() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("role password", &postgres);
    let run = |text: &str| sql::query(&postgres.superuser_url(), text).unwrap();
    run("CREATE ROLE changing LOGIN PASSWORD 'first-word' IN ROLE app");
    // What it makes belongs to `app`, as which the table is proved.
    run("ALTER ROLE changing SET role = 'app'");
    run("COPY (VALUES ('host all postgres,app 127.0.0.1/32 trust'), \
         ('host all changing 127.0.0.1/32 scram-sha-256')) TO PROGRAM 'cat > pg_hba.conf'");
    run("SELECT pg_reload_conf()");
    scene.url = format!("postgres://changing:first-word@{}/app", postgres.address());
    let (worker, http) = ready(&mut scene);
    run("ALTER ROLE changing PASSWORD 'other-word'");
    run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'changing'");
    await_cause(&worker, &http, "password authentication failed");
    run("ALTER ROLE changing PASSWORD 'first-word'");
    await_ready(&worker, &http);
    prove_flowing(&mut scene, &worker, &http);
}
