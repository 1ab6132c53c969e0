//! Sessions without their cookie, and what another process ended.

use super::*;

fn user(new: &NewSession) -> (String, String) {
    (new.issuer.clone(), new.sub.clone())
}

async fn list(house: &House, whose: Whose<'_>) -> Vec<ListedSession> {
    house.sessions.list(&house.acme, whose).await.unwrap()
}

#[tokio::test]
async fn sessions_are_listed_by_user_by_provider_session_and_all_of_a_tenant() {
    let mut house = House::new().await;
    house.sign_in().await;
    house.clock.advance(60);
    let (_, last) = house.sign_in_as(NewSession { sid: Some("another".into()), ..ada() }).await;
    house.sign_in_as(NewSession { sub: "other".into(), sid: None, ..ada() }).await;
    house.sign_in_as(NewSession { issuer: "https://other.example/".into(), ..ada() }).await;
    house.sessions.create(&house.globex, &limits(), ada()).await.unwrap();
    for _ in 0..2 {
        let (issuer, sub) = user(&ada());
        let (issuer, sub) = (issuer.as_str(), sub.as_str());
        let adas = list(&house, Whose::User { issuer, sub }).await;
        assert_eq!(adas.len(), 2);
        assert!(adas[0].is(&last) && !adas[1].is(&last), "the one used last comes first");
        assert_eq!((adas[0].user_agent.as_deref(), adas[0].address), (Some("Lynx of Ada"), ada().address));
        assert_eq!((adas[0].created_at, adas[0].expires_at), (last.created_at, last.expires_at));
        let token = house.sessions.refresh_token(&adas[0]).unwrap();
        assert_eq!(token.expose_secret(), "the-refresh-token");
        assert_eq!(list(&house, Whose::ProviderSession { issuer, sid: "another" }).await.len(), 1);
        assert_eq!(list(&house, Whose::ProviderSession { issuer, sid: sub }).await.len(), 0);
        assert_eq!(list(&house, Whose::Everybody).await.len(), 4);
        let printed = format!("{adas:?}");
        assert!(!printed.contains("ada-the-subject") && !printed.contains("Lynx"), "{printed}");
        house.restart().await;
    }
}

#[tokio::test]
async fn what_is_over_is_not_listed_and_a_use_that_the_store_does_not_know_counts() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    house.sign_in().await;
    house.clock.advance(DAY - 10);
    house.find(&cookie).await.unwrap();
    house.clock.advance(20);
    let listed = list(&house, Whose::Everybody).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(house.clock.now().since(listed[0].last_seen_at), 20);
}

#[tokio::test]
async fn ending_what_is_listed_ends_it_for_its_cookie() {
    let house = House::new().await;
    let made = join_all((0..150).map(|_| house.sign_in())).await;
    let (other, _) = house.sign_in_as(NewSession { sub: "other".into(), ..ada() }).await;
    let (issuer, sub) = user(&ada());
    let listed = list(&house, Whose::User { issuer: &issuer, sub: &sub }).await;
    let listed: Vec<_> = listed.iter().collect();
    assert_eq!(house.sessions.end_listed(&listed, EndReason::Backchannel).await.unwrap(), 150);
    assert_eq!(house.sessions.end_listed(&listed, EndReason::Backchannel).await.unwrap(), 0);
    for (cookie, _) in &made {
        assert!(house.find(cookie).await.is_none());
    }
    assert!(house.find(&other).await.is_some());
    assert_eq!(house.metric(r#"sessions_ended_total{reason="backchannel",tenant="acme"}"#), 150);
}

#[tokio::test]
async fn a_reference_lasts_and_names_nothing_among_the_sessions_of_others() {
    let mut house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    house.sign_in_as(NewSession { sub: "other".into(), ..ada() }).await;
    let all = list(&house, Whose::Everybody).await;
    let references: Vec<_> = all.iter().map(|session| house.sessions.reference(session)).collect();
    assert!(references.iter().all(|reference| reference.len() == 22));
    assert_ne!(references[0], references[1]);
    assert!(!session.handle().contains(&references[0]) && !cookie.contains(&references[0]));
    house.restart().await;
    let (issuer, sub) = user(&ada());
    let adas = list(&house, Whose::User { issuer: &issuer, sub: &sub }).await;
    let found: Vec<_> = references.iter().filter_map(|reference| house.sessions.referred(&adas, reference)).collect();
    assert!(found.len() == 1 && found[0].is(&session));
    assert!(house.sessions.referred(&adas, "").is_none());
}

#[tokio::test]
async fn a_handle_ends_its_session_at_its_tenant_only() {
    let house = House::new().await;
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
async fn what_another_process_ends_opens_nothing_here_within_a_second() {
    let house = House::new().await;
    let other = open(&house.data(), &house.ring, &house.clock, PLENTY).await.unwrap();
    let watch = tokio::spawn(Arc::clone(&house.sessions).keep_watched());
    let (cookie, session) = house.sign_in().await;
    let (kept, _) = house.sign_in().await;
    assert!(other.end(&session, EndReason::Revoked).await.unwrap());
    let gone = async {
        while house.find(&cookie).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), gone).await.unwrap();
    assert!(house.find(&kept).await.is_some());
    watch.abort();
    // Word of it is forgotten in the end.
    assert_eq!(house.rows("ended_sessions"), 1);
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
    let house = House::new().await;
    let until = house.clock.now().plus(120);
    let used = async |tenant: &TenantId, issuer: &str| {
        !house.sessions.use_logout_token(tenant, issuer, "jti", until).await.unwrap()
    };
    assert!(!used(&house.acme, "a").await && used(&house.acme, "a").await);
    assert!(!used(&house.acme, "b").await && !used(&house.globex, "a").await);
    house.sessions.reuse_logout_token(&house.acme, "a", "jti").await.unwrap();
    assert!(!used(&house.acme, "a").await && used(&house.acme, "b").await);
    house.clock.advance(121);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.rows("used_attempts"), 0);
}

#[tokio::test]
async fn a_forgotten_user_is_gone_and_no_other() {
    let house = House::new().await;
    let other = SeenUser { sub: "other".into(), ..grace() };
    for seen in [&grace(), &other] {
        house.sessions.remember_user(&house.acme, seen).await.unwrap();
        house.sessions.remember_user(&house.globex, seen).await.unwrap();
    }
    house.sessions.forget_user(&house.acme, &grace().issuer, &grace().sub).await.unwrap();
    let users = house.sessions.users(&house.acme).await.unwrap();
    assert_eq!(users.iter().map(|user| user.sub.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(house.sessions.users(&house.globex).await.unwrap().len(), 2);
}
