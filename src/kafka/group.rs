//! Who is in the consumer group, and which of them are strangers.
//!
//! Any program that knows a group's name can join it, and is given partitions that it doesn't write to our
//! tables. A member is ours by its client id ([`Kin`]): nothing else that a group tells of its members is the
//! pipeline's alone.

use std::collections::BTreeSet;

use crate::engine::instance::Kin;
use crate::engine::position::TopicPartition;

/// A member of the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The name that the group gave it.
    pub id: String,
    /// Its client id.
    pub client: String,
    /// The address that it connects from, as its broker sees it, such as `/10.0.0.7`.
    pub host: String,
    /// What it holds.
    pub partitions: BTreeSet<TopicPartition>,
}

/// The group at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    ours: Kin,
    stable: bool,
    members: Vec<Member>,
}

impl Group {
    /// A group of these members, some of which are `ours`.
    pub fn new(ours: Kin, stable: bool, members: Vec<Member>) -> Self {
        Self { ours, stable, members }
    }

    /// Whether its assignment is settled. While it isn't, what members hold isn't told, or changes.
    pub fn is_stable(&self) -> bool {
        self.stable
    }

    /// The member that speaks for all of ours: the one with the smallest name. Every process comes to the
    /// same by itself, so that nothing has to be agreed on.
    pub fn spokesman(&self) -> Option<&str> {
        self.members.iter().filter(|member| self.is_ours(member)).map(|member| member.id.as_str()).min()
    }

    /// How many of its members are ours.
    pub fn ours(&self) -> usize {
        self.members.iter().filter(|member| self.is_ours(member)).count()
    }

    /// The members that aren't ours and hold something.
    pub fn strangers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !self.is_ours(member) && !member.partitions.is_empty())
    }

    /// The stranger that holds the partition.
    pub fn stranger(&self, partition: &TopicPartition) -> Option<&Member> {
        self.strangers().find(|member| member.partitions.contains(partition))
    }

    /// Whether a member of ours holds the partition.
    pub fn holds(&self, partition: &TopicPartition) -> bool {
        self.members.iter().any(|member| self.is_ours(member) && member.partitions.contains(partition))
    }

    fn is_ours(&self, member: &Member) -> bool {
        self.ours.has(&member.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, client: &str, partitions: &[i32]) -> Member {
        let partitions = partitions.iter().map(|number| TopicPartition::new("events", *number)).collect();
        Member { id: id.to_owned(), client: client.to_owned(), host: "/10.0.0.7".to_owned(), partitions }
    }

    #[test]
    fn members_are_ours_by_their_client_id_and_the_smallest_name_speaks() {
        let members =
            vec![member("c", "tidegate", &[0]), member("a", "other", &[1]), member("b", "tidegate", &[])];
        let group = Group::new(Kin::new("orders", "tidegate"), true, members);
        assert_eq!(group.spokesman(), Some("b"));
        let at = |number| TopicPartition::new("events", number);
        assert_eq!([0, 1, 2].map(|number| group.holds(&at(number))), [true, false, false]);
        let strangers = [0, 1, 2].map(|number| group.stranger(&at(number)).map(|member| member.id.as_str()));
        assert_eq!(strangers, [None, Some("a"), None]);
        assert_eq!((group.strangers().count(), group.ours()), (1, 2));
        assert_eq!(Group::new(Kin::new("orders", "mine"), true, Vec::new()).spokesman(), None);
    }
}
