//! The real services that some tests need, started by `ci/kafka.sh` and `ci/s3.sh` and told to the tests by environment variables.
//!
//! A test begins with `let Some(kafka) = services::kafka("its name") else { return };`. Without the service it is skipped, visibly;
//! with `MILLSTREAM_TEST_SERVICES=required`, as in `.ci/run`, it fails instead.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tests that stop the broker take it for themselves; all others share it.
static KAFKA: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "a guard is held, and never read")]
enum Hold {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Apache Kafka, one node.
pub struct Kafka {
    pub servers: String,
    /// Where the script keeps it.
    folder: PathBuf,
    /// Clients that come by `proxied` are told to connect to `proxy`: a proxy must listen there and forward to `proxied`.
    pub proxied: String,
    pub proxy: String,
    pub sasl: Sasl,
    hold: Hold,
}

/// The listener with TLS and SCRAM-SHA-256.
pub struct Sasl {
    pub servers: String,
    pub user: String,
    pub password: String,
    pub authority: PathBuf,
}

/// A bucket of an S3 server and the `AWS_*` variables to reach it.
pub struct S3 {
    /// `s3://bucket`.
    pub url: String,
    pub variables: BTreeMap<String, String>,
}

/// Apache Kafka, shared with other tests.
pub fn kafka(test: &str) -> Option<Kafka> {
    kafka_held(test, || Hold::Shared(KAFKA.read().unwrap_or_else(PoisonError::into_inner)))
}

/// Apache Kafka for this test alone, which may stop it. It runs again when the test is over.
pub fn kafka_alone(test: &str) -> Option<Kafka> {
    kafka_held(test, || Hold::Alone(KAFKA.write().unwrap_or_else(PoisonError::into_inner)))
}

/// A topic that no other test and no earlier run has used.
pub fn topic(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

fn kafka_held(test: &str, hold: impl FnOnce() -> Hold) -> Option<Kafka> {
    let servers = service(test, "Apache Kafka", "MILLSTREAM_TEST_KAFKA", "ci/kafka.sh start FOLDER")?;
    let sasl = Sasl {
        servers: variable("MILLSTREAM_TEST_KAFKA_SASL"),
        user: variable("MILLSTREAM_TEST_KAFKA_SASL_USER"),
        password: variable("MILLSTREAM_TEST_KAFKA_SASL_PASSWORD"),
        authority: variable("MILLSTREAM_TEST_KAFKA_CA").into(),
    };
    Some(Kafka {
        servers,
        folder: variable("MILLSTREAM_TEST_KAFKA_FOLDER").into(),
        proxied: variable("MILLSTREAM_TEST_KAFKA_PROXIED"),
        proxy: variable("MILLSTREAM_TEST_KAFKA_PROXY"),
        sasl,
        hold: hold(),
    })
}

pub fn s3(test: &str) -> Option<S3> {
    let url = service(test, "S3 server", "MILLSTREAM_TEST_S3", "ci/s3.sh start FOLDER")?;
    let names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ALLOW_HTTP"];
    Some(S3 { url, variables: names.iter().map(|name| ((*name).to_owned(), variable(name))).collect() })
}

impl Kafka {
    /// Stopped in order and started again with its data.
    pub fn restart(&self) {
        self.script("restart");
    }

    /// SIGKILL; `start` brings it back.
    pub fn kill(&self) {
        self.script("kill");
    }

    pub fn start(&self) {
        self.script("start");
    }

    fn script(&self, command: &str) {
        assert!(matches!(self.hold, Hold::Alone(_)), "take the broker by kafka_alone to {command} it");
        run_script("kafka.sh", command, &self.folder);
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // A test that failed while the broker was down must not take the others with it.
        if matches!(self.hold, Hold::Alone(_)) && std::thread::panicking() {
            run_script("kafka.sh", "start", &self.folder);
        }
    }
}

fn run_script(script: &str, command: &str, folder: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci").join(script);
    let output = Command::new(path).arg(command).arg(folder).output().unwrap();
    assert!(output.status.success(), "{script} {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The value of `name`, or `None` after saying that `test` is skipped.
#[expect(clippy::explicit_write, reason = "eprintln! of a test that passes is not shown; a skipped one must be seen")]
fn service(test: &str, what: &str, name: &str, script: &str) -> Option<String> {
    if let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) {
        return Some(value);
    }
    let why = format!("{test}: no {what} ({name} is not set; {script})");
    assert!(std::env::var("MILLSTREAM_TEST_SERVICES").as_deref() != Ok("required"), "{why}");
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
    None
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: set all that ci/kafka.sh or ci/s3.sh prints"))
}
