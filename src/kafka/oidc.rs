//! Tokens for SASL/OAUTHBEARER from an OpenID Connect provider (`sasl.oauthbearer.method: oidc`, KIP-768).
//!
//! librdkafka's own client of such providers needs libcurl, which isn't part of the build. So its properties
//! are taken out of what librdkafka gets, and whenever it asks for a token, one is fetched here, by the
//! client credentials grant (RFC 6749, section 4.4).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The property that asks for this.
const METHOD: &str = "sasl.oauthbearer.method";
const PREFIX: &str = "sasl.oauthbearer.";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";
/// The older names come second.
const IDS: [&str; 2] = ["sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"];
const SECRETS: [&str; 2] =
    ["sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"];
const GRANT: &str = "sasl.oauthbearer.grant.type";
const GRANTED: &str = "client_credentials";
const SCOPE: &str = "sasl.oauthbearer.scope";
const EXTENSIONS: &str = "sasl.oauthbearer.extensions";
/// Certificate authorities of the provider; the machine's where neither is given.
const CA: [&str; 2] = ["https.ca.location", "https.ca.pem"];

/// Longest wait for a token: librdkafka asks again after a failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any token.
const ANSWER_MAX: u64 = 1 << 20;
/// How much of a provider's explanation is passed on.
const EXPLANATION_MAX: usize = 200;

/// A provider, and who asks it.
pub(super) struct Provider {
    agent: ureq::Agent,
    url: String,
    /// The value of the `Authorization` header.
    basic: String,
    scope: Option<String>,
    extensions: Vec<(String, String)>,
}

/// A token as librdkafka wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) value: String,
    /// Milliseconds since the Unix epoch.
    pub(super) expires_at_ms: i64,
    /// Whom it names.
    pub(super) principal: String,
}

/// A property that can't be used, and why.
type Refused = (Option<String>, String);

impl Provider {
    /// Takes what belongs to a provider out of a client's properties; `None` where they name no provider.
    pub(super) fn take(properties: &mut BTreeMap<String, String>) -> Result<Option<Self>, Refused> {
        if !properties.get(METHOD).is_some_and(|method| method.eq_ignore_ascii_case("oidc")) {
            return Ok(None);
        }
        let mut own = BTreeMap::new();
        properties.retain(|name, value| {
            let goes = name.starts_with(PREFIX) || CA.contains(&name.as_str());
            if goes {
                own.insert(name.clone(), std::mem::take(value));
            }
            !goes
        });
        own.remove(METHOD);
        Self::new(own).map(Some)
    }

    fn new(mut own: BTreeMap<String, String>) -> Result<Self, Refused> {
        let mut any = |names: &[&str]| names.iter().filter_map(|name| own.remove(*name)).next();
        let missing =
            |name: &str| (Some(name.to_owned()), "it is needed where the method is oidc".to_owned());
        let url = any(&[URL]).ok_or_else(|| missing(URL))?;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err((Some(URL.to_owned()), "expected a URL that begins with https://".to_owned()));
        }
        let id = any(&IDS).ok_or_else(|| missing(IDS[0]))?;
        let secret = any(&SECRETS).ok_or_else(|| missing(SECRETS[0]))?;
        if let Some(grant) = any(&[GRANT]).filter(|grant| grant != GRANTED) {
            return Err((Some(GRANT.to_owned()), format!("{grant} can't be used; {GRANTED} can")));
        }
        let scope = any(&[SCOPE]).filter(|scope| !scope.is_empty());
        let extensions = extensions(&any(&[EXTENSIONS]).unwrap_or_default())?;
        let roots = roots(any(&[CA[0]]), any(&[CA[1]]))?;
        // What a setting was meant to do is never left out in silence.
        if let Some(name) = own.into_keys().next() {
            return Err((Some(name), "it can't be used with sasl.oauthbearer.method: oidc".to_owned()));
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("tidegate")
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", form(&id), form(&secret))));
        Ok(Self { agent, url, basic, scope, extensions })
    }

    /// SASL extensions, as name, value, name, value.
    pub(super) fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()])
    }

    /// Asks for a token and waits for it. The error says why there is none, without secrets.
    pub(super) fn fetch(&self) -> Result<Token, String> {
        let host = self.url.split('/').nth(2).unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let failed = |why: String| format!("the provider of tokens at {host} gives none: {why}");
        let mut fields = vec![("grant_type", GRANTED)];
        fields.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let request = self.agent.post(&self.url).header("Authorization", &self.basic);
        let request = request.header("Accept", "application/json");
        let mut response = request.send_form(fields).map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
        let body = body.map_err(|error| failed(error.to_string()))?;
        if !status.is_success() {
            let said = serde_json::from_str::<Refusal>(&body).unwrap_or_default();
            return Err(failed(format!("{status} {said}").trim_end().to_owned()));
        }
        token_of(&body, now_ms()).map_err(failed)
    }
}

/// Why a provider refuses (RFC 6749, section 5.2).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clean = |text: &str| -> String {
            text.chars().filter(|it| !it.is_control()).take(EXPLANATION_MAX).collect()
        };
        write!(to, "{} {}", clean(&self.error), clean(&self.error_description))
    }
}

