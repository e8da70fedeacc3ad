//! From the records of one target to the entries of a batch.

use crate::arena::Arena;
use crate::change::Change;
use crate::fold::{Folded, alone, fold, lacking, single};
use crate::hash;
use crate::key;
use crate::mode::{Existing, Meaning};
use crate::route::Route;
use crate::shape::KeyOrder;

/// Folds the changes of a target as its mode says.
pub(super) fn fold_target(route: &Route, exact: bool, changes: Vec<Change<'_>>, arena: &mut Arena) -> Folded {
    let meaning = route.mode.meaning();
    match meaning.existing {
        Existing::Unkeyed => fold_unkeyed(route, changes),
        Existing::Update | Existing::Keep => fold_keyed(route, meaning, exact, changes, arena),
    }
}

/// Without a key, each record is a row, in arrival order.
fn fold_unkeyed(route: &Route, changes: Vec<Change<'_>>) -> Folded {
    let (partial, whole): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.lacks_required);
    let missing = |change: &Change<'_>| lacking(&route.table, change);
    Folded {
        entries: whole.iter().map(single).collect(),
        refused: partial.iter().map(missing).collect(),
        ..Folded::default()
    }
}

/// Finds each change's key, sorts by it and folds; arrival order stays where the order across keys counts.
fn fold_keyed(
    route: &Route,
    meaning: Meaning,
    exact: bool,
    mut changes: Vec<Change<'_>>,
    arena: &mut Arena,
) -> Folded {
    for change in &mut changes {
        change.key = key::locate(route, change.columns, &change.fields, arena);
        change.fingerprint = hash::fingerprint(arena.bytes(&change.key));
    }
    if route.table.traits.key_order != KeyOrder::Free {
        let entries = changes.iter().map(|change| alone(&route.table, change)).collect();
        return Folded { entries, ..Folded::default() };
    }
    let order = key::order(&changes, arena);
    fold(&route.table, meaning, exact, &changes, &order, arena)
}
