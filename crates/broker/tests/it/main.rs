//! The broker from outside: real clients, hostile peers, groups, crashes. One binary: each would link librdkafka anew.
#![allow(clippy::unwrap_used)]

mod clients;
mod common;
mod crash;
mod groups;
mod hostile;
mod java_tools;