/// A provider's answer (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<i64>,
}

/// What is read of a token that is a JWT (RFC 7519).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Claims {
    sub: String,
    exp: Option<f64>,
}

fn token_of(body: &str, now_ms: i64) -> Result<Token, String> {
    let answer: Answer = serde_json::from_str(body)
        .map_err(|_| "its answer is no JSON object with an access_token".to_owned())?;
    let payload = answer.access_token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|json| serde_json::from_slice::<Claims>(&json).ok()).unwrap_or_default();
    let told = claims.exp.map(|seconds| (seconds * 1000.0) as i64);
    let expires_at_ms = told.or_else(|| answer.expires_in.map(|seconds| now_ms + seconds * 1000));
    let expires_at_ms = expires_at_ms.ok_or("its token says nothing of when it expires")?;
    if expires_at_ms <= now_ms {
        return Err("its token has expired already; compare the clocks".to_owned());
    }
    Ok(Token { value: answer.access_token, expires_at_ms, principal: claims.sub })
}

/// Pairs such as `logicalCluster=a,identityPoolId=b`.
fn extensions(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let split = |pair: &str| {
        let refused = || (Some(EXTENSIONS.to_owned()), "expected name=value, separated by commas".to_owned());
        let (name, value) = pair.split_once('=').ok_or_else(refused)?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    pairs.map(split).collect()
}

fn roots(location: Option<String>, pem: Option<String>) -> Result<RootCerts, Refused> {
    let (name, pem) = match (location, pem) {
        (Some(path), _) => {
            let read = std::fs::read(&path);
            (CA[0], read.map_err(|error| (Some(CA[0].to_owned()), format!("reading {path}: {error}")))?)
        }
        (None, Some(pem)) => (CA[1], pem.into_bytes()),
        (None, None) => {
            let found = rustls_native_certs::load_native_certs().certs;
            let owned = found.iter().map(|it| Certificate::from_der(it).to_owned());
            return Ok(RootCerts::from(owned.collect::<Vec<_>>()));
        }
    };
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err((Some(name.to_owned()), "it holds no certificate in PEM form".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

/// A value in the form of `application/x-www-form-urlencoded` (RFC 6749, section 2.3.1).
fn form(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => (byte as char).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const FULL: [(&str, &str); 5] = [
        (METHOD, "OIDC"),
        (URL, "https://user:hidden@example.org/token"),
        ("sasl.oauthbearer.client.id", "me"),
        ("sasl.oauthbearer.client.secret", "s e%"),
        ("sasl.mechanisms", "OAUTHBEARER"),
    ];

    #[test]
    fn a_provider_s_properties_are_not_librdkafka_s() {
        let mut all = given(&FULL);
        let provider = Provider::take(&mut all).unwrap().unwrap();
        assert_eq!(all, given(&[("sasl.mechanisms", "OAUTHBEARER")]));
        assert_eq!(provider.basic, format!("Basic {}", STANDARD.encode("me:s+e%25")));
        let mut other = given(&[("sasl.oauthbearer.config", "principal=x")]);
        assert!(Provider::take(&mut other).unwrap().is_none());
        assert_eq!(other.len(), 1);
    }

    #[test]
    fn what_is_missing_or_can_t_be_used_is_told_by_name() {
        let refused = |pairs: &[(&str, &str)]| {
            let mut all = given(&FULL);
            all.extend(given(pairs));
            Provider::take(&mut all).err().and_then(|(name, _)| name).unwrap_or_default()
        };
        assert_eq!(refused(&[]), "");
        assert_eq!(refused(&[(URL, "ftp://x")]), URL);
        assert_eq!(refused(&[(GRANT, "urn:ietf:params:oauth:grant-type:jwt-bearer")]), GRANT);
        assert_eq!(refused(&[(EXTENSIONS, "a")]), EXTENSIONS);
        assert_eq!(refused(&[("https.ca.pem", "nothing")]), "https.ca.pem");
        let assertion = "sasl.oauthbearer.assertion.file";
        assert_eq!(refused(&[(assertion, "/x")]), assertion);
        for name in [URL, "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret"] {
            let mut all = given(&FULL);
            all.remove(name);
            assert!(Provider::take(&mut all).is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_s_end_is_its_own_or_the_answer_s() {
        let jwt = |claims: &str| format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims));
        let answer = |token: &str, more: &str| format!("{{\"access_token\":\"{token}\"{more}}}");
        let token = |body: &str| token_of(body, 1_000);
        let both = token(&answer(&jwt("{\"sub\":\"me\",\"exp\":9}"), ",\"expires_in\":60")).unwrap();
        assert_eq!((both.expires_at_ms, both.principal.as_str()), (9_000, "me"));
        let opaque = token(&answer("abc", ",\"expires_in\":60")).unwrap();
        assert_eq!((opaque.expires_at_ms, opaque.principal.as_str()), (61_000, ""));
        for body in [answer("abc", ""), answer(&jwt("{\"exp\":1}"), ""), "<html>".to_owned()] {
            assert!(token(&body).is_err(), "{body}");
        }
    }
}
