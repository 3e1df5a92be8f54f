//! Where the store is and who asks: `store.url` and the AWS variables, as object_store's builder wants them.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::StoreError;

/// A request with its answer. A block of 8 MiB takes so long at 70 KB/s, a model of 1 GiB at 9 MB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a request is repeated while the service is away or fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// At open: a wrong setting is told within some ten seconds, and a service that restarts is waited for.
    Trial,
    /// Later: the settings worked once, so the service is away for a while.
    Work,
}

impl Patience {
    fn retry_timeout(self) -> Duration {
        match self {
            Self::Trial => Duration::from_secs(6),
            Self::Work => Duration::from_secs(60),
        }
    }

    fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(3),
                base: 2.0,
            },
            // The time alone ends it, at a tenth of a second each at the least.
            max_retries: 1000,
            retry_timeout: self.retry_timeout(),
        }
    }
}

/// The AWS variables by name; an empty one is as good as none.
pub(super) type Variables = BTreeMap<String, String>;

pub(super) fn environment() -> Variables {
    // A value that is no text is none of AWS's.
    filled(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))
}

fn set(variables: &Variables, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| variables.get(*name).cloned())
}

fn filled(all: impl Iterator<Item = (String, String)>) -> Variables {
    all.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).collect()
}

/// Whom the AWS variables name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Endpoint {
    /// `None`: AWS.
    pub url: Option<String>,
    pub region: Option<String>,
}

impl S3Endpoint {
    /// For another program that is to reach the same bucket.
    pub fn of_environment() -> Self {
        Self::of(&environment())
    }

    fn of(variables: &Variables) -> Self {
        Self {
            url: set(variables, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            region: set(variables, &["AWS_REGION", "AWS_DEFAULT_REGION"]),
        }
    }
}

pub(super) struct Settings {
    builder: AmazonS3Builder,
    endpoint: Option<String>,
}

impl Settings {
    /// What is missing is told at once, without asking anyone.
    pub(super) fn new(bucket: &str, variables: &Variables) -> Result<Self, String> {
        let S3Endpoint { url: endpoint, region } = S3Endpoint::of(variables);
        if let Some(endpoint) = &endpoint
            && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(format!("AWS_ENDPOINT_URL = {endpoint}: must begin with http:// or https://"));
        }
        if region.is_none() && endpoint.is_none() {
            return Err(
                "no region: set AWS_REGION to the bucket's, or AWS_ENDPOINT_URL for a server of your own".into()
            );
        }
        let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        if let (Some(_), None) | (None, Some(_)) = (set(variables, &pair[..1]), set(variables, &pair[1..])) {
            return Err("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both".into());
        }
        let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let known = variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().ok()?, value)));
        let mut builder = known
            .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
            .with_bucket_name(bucket)
            // Every server knows it, AWS as well.
            .with_virtual_hosted_style_request(false)
            // All rests on it, whatever a variable says.
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(plain)
                    .with_timeout(REQUEST_TIMEOUT)
                    .with_connect_timeout(CONNECT_TIMEOUT),
            );
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        Ok(Self { builder, endpoint })
    }

    /// An answer that is none, while nothing has worked yet: whom to ask is wrong, or nobody is there.
    pub(super) fn unreachable(&self, error: StoreError, place: &str) -> StoreError {
        let StoreError::Io { source, .. } = error else { return error };
        let problem = match &self.endpoint {
            Some(endpoint) => format!("{endpoint} gives no answer of S3: start the service, or mend AWS_ENDPOINT_URL"),
            None => "AWS gives no answer: mend AWS_REGION or the network, or set AWS_ENDPOINT_URL".to_owned(),
        };
        StoreError::Unusable { place: place.to_owned(), problem, source }
    }

    pub(super) fn client(&self, patience: Patience) -> Result<AmazonS3, object_store::Error> {
        self.builder.clone().with_retry(patience.retry()).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_before_anyone_is_asked() {
        let check = |set: &[(&str, &str)], expected: Option<&str>| {
            let owned = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let found = Settings::new("bucket", &filled(owned)).err();
            match expected {
                None => assert_eq!(found, None, "{set:?}"),
                Some(text) => assert!(found.as_ref().is_some_and(|found| found.contains(text)), "{set:?}: {found:?}"),
            }
        };
        check(&[], Some("set AWS_REGION"));
        check(&[("AWS_REGION", "")], Some("set AWS_REGION"));
        check(&[("AWS_DEFAULT_REGION", "eu-west-1")], None);
        check(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")], None);
        check(&[("AWS_ENDPOINT_URL", "127.0.0.1:9000")], Some("must begin with http://"));
        check(&[("AWS_REGION", "r"), ("AWS_ACCESS_KEY_ID", "a")], Some("set both"));
    }
}
