//! Memory that all who move something large share. Nobody holds it for long while others wait: then the share that has been held
//! longest is asked back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

/// Shares are counted in these.
const UNIT_BYTES: usize = 64 << 10;
/// Who waits looks so often for a share that can be asked back.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Shares {
    units: Arc<Semaphore>,
    /// No share is asked back before.
    held_least: Duration,
    /// The oldest in front.
    holders: Mutex<VecDeque<Weak<Holder>>>,
}

struct Holder {
    since: Instant,
    give_up: Arc<Notify>,
}

/// Given back when dropped.
pub struct Share {
    permit: OwnedSemaphorePermit,
    /// `None`: it is not asked back.
    holder: Option<Arc<Holder>>,
}

impl Share {
    /// Nobody else has a say in how long it is held from now on.
    pub fn keep(&mut self) {
        self.holder = None;
    }
}

impl Shares {
    pub fn new(bytes: usize, held_least: Duration) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes / UNIT_BYTES)), held_least, holders: Mutex::default() }
    }

    /// A share of so many bytes, which `give_up` asks back; `None`: there was none in so long a time.
    pub async fn take(&self, bytes: usize, give_up: &Arc<Notify>, most: Duration) -> Option<Share> {
        let permit = self.permit(bytes.div_ceil(UNIT_BYTES), None, most).await?;
        let holder = Arc::new(Holder { since: Instant::now(), give_up: Arc::clone(give_up) });
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push_back(Arc::downgrade(&holder));
        Some(Share { permit, holder: Some(holder) })
    }

    /// Makes a share one of so many bytes; false: there was no room for it in so long a time.
    pub async fn grow(&self, share: &mut Share, bytes: usize, most: Duration) -> bool {
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(share.permit.num_permits());
        match self.permit(more, share.holder.as_ref(), most).await {
            Some(more) => {
                share.permit.merge(more);
                true
            }
            None => false,
        }
    }

    async fn permit(&self, units: usize, own: Option<&Arc<Holder>>, most: Duration) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(units).ok()?;
        if let Ok(permit) = Arc::clone(&self.units).try_acquire_many_owned(units) {
            return Some(permit);
        }
        let until = Instant::now() + most;
        let mut permit = std::pin::pin!(Arc::clone(&self.units).acquire_many_owned(units));
        loop {
            self.ask_back(own);
            if Instant::now() >= until {
                return None;
            }
            tokio::select! {
                permit = permit.as_mut() => return permit.ok(),
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Asks for the share that is held longest, other than one's own.
    fn ask_back(&self, own: Option<&Arc<Holder>>) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        let is_own = |holder: &Weak<Holder>| own.is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), holder.as_ptr()));
        let Some(place) = holders.iter().position(|holder| !is_own(holder)) else { return };
        let Some(oldest) = holders.get(place).and_then(Weak::upgrade) else { return };
        if oldest.since.elapsed() >= self.held_least {
            holders.remove(place);
            oldest.give_up.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn the_oldest_share_is_asked_back_when_others_wait() {
        let shares = Arc::new(Shares::new(4 * UNIT_BYTES, Duration::ZERO));
        let asked: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        let mut first = shares.take(1, &asked[0], LONG).await.unwrap();
        let second = shares.take(2 * UNIT_BYTES, &asked[1], LONG).await.unwrap();
        let third = shares.take(UNIT_BYTES, &asked[2], LONG).await.unwrap();
        first.keep();
        let waiting = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.take(UNIT_BYTES, &Arc::default(), LONG).await.is_some() }
        });
        // The first is kept, so the second is the oldest that can be asked.
        asked[1].notified().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert!(waiting.await.unwrap());
        drop((first, third));
        assert_eq!(shares.units.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_share_is_not_asked_back_early_and_never_by_its_own_growth() {
        let shares = Shares::new(2 * UNIT_BYTES, LONG);
        let give_up: Arc<Notify> = Arc::default();
        let mut share = shares.take(1, &give_up, LONG).await.unwrap();
        assert!(shares.grow(&mut share, 2 * UNIT_BYTES, LONG).await);
        assert!(!shares.grow(&mut share, 3 * UNIT_BYTES, Duration::from_millis(120)).await);
        assert!(shares.take(1, &Arc::default(), Duration::from_millis(120)).await.is_none());
        assert!(tokio::time::timeout(Duration::ZERO, give_up.notified()).await.is_err());
    }
}
