//! The name of one process: the same in the ledger, in Kafka and in PostgreSQL, so that one search finds all
//! that is told of it.

use sha2::{Digest, Sha256};

/// What the client ids of all processes begin with, and the whole id of those that tell nothing more.
const FAMILY: &str = "tidegate";

/// Digits at the end of a name that are made of its pipeline's.
const MARK_DIGITS: usize = 4;

/// A process of a pipeline: `HOST-PID-DIGITS`.
///
/// The digits are those that no other process has, and then some that the pipeline's name gives: a host may
/// have dashes as pipelines do, so that `orders` on `eu-1` would read like `orders-eu` on `1` without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    pipeline: String,
    host: String,
    pid: u32,
    name: String,
}

impl Instance {
    /// A process on this host. `random` tells it from another one with the same host and number, as in
    /// containers.
    pub fn new(pipeline: &str, host: &str, pid: u32, random: u32) -> Self {
        // What every log, URL and JMX bean takes without quotation marks.
        let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let host: String = host.trim().chars().map(legal).collect();
        let host = if host.is_empty() { "unknown".to_owned() } else { host };
        let name = format!("{host}-{pid}-{random:08x}{}", mark(pipeline));
        Self { pipeline: pipeline.to_owned(), host, pid, name }
    }

    /// The name, as the ledger has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host that it runs on.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its number there.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its client id in Kafka, where the user gives none: `tidegate-PIPELINE-NAME`.
    pub fn client_id(&self) -> String {
        format!("{FAMILY}-{}-{}", self.pipeline, self.name)
    }
}

/// Which members of a consumer group are processes of a pipeline, by their client ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kin {
    pipeline: String,
    /// The client id of the process that asks.
    own: String,
}

impl Kin {
    /// The processes of `pipeline`, of which one has the client id `own`.
    pub fn new(pipeline: &str, own: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), own: own.to_owned() }
    }

    /// Whether a member with this client id is one of them. A process whose id the user chose has it in
    /// common with all others; those whose id Tidegate makes are known by its form, and older ones by its
    /// first word alone.
    pub fn has(&self, client_id: &str) -> bool {
        client_id == self.own || self.made(client_id) || (client_id == FAMILY && self.made(&self.own))
    }

    /// Whether Tidegate made this client id for a process of the pipeline.
    fn made(&self, client_id: &str) -> bool {
        let rest = client_id.strip_prefix(FAMILY).and_then(|rest| rest.strip_prefix('-'));
        let name = rest.and_then(|rest| rest.strip_prefix(&*self.pipeline)?.strip_prefix('-'));
        let digits = name.and_then(|name| name.rsplit_once('-')).map_or("", |(_, digits)| digits);
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex && digits.len() == 8 + MARK_DIGITS && digits.ends_with(&mark(&self.pipeline))
    }
}

fn mark(pipeline: &str) -> String {
    let hash = Sha256::digest(pipeline);
    format!("{:02x}{:02x}", hash[0], hash[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_host_and_process_and_nothing_that_needs_quoting() {
        let instance = Instance::new("orders", "db-1.internal", 4711, 0x00ab_cdef);
        assert_eq!(instance.name(), format!("db-1.internal-4711-00abcdef{}", mark("orders")));
        assert_eq!(instance.client_id(), format!("tidegate-orders-{}", instance.name()));
        for (host, told) in [(" größe/1\n", "gr__e_1"), ("", "unknown"), ("\n", "unknown")] {
            assert_eq!(Instance::new("p", host, 1, 2).host(), told);
        }
    }

    #[test]
    fn kin_are_told_by_the_form_of_their_client_ids() {
        let id = |pipeline, host| Instance::new(pipeline, host, 1, 2).client_id();
        let own = id("orders", "a");
        let cases = [
            (id("orders", "b"), true, "another host"),
            ("tidegate".to_owned(), true, "an older process"),
            (id("orders-eu", "b"), false, "another pipeline whose name begins alike"),
            (id("orders", "eu-b"), true, "a host whose name reads like the rest of a pipeline's"),
            (id("order", "s-b"), false, "another pipeline"),
            ("tidegate-orders".to_owned(), false, "no name"),
            (format!("tidegate-orders-{}", "x".repeat(12)), false, "no digits"),
            ("rdkafka".to_owned(), false, "another program"),
            (String::new(), false, "no id"),
        ];
        for (client_id, kin, what) in cases {
            assert_eq!(Kin::new("orders", &own).has(&client_id), kin, "{what}: {client_id}");
        }
    }

    #[test]
    fn a_client_id_of_the_user_s_is_common_to_all_and_made_ones_are_known_beside_it() {
        let kin = Kin::new("orders", "mine");
        let made = Instance::new("orders", "a", 1, 2).client_id();
        for (client_id, is_kin) in [("mine", true), (&*made, true), ("tidegate", false), ("other", false)] {
            assert_eq!(kin.has(client_id), is_kin, "{client_id}");
        }
    }
}
