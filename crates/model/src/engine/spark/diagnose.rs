//! From how a job ended and what it wrote to what happened and what to mend. Pure.

use std::process::ExitStatus;

use millstream_base::error_chain;

use super::submit::Log;
use crate::engine::Failure;
use crate::mllib::SavedError;
use crate::registry::Remedy;

/// Lines of each of a failed job's logs that are told.
const TAIL_LINES: usize = 6;

/// How a job that gave no model came to its end.
#[derive(Debug, Clone, Copy)]
pub enum Ended {
    Exited(i32),
    /// By a signal of that number.
    Killed(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            // As a shell tells of a signal.
            (Some(code), _) if (129..=192).contains(&code) => Self::Killed(code - 128),
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

struct Cause {
    /// Any of these in the log tells it.
    signs: &'static [&'static str],
    problem: &'static str,
    remedy: Remedy,
    is_lost: bool,
}

/// What is told first explains most: of several causes the first counts.
const CAUSES: &[Cause] = &[
    Cause {
        signs: &[
            "JAVA_HOME is not set",
            "java: command not found",
            "java: not found",
            "bin/java: No such file or directory",
            "Unable to locate a Java Runtime",
        ],
        problem: "finds no Java: install a Java 17 runtime, or set JAVA_HOME",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &["UnsupportedClassVersionError"],
        problem: "needs a newer Java: install a Java 17 runtime, or set JAVA_HOME to one",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &["No space left on device", "Disk quota exceeded"],
        problem: "finds no space left on a disk: make room where the store is, and for spark.local.dir",
        remedy: Remedy::Retry,
        is_lost: false,
    },
    Cause {
        signs: &[
            "java.lang.OutOfMemoryError",
            "Java heap space",
            "GC overhead limit exceeded",
            "Container killed by YARN for exceeding",
        ],
        problem: "had too little memory: raise spark.driver.memory or spark.executor.memory in train.spark.conf",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &["ARITHMETIC_OVERFLOW", "CAST_OVERFLOW"],
        problem: "computed a number that does not fit its type: cast to double in the expression that its log names",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &["S3AFileSystem not found", "No FileSystem for scheme \"s3a\""],
        problem: "has no file system for s3a://: give it the hadoop-aws of its Hadoop's version, as in train.spark.conf = \
                  { \"spark.jars.packages\" = \"org.apache.hadoop:hadoop-aws:3.4.1\" } for Spark 4.0",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &["Permission denied"],
        problem: "may not read or write below the store: its executors must run as the user that runs Millstream",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &[
            "PATH_NOT_FOUND",
            "Path does not exist",
            "FAILED_READ_FILE.FILE_NOT_EXIST",
            "UNABLE_TO_INFER_SCHEMA",
            "Unable to infer schema",
        ],
        problem: "does not find the rows that were written for it: the store must lie on a mount that the driver and every executor reach \
                  by the same path",
        remedy: Remedy::Config,
        is_lost: false,
    },
    Cause {
        signs: &[
            "All masters are unresponsive",
            "Could not parse Master URL",
            "Failed to connect to master",
            "UnknownHostException",
        ],
        problem: "does not reach the master that train.spark.master names: see that it runs and is reached from here",
        remedy: Remedy::Retry,
        is_lost: true,
    },
    Cause {
        signs: &[
            "SparkContext was shut down",
            "Master removed our application",
            "ExecutorLostFailure",
            "Application has been killed",
            "Cannot call methods on a stopped SparkContext",
            "java.net.ConnectException",
            "java.io.EOFException",
        ],
        problem: "lost the cluster, or its driver, while it worked",
        remedy: Remedy::Retry,
        is_lost: true,
    },
];

pub fn failure(ended: Ended, log: &Log) -> Failure {
    let Log { errors, output } = log;
    let is_told = |sign: &&str| errors.iter().chain(output).any(|line| line.contains(sign));
    let cause = CAUSES.iter().find(|cause| cause.signs.iter().any(is_told));
    let (exit_code, otherwise) = match ended {
        Ended::Exited(code) => (Some(code), ("failed".to_owned(), Remedy::Config, false)),
        Ended::Killed(signal) => (None, (format!("was killed by signal {signal}"), Remedy::Retry, true)),
    };
    let (problem, remedy, is_lost) =
        cause.map_or(otherwise, |cause| (cause.problem.to_owned(), cause.remedy, cause.is_lost));
    Failure {
        problem: format!("Spark {problem}"),
        exit_code,
        log_tail: [tail(errors), tail(output)].concat(),
        remedy,
        is_lost,
    }
}

/// The Python that spark-submit runs lacks a module.
pub fn missing_module(module: &str, python: &str) -> Failure {
    let problem = format!(
        "the Python of Spark's driver, {python}, has no {module}: install it there, or set PYSPARK_DRIVER_PYTHON to one that has"
    );
    Failure { problem, exit_code: None, log_tail: Vec::new(), remedy: Remedy::Config, is_lost: false }
}

/// What the job wrote is not what it should have.
pub fn unreadable(place: &str, error: &SavedError) -> Failure {
    Failure { remedy: error.remedy(), ..unusable(place, &error_chain(error)) }
}

/// As `unreadable`, of what was read.
pub fn unusable(place: &str, problem: &str) -> Failure {
    let problem = format!("what Spark saved in {place} cannot be used: {problem}");
    Failure { problem, exit_code: None, log_tail: Vec::new(), remedy: Remedy::Config, is_lost: false }
}

/// The last lines that say something: frames of a stack trace say where and not what.
fn tail(log: &[String]) -> Vec<String> {
    let says = |line: &&String| {
        let line = line.trim_start();
        !(line.is_empty() || line.starts_with("at ") || line.starts_with("... ") || line.starts_with("File \""))
    };
    let lines: Vec<String> = log.iter().filter(says).map(|line| line.trim().chars().take(300).collect()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ended: Ended, log: &[&str], expected: &str, remedy: Remedy, is_lost: bool) {
        let output = log.iter().map(|line| (*line).to_owned()).collect();
        let failure = failure(ended, &Log { output, errors: vec!["WARN what is always said".to_owned()] });
        assert!(failure.to_string().contains(expected), "{failure} does not say {expected}");
        assert_eq!((failure.remedy, failure.is_lost), (remedy, is_lost), "{failure}");
    }

    #[test]
    fn a_failure_says_what_to_mend_and_whether_to_try_again() {
        let exited = Ended::Exited(1);
        check(
            exited,
            &["JAVA_HOME is not set"],
            "Java 17 runtime, or set JAVA_HOME (exit code 1)",
            Remedy::Config,
            false,
        );
        check(exited, &["java.lang.OutOfMemoryError: Java heap space"], "spark.driver.memory", Remedy::Config, false);
        check(exited, &["java.io.IOException: No space left on device"], "make room", Remedy::Retry, false);
        check(exited, &["ERROR: All masters are unresponsive! Giving up."], "train.spark.master", Remedy::Retry, true);
        check(
            exited,
            &["SparkException: Job cancelled because SparkContext was shut down"],
            "lost",
            Remedy::Retry,
            true,
        );
        check(Ended::Killed(9), &[], "Spark was killed by signal 9", Remedy::Retry, true);
        check(exited, &["ValueError: rank", "\tat org.x.Y"], "| ValueError: rank", Remedy::Config, false);
    }

    #[test]
    fn the_tail_is_short_whatever_the_log_was() {
        let lines: Vec<String> = (0..500).map(|line| format!("line {line} {}", "x".repeat(5000))).collect();
        let found = failure(Ended::Exited(1), &Log { errors: lines.clone(), output: lines });
        assert_eq!(found.log_tail.len(), 2 * TAIL_LINES);
        assert!(found.log_tail.iter().all(|line| line.chars().count() <= 300));
        assert!(found.log_tail[TAIL_LINES - 1].starts_with("line 499 "));
    }
}
