//! The reader beside sonic-rs, which finds the same fields in the same record:
//!
//! `RUSTFLAGS='--cfg beside_sonic' cargo test --release -p tidegate-engine --lib beside_sonic -- --nocapture`

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::Reader;
use crate::read::Unmatched;

const RECORD: &str = r#"{"event_id":"7f1c2a52-6f0e-4d0c-9a3a-0d6f5f1a0001","customer_id":17123,"kind":"order",
"amount":19.90,"occurred_at":"2026-11-01T08:00:00Z","attributes":{"channel":"web","campaign":"autumn","device":"mobile"},
"note":"thanks for all"}"#;

const FIELDS: [&str; 7] = ["event_id", "customer_id", "kind", "amount", "occurred_at", "attributes", "note"];

const ROUNDS: u32 = 500_000;
const TURNS: usize = 15;

fn each(mut round: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..ROUNDS).for_each(|_| round());
    begun.elapsed() / ROUNDS
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

#[test]
fn beside_sonic() {
    let mut reader = Reader::new("value");
    let mut tree = sonic_rs::PointerTree::new();
    for name in FIELDS {
        reader.ask(&[name.to_owned()]);
        tree.add_path(&sonic_rs::pointer![name]);
    }
    let (mut many, mut all) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        let ours = each(|| {
            let fields = reader.read(black_box(RECORD.as_bytes()), &mut Unmatched::Skip);
            black_box(fields.is_ok());
        });
        let by_paths = each(|| {
            let found = sonic_rs::get_many(black_box(RECORD), &tree).unwrap();
            black_box(found.len());
        });
        let by_members = each(|| {
            let members = sonic_rs::to_object_iter(black_box(RECORD)).map(Result::unwrap);
            let known = members.filter(|(name, _)| FIELDS.contains(&name.as_ref()));
            black_box(known.map(|(_, value)| value.as_raw_str().len()).sum::<usize>());
        });
        println!("turn {turn}: ours {ours:?}, get_many {by_paths:?}, to_object_iter {by_members:?}");
        many.push(by_paths.as_secs_f64() / ours.as_secs_f64());
        all.push(by_members.as_secs_f64() / ours.as_secs_f64());
    }
    println!("median: get_many takes {:.2}x, to_object_iter {:.2}x of ours", median(many), median(all));
}
