//! What every floor of Millstream uses, and nothing of the data: sections of the pipeline file and their faults, durations, sizes,
//! the nearest of some names, an error with its causes. Neither Arrow nor DataFusion, and no I/O but reading the file and
//! sweeping folders that killed processes left behind.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod duration;
mod error_chain;
mod fault;
mod grouped;
mod names;
mod scratch;
pub mod secrets;
pub mod section;
mod size;
pub mod status;

pub use address::{address, host_and_port, listen};
pub use duration::duration;
pub use error_chain::error_chain;
pub use fault::{ConfigFaults, Fault, Faults};
pub use grouped::grouped;
pub use names::{NAME_BYTES, did_you_mean, hint, nearest, quote, shortened};
pub use scratch::{ScratchLock, sweep_scratch};
pub use section::{Keys, Section, Takes, is_table_list, json, table_list, time_span, type_name};
pub use size::size;
