//! Names of sessions for people and for our cookies, and what another process ended.

use super::*;

#[tokio::test]
async fn a_reference_lasts_and_names_nothing_among_the_sessions_of_others() {
    let mut house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    house.sign_in_as(NewSession { sub: "other".into(), ..ada() }).await;
    let all = house.sessions.of_tenant(&house.acme).await.unwrap();
    let references: Vec<_> = all.iter().map(house.sessions.references(&house.acme)).collect();
    assert!(references.iter().all(|reference| reference.len() == 22));
    assert_ne!(references[0], references[1]);
    assert!(!session.handle().contains(&references[0]) && !cookie.contains(&references[0]));
    house.restart().await;
    let adas = house.sessions.of_user(&house.acme, &ada().issuer, &ada().sub).await.unwrap();
    let referred = |reference: &String| house.sessions.referred(&house.acme, &adas, reference);
    let found: Vec<_> = references.iter().filter_map(referred).collect();
    assert!(found.len() == 1 && found[0].is(&session));
    assert!(referred(&String::new()).is_none());
}

#[tokio::test]
async fn a_handle_ends_its_session_at_its_tenant_only() {
    let house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    let handle = session.handle();
    for (tenant, handle) in [(&house.globex, handle.as_str()), (&house.acme, ""), (&house.acme, &handle[1..])] {
        assert!(!house.sessions.end_by_handle(tenant, handle, EndReason::Replaced).await.unwrap());
    }
    assert!(house.find(&cookie).await.is_some());
    assert!(house.sessions.end_by_handle(&house.acme, &handle, EndReason::Replaced).await.unwrap());
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn a_list_tells_a_use_that_the_store_does_not_know() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    house.clock.advance(30);
    let used = house.find(&cookie).await.unwrap().last_seen_at();
    let listed = house.sessions.of_tenant(&house.acme).await.unwrap();
    assert_eq!((listed[0].last_seen_at, listed[0].summary.address), (used, ada().address));
}

#[tokio::test]
async fn what_another_process_ends_opens_nothing_here_within_a_second() {
    let house = House::new().await;
    let other = open(&house.data(), &house.ring, &house.clock, PLENTY).await.unwrap();
    let watch = tokio::spawn(Arc::clone(&house.sessions).keep_watched());
    let (cookie, session) = house.sign_in().await;
    let (kept, _) = house.sign_in().await;
    let (many, _) = house.sign_in_as(NewSession { sub: "other".into(), ..ada() }).await;
    assert!(other.end(&session, EndReason::Revoked).await.unwrap());
    let ids: Vec<_> = other.of_user(&house.acme, &ada().issuer, "other").await.unwrap();
    let ids: Vec<_> = ids.iter().map(|listed| listed.id_hash).collect();
    assert_eq!(other.end_listed(&house.acme, &ids, EndReason::Revoked).await.unwrap(), 1);
    let gone = async {
        while house.find(&cookie).await.is_some() || house.find(&many).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), gone).await.unwrap();
    assert!(house.find(&kept).await.is_some());
    watch.abort();
    // Word of it is forgotten in the end.
    assert_eq!(house.rows("ended_sessions"), 2);
    house.clock.advance(2 * HOUR);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.rows("ended_sessions"), 0);
}

#[tokio::test]
async fn the_watch_goes_on_after_a_store_that_did_not_answer() {
    let house = House::new().await;
    let other = open(&house.data(), &house.ring, &house.clock, PLENTY).await.unwrap();
    let (cookie, session) = house.sign_in().await;
    other.end(&session, EndReason::Revoked).await.unwrap();
    let aside = house.dir.path().join("aside");
    house.sessions.store.database().close_readers();
    fs::rename(house.file(), &aside).unwrap();
    let mut last = 0;
    assert!(house.sessions.store.ended_since(&mut last).await.is_err() && last == 0);
    fs::rename(&aside, house.file()).unwrap();
    assert!(house.find(&cookie).await.is_some());
    for id_hash in house.sessions.store.ended_since(&mut last).await.unwrap() {
        house.sessions.ended_elsewhere(id_hash).await;
    }
    assert!(house.find(&cookie).await.is_none());
    assert!(house.sessions.store.ended_since(&mut last).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_logout_token_is_used_up_by_issuer_and_tenant_until_its_time_or_taken_back() {
    let house = House::either().await;
    let until = house.clock.now().plus(120);
    let used = async |tenant: &TenantId, issuer: &str| {
        !house.sessions.use_logout_token(tenant, issuer, "jti", until).await.unwrap()
    };
    assert!(!used(&house.acme, "a").await && used(&house.acme, "a").await);
    assert!(!used(&house.acme, "b").await && !used(&house.globex, "a").await);
    house.sessions.reuse_logout_token(&house.acme, "a", "jti").await.unwrap();
    assert!(!used(&house.acme, "a").await && used(&house.acme, "b").await);
}

#[tokio::test]
async fn a_forgotten_user_is_gone_and_no_other() {
    let house = House::either().await;
    let other = SeenUser { sub: "other".into(), ..grace() };
    for seen in [&grace(), &other] {
        house.sessions.remember_user(&house.acme, seen).await.unwrap();
        house.sessions.remember_user(&house.globex, seen).await.unwrap();
    }
    // Twice is no mistake.
    for _ in 0..2 {
        house.sessions.forget_user(&house.acme, &grace().issuer, &grace().sub).await.unwrap();
    }
    let users = house.sessions.users(&house.acme).await.unwrap();
    assert_eq!(users.iter().map(|user| user.sub.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(house.sessions.users(&house.globex).await.unwrap().len(), 2);
}
