//! What an answer of the service means, and who can mend it.

use std::io;

use millstream_base::error_chain;

use super::Failed;
use crate::StoreError;

/// S3's own words for a failure, out of its XML, and the status.
struct Answer {
    text: String,
}

impl Answer {
    fn code(&self) -> &str {
        let after = self.text.split_once("<Code>").map_or("", |(_, rest)| rest);
        after.split_once("</Code>").map_or("", |(code, _)| code)
    }

    fn has_status(&self, status: u16) -> bool {
        self.text.contains(&format!("status code: {status} "))
    }
}

/// Whether a conditional create was refused because the key exists. A 409 is not that: another request for the key is
/// under way, and how it ends is unknown.
pub(super) fn exists(error: &Failed) -> bool {
    let Failed::AlreadyExists { source, .. } = error else { return false };
    matches!(source.downcast_ref::<Failed>(), Some(Failed::Precondition { .. } | Failed::NotModified { .. }))
}

/// `place`: the URL, for people.
pub(super) fn classify(error: &Failed, key: &str, place: &str) -> StoreError {
    let answer = Answer { text: error_chain(error) };
    let source = |kind| io::Error::new(kind, short(&answer.text));
    let unusable = |problem: &str| StoreError::Unusable {
        place: place.to_owned(),
        problem: problem.to_owned(),
        source: source(io::ErrorKind::InvalidInput),
    };
    let key = key.to_owned();
    match answer.code() {
        "NoSuchBucket" => return unusable("there is no such bucket: create it, or mend store.url or AWS_ENDPOINT_URL"),
        "InvalidBucketName" => return unusable("this is no name of a bucket: mend store.url"),
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "AuthFailure" => {
            return unusable(
                "the credentials are not accepted: mend AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
            );
        }
        "NotImplemented" => {
            return unusable(
                "this service has no conditional writes, so it cannot keep batches exact: choose another one",
            );
        }
        "RequestTimeTooSkewed" => return unusable("this machine's clock differs from the service's: set it right"),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            return unusable("the bucket is in another region: mend AWS_REGION");
        }
        "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded" | "InsufficientStorage" => {
            return StoreError::Full { key, source: source(io::ErrorKind::StorageFull) };
        }
        _ => {}
    }
    if answer.has_status(507) {
        return StoreError::Full { key, source: source(io::ErrorKind::StorageFull) };
    }
    if answer.text.contains("incorrectly configured region") {
        return unusable("the bucket is in another region: mend AWS_REGION");
    }
    // Listing and deleting give all their errors as general ones: then the code tells.
    let denied = matches!(error, Failed::PermissionDenied { .. } | Failed::Unauthenticated { .. })
        || ["AccessDenied", "AllAccessDisabled"].contains(&answer.code())
        || answer.text.contains("code: AccessDenied")
        || answer.has_status(403);
    match error {
        // Any other 404 is not S3's word on a key: a gateway's, while the service is away, must not look like absence.
        Failed::NotFound { .. } if answer.code() == "NoSuchKey" => StoreError::Missing { key },
        _ if denied => {
            StoreError::Denied { key, place: place.to_owned(), source: source(io::ErrorKind::PermissionDenied) }
        }
        _ => StoreError::Io { key, source: source(io::ErrorKind::Other) },
    }
}

/// The XML of an answer is cut to its message; the rest (request ids) helps nobody here.
fn short(text: &str) -> String {
    let Some((before, xml)) = text.split_once('<') else { return text.to_owned() };
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{before}{code}: {message}"),
        (Some(code), None) => format!("{before}{code}"),
        _ => text.to_owned(),
    }
}

/// For the `Write` of a part: the kinds that callers look for stay.
pub(super) fn into_io(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::Full { .. } => io::ErrorKind::StorageFull,
        StoreError::Denied { .. } => io::ErrorKind::PermissionDenied,
        StoreError::Missing { .. } => io::ErrorKind::NotFound,
        StoreError::Io { .. }
        | StoreError::NotExclusive { .. }
        | StoreError::NotWritable { .. }
        | StoreError::Unusable { .. } => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Failed {
        Failed::Generic { store: "S3", source: text.to_owned().into() }
    }

    fn not_found(text: &str) -> Failed {
        Failed::NotFound { path: "p".into(), source: text.to_owned().into() }
    }

    #[test]
    fn an_answer_says_who_can_mend_it() {
        let check = |error: Failed, expected: &str| {
            let found = classify(&error, "key", "s3://bucket/key");
            assert!(format!("{found:?} {found}").contains(expected), "{found:?} {found}: expected {expected}");
        };
        let xml = |code: &str| format!("non-2xx status code: 400 Bad Request: <Error><Code>{code}</Code></Error>");
        check(not_found(&xml("NoSuchKey")), "Missing");
        check(not_found(""), "Io");
        check(not_found(&xml("NoSuchUpload")), "Io");
        // A bucket that is gone must never look like an empty store.
        check(not_found(&xml("NoSuchBucket")), "there is no such bucket");
        check(generic(&xml("InvalidAccessKeyId")), "mend AWS_ACCESS_KEY_ID");
        check(generic(&xml("PermanentRedirect")), "mend AWS_REGION");
        check(generic(&xml("XMinioAdminBucketQuotaExceeded")), "Full");
        check(generic("non-2xx status code: 507 Insufficient Storage: "), "Full");
        check(generic(&xml("AccessDenied")), "Denied");
        check(generic("DeleteObjects request failed for key k: no (code: AccessDenied)"), "Denied");
        check(generic("connection reset"), "Io");
    }

    #[test]
    fn an_answer_is_told_without_its_xml() {
        let text = "PUT failed: 403: <?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>No.</Message><Id>7</Id></Error>";
        assert_eq!(short(text), "PUT failed: 403: AccessDenied: No.");
        assert_eq!(short("connection refused"), "connection refused");
    }
}
