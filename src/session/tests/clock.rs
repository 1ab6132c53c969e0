//! A clock that jumps: an hour ahead, an hour back, as when somebody sets it right.

use super::*;

fn half_an_hour() -> SessionLimits {
    SessionLimits { idle: Duration::from_mins(30), ..limits() }
}

async fn found(house: &House, cookie: &str) -> bool {
    house.sessions.find(&house.acme, &half_an_hour(), cookie).await.unwrap().is_some()
}

#[tokio::test]
async fn an_hour_ahead_ends_what_would_have_idled_and_nothing_else() {
    let house = House::either().await;
    let (idle, _) = house.sessions.create(&house.acme, &half_an_hour(), ada()).await.unwrap();
    let (cookie, _) = house.sign_in().await;
    assert!(house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    house.clock.set_ahead(HOUR);
    assert!(!found(&house, idle.expose_secret()).await);
    assert!(house.find(&cookie).await.is_some());
    assert!(!house.sessions.use_attempt(&house.acme, "attempt").await.unwrap(), "until it is swept");
    house.sessions.sweep().await.unwrap();
    house.cool();
    assert!(house.find(&cookie).await.is_some());
    house.clock.set_ahead(-HOUR);
    assert!(house.find(&cookie).await.is_some());
}

#[tokio::test]
async fn an_hour_back_ends_nothing_and_lengthens_nothing_by_more_than_that() {
    let mut house = House::either().await;
    let (cookie, session) = house.sessions.create(&house.acme, &half_an_hour(), ada()).await.unwrap();
    let (cookie, made) = (cookie.expose_secret().to_owned(), session.created_at);
    let used = house.sessions.use_attempt(&house.acme, "attempt").await.unwrap();
    house.clock.set_ahead(-HOUR);
    assert!(used && !house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    assert_eq!(house.sessions.sweep().await.unwrap(), 0);
    for _ in 0..2 {
        let found = house.sessions.find(&house.acme, &half_an_hour(), &cookie).await.unwrap().unwrap().session;
        assert_eq!((found.created_at, found.expires_at), (made, made.plus(7 * DAY)));
        assert!(found.last_seen_at() >= made);
        house.restart().await;
    }
    // One made now ends as it should, and so does the other, in the end.
    let (late, _) = house.sessions.create(&house.acme, &half_an_hour(), ada()).await.unwrap();
    house.clock.advance(HOUR / 2);
    assert!(!found(&house, late.expose_secret()).await);
    house.clock.advance(HOUR);
    house.cool();
    assert!(!found(&house, &cookie).await);
}

#[tokio::test]
async fn a_use_after_the_clock_went_back_reaches_the_store_at_once_and_then_once_a_minute() {
    let house = House::either().await;
    let (cookie, _) = house.sessions.create(&house.acme, &half_an_hour(), ada()).await.unwrap();
    house.clock.set_ahead(-HOUR);
    for (wait, touches) in [(0, 1), (1, 1), (60, 2), (1, 2), (60, 3)] {
        house.clock.advance(wait);
        assert!(found(&house, cookie.expose_secret()).await);
        until(|| house.operations("touch", "ok") >= touches).await;
        assert_eq!(house.operations("touch", "ok"), touches, "after {wait} s");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_keeps_nobody_from_renewing() {
    let house = House::either().await;
    let (_, session) = house.sign_in().await;
    for jump in [HOUR, -2 * HOUR, HOUR] {
        let turn = house.sessions.turn(&session).await.unwrap();
        house.clock.set_ahead(jump);
        turn.give_back().await;
        let began = std::time::Instant::now();
        house.sessions.turn(&session).await.unwrap().give_back().await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?} after {jump} s", began.elapsed());
        assert!(house.sessions.renew(&session, &Renewal::Ended).await.unwrap().is_some());
    }
}
