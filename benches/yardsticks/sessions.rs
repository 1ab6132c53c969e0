//! Many sessions, made through the library: to sign a million people in would take an hour.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::typical::{House, cookies};

/// Sessions under way at a time.
const AT_ONCE: usize = 256;
/// Bytes of memory for sessions, none of which is read again.
const CACHE: u64 = 1 << 20;

pub(super) async fn make(data: &Path, count: usize) {
    let house = House::at(data);
    let sessions = house.open(CACHE).await;
    let made: Vec<String> = cookies(&sessions, 0..count).buffered(AT_ONCE).try_collect().await.unwrap();
    house.keep(&made);
    sessions.close().await;
}
