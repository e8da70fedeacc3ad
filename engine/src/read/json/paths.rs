//! The tree of the paths that are looked for in an object.

use super::{Literal, Slot};

/// The mapped members of an object, and those of their members.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by name.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    /// The name as JSON mostly spells it, and the colon.
    spelt: Box<[u8]>,
    slot: Option<usize>,
    inner: Option<Box<Node>>,
}

impl Node {
    /// Adds `path`, whose literal is noted in `slot`; gives the slot of an equal path that is there already.
    pub(super) fn insert(&mut self, path: &[String], slot: usize) -> usize {
        let Some((first, rest)) = path.split_first() else { return slot };
        let place = match self.members.binary_search_by(|member| (*member.name).cmp(first)) {
            Ok(place) => place,
            Err(place) => {
                let spelt = format!("{}:", serde_json::Value::from(first.as_str())).into_bytes().into();
                let name = first.as_str().into();
                self.members.insert(place, Member { name, spelt, slot: None, inner: None });
                place
            }
        };
        let member = &mut self.members[place];
        if rest.is_empty() {
            *member.slot.get_or_insert(slot)
        } else {
            member.inner.get_or_insert_default().insert(rest, slot)
        }
    }

    /// The place of the member of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        if self.members.len() <= 8 {
            self.members.iter().position(|member| member.name.as_bytes() == name)
        } else {
            self.members.binary_search_by(|member| member.name.as_bytes().cmp(name)).ok()
        }
    }

    /// The name of the member at `place` and the colon behind it, as JSON mostly spells them.
    pub(super) fn spelt(&self, place: usize) -> &[u8] {
        &self.members[place].spelt
    }

    /// Notes the literal of the member at `place`. Gives the mapped members within it where the literal is
    /// an object that they must be looked for in.
    pub(super) fn note(
        &self,
        place: usize,
        literal: Literal,
        text: &[u8],
        slots: &mut [Slot],
    ) -> Option<&Node> {
        let member = &self.members[place];
        if let Some(slot) = member.slot {
            slots[slot] = Slot::At(literal);
        }
        let inner = member.inner.as_deref()?;
        inner.mark(slots, Slot::Absent);
        match text.get(literal.start as usize) {
            Some(b'{') => return Some(inner),
            Some(b'n') => {}
            _ => inner.mark(slots, Slot::Blocked),
        }
        None
    }

    /// Sets the slots of all members, and of those within them.
    pub(super) fn mark(&self, slots: &mut [Slot], slot: Slot) {
        for member in &self.members {
            if let Some(place) = member.slot {
                slots[place] = slot;
            }
            if let Some(inner) = &member.inner {
                inner.mark(slots, slot);
            }
        }
    }
}
