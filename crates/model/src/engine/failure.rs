//! What ended a job outside this process, and who can mend it.

use std::fmt;

use crate::registry::Remedy;

/// Of an engine outside this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened and what to mend, after the engine's name.
    pub problem: String,
    pub exit_code: Option<i32>,
    /// The last lines that it wrote, the newest last; may be none.
    pub log_tail: Vec<String>,
    pub remedy: Remedy,
    /// The job may pass if it is begun again at once: what it ran on was lost.
    pub is_lost: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if let Some(code) = self.exit_code {
            write!(f, " (exit code {code})")?;
        }
        if !self.log_tail.is_empty() {
            write!(f, "; its log ends: {}", self.log_tail.join(" | "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
