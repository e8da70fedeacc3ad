//! One look at what a wait is for. A look that fails says why, and isn't an answer.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config::{HttpProbe, Probe};
use crate::engine::waits::Answer;
use crate::kafka::{Error, Inspector};
use crate::postgres::connect::Connector;
use crate::postgres::question;
use crate::service::desk::Desk;
use crate::service::look_up::blocking;

/// How long a server may take for an answer; connecting to PostgreSQL has its own limit beside it.
const WITHIN: Duration = Duration::from_secs(10);

/// What looks are taken with.
#[derive(Clone)]
pub(super) struct Looks {
    /// Makes a session for each query: what a query leaves behind in one ends with it.
    pub(super) connector: Connector,
    /// Reads the ledger.
    pub(super) desk: Arc<Desk>,
    pub(super) inspector: Arc<Inspector>,
}

impl Looks {
    /// Takes a look. One without an answer is given up after a while, whatever it waits for: the wait for a
    /// session that others of the process need has no limit of its own.
    pub(super) async fn at(self, probe: Probe) -> Answer {
        let limit = (WITHIN + self.connector.timeouts().connect) * 2;
        in_time(limit, self.look(probe)).await
    }

    async fn look(self, probe: Probe) -> Answer {
        match probe {
            Probe::Sql(sql) => match question::ask(&self.connector, &sql, WITHIN).await {
                Ok(true) => Answer::Holds,
                Ok(false) => Answer::Not("the query says false".to_owned()),
                Err(error) => Answer::Unknown(error.to_string()),
            },
            Probe::Http(http) => {
                let asked = tokio::task::spawn_blocking(move || ask(&http)).await;
                asked.unwrap_or_else(|panicked| Answer::Unknown(panicked.to_string()))
            }
            Probe::Topic(topic) => self.topic(topic).await,
            Probe::Pipeline(pipeline) => {
                let read = self.desk.distance(&pipeline, WITHIN).await;
                match read.map(|distance| distance.obstacle(&pipeline)) {
                    Ok(None) => Answer::Holds,
                    Ok(Some(obstacle)) => Answer::Not(obstacle),
                    Err(error) => Answer::Unknown(error.to_string()),
                }
            }
        }
    }

    /// By the watermarks of its partitions: what was there and is deleted is no record any more.
    async fn topic(self, topic: String) -> Answer {
        let (inspector, name) = (self.inspector, topic.clone());
        let found = blocking(move || inspector.glance(&inspector.partitions(&name)?)).await;
        let missing =
            || Answer::Not(format!("topic {topic} doesn't exist, or this user may not describe it"));
        let each = match found {
            Ok(each) => each,
            Err(Error::UnknownTopic { .. }) => return missing(),
            Err(error) => return Answer::Unknown(error.to_string()),
        };
        if each.values().flatten().any(|marks| marks.low < marks.end) {
            return Answer::Holds;
        }
        match each.into_values().find_map(Result::err) {
            // The partition that can't be looked at may be the one with records.
            Some(error) => Answer::Unknown(error.to_string()),
            None => Answer::Not(format!("topic {topic} has no record")),
        }
    }
}

async fn in_time(limit: Duration, look: impl Future<Output = Answer>) -> Answer {
    let late = || Answer::Unknown(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, look).await.unwrap_or_else(|_| late())
}

/// Asks a server. Redirects aren't followed, and of the answer only its status is read.
fn ask(http: &HttpProbe) -> Answer {
    let url = match http.current_url() {
        Ok(url) => url,
        Err(why) => return Answer::Unknown(why),
    };
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = found.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(WITHIN))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("tidegate")
        .tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
        .build()
        .new_agent();
    let (shown, wanted) = (http.shown(), http.status);
    match agent.get(url.expose_secret()).call() {
        Ok(answer) if answer.status().as_u16() == wanted => Answer::Holds,
        Ok(answer) => Answer::Not(format!("{shown} answers {}, not {wanted}", answer.status().as_u16())),
        Err(error) => Answer::Unknown(format!("{shown} gives no answer: {}", reason(&error))),
    }
}

/// What went wrong, without the address: that one may hold secrets.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "its address isn't one".to_owned(),
        ureq::Error::Timeout(_) => format!("it took longer than {WITHIN:?}"),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_nothing_answers_is_given_up() {
        let limit = Duration::from_millis(1);
        let late = Answer::Unknown("no answer within 1ms".to_owned());
        assert_eq!(in_time(limit, std::future::pending()).await, late);
        assert_eq!(in_time(limit, async { Answer::Holds }).await, Answer::Holds);
    }
}
