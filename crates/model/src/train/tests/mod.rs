//! The battery: real parts in a store of its own, every form of training, every bad input.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod comparing;
mod costs;
mod drift;
mod encoding;
mod engines;
pub mod golden;
mod grouping;
mod keeping;
mod promoting;
mod publishing;
mod raw;
mod recommending;
mod serving;
mod training;
mod words;
