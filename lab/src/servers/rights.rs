//! Passwords and access rules of a broker, set by requests of Kafka's own protocol.
//!
//! The client library of the lab has no call for them, and the broker's jars no program. Each request is one
//! connection to a listener without logins, in the flexible encoding (KIP-482) that every broker from Kafka
//! 3.9 on speaks.

use anyhow::{Context, Result, bail};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The fewest that brokers take (RFC 7677).
const ITERATIONS: i32 = 4096;
const SALT: &[u8] = b"salt of the lab";
const LITERAL: i8 = 3;
const ALLOW: i8 = 3;

/// What a right is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'n> {
    /// A topic.
    Topic(&'n str),
    /// A consumer group.
    Group(&'n str),
}

/// What may be done. READ brings DESCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'n> {
    /// Fetch from the topic, or be in the group.
    Read(Resource<'n>),
    /// Know of it.
    Describe(Resource<'n>),
}

/// How a password is stored (RFC 5802, RFC 7677).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Sha256,
    Sha512,
}

/// A right that a user has from any host.
pub(super) struct Acl<'n> {
    pub(super) user: &'n str,
    pub(super) right: Right<'n>,
}

impl Acl<'_> {
    /// The rule as it is created, and as a filter that means it alone: both have the same form.
    fn body(&self) -> Body {
        let (operation, resource) = match self.right {
            Right::Read(resource) => (3, resource),
            Right::Describe(resource) => (8, resource),
        };
        let (kind, name) = match resource {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
        };
        let principal = format!("User:{}", self.user);
        Body::default()
            .count(1)
            .byte(kind)
            .text(name)
            .byte(LITERAL)
            .text(&principal)
            .text("*")
            .byte(operation)
            .byte(ALLOW)
            .end()
            .end()
    }
}

/// Creates the user's password, or replaces it.
pub(super) fn set_password(broker: &str, user: &str, mechanism: Mechanism, password: &str) -> Result<()> {
    let (number, salted) = match mechanism {
        Mechanism::Sha256 => (1, salted::<Hmac<Sha256>>(password)),
        Mechanism::Sha512 => (2, salted::<Hmac<Sha512>>(password)),
    };
    let change = Body::default().count(0).count(1).text(user).byte(number).number(ITERATIONS);
    let change = change.bytes(SALT).bytes(&salted).end().end();
    let answer = ask(broker, 51, 0, change)?;
    let (_user, rest) = answer.split_at_checked(string_length(&answer)?).context("the answer is cut off")?;
    outcome(rest).with_context(|| format!("setting the password of {user}"))
}

/// Adds a rule.
pub(super) fn create(broker: &str, acl: &Acl<'_>) -> Result<()> {
    outcome(&ask(broker, 30, 2, acl.body())?).with_context(|| format!("allowing {:?}", acl.right))
}

/// Takes a rule away.
pub(super) fn delete(broker: &str, acl: &Acl<'_>) -> Result<()> {
    outcome(&ask(broker, 31, 2, acl.body())?).with_context(|| format!("disallowing {:?}", acl.right))
}

/// PBKDF2 with as many bytes as the hash has.
fn salted<M: Mac + KeyInit>(password: &str) -> Vec<u8> {
    let hash = |text: &[&[u8]]| -> Vec<u8> {
        let mut mac = <M as KeyInit>::new_from_slice(password.as_bytes()).unwrap_or_else(|_| unreachable!());
        text.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().to_vec()
    };
    let mut last = hash(&[SALT, &1_u32.to_be_bytes()]);
    let mut sum = last.clone();
    for _ in 1..ITERATIONS {
        last = hash(&[&last]);
        sum.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// A request's body in the making.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn byte(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn number(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// How many entries follow. All of the lab's are few enough for one byte.
    fn count(mut self, entries: usize) -> Self {
        self.0.extend(length(entries));
        self
    }

    fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(length(value.len()));
        self.0.extend(value);
        self
    }

    fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// No tagged fields: the end of an entry, and of the request.
    fn end(mut self) -> Self {
        self.0.push(0);
        self
    }
}

/// A length in the compact encoding: one more than it is, seven bits in each byte, the lowest first.
fn length(of: usize) -> Vec<u8> {
    let (mut rest, mut bytes) = (of + 1, Vec::new());
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// How many bytes a short string takes, its length included.
fn string_length(text: &[u8]) -> Result<usize> {
    Ok(usize::from(*text.first().context("the answer is cut off")?).max(1))
}

/// Sends one request. The answer begins with the first result.
fn ask(broker: &str, api: i16, version: i16, body: Body) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(3_i16.to_be_bytes());
    request.extend(b"lab\0");
    request.extend(body.0);
    let mut stream = TcpStream::connect(broker).with_context(|| format!("connecting to {broker}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).context("reading the broker's answer")?;
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).context("reading the broker's answer")?;
    // Correlation, tags, throttle time and the number of results.
    let results = answer.get(4 + 1 + 4 + 1..).context("the broker's answer is cut off")?;
    Ok(results.to_vec())
}

/// The error code of a result, and its message.
fn outcome(result: &[u8]) -> Result<()> {
    match result {
        [0, 0, ..] => Ok(()),
        [high, low, message @ ..] => {
            let length = message.first().map_or(0, |length| usize::from(*length)).max(1);
            let text = String::from_utf8_lossy(message.get(1..length).unwrap_or_default());
            bail!("the broker refuses with {}: {text}", i16::from_be_bytes([*high, *low]))
        }
        _ => bail!("the broker's answer is cut off"),
    }
}
