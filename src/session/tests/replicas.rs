//! Several processes on one Redis: what each must know of the others, and what it does while it does not.

use ::redis::cmd;
use tokio::task::JoinHandle;

use super::redis::{Server, settings};
use super::*;

/// How soon all replicas know.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Two replicas that hear one another.
struct Pair {
    house: House,
    twin: Arc<Sessions>,
    informed: Vec<JoinHandle<()>>,
}

impl Pair {
    async fn new() -> Self {
        Self::of(House::with(settings(PLENTY)).await).await
    }

    async fn of(house: House) -> Self {
        let twin = house.beside(&house.ring).await;
        let informed = [&house.sessions, &twin].map(|one| tokio::spawn(Arc::clone(one).keep_informed()));
        let pair = Self { house, twin, informed: informed.into() };
        pair.hear().await;
        pair
    }

    async fn hear(&self) {
        until(|| [&self.house.sessions, &self.twin].iter().all(|one| one.metrics.session_news_up.get() == 1)).await;
    }

    /// What the twin says of a cookie.
    async fn there(&self, cookie: &str) -> Result<Option<Arc<Session>>, StoreError> {
        Ok(self.found_there(cookie).await?.map(|found| found.session))
    }

    async fn found_there(&self, cookie: &str) -> Result<Option<Found>, StoreError> {
        self.twin.find(&self.house.acme, &limits(), cookie).await
    }

    /// The access token that the twin has for a cookie.
    async fn token_there(&self, cookie: &str) -> String {
        let session = self.there(cookie).await.unwrap().unwrap();
        let tokens = self.twin.opened(&session).await.unwrap().unwrap().tokens;
        tokens.access_token.as_ref().unwrap().value.expose_secret().to_owned()
    }

    /// Waits until the twin has it in memory and would go on using it.
    async fn settle_there(&self, cookie: &str) -> Arc<Session> {
        let session = self.there(cookie).await.unwrap().unwrap();
        let read_at = session.read_at;
        until(|| self.twin.news.now() > read_at + 500).await;
        self.there(cookie).await.unwrap().unwrap()
    }

    /// Waits until the twin says that it is no session.
    async fn gone_there(&self, cookie: &str) {
        let since = std::time::Instant::now();
        while self.there(cookie).await.unwrap().is_some() {
            assert!(since.elapsed() < KNOWN_WITHIN, "still there");
            tokio::task::yield_now().await;
        }
    }

    fn reads_there(&self) -> u64 {
        self.twin.metrics.session_operations_total.with_label_values(&["redis", "find", "ok"]).get()
    }

    /// Takes a session out of Redis so that nobody is told.
    async fn remove_silently(&self, session: &Session) {
        assert!(
            self.house.sessions.store.remove(&session.tenant, session.id_hash, self.house.clock.now()).await.unwrap()
        );
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.informed.iter().for_each(JoinHandle::abort);
    }
}

