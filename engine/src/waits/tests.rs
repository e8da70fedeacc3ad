//! Waits on a clock that each test moves.

use super::*;

fn wait(on_timeout: OnTimeout, while_running: bool) -> Wait {
    let (name, covers) = ("loaded".into(), Covers::Pipeline);
    Wait { name, covers, every_ms: 10, timeout_ms: 100, on_timeout, while_running }
}

fn not() -> Answer {
    Answer::Not("no row".to_owned())
}

fn unknown(why: &str) -> Answer {
    Answer::Unknown(why.to_owned())
}

/// The only wait, and what is kept from being read, in words.
fn told(waits: &Waits) -> (&'static str, String) {
    let effect = match waits.bars().of("events").map(|bar| bar.effect.clone()) {
        None => "read",
        Some(Effect::Rests) => "rests",
        Some(Effect::Halts(_)) => "halts",
        Some(Effect::Skips) => "skipped",
    };
    (waits.standing()[0].state.word(), effect.to_owned())
}

#[track_caller]
fn expect(waits: &Waits, state: &'static str, effect: &str) {
    assert_eq!(told(waits), (state, effect.to_owned()));
}

/// Looks at the only wait at a time when that is due.
#[track_caller]
fn look(waits: &mut Waits, now: Millis, answer: Answer) -> Option<News> {
    assert_eq!(waits.timed_out(now), Vec::<usize>::new());
    assert_eq!(waits.due(now), [0], "a look is due at {now}");
    waits.answered(0, now, answer)
}

#[test]
fn what_it_covers_is_read_once_it_holds_and_it_is_never_looked_at_again() {
    let mut waits = Waits::new(vec![wait(OnTimeout::Halt, false)], 0);
    expect(&waits, "waiting", "rests");
    assert_eq!(look(&mut waits, 0, not()), Some(News::Answer));
    assert_eq!(waits.due(9), Vec::<usize>::new(), "looks have their distance");
    assert_eq!(look(&mut waits, 10, not()), None, "the same again is no news");
    assert_eq!(waits.due(20), [0]);
    assert_eq!(waits.due(1000), Vec::<usize>::new(), "one look at a time");
    assert_eq!(waits.answered(0, 21, Answer::Holds), Some(News::State));
    expect(&waits, "holds", "read");
    assert_eq!((waits.next_due(), waits.timed_out(1_000_000).len()), (None, 0));
    assert!(waits.standing()[0].is_settled());
    assert_eq!(waits.answered(0, 30, not()), None, "nobody asked");
    expect(&waits, "holds", "read");
}

#[test]
fn one_that_is_kept_makes_what_it_covers_rest_again_and_has_its_time_again() {
    let mut waits = Waits::new(vec![wait(OnTimeout::Halt, true)], 0);
    look(&mut waits, 0, Answer::Holds);
    assert_eq!(look(&mut waits, 10, Answer::Holds), None);
    assert_eq!(look(&mut waits, 200, not()), Some(News::State));
    expect(&waits, "waiting", "rests");
    assert_eq!(waits.timed_out(299), Vec::<usize>::new());
    assert_eq!(waits.next_due(), Some(210));
    assert_eq!(look(&mut waits, 210, Answer::Holds), Some(News::State));
    expect(&waits, "holds", "read");
}

#[test]
fn each_way_out_of_one_that_takes_too_long() {
    for (on_timeout, while_running, state, effect, looked_at) in [
        (OnTimeout::Halt, false, "halted", "halts", true),
        (OnTimeout::Halt, true, "halted", "halts", true),
        (OnTimeout::GoOn, false, "gone_on", "read", false),
        (OnTimeout::GoOn, true, "gone_on", "read", true),
        (OnTimeout::SkipRoute, false, "skipped", "skipped", false),
        (OnTimeout::SkipRoute, true, "skipped", "skipped", false),
    ] {
        let mut waits = Waits::new(vec![wait(on_timeout, while_running)], 0);
        look(&mut waits, 0, not());
        assert_eq!(waits.timed_out(99), Vec::<usize>::new());
        assert_eq!(waits.timed_out(100), [0]);
        assert_eq!(waits.timed_out(100), Vec::<usize>::new(), "it is told once");
        expect(&waits, state, effect);
        assert_eq!(waits.due(100).len(), usize::from(looked_at), "{on_timeout:?} {while_running}");
        if !looked_at {
            continue;
        }
        assert_eq!(waits.answered(0, 100, not()), None);
        expect(&waits, state, effect);
        assert_eq!(look(&mut waits, 110, Answer::Holds), Some(News::State));
        expect(&waits, "holds", "read");
        assert_eq!(waits.next_due().is_some(), while_running);
    }
}

#[test]
fn a_look_that_fails_is_no_answer_and_time_passes_all_the_same() {
    let mut waits = Waits::new(vec![wait(OnTimeout::Halt, true)], 0);
    assert_eq!(look(&mut waits, 0, unknown("away")), Some(News::Answer));
    assert_eq!(look(&mut waits, 10, unknown("away")), None);
    assert_eq!(look(&mut waits, 20, unknown("denied")), Some(News::Answer), "another reason");
    assert_eq!(look(&mut waits, 30, not()), Some(News::Answer), "it answers");
    expect(&waits, "waiting", "rests");
    assert_eq!(look(&mut waits, 40, Answer::Holds), Some(News::State));
    // What held is taken to hold until looks have failed for too long.
    assert_eq!(look(&mut waits, 50, unknown("away")), Some(News::Answer));
    expect(&waits, "holds", "read");
    assert_eq!(look(&mut waits, 140, Answer::Holds), Some(News::Answer));
    look(&mut waits, 150, unknown("away"));
    look(&mut waits, 160, unknown("away"));
    assert_eq!(waits.timed_out(249), Vec::<usize>::new());
    assert_eq!(waits.timed_out(250), [0]);
    expect(&waits, "halted", "halts");
}

#[test]
fn a_look_that_never_ends_is_timed_out_and_its_answer_still_counts() {
    let mut waits = Waits::new(vec![wait(OnTimeout::Halt, false), wait(OnTimeout::SkipRoute, false)], 0);
    assert_eq!(waits.due(0), [0, 1]);
    assert_eq!(waits.next_due(), Some(100));
    assert_eq!(waits.timed_out(100), [0, 1]);
    assert_eq!(waits.next_due(), None, "nothing is due while an answer is owed");
    assert_eq!(waits.answered(1, 120, Answer::Holds), None, "what is skipped stays so");
    assert_eq!(waits.answered(0, 120, Answer::Holds), Some(News::State));
    assert_eq!(waits.bars().of("events").map(|bar| bar.effect.clone()), Some(Effect::Skips));
}

#[test]
fn the_halt_names_wait_route_time_and_last_answer() {
    let covers = Covers::Route { name: "orders".into(), has: Arc::new(|topic| topic == "orders") };
    let parents = Wait { covers, timeout_ms: 3_600_000, ..wait(OnTimeout::Halt, false) };
    let mut waits = Waits::new(vec![parents], 0);
    assert_eq!(waits.due(0), [0]);
    waits.answered(0, 0, not());
    waits.timed_out(3_600_000);
    let State::Halted(halt) = &waits.standing()[0].state else { panic!("{:?}", waits.standing()) };
    assert!(
        halt.to_string()
            .starts_with("TG-309: the wait loaded of route orders took longer than 3600 s: no row; "),
        "{halt}"
    );
    assert_eq!(waits.bars().of("events"), None);
    assert!(waits.bars().of("orders").is_some());
}
