//! Batches against one transaction for each record.

#[test]
fn batches_leave_what_single_records_leave() {
    for seed in super::seeds(2_000) {
        if let Err(what) = sim::folding::run(seed) {
            panic!("{what}\nTIDEGATE_SIM_SEED={seed} ./dev test simulation::folding");
        }
    }
}

/// Each part of a state is looked at: whatever is changed in it is noticed.
#[test]
fn the_oracle_looks_at_every_part_of_a_state() {
    for (name, done, missed) in sim::folding::damage(0..40) {
        assert!(missed.is_empty(), "{name}: not noticed in seeds {missed:?}");
        assert!(done > 5, "{name}");
    }
}
