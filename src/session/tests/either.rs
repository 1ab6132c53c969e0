//! What holds for sessions in either store: over SQLite by themselves, over the Redis of `LYCHGATE_TEST_REDIS` where
//! that names a settings file, as `tests/with-redis` sets it.

use super::*;
use crate::session::store::Update;

#[tokio::test]
async fn a_session_is_found_by_its_cookie_in_cache_and_store() {
    let house = House::either().await;
    let (cookie, made) = house.sign_in().await;
    assert!(cookie.len() <= 128);
    assert!(Arc::ptr_eq(&house.find(&cookie).await.unwrap(), &made), "a hit is the cached session");
    house.cool();
    let found = house.find(&cookie).await.unwrap();
    let new = ada();
    assert_eq!(found.tenant, house.acme);
    assert_eq!((found.issuer(), found.sub(), found.sid()), (&*new.issuer, &*new.sub, new.sid.as_deref()));
    assert_eq!((&found.claims().to_map(), found.scope()), (&new.claims, new.scope.as_deref()));
    let tokens = house.sessions.opened(&found).await.unwrap().unwrap().tokens;
    let token = found.access_token.as_ref().unwrap();
    assert_eq!((token.expires_at, token.issued_at), (new.access_token_expires_at, made.created_at));
    assert_eq!(tokens.id_token.expose_secret(), new.id_token.expose_secret());
    assert_eq!(tokens.access_token.as_ref().unwrap().value.expose_secret(), new.access_token.expose_secret());
    assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_secret(), "the-refresh-token");
    assert_eq!((found.created_at, found.expires_at), (made.created_at, made.expires_at));
    assert_eq!(found.last_seen_at(), made.last_seen_at());
    assert_eq!(house.metric(r#"cache_requests_total{cache="sessions",result="hit"}"#), 1);
    assert_eq!(house.metric(r#"cache_requests_total{cache="sessions",result="miss"}"#), 1);
    assert_eq!(house.metric(r#"sessions_created_total{tenant="acme"}"#), 1);
}

#[tokio::test]
async fn a_hit_asks_the_store_nothing() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    house.find(&cookie).await.unwrap();
    assert_eq!((house.operations("find", "ok"), house.operations("touch", "ok")), (0, 0));
}

#[tokio::test]
async fn each_session_has_a_cookie_and_an_id_of_its_own() {
    let house = House::either().await;
    let made = join_all((0..20).map(|_| house.sign_in())).await;
    assert_eq!(made.iter().map(|(cookie, _)| cookie).collect::<HashSet<_>>().len(), 20);
    assert_eq!(made.iter().map(|(_, session)| session.id_hash).collect::<HashSet<_>>().len(), 20);
    assert_eq!(house.live().await, 20);
}

#[tokio::test]
async fn a_restart_keeps_everybody_signed_in() {
    let mut house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    house.restart().await;
    assert_eq!(house.find(&cookie).await.unwrap().sub(), ada().sub);
}

#[tokio::test]
async fn a_wrong_key_is_a_miss_and_leaves_the_session_alone() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    let mut bytes = from_base64url(&cookie).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = base64url(&bytes);
    for _ in 0..2 {
        assert!(house.find(&forged).await.is_none());
        house.cool();
    }
    assert!(house.find(&cookie).await.is_some());
    assert_eq!(house.live().await, 1);
}

#[tokio::test]
async fn a_malformed_cookie_is_a_miss_that_asks_the_store_nothing() {
    let house = House::either().await;
    for bad in ["", "x", &"!".repeat(70), &"A".repeat(69), &"A".repeat(71), &"A".repeat(70), &"ä".repeat(35)] {
        assert!(house.find(bad).await.is_none(), "{bad}");
    }
    assert_eq!(house.operations("find", "ok"), 0);
}

#[tokio::test]
async fn an_ended_session_opens_nothing_any_more() {
    let mut house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    let (other, _) = house.sign_in().await;
    assert!(house.sessions.end(&session, EndReason::Logout).await.unwrap());
    assert!(house.find(&cookie).await.is_none());
    assert!(!house.sessions.end(&session, EndReason::Logout).await.unwrap(), "it was ended already");
    assert_eq!(house.metric(r#"sessions_ended_total{reason="logout",tenant="acme"}"#), 1);
    house.cool();
    assert!(house.find(&cookie).await.is_none());
    house.restart().await;
    assert!(house.find(&cookie).await.is_none());
    assert!(house.find(&other).await.is_some());
}

#[tokio::test]
async fn a_late_touch_does_not_bring_an_ended_session_back() {
    let house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    house.clock.advance(HOUR);
    // A slow request holds the session, and its touch, while the session ends.
    let touch = session.see(&limits(), house.clock.now()).unwrap();
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    house.sessions.store.touch(touch).await.unwrap();
    house.sessions.flush().await.unwrap();
    assert_eq!(house.live().await, 0);
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_who_ask_for_one_session_load_it_once() {
    let house = Arc::new(House::either().await);
    let (cookie, _) = house.sign_in().await;
    let load_once = async || {
        house.cool();
        let tasks = (0..100).map(|_| {
            let (house, cookie) = (Arc::clone(&house), cookie.clone());
            tokio::spawn(async move { house.find(&cookie).await.unwrap() })
        });
        let found: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        found.iter().all(|session| Arc::ptr_eq(session, &found[0]))
    };
    // Over Redis a heartbeat may come late on a busy machine, and then everybody must read for themselves.
    let mut attempts = 0;
    while !load_once().await {
        attempts += 1;
        assert!(attempts < 10, "a hundred did not share one load, ten times");
    }
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_by_idling() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    for _ in 0..3 {
        house.clock.advance(DAY - 5);
        let found = house.find(&cookie).await.expect("used within a day");
        assert_eq!(found.idle_expires_at(&limits()).since(found.last_seen_at()), DAY);
    }
    let stricter = SessionLimits { idle: Duration::from_mins(1), ..limits() };
    house.clock.advance(61);
    assert!(house.sessions.find(&house.acme, &stricter, &cookie).await.unwrap().is_none(), "a lower limit counts");
    house.clock.advance(DAY);
    assert!(house.find(&cookie).await.is_none());
    house.cool();
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn a_session_ends_in_any_case_at_its_absolute_limit() {
    let house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    assert_eq!(session.expires_at.since(session.created_at), 7 * DAY);
    assert_eq!(session.expires_because, ExpiryReason::AbsoluteLimit);
    for _ in 0..13 {
        house.clock.advance(DAY / 2);
        assert!(house.find(&cookie).await.is_some());
    }
    assert_eq!(session.idle_expires_at(&limits()), session.expires_at, "idling does not outlast the limit");
    let stricter = SessionLimits { absolute: Duration::from_secs(6 * DAY as u64), ..limits() };
    assert!(house.sessions.find(&house.acme, &stricter, &cookie).await.unwrap().is_none(), "a lower limit counts");
    house.clock.advance(DAY / 2 + 1);
    assert!(house.find(&cookie).await.is_none());
    house.cool();
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn the_providers_session_expiry_is_a_ceiling_but_no_floor() {
    let house = House::either().await;
    let soon = house.clock.now().plus(HOUR);
    let (cookie, session) = house.sign_in_as(NewSession { session_expiry: Some(soon), ..ada() }).await;
    assert_eq!((session.expires_at, session.expires_because), (soon, ExpiryReason::SessionExpiry));
    let late = house.clock.now().plus(70 * DAY);
    let (_, session) = house.sign_in_as(NewSession { session_expiry: Some(late), ..ada() }).await;
    assert_eq!(session.expires_because, ExpiryReason::AbsoluteLimit);
    house.cool();
    let found = house.find(&cookie).await.unwrap();
    assert_eq!((found.expires_at, found.expires_because), (soon, ExpiryReason::SessionExpiry));
    house.clock.advance(HOUR);
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn a_use_is_written_at_most_once_a_minute() {
    let house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    for _ in 0..5 {
        house.clock.advance(11);
        house.find(&cookie).await.unwrap();
    }
    house.clock.advance(11);
    for _ in 0..5 {
        house.find(&cookie).await.unwrap();
    }
    until(|| session.untold().is_none()).await;
    assert_eq!(house.operations("touch", "ok"), 1);
    let stored = house.sessions.of_tenant(&house.acme).await.unwrap()[0].last_seen_at;
    assert_eq!(stored, session.last_seen_at());
}

#[tokio::test]
async fn a_close_writes_the_last_uses() {
    let mut house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    house.clock.advance(30);
    let seen = house.find(&cookie).await.unwrap().last_seen_at();
    house.restart().await;
    house.clock.advance(DAY - 10);
    let found = house.find(&cookie).await.expect("idle for less than a day");
    assert!(found.last_seen_at() > seen);
}

#[tokio::test]
async fn the_last_use_of_a_session_that_the_cache_drops_is_written() {
    let house = House::either_with_cache(4 * 1024).await;
    let (cookie, session) = house.sign_in().await;
    house.clock.advance(30);
    house.find(&cookie).await.unwrap();
    assert!(session.untold().is_some());
    for _ in 0..200 {
        let (other, _) = house.sign_in().await;
        for _ in 0..3 {
            house.find(&other).await.unwrap();
        }
        house.sessions.near.sessions.run_pending_tasks().await;
        if !house.sessions.near.sessions.contains_key(&session.id_hash) {
            break;
        }
    }
    until(|| session.untold().is_none()).await;
    assert!(house.find(&cookie).await.unwrap().last_seen_at() >= session.last_seen_at());
}

#[tokio::test]
async fn of_a_hundred_who_use_one_attempt_one_wins() {
    let house = House::either().await;
    let tasks = (0..100).map(|_| {
        let (sessions, acme) = (Arc::clone(&house.sessions), house.acme.clone());
        tokio::spawn(async move { sessions.use_attempt(&acme, "attempt").await.unwrap() })
    });
    let won = join_all(tasks).await.into_iter().map(Result::unwrap).filter(|won| *won).count();
    assert_eq!(won, 1);
    assert!(house.sessions.use_attempt(&house.globex, "attempt").await.unwrap(), "another tenant's is another");
    assert!(house.sessions.use_attempt(&house.acme, "another").await.unwrap());
}

#[tokio::test]
async fn users_are_remembered_by_tenant_and_counted() {
    let mut house = House::either().await;
    let first = house.clock.now();
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    house.clock.advance(HOUR);
    let renamed = SeenUser { name: Some("Rear Admiral Hopper".into()), ..grace() };
    house.sessions.remember_user(&house.acme, &renamed).await.unwrap();
    house.clock.advance(HOUR);
    let namesake = SeenUser { issuer: "https://other.example/".into(), ..grace() };
    house.sessions.remember_user(&house.acme, &namesake).await.unwrap();
    house.restart().await;
    let users = house.sessions.users(&house.acme).await.unwrap();
    assert_eq!(users.len(), 2);
    assert_eq!((users[0].issuer.as_str(), users[0].sign_ins), ("https://other.example/", 1));
    assert_eq!((users[1].name.as_deref(), users[1].sign_ins), (Some("Rear Admiral Hopper"), 2));
    assert!(users[1].first_seen.since(first) < HOUR && users[1].last_seen.since(first) >= HOUR);
    assert!(house.sessions.users(&house.globex).await.unwrap().is_empty());
}

#[tokio::test]
async fn sign_ins_at_the_same_time_are_all_counted() {
    let house = House::either().await;
    let (seen, acme) = (grace(), house.acme.clone());
    join_all((0..50).map(|_| house.sessions.remember_user(&acme, &seen))).await.into_iter().for_each(Result::unwrap);
    assert_eq!(house.sessions.users(&house.acme).await.unwrap()[0].sign_ins, 50);
}

#[tokio::test]
async fn nothing_prints_a_secret_or_a_claim() {
    let house = House::either().await;
    let (cookie, session) = house.sign_in().await;
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    let users = house.sessions.users(&house.acme).await.unwrap();
    let printed = format!("{:?} {session:?} {:?} {:?} {users:?}", house.sessions, ada(), grace());
    for secret in ["-token", "subject", "sid-of", "Lovelace", "ada@", "Hopper", "grace@", "Lynx", &cookie] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[tokio::test]
async fn another_ring_key_opens_nothing() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    let other = house.beside(&KeyRing::of_one(RingKey::generate())).await;
    assert!(other.find(&house.acme, &limits(), &cookie).await.unwrap().is_none());
    assert!(other.users(&house.acme).await.unwrap().is_empty());
    assert!(other.of_tenant(&house.acme).await.unwrap().is_empty());
    assert_eq!((house.live().await, house.sessions.users(&house.acme).await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_cookie_opens_nothing_at_another_tenant_of_the_store() {
    let house = House::either().await;
    let (cookie, _) = house.sign_in().await;
    for _ in 0..2 {
        assert!(house.sessions.find(&house.globex, &limits(), &cookie).await.unwrap().is_none());
        house.cool();
    }
    assert!(house.sessions.of_user(&house.globex, &ada().issuer, &ada().sub).await.unwrap().is_empty());
    assert!(house.find(&cookie).await.is_some());
}

#[tokio::test]
async fn a_used_attempt_stays_used_after_a_restart() {
    let mut house = House::either().await;
    assert!(house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    house.restart().await;
    assert!(!house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
}

#[tokio::test]
async fn what_one_process_ends_the_store_gives_to_no_other() {
    let house = House::either().await;
    let other = house.beside(&house.ring).await;
    let (cookie, session) = house.sign_in().await;
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    assert!(other.find(&house.acme, &limits(), &cookie).await.unwrap().is_none());
}

#[tokio::test]
async fn the_sessions_of_a_user_and_of_a_providers_session_are_listed() {
    let house = House::either().await;
    let (_, first) = house.sign_in().await;
    let (_, second) = house.sign_in_as(NewSession { sid: Some("another".into()), ..ada() }).await;
    house.sign_in_as(NewSession { sub: "other".into(), sid: None, refresh_token: None, ..ada() }).await;
    house.sessions.create(&house.globex, &limits(), ada()).await.unwrap();
    let issuer = &ada().issuer;
    let ids = |listed: Vec<ListedSession>| listed.iter().map(|one| one.id_hash).collect::<HashSet<_>>();

    let of_ada = house.sessions.of_user(&house.acme, issuer, &ada().sub).await.unwrap();
    let one = of_ada.iter().find(|one| one.id_hash == first.id_hash).unwrap();
    assert_eq!((one.summary.sub.as_str(), one.summary.issuer.as_str()), (ada().sub.as_str(), issuer.as_str()));
    assert_eq!(
        (one.summary.sid.as_deref(), one.summary.user_agent.as_deref()),
        (ada().sid.as_deref(), Some("Lynx of Ada"))
    );
    assert_eq!((one.summary.created_at, one.summary.expires_at), (first.created_at, first.expires_at));
    assert_eq!((one.last_seen_at, one.ends_at), (first.last_seen_at(), first.idle_expires_at(&limits())));
    assert_eq!(one.refresh_token.as_ref().unwrap().expose_secret(), "the-refresh-token");
    assert_eq!(ids(of_ada), HashSet::from([first.id_hash, second.id_hash]));

    let of_sid = house.sessions.of_sid(&house.acme, issuer, "another").await.unwrap();
    assert_eq!(ids(of_sid), HashSet::from([second.id_hash]));
    for nobody in ["nobody", "sid-of-the-provider"] {
        assert!(house.sessions.of_user(&house.acme, issuer, nobody).await.unwrap().is_empty());
    }
    assert!(house.sessions.of_user(&house.acme, "https://other.example/", &ada().sub).await.unwrap().is_empty());
    assert_eq!(house.sessions.of_tenant(&house.acme).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_list_shows_the_session_that_was_used_last_first_and_none_that_is_over() {
    let house = House::either().await;
    let (_, over) = house.sign_in_as(NewSession { session_expiry: Some(house.clock.now().plus(HOUR)), ..ada() }).await;
    let (cookie, used) = house.sign_in().await;
    let (_, idle) = house.sign_in().await;
    house.clock.advance(HOUR);
    house.find(&cookie).await.unwrap();
    until(|| used.untold().is_none()).await;
    let listed = house.sessions.of_user(&house.acme, &ada().issuer, &ada().sub).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id_hash).collect::<Vec<_>>(), [used.id_hash, idle.id_hash]);
    assert!(!listed.iter().any(|one| one.id_hash == over.id_hash));
}

#[tokio::test]
async fn listed_sessions_end_together() {
    let house = House::either().await;
    let mut made = join_all((0..20).map(|_| house.sign_in())).await;
    let (kept, session) = made.pop().unwrap();
    let ids: Vec<_> = made.iter().map(|(_, session)| session.id_hash).collect();
    assert_eq!(house.sessions.end_listed(&house.acme, &ids, EndReason::Revoked).await.unwrap(), 19);
    assert_eq!(house.sessions.end_listed(&house.acme, &ids, EndReason::Revoked).await.unwrap(), 0, "not twice");
    assert_eq!(house.metric(r#"sessions_ended_total{reason="revoked",tenant="acme"}"#), 19);
    for (cookie, _) in &made {
        assert!(house.find(cookie).await.is_none());
    }
    assert!(house.find(&kept).await.is_some());
    let left = house.sessions.of_user(&house.acme, &ada().issuer, &ada().sub).await.unwrap();
    assert_eq!(left.iter().map(|one| one.id_hash).collect::<Vec<_>>(), [session.id_hash]);
}

#[tokio::test]
async fn of_too_many_sessions_of_one_user_those_that_end_first_end() {
    let house = House::either().await;
    let soon = house.clock.now().plus(HOUR);
    let (first, _) = house.sign_in_as(NewSession { session_expiry: Some(soon), ..ada() }).await;
    let (bystander, _) = house.sign_in_as(NewSession { sub: "other".into(), sid: None, ..ada() }).await;
    join_all((1..store::PER_USER).map(|_| house.sign_in())).await;
    assert!(house.find(&first).await.is_some());
    house.sign_in().await;
    assert!(house.find(&first).await.is_none(), "from the cache, too");
    assert!(house.find(&bystander).await.is_some());
    let listed = house.sessions.of_user(&house.acme, &ada().issuer, &ada().sub).await.unwrap();
    assert_eq!(listed.len(), store::PER_USER);
    assert_eq!(house.metric(r#"sessions_ended_total{reason="replaced",tenant="acme"}"#), 1);
}

#[tokio::test]
async fn an_update_replaces_what_it_names_and_makes_no_session() {
    let house = House::either().await;
    let (_, session) = house.sign_in().await;
    let soon = house.clock.now().plus(HOUR);
    let update = |refresh: Option<&str>, expires_at| Update {
        record: b"a new record".to_vec(),
        refresh_token: refresh.map(|token| token.as_bytes().to_vec()),
        expires_at,
    };
    let store = &house.sessions.store;
    assert!(store.update(&house.acme, session.id_hash, update(Some("another"), session.expires_at)).await.unwrap());
    let found = store.find(&house.acme, session.id_hash).await.unwrap().unwrap();
    assert_eq!((&found.record[..], found.refresh_token.as_deref()), (&b"a new record"[..], Some(&b"another"[..])));
    assert_eq!(found.last_seen_at, session.last_seen_at());
    let ends_at = async || store.all(&house.acme, house.clock.now()).await.unwrap()[0].ends_at;
    assert_eq!(ends_at().await, session.idle_expires_at(&limits()), "an end that is not earlier changes nothing");
    assert!(store.update(&house.acme, session.id_hash, update(None, soon)).await.unwrap());
    assert_eq!(ends_at().await, soon);
    assert!(store.find(&house.acme, session.id_hash).await.unwrap().unwrap().refresh_token.is_none());

    assert!(!store.update(&house.globex, session.id_hash, update(None, soon)).await.unwrap());
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    assert!(!store.update(&house.acme, session.id_hash, update(None, soon)).await.unwrap());
    assert!(store.find(&house.acme, session.id_hash).await.unwrap().is_none());
    assert_eq!(house.live().await, 0);
}

#[tokio::test]
async fn a_user_who_is_forgotten_is_counted_anew() {
    let house = House::either().await;
    for _ in 0..2 {
        house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
        house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
        house.sessions.forget_user(&house.globex, &grace().issuer, &grace().sub).await.unwrap();
        assert_eq!(house.sessions.users(&house.acme).await.unwrap()[0].sign_ins, 2);
        house.sessions.forget_user(&house.acme, &grace().issuer, &grace().sub).await.unwrap();
    }
}

#[tokio::test]
async fn a_check_says_that_the_store_is_well() {
    let house = House::either().await;
    house.sessions.check().await.unwrap();
    let store = house.sessions.store.label();
    assert_eq!(house.metric(&format!(r#"session_store_up{{store="{store}"}}"#)), 1);
    assert_eq!(house.sessions.sweep().await.unwrap(), 0);
}
