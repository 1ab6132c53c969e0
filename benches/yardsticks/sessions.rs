//! Many sessions, made through the library: to sign a million people in would take an hour.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lychgate::config::{StoreKind, StoreSettings};
use lychgate::secret::ExposeSecret as _;
use lychgate::tenant_id::TenantId;

use super::typical::{limits, new_session, open};

/// Sessions under way at a time.
const AT_ONCE: usize = 256;
/// Bytes of memory for sessions, none of which is read again.
const CACHE: u64 = 1 << 20;

/// Makes `count` sessions in the data folder `data`, at the tenants `t0`, `t1` and so on in turn. What to ask about each is
/// a line of the file `asked` there: the path of its check, a tab, its cookie.
pub(super) async fn make(data: &Path, tenants: usize, count: usize) {
    let sessions = open(data, &StoreSettings { store: StoreKind::Embedded, cache_bytes: CACHE }).await;
    let sessions = &sessions;
    let made = stream::iter(0..count).map(|n| async move {
        let tenant: TenantId = format!("t{}", n % tenants).parse().unwrap();
        let (cookie, _) = sessions.create(&tenant, &limits(), new_session(n)).await?;
        let cookie = cookie.expose_secret().to_owned();
        Ok::<_, lychgate::session::StoreError>((tenant, cookie))
    });
    let mut lines = String::new();
    let mut made = made.buffered(AT_ONCE);
    while let Some((tenant, cookie)) = made.try_next().await.unwrap() {
        writeln!(lines, "/{tenant}/auth\t__Host-lychgate-{tenant}={cookie}").unwrap();
    }
    fs::write(data.join("asked"), lines).unwrap();
    sessions.close().await;
}
