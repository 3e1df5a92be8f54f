//! Trainings come last: who is served, and the stream, wait for none of them.

/// Of `nice`: beside a thread of the usual priority, one that trains gets a quarter of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// The calling thread, those that it begins, and the pool that fits and measures come after the others of the process, where nothing was computed
/// by that pool before. Linux alone has priorities of threads.
pub fn come_last() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "trainings have the priority of all else");
    }
    // The threads of the pool have the priority of who begins it.
    let _ = rayon::current_num_threads();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_training_thread_begins_comes_last_and_the_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let [trains, its_own] = std::thread::scope(|scope| {
            let training = scope.spawn(|| {
                come_last();
                [nice(), std::thread::scope(|scope| scope.spawn(nice).join().unwrap())]
            });
            training.join().unwrap()
        });
        assert_eq!([trains, its_own, nice()], [NICE, NICE, before]);
    }
}
