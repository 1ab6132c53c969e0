//! What is Redis' own. Tests that need it are ignored unless asked for; `tests/with-redis` starts it.

use super::*;
use crate::config::{RedisSettings, Sources, load};

/// The settings that `tests/with-redis` wrote, with a prefix that nobody else has.
pub(super) fn settings(cache_bytes: u64) -> StoreSettings {
    let file = std::env::var_os(REDIS).unwrap_or_else(|| {
        panic!(
            "{REDIS} does not name a settings file: run this by `tests/with-redis single|sentinel|cluster cargo test …`"
        )
    });
    let sources = Sources { config: Some(file.into()), ..Sources::default() };
    let StoreKind::Redis(redis) = load(&sources).expect("good settings").settings.sessions.store else {
        panic!("{REDIS} names settings of another store");
    };
    let redis = RedisSettings { prefix: format!("test-{}:", secret::random_text()), ..*redis };
    StoreSettings { store: StoreKind::Redis(redis.into()), cache_bytes }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn the_redis_of_the_tests_answers() {
    let house = House::with(settings(PLENTY)).await;
    house.sessions.check().await.unwrap();
    assert_eq!(house.sessions.store.label(), "redis");
}
