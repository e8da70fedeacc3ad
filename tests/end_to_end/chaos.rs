//! A short chaos, by a seed: faults of processes, of connections and of people, with the proof at the end.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lab::chaos::{Kind, Options, play};
use lab::keeper::keeper;

/// What takes long to be recovered from is left to `./dev chaos`.
const KINDS: [Kind; 10] = [
    Kind::Kill,
    Kind::AnswerLost,
    Kind::RequestLost,
    Kind::Terminate,
    Kind::DiskFull,
    Kind::Join,
    Kind::AddColumn,
    Kind::Refuse,
    Kind::Pause,
    Kind::Replay,
];

#[test]
fn a_short_chaos_loses_and_doubles_nothing() {
    let keep = keeper().folder("chaos").unwrap();
    let over = Duration::from_secs(40);
    let options = Options { seed: 1, over, rate: 400, kinds: KINDS.to_vec(), keep };
    let binary = Path::new(env!("CARGO_BIN_EXE_tidegate"));
    let report = play(&options, binary, &AtomicBool::new(false), &|line| println!("{line}")).unwrap();
    assert_eq!((report.lost, report.doubled), (0, 0), "{report:?}");
    assert!(report.kinds.iter().map(|kind| kind.times).sum::<u64>() >= 6, "{report:?}");
    assert!(report.accounting_checks > 0 && report.records > 10_000, "{report:?}");
}
