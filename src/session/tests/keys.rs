//! What stands under a ring key, while the keys change; in either store, as in `either`.

use super::*;
use crate::key_ring::RingFiles;

/// A house whose keys lie in files.
struct KeyedHouse {
    house: House,
    files: RingFiles,
}

impl KeyedHouse {
    async fn new() -> Self {
        Self::over(either(PLENTY)).await
    }

    async fn over(store: StoreSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let active = dir.path().join("secret.key");
        let ring = KeyRing::open(active.clone()).unwrap();
        let house = House::with_keys(dir, ring, store).await.informed().await;
        Self { house, files: RingFiles::new(active) }
    }

    /// Both steps; returns the id of the former key.
    fn rotate(&self) -> KeyId {
        self.files.prepare().unwrap();
        assert!(self.house.ring.look().unwrap());
        let (former, active) = self.files.activate(self.house.clock.now().plus(60)).unwrap();
        assert!(self.house.ring.look().unwrap());
        assert_eq!(self.house.ring.active().id(), active.key.id());
        former.key.id()
    }

    fn drop_key(&self, id: KeyId) {
        self.files.drop_key(id).unwrap();
        assert!(self.house.ring.look().unwrap());
    }

    async fn remember(&self, seen: &SeenUser) {
        self.house.sessions.remember_user(&self.house.acme, seen).await.unwrap();
    }

    async fn users(&self) -> Vec<UserRecord> {
        self.house.sessions.users(&self.house.acme).await.unwrap()
    }

    async fn rekey(&self) -> usize {
        self.house.sessions.rekey_users().await.unwrap()
    }
}

#[tokio::test]
async fn a_session_goes_on_under_its_key_and_a_new_one_stands_under_the_active_key() {
    let mut keyed = KeyedHouse::new().await;
    let (old, begun) = keyed.house.sign_in().await;
    let former = keyed.rotate();
    let (new, _) = keyed.house.sign_in().await;
    assert!(Arc::ptr_eq(&keyed.house.find(&old).await.unwrap(), &begun), "the cache keeps it");
    keyed.house.cool();
    keyed.house.clock.advance(HOUR);
    for cookie in [&old, &new] {
        assert!(keyed.house.find(cookie).await.is_some());
    }
    assert_eq!(keyed.house.find(&old).await.unwrap().ring, former, "a use does not move it");
    keyed.house.restart().await;
    let counted = keyed.house.sessions.store.counts().then_some(1);
    for key in [former, keyed.house.ring.active().id()] {
        assert_eq!(keyed.house.sessions.under(key).await.unwrap(), counted);
    }
    for cookie in [&old, &new] {
        assert!(keyed.house.find(cookie).await.is_some());
    }
}

#[tokio::test]
async fn a_dropped_key_takes_its_sessions_and_no_other() {
    let keyed = KeyedHouse::new().await;
    let (hot, _) = keyed.house.sign_in().await;
    let (cold, cold_session) = keyed.house.sign_in().await;
    keyed.house.sessions.near.sessions.invalidate(&cold_session.id_hash).await;
    let former = keyed.rotate();
    let (new, _) = keyed.house.sign_in().await;
    let kept = fs::read(keyed.house.dir.path().join(format!("secret.{former}.key"))).unwrap();
    keyed.drop_key(former);
    assert!(keyed.house.find(&hot).await.is_none(), "not from the cache either");
    assert!(keyed.house.find(&cold).await.is_none());
    assert!(keyed.house.find(&new).await.is_some());
    assert_eq!(keyed.house.live().await, 3, "nothing is removed, the key may come back");
    fs::write(keyed.house.dir.path().join("secret.again.key"), kept).unwrap();
    assert!(keyed.house.ring.look().unwrap());
    for cookie in [&hot, &cold, &new] {
        assert!(keyed.house.find(cookie).await.is_some());
    }
}

#[tokio::test]
async fn the_sessions_of_a_user_and_of_a_providers_session_are_found_under_every_key() {
    let keyed = KeyedHouse::new().await;
    let (new, acme) = (ada(), keyed.house.acme.clone());
    let (_, first) = keyed.house.sign_in().await;
    let former = keyed.rotate();
    keyed.house.clock.advance(1);
    let (_, second) = keyed.house.sign_in().await;
    let found = async || {
        let by_sub = keyed.house.sessions.of_user(&acme, &new.issuer, &new.sub).await.unwrap();
        let by_sid = keyed.house.sessions.of_sid(&acme, &new.issuer, new.sid.as_deref().unwrap()).await.unwrap();
        let all = keyed.house.sessions.of_tenant(&acme).await.unwrap();
        let lists = [by_sub, by_sid, all];
        assert!(lists.iter().flatten().all(|one| one.summary.sub == new.sub && one.refresh_token.is_some()));
        lists.map(|list| list.iter().map(|one| one.id_hash).collect::<Vec<_>>())
    };
    assert!(found().await.iter().all(|ids| *ids == [second.id_hash, first.id_hash]), "the one used last first");
    keyed.drop_key(former);
    assert!(found().await.iter().all(|ids| *ids == [second.id_hash]));
}

#[tokio::test]
async fn a_user_has_one_record_whatever_the_key() {
    let keyed = KeyedHouse::new().await;
    keyed.remember(&grace()).await;
    let before = keyed.users().await;
    keyed.rotate();
    assert_eq!(keyed.users().await, before);
    keyed.remember(&grace()).await;
    keyed.rotate();
    keyed.remember(&grace()).await;
    let users = keyed.users().await;
    assert_eq!((users.len(), users[0].sign_ins, users[0].first_seen), (1, 3, before[0].first_seen));
    assert_eq!(keyed.house.sessions.store.users(&keyed.house.acme).await.unwrap().len(), 1);
    assert_eq!(keyed.rekey().await, 0, "it is there already");
}

#[tokio::test]
async fn a_key_that_is_dropped_in_time_takes_no_user_with_it() {
    let keyed = KeyedHouse::new().await;
    keyed.remember(&grace()).await;
    keyed.remember(&SeenUser { sub: "another".into(), ..grace() }).await;
    keyed.house.sessions.remember_user(&keyed.house.globex, &grace()).await.unwrap();
    let before = keyed.users().await;
    let former = keyed.rotate();
    assert_eq!(keyed.rekey().await, 3, "of all tenants");
    keyed.drop_key(former);
    assert_eq!(keyed.users().await, before);
    assert_eq!(keyed.rekey().await, 0);
}

#[tokio::test]
async fn who_is_forgotten_while_keys_change_stays_forgotten() {
    let keyed = KeyedHouse::over(embedded(PLENTY)).await;
    keyed.remember(&grace()).await;
    keyed.rotate();
    let release = keyed.house.hold_writer().await;
    let mut rekey = Box::pin(keyed.rekey());
    while keyed.house.operations("users", "ok") == 0 {
        assert!(pending(&mut rekey));
        tokio::task::yield_now().await;
    }
    // It has read whom to bring over, and waits.
    let forget = keyed.house.sessions.store.database().write(|db| db.execute("DELETE FROM users", []));
    let mut forget = Box::pin(forget);
    assert!(pending(&mut forget));
    assert!(pending(&mut rekey));
    drop(release);
    let (forgotten, _) = tokio::join!(forget, rekey);
    assert_eq!((forgotten.unwrap(), keyed.house.rows("users")), (1, 0));
}
