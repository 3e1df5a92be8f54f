//! Looks at the digests of stored files for requests that ask for their rows. Only who hashes takes one of the places: rows of files that
//! are known wait for nothing, and who asks for a file that another such request hashes waits for that alone. One that a view hashes is waited
//! for in a place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::ApiError;
use super::lists::unreadable_rows;
use super::predict::reading;
use super::{BatchReadError, BatchSource};
use millstream_stream::batch::Batch;

/// So many files are hashed at once: the disk has no more to give.
const PLACES: usize = 4;
/// Who waits longer is told to ask again.
const WAIT: Duration = Duration::from_secs(20);
/// A damaged file that takes longer to hash …
const LONG: Duration = Duration::from_secs(1);
/// … is left alone so many times as long, but not for longer than this: what could not be read may be whole.
const REST: u32 = 9;
const REST_MOST: Duration = Duration::from_secs(60);

pub struct Verifying {
    places: Arc<Semaphore>,
    wait: Duration,
    /// Those that are hashed, or were found damaged.
    files: Mutex<HashMap<String, Turn>>,
}

/// Of one file, for one request at a time; how it was found last.
type Turn = Arc<tokio::sync::Mutex<Option<Damage>>>;

struct Damage {
    error: ApiError,
    took: Duration,
    ended: Instant,
}

impl Damage {
    /// Whether who asked then need not hash it again. A restored file is looked at soon: at once, where that costs little.
    fn is_told_to(&self, asked: Instant) -> bool {
        asked <= self.ended || (self.took >= LONG && asked - self.ended <= (self.took * REST).min(REST_MOST))
    }
}

impl Default for Verifying {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), wait: WAIT, files: Mutex::default() }
    }
}

impl Verifying {
    /// Hashes the files of those rows that nobody has hashed yet.
    pub async fn verify(
        self: &Arc<Self>,
        source: &Arc<dyn BatchSource>,
        batch: &Batch,
        offset: usize,
        limit: usize,
    ) -> Result<(), ApiError> {
        let (asked, number) = (Instant::now(), batch.number());
        for file in source.unverified(batch, offset, limit) {
            let turn = timeout(self.wait, self.turn(source, &file, asked)).await;
            let turn = turn.map_err(|_| ApiError::busy("stored batches are verified"))?;
            let Some((mut found, place)) = turn? else { continue };
            let (verifying, source) = (Arc::clone(self), Arc::clone(source));
            // Brought to its end also where whoever asked has gone.
            let hash = move || {
                let began = Instant::now();
                let verified = source.verify_file(&file);
                let verified = verified.map_err(|error: BatchReadError| unreadable_rows(number, &error));
                let ended = Instant::now();
                *found = verified.clone().err().map(|error| Damage { error, took: ended - began, ended });
                if verified.is_ok() {
                    verifying.files().remove(&file);
                }
                drop((found, place));
                verified
            };
            reading(hash).await?;
        }
        Ok(())
    }

