//! What a session takes in memory, counted by the allocator. `benches/sessions.rs` measures the same, and more, with many.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod typical;

use futures_util::{StreamExt as _, TryStreamExt as _};
use peak_alloc::PeakAlloc;

use self::typical::{House, cookies, limits, tenant};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SESSIONS: usize = 2000;
/// Bytes that a session may take once its tokens are cold.
const MOST: usize = 1536;

#[tokio::test]
async fn a_session_whose_tokens_are_cold_takes_a_kibibyte_and_a_half() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::at(folder.path());
    let sessions = house.open(1 << 20).await;
    let cookies: Vec<String> = cookies(&sessions, 0..SESSIONS).buffered(64).try_collect().await.unwrap();
    sessions.close().await;

    let sessions = house.open(1 << 30).await;
    let before = ALLOCATOR.current_usage();
    for cookie in &cookies {
        assert!(sessions.find(&tenant(), &limits(), cookie).await.unwrap().is_some());
    }
    let each = (ALLOCATOR.current_usage() - before) / SESSIONS;
    assert!((MOST / 2..=MOST).contains(&each), "{each} bytes");
}
