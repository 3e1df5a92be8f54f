//! Trainings come last: who is served, and the stream, wait for none of them.

use rayon::ThreadPoolBuilder;

/// Of `nice`, more than the others of the process have: beside one of them, a thread that trains gets a quarter of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Does what may take all processors for long on threads of its own, which come after the others of the process. Linux alone has priorities of threads.
pub fn come_last<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match ThreadPoolBuilder::new().start_handler(|_| lower_priority()).build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!(%error, "trainings share their threads with who is served");
            work()
        }
    }
}

/// Of the calling thread, and those that it begins.
pub(super) fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "trainings have the priority of all else");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_training_thread_begins_comes_last_and_the_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let lower = (before + NICE).min(19);
        let all = come_last(|| {
            let (one, other) = rayon::join(nice, nice);
            [nice(), one, other, std::thread::scope(|scope| scope.spawn(nice).join().unwrap())]
        });
        assert_eq!((all, nice()), ([lower; 4], before));
    }
}