fn tokens(house: &House) -> Renewal {
    let now = house.clock.now();
    let access_token = AccessToken {
        value: "next".into(),
        terms: TokenTerms { issued_at: now, expires_at: Some(now.plus(HOUR)) },
        scope: None,
    };
    Renewal::Tokens(Box::new(RenewedTokens {
        audience: None,
        access_token,
        refresh_token: None,
        id_token: None,
        claims: None,
        session_expiry: None,
    }))
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn what_one_ends_the_other_refuses_within_a_second() {
    let pair = Pair::new().await;
    for many in [false, true] {
        let (cookie, session) = pair.house.sign_in().await;
        pair.settle_there(&cookie).await;
        if many {
            let ids = [session.id_hash];
            pair.house.sessions.end_listed(&session.tenant, &ids, EndReason::Revoked).await.unwrap();
        } else {
            pair.house.sessions.end(&session, EndReason::Logout).await.unwrap();
        }
        pair.gone_there(&cookie).await;
    }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn who_waits_for_an_end_learns_of_it_from_elsewhere() {
    let pair = Pair::new().await;
    let (cookie, session) = pair.house.sign_in().await;
    let there = pair.settle_there(&cookie).await;
    let limits = limits();
    let mut waiting = Box::pin(pair.twin.ended(&there, &limits));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    pair.house.sessions.end(&session, EndReason::Logout).await.unwrap();
    tokio::time::timeout(KNOWN_WITHIN, waiting).await.expect("in time");
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_hot_session_is_not_read_while_the_others_are_heard() {
    let pair = Pair::new().await;
    let (cookie, _) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    let before = pair.reads_there();
    for _ in 0..1000 {
        pair.there(&cookie).await.unwrap().unwrap();
    }
    assert_eq!(pair.reads_there(), before);
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn what_one_renews_the_other_has_within_a_second() {
    let pair = Pair::new().await;
    let (cookie, session) = pair.house.sign_in().await;
    let there = pair.settle_there(&cookie).await;
    pair.house.sessions.renew(&session, &tokens(&pair.house)).await.unwrap().unwrap();
    let latest = pair.twin.latest(&there).await.unwrap().unwrap().tokens;
    assert_eq!(latest.access_token.as_ref().unwrap().value.expose_secret(), "next");
    let since = std::time::Instant::now();
    while pair.token_there(&cookie).await != "next" {
        assert!(since.elapsed() < KNOWN_WITHIN);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn one_at_a_time_has_the_turn_to_renew_a_session() {
    let pair = Pair::new().await;
    let (cookie, session) = pair.house.sign_in().await;
    let there = pair.there(&cookie).await.unwrap().unwrap();
    let turn = pair.house.sessions.turn(&session).await.unwrap();
    let mut waiting = Box::pin(pair.twin.turn(&there));
    // Longer than a turn lasts that nobody extends.
    assert!(tokio::time::timeout(Duration::from_secs(6), &mut waiting).await.is_err());
    turn.give_back().await;
    let turn = tokio::time::timeout(KNOWN_WITHIN, waiting).await.expect("in time").unwrap();
    // A replica that dies extends nothing.
    drop(turn);
    let since = std::time::Instant::now();
    pair.house.sessions.turn(&session).await.unwrap().give_back().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_session_in_use_elsewhere_does_not_idle_here() {
    let pair = Pair::new().await;
    let (cookie, _) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    for _ in 0..3 {
        pair.house.clock.advance(DAY / 2);
        let session = pair.house.find(&cookie).await.unwrap();
        until(|| session.untold().is_none()).await;
    }
    assert!(pair.there(&cookie).await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn when_a_replica_falls_silent_the_others_read_everything_anew() {
    let pair = Pair::new().await;
    let (cookie, session) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    // It dies after it has ended a session and before it has told.
    pair.remove_silently(&session).await;
    assert!(pair.there(&cookie).await.unwrap().is_some());
    pair.informed[0].abort();
    pair.gone_there(&cookie).await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_replica_that_says_farewell_is_not_missed() {
    let pair = Pair::new().await;
    let (cookie, _) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    let before = pair.reads_there();
    pair.informed[0].abort();
    pair.house.sessions.close().await;
    let since = std::time::Instant::now();
    while since.elapsed() < KNOWN_WITHIN {
        pair.there(&cookie).await.unwrap().unwrap();
        tokio::task::yield_now().await;
    }
    assert!(pair.reads_there() <= before + 1, "{} {before}", pair.reads_there());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn when_a_message_is_missing_everything_is_read_anew() {
    let pair = Pair::new().await;
    let (cookie, session) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    pair.remove_silently(&session).await;
    assert!(pair.there(&cookie).await.unwrap().is_some());
    pair.house.sessions.news.skip().await;
    pair.gone_there(&cookie).await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn when_the_subscription_is_lost_everything_is_read_anew() {
    let server = Server::start().await;
    let pair = Pair::of(server.house().await).await;
    let (cookie, session) = pair.house.sign_in().await;
    pair.settle_there(&cookie).await;
    pair.remove_silently(&session).await;
    assert!(pair.there(&cookie).await.unwrap().is_some());
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    pair.gone_there(&cookie).await;
    pair.hear().await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn while_redis_is_gone_sessions_in_memory_go_on_for_the_grace_and_no_longer() {
    let mut server = Server::start().await;
    let StoreSettings { store: StoreKind::Redis(mut redis), cache_bytes } = server.settings() else { panic!("Redis") };
    redis.stale_grace = Duration::from_secs(3);
    let pair = Pair::of(House::with(StoreSettings { store: StoreKind::Redis(redis), cache_bytes }).await).await;
    let (hot, _) = pair.house.sign_in().await;
    let (cold, _) = pair.house.sign_in().await;
    pair.settle_there(&hot).await;
    server.kill();
    let gone = std::time::Instant::now();
    while gone.elapsed() < Duration::from_secs(2) {
        let found = pair.found_there(&hot).await.unwrap();
        // The last heartbeat may be young enough still.
        assert!(found.is_some_and(|found| found.is_stale || gone.elapsed() < Duration::from_secs(1)));
        assert!(matches!(pair.there(&cold).await, Err(StoreError::Unreachable(_) | StoreError::Slow)));
        tokio::task::yield_now().await;
    }
    assert!(pair.twin.metrics.session_stale_uses_total.get() > 0);
    while pair.there(&hot).await.is_ok() {
        assert!(gone.elapsed() < Duration::from_secs(4));
        tokio::task::yield_now().await;
    }
    assert!(matches!(pair.there(&hot).await, Err(StoreError::Unreachable(_) | StoreError::Slow)));
    server.start_again().await;
    let back = std::time::Instant::now();
    // This Redis keeps nothing; what it forgot is over.
    while pair.there(&hot).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
    // The other one finds out by itself.
    while pair.house.sessions.check().await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
    let (cookie, _) = pair.house.sign_in().await;
    assert!(!pair.found_there(&cookie).await.unwrap().unwrap().is_stale);
    pair.hear().await;
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn what_ended_lately_is_ended_again_by_everybody_when_redis_may_have_forgotten_it() {
    let server = Server::start().await;
    let pair = Pair::of(server.house().await).await;
    let (cookie, session) = pair.house.sign_in().await;
    let redis = pair.house.sessions.store.as_redis();
    let key = redis.keys().await.into_iter().find(|key| key.contains("session:")).unwrap();
    let fields: Vec<Vec<u8>> = redis.ask(cmd("HGETALL").arg(&key)).await;
    pair.house.sessions.end(&session, EndReason::Logout).await.unwrap();
    pair.gone_there(&cookie).await;
    // As a replica has it that knows neither the end nor word of it, and then takes over.
    redis.ask::<()>(cmd("DEL").arg(key.replace("session:", "ended:"))).await;
    redis.ask::<()>(cmd("HSET").arg(&key).arg(&fields)).await;
    assert!(pair.there(&cookie).await.unwrap().is_none());
    pair.informed[0].abort();
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let since = std::time::Instant::now();
    while redis.ask::<i64>(cmd("EXISTS").arg(&key)).await == 1 {
        assert!(since.elapsed() < Duration::from_secs(3));
    }
}
