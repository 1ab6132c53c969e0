//! Where new work waits while there is much of it, so that those who are known already need not.
//!
//! A check of a session in memory is done at once and never comes here. Whatever takes longer, such as a sign-in, a
//! session that must be read, a token that must be verified, passes the turnstile. A few may be inside without further
//! ado; beyond, one enters at a time, once all that is under way has had its turn on the processor. So work waits here,
//! where it costs nothing, and not in the queue of the runtime, where it would stand in front of checks. Who waits too
//! long, or finds too many here, is turned away.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many enter without waiting for their turn; so few delay nobody by much.
const FREELY: usize = 32;
/// How long somebody waits to enter, or to hear that there is no place: as long as a person does not mind.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way in for new work. One per process.
#[derive(Debug)]
pub struct Turnstile {
    /// Of those who wait or are inside.
    places: Semaphore,
    /// Of those inside who did not wait.
    free: Semaphore,
    /// Of the one who enters after waiting.
    turn: Semaphore,
}

/// There is more work than can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is more to do than can be done")]
pub struct Overloaded;

/// Work that has entered, until it is dropped.
#[derive(Debug)]
pub struct Pass<'a> {
    _place: SemaphorePermit<'a>,
    _free: Option<SemaphorePermit<'a>>,
}

impl Turnstile {
    /// With room for `places` that wait or are inside, at the same time.
    pub fn new(places: usize) -> Self {
        Self { places: Semaphore::new(places), free: Semaphore::new(FREELY), turn: Semaphore::new(1) }
    }

    /// Enters, in the order of arrival where one must wait.
    ///
    /// # Errors
    /// There is no place, or the turn did not come in time.
    pub async fn enter(&self) -> Result<Pass<'_>, Overloaded> {
        let Ok(place) = self.places.try_acquire() else {
            // Whoever is told at once asks again at once, and only to be told so is work, too.
            tokio::time::sleep(PATIENCE).await;
            return Err(Overloaded);
        };
        if let Ok(free) = self.free.try_acquire() {
            return Ok(Pass { _place: place, _free: Some(free) });
        }
        let turn = tokio::time::timeout(PATIENCE, self.turn.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(Overloaded)?;
        // Goes to the end of the runtime's queue: whoever stands in it goes first, those whose bytes have come as well.
        tokio::task::yield_now().await;
        Ok(Pass { _place: place, _free: None })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// As many as enter without waiting.
    async fn full(turnstile: &Turnstile) -> Vec<Pass<'_>> {
        let mut inside = Vec::new();
        for _ in 0..FREELY {
            inside.push(turnstile.enter().await.unwrap());
        }
        inside
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_turned_away_not_at_once_and_a_place_comes_back() {
        let turnstile = Turnstile::new(2);
        let first = turnstile.enter().await.unwrap();
        let _second = turnstile.enter().await.unwrap();
        let asked = tokio::time::Instant::now();
        assert_eq!(turnstile.enter().await.unwrap_err(), Overloaded);
        assert_eq!(asked.elapsed().as_secs(), PATIENCE.as_secs());
        drop(first);
        assert!(turnstile.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_turned_away() {
        let turnstile = Turnstile::new(100);
        let free = full(&turnstile).await;
        let turn = turnstile.turn.acquire().await.unwrap();
        assert_eq!(turnstile.enter().await.unwrap_err(), Overloaded);
        drop(turn);
        assert!(turnstile.enter().await.is_ok(), "it is their turn");
        drop(free);
        assert_eq!(turnstile.places.available_permits(), 100, "nobody's place is lost");
        assert_eq!(turnstile.free.available_permits(), FREELY);
    }

    #[tokio::test]
    async fn who_waits_enters_in_the_order_of_arrival() {
        let turnstile = Arc::new(Turnstile::new(200));
        let _free = full(&turnstile).await;
        let (entered, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..100 {
            let (turnstile, entered) = (Arc::clone(&turnstile), entered.clone());
            tokio::spawn(async move {
                let _pass = turnstile.enter().await.unwrap();
                entered.send(number).unwrap();
            });
        }
        drop(entered);
        let mut all = Vec::new();
        while let Some(number) = order.recv().await {
            all.push(number);
        }
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
