//! Gives free memory back to the system, every half minute. glibc keeps what was freed in an arena for each thread, where one small piece that lives on
//! holds whole trainings: a pipeline of one-second windows took 290 MiB in ten minutes, of which 16 MiB were in use.
#![allow(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(30);

/// Until the process ends. Without the thread it is as large as the allocator likes: said, and no more.
pub fn give_back_memory() {
    let giving = thread::Builder::new().name("memory".to_owned()).spawn(|| {
        loop {
            thread::sleep(EVERY);
            let began = Instant::now();
            let gave = give_back();
            tracing::debug!(gave, ms = began.elapsed().as_secs_f64() * 1e3, "free memory was given back");
        }
    });
    if let Err(error) = giving {
        tracing::warn!(%error, "free memory is not given back");
    }
}

/// Whether there was any.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() -> bool {
    // SAFETY: it takes the allocator's own locks, and touches no memory that is in use.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators do so themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() -> bool {
    false
}