    /// Waits for whoever hashes the file, then for a place. `None`: it is known by now.
    async fn turn(
        &self,
        source: &Arc<dyn BatchSource>,
        file: &str,
        asked: Instant,
    ) -> Result<Option<(OwnedMutexGuard<Option<Damage>>, OwnedSemaphorePermit)>, ApiError> {
        let turn = Arc::clone(self.files().entry(file.to_owned()).or_default());
        let found = turn.lock_owned().await;
        if source.is_verified(file) {
            self.files().remove(file);
            return Ok(None);
        }
        if let Some(damage) = found.as_ref().filter(|damage| damage.is_told_to(asked)) {
            return Err(damage.error.clone());
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| ApiError::internal("the places of those who hash are closed"))?;
        Ok(Some((found, place)))
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Turn>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc;

    use serde_json::{Map, Value};

    use super::super::fixture::{batch, fixture_of};
    use super::super::tests::ask;
    use super::*;
    use millstream_stream::batch::{BatchSnapshot, BatchStatistics, Completeness};

    /// Batches of one file each, by its number, whose hashing waits to be let go.
    struct Gated {
        known: Mutex<BTreeSet<String>>,
        is_damaged: Mutex<bool>,
        /// Those that were begun, ever.
        begun: Mutex<Vec<String>>,
        go: Mutex<mpsc::Receiver<()>>,
    }

    impl Gated {
        /// The sender lets one go for each message.
        fn new(known: &[u32]) -> (Arc<Self>, mpsc::Sender<()>) {
            let (let_go, go) = mpsc::channel();
            let known = Mutex::new(known.iter().map(u32::to_string).collect());
            let gated = Self { known, is_damaged: Mutex::default(), begun: Mutex::default(), go: Mutex::new(go) };
            (Arc::new(gated), let_go)
        }

        fn n_begun(&self) -> usize {
            self.begun.lock().unwrap().len()
        }

        async fn has_begun(&self, n: usize) {
            let end = Instant::now() + Duration::from_secs(60);
            while self.n_begun() < n {
                assert!(Instant::now() < end, "{n} are never begun");
                tokio::task::yield_now().await;
            }
        }
    }

    impl BatchSource for Gated {
        fn snapshot(&self) -> BatchSnapshot {
            let batches = (1..=9).map(|number| batch(number, 10, 0)).collect();
            BatchSnapshot { batches, completeness: Completeness::Whole, away: None }
        }

        fn unverified(&self, batch: &Batch, _: usize, _: usize) -> Vec<String> {
            [batch.number().to_string()].into_iter().filter(|file| !self.is_verified(file)).collect()
        }

        fn is_verified(&self, file: &str) -> bool {
            self.known.lock().unwrap().contains(file)
        }

        fn verify_file(&self, file: &str) -> Result<(), BatchReadError> {
            self.begun.lock().unwrap().push(file.to_owned());
            self.go.lock().unwrap().recv().unwrap();
            if *self.is_damaged.lock().unwrap() {
                return Err(BatchReadError { message: "torn".to_owned(), is_away: false });
            }
            self.known.lock().unwrap().insert(file.to_owned());
            Ok(())
        }

        fn rows(&self, batch: &Batch, _: usize, _: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            Ok(vec![Map::from_iter([("batch".to_owned(), Value::from(batch.number()))])])
        }

        fn rejects(&self, _: &Batch, _: usize, _: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            Ok(Vec::new())
        }

        fn statistics(&self, _: &Batch) -> Result<BatchStatistics, BatchReadError> {
            Ok(BatchStatistics { rows_read: 0, columns: Vec::new() })
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_that_are_known_wait_for_nobody_and_four_files_are_hashed_at_once() {
        let (source, let_go) = Gated::new(&[9]);
        let fixture = fixture_of(Arc::clone(&source) as Arc<dyn BatchSource>);
        let get = |number: u32| {
            let app = Arc::clone(&fixture.app);
            tokio::spawn(async move { ask(&app, "GET", &format!("/v1/batches/{number}/rows"), "").await.0 })
        };
        // The first file is asked for more often than there are places: one of them is enough for it.
        let mut asked: Vec<_> = [1; 6].map(get).into();
        source.has_begun(1).await;
        asked.extend([2, 3, 4].map(get));
        source.has_begun(4).await;
        asked.extend([5, 6].map(get));
        for _ in 0..10 {
            assert_eq!(get(9).await.unwrap(), 200);
        }
        assert_eq!(source.n_begun(), 4);
        for n_gone in 1..=6 {
            let_go.send(()).unwrap();
            source.has_begun((4 + n_gone).min(6)).await;
        }
        for answer in asked {
            assert_eq!(answer.await.unwrap(), 200);
        }
        let mut begun = source.begun.lock().unwrap().clone();
        begun.sort_unstable();
        assert_eq!(begun, ["1", "2", "3", "4", "5", "6"]);
        assert!(fixture.app.verifying.files().is_empty(), "nothing is kept of what is known");
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_place_or_a_file_is_told_so() {
        let (gated, let_go) = Gated::new(&[]);
        let source = Arc::clone(&gated) as Arc<dyn BatchSource>;
        let verifying = Arc::new(Verifying { wait: Duration::ZERO, ..Verifying::default() });
        let asked: Vec<_> = (1..=4)
            .map(|number| {
                let (verifying, source) = (Arc::clone(&verifying), Arc::clone(&source));
                tokio::spawn(async move { verifying.verify(&source, &batch(number, 10, 0), 0, 1).await })
            })
            .collect();
        gated.has_begun(4).await;
        for number in [1, 5] {
            let answer = timeout(Duration::from_secs(60), verifying.verify(&source, &batch(number, 10, 0), 0, 1)).await;
            assert_eq!(answer.unwrap().unwrap_err().code, "busy");
        }
        // Which of the four is let go first is the scheduler's choice.
        asked.iter().for_each(|_| let_go.send(()).unwrap());
        for answer in asked {
            answer.await.unwrap().unwrap();
        }
        let_go.send(()).unwrap();
        verifying.verify(&source, &batch(5, 10, 0), 0, 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_file_is_hashed_once_for_all_who_wait_and_again_for_who_comes_later() {
        let (gated, let_go) = Gated::new(&[]);
        let source = Arc::clone(&gated) as Arc<dyn BatchSource>;
        let verifying = Arc::new(Verifying::default());
        *gated.is_damaged.lock().unwrap() = true;
        let first = batch(1, 10, 0);
        let ask = || verifying.verify(&source, &first, 0, 1);
        let let_one_go = async {
            gated.has_begun(1).await;
            let_go.send(()).unwrap();
        };
        let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), let_one_go);
        for answer in [one, two, three] {
            assert_eq!(answer.unwrap_err().code, "damaged_store");
        }
        assert_eq!(gated.n_begun(), 1);
        // Restored.
        *gated.is_damaged.lock().unwrap() = false;
        let file = Arc::clone(&verifying.files()["1"]);
        file.lock().await.as_mut().unwrap().took = Duration::ZERO;
        let_go.send(()).unwrap();
        ask().await.unwrap();
        assert_eq!(gated.n_begun(), 2);
    }

    #[test]
    fn a_damaged_file_that_takes_long_to_hash_is_left_alone_for_longer() {
        let ended = Instant::now();
        let check = |took_ms: u64, asked_ms: u64, expected: bool| {
            let error = ApiError::internal("");
            let damage = Damage { error, took: Duration::from_millis(took_ms), ended };
            assert_eq!(damage.is_told_to(ended + Duration::from_millis(asked_ms)), expected, "{took_ms} {asked_ms}");
        };
        check(10, 0, true);
        check(10, 1, false);
        check(999, 1, false);
        check(1000, 9000, true);
        check(1000, 9001, false);
        check(6_600, 59_400, true);
        check(60_000, 60_000, true);
        check(60_000, 60_001, false);
    }
}
