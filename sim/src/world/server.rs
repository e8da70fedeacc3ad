//! What becomes of the database.

use super::{Then, World};
use crate::fault::Fault;

impl World {
    pub(super) fn database_goes_on(&mut self) -> Then {
        let awake = |name: u32| self.workers.get(&name).is_some_and(|worker| !worker.is_frozen);
        let mut ground = self.ground.lock();
        let pending = ground.database.pending(awake);
        if pending.is_empty() {
            return Then::Nothing;
        }
        let chosen = pending[ground.scene.dice.usize(0..pending.len())];
        if ground.database_goes_on(chosen) { Then::Tasks } else { Then::Nothing }
    }

    pub(super) fn outage(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if !ground.database.is_up {
            ground.database.is_up = true;
        } else if ground.scene.strikes(Fault::Outage, 4) {
            ground.scene.tell(|| "the database stops".to_owned());
            ground.database.stop_server(&mut ground.scene, &ground.logs);
        }
        Then::Nothing
    }

    pub(super) fn fail_over(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.scene.strikes(Fault::FailOver, 1) {
            ground.scene.tell(|| "the database goes back".to_owned());
            ground.database.restore(&mut ground.scene, &ground.logs);
        }
        Then::Nothing
    }

    pub(super) fn decide(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        ground.scene.tell(|| format!("an operator takes [{number}]"));
        ground.database.decide(number, &mut ground.scene, &ground.logs);
        Then::Nothing
    }

    pub(super) fn alter(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        ground.database.alter(&mut ground.scene);
        Then::Nothing
    }

    /// The rows that others refer to are written, by whomever.
    pub(super) fn parents_may_come(&mut self) {
        let scene = &mut self.ground.lock().scene;
        if scene.spec.awaits_parents && scene.dice.u8(0..40) == 0 {
            scene.note("parents came");
            scene.spec.awaits_parents = false;
        }
    }

    /// The table is altered so that its route doesn't fit it, or is mended.
    pub(super) fn misfit(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.is_misfit || ground.scene.strikes(Fault::Misfit, 1) {
            ground.is_misfit = !ground.is_misfit;
            ground.was_misfit = true;
            ground.database.alter(&mut ground.scene);
        }
        Then::Nothing
    }

    pub(super) fn crowd(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.database.need_one(&mut ground.scene) { Then::Tasks } else { Then::Nothing }
    }

    pub(super) fn fall_silent(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        ground.database.fall_silent(&mut ground.scene);
        Then::Nothing
    }
}
