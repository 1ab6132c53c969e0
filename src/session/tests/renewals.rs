//! Sessions whose tokens are renewed.

use super::*;

fn new_tokens(house: &House) -> RenewedTokens {
    let claims = json!({"name": "Ada King", "roles": ["countess"]});
    RenewedTokens {
        audience: None,
        access_token: access_token(house, "the-next-access-token"),
        refresh_token: Some("the-next-refresh-token".into()),
        id_token: Some("the-next-id-token".into()),
        claims: Some(claims.as_object().unwrap().clone()),
        session_expiry: None,
    }
}

fn access_token(house: &House, value: &str) -> AccessToken {
    let now = house.clock.now();
    AccessToken {
        value: value.into(),
        terms: TokenTerms { issued_at: now, expires_at: Some(now.plus(HOUR)) },
        scope: None,
    }
}

fn renewal(house: &House) -> Renewal {
    Renewal::Tokens(Box::new(new_tokens(house)))
}

fn value(token: Option<&AccessToken>) -> Option<&str> {
    Some(token?.value.expose_secret())
}

#[tokio::test]
async fn a_renewed_session_has_the_same_cookie_in_cache_and_store() {
    let mut house = House::new().await;
    let (cookie, made) = house.sign_in().await;
    house.clock.advance(HOUR);
    house.find(&cookie).await.unwrap();
    let renewed = house.sessions.renew(&made, &renewal(&house)).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&house.find(&cookie).await.unwrap(), &renewed.session));
    for round in 0..3 {
        let found = house.open(&cookie).await.unwrap();
        assert_eq!(value(found.tokens.access_token.as_ref()), Some("the-next-access-token"), "round {round}");
        assert_eq!(found.scope(), Some("openid profile"), "no scope in the answer: the same as before");
        assert_eq!(found.tokens.refresh_token.as_ref().unwrap().expose_secret(), "the-next-refresh-token");
        assert_eq!(found.tokens.id_token.expose_secret(), "the-next-id-token");
        assert_eq!((&found.claims().to_map()["name"], found.sub()), (&json!("Ada King"), &*ada().sub));
        assert_eq!((found.created_at, found.expires_at), (made.created_at, made.expires_at));
        assert!(found.last_seen_at() >= made.created_at.plus(HOUR));
        if round == 0 { house.cool() } else { house.restart().await }
    }
    assert_eq!(house.rows("sessions"), 1);
}

#[tokio::test]
async fn uses_of_a_session_from_before_its_renewal_count() {
    let house = House::new().await;
    let (cookie, old) = house.sign_in().await;
    house.sessions.renew(&old, &renewal(&house)).await.unwrap();
    house.clock.advance(HOUR);
    let now = house.clock.now();
    old.see(&limits(), now);
    assert_eq!(house.sessions.current(&old).await.unwrap().unwrap().last_seen_at(), now);
    assert_eq!(house.find(&cookie).await.unwrap().last_seen_at(), old.last_seen_at());
}

#[tokio::test]
async fn what_is_renewed_is_what_the_session_has_become() {
    let house = House::new().await;
    let (cookie, old) = house.sign_in().await;
    let further = RenewedTokens {
        audience: Some("https://api.two".into()),
        access_token: access_token(&house, "for-api-two"),
        claims: None,
        ..new_tokens(&house)
    };
    house.sessions.renew(&old, &Renewal::Tokens(Box::new(further))).await.unwrap();
    // The same old session: what the first renewal brought is not lost.
    let second = RenewedTokens { refresh_token: None, ..new_tokens(&house) };
    house.sessions.renew(&old, &Renewal::Tokens(Box::new(second))).await.unwrap();
    house.cool();
    let found = house.open(&cookie).await.unwrap().tokens;
    assert_eq!(value(found.access_token_for(None)), Some("the-next-access-token"));
    assert_eq!(value(found.access_token_for(Some("https://api.two"))), Some("for-api-two"));
    assert_eq!(found.refresh_token.as_ref().unwrap().expose_secret(), "the-next-refresh-token");
}

#[tokio::test]
async fn a_session_that_the_cache_forgot_is_renewed_and_found_as_it_is() {
    let house = House::new().await;
    let (cookie, old) = house.sign_in().await;
    house.cool();
    assert_eq!(house.sessions.current(&old).await.unwrap().unwrap().sub(), old.sub());
    house.cool();
    house.sessions.renew(&old, &renewal(&house)).await.unwrap().unwrap();
    house.cool();
    let current = house.sessions.current(&old).await.unwrap().unwrap();
    assert_eq!(value(house.open(&cookie).await.unwrap().tokens.access_token.as_ref()), Some("the-next-access-token"));
    let current = house.sessions.current(&current).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&house.find(&cookie).await.unwrap(), &current));
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_renewed_stays_ended() {
    let mut house = House::new().await;
    for ends_first in [true, false] {
        let (cookie, session) = house.sign_in().await;
        let change = renewal(&house);
        let release = house.hold_writer().await;
        let mut renewing = Box::pin(house.sessions.renew(&session, &change));
        let mut ending = Box::pin(house.sessions.end(&session, EndReason::Logout));
        if ends_first {
            assert!(pending(&mut ending));
            // The end runs in a task of its own, which must have its turn first.
            tokio::task::yield_now().await;
            assert!(pending(&mut renewing));
        } else {
            assert!(pending(&mut renewing));
            assert!(pending(&mut ending));
        }
        drop(release);
        let (renewed, ended) = tokio::join!(renewing, ending);
        assert_eq!(renewed.unwrap().is_none(), ends_first);
        assert!(ended.unwrap());
        assert!(house.find(&cookie).await.is_none());
        assert!(house.sessions.current(&session).await.unwrap().is_none());
        assert!(house.sessions.renew(&session, &change).await.unwrap().is_none());
        house.restart().await;
        assert!(house.find(&cookie).await.is_none());
        assert_eq!(house.rows("sessions"), 0);
    }
}

#[tokio::test]
async fn a_full_disk_leaves_a_session_as_it_was_until_there_is_room() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    let pages = |limit: u32| {
        house
            .sessions
            .store
            .database()
            .write(move |db| db.pragma_update_and_check(None, "max_page_count", limit, |row| row.get::<_, i64>(0)))
    };
    pages(1).await.unwrap();
    let large = json!({"name": "x".repeat(100_000)}).as_object().cloned();
    let change = Renewal::Tokens(Box::new(RenewedTokens { claims: large, ..new_tokens(&house) }));
    let error = house.sessions.renew(&session, &change).await.unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    for _ in 0..2 {
        let found = house.open(&cookie).await.unwrap();
        assert_eq!(value(found.tokens.access_token.as_ref()), Some("the-access-token"));
        assert_eq!(found.tokens.refresh_token.as_ref().unwrap().expose_secret(), "the-refresh-token");
        house.cool();
    }
    pages(1_000_000).await.unwrap();
    let renewed = house.sessions.renew(&session, &change).await.unwrap().unwrap();
    assert_eq!(value(renewed.tokens.access_token.as_ref()), Some("the-next-access-token"));
}

#[tokio::test]
async fn tokens_that_the_provider_ended_are_gone_and_the_session_is_not() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    house.sessions.renew(&session, &Renewal::Ended).await.unwrap().unwrap();
    for _ in 0..2 {
        let found = house.open(&cookie).await.unwrap();
        assert!(found.access_token.is_none() && !found.is_renewable && found.scope().is_none());
        assert!(found.tokens.access_token.is_none() && found.tokens.refresh_token.is_none());
        assert_eq!((found.tokens.id_token.expose_secret(), found.claims().to_map()), ("the-id-token", ada().claims));
        house.cool();
    }
}

#[tokio::test]
async fn a_renewal_shortens_a_session_and_never_lengthens_it() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    let until = |days: i64| {
        let session_expiry = Some(session.created_at.plus(days * DAY));
        Renewal::Tokens(Box::new(RenewedTokens { session_expiry, ..new_tokens(&house) }))
    };
    house.sessions.renew(&session, &until(30)).await.unwrap();
    assert_eq!(house.find(&cookie).await.unwrap().expires_at, session.expires_at);
    house.sessions.renew(&session, &until(2)).await.unwrap();
    house.cool();
    let found = house.find(&cookie).await.unwrap();
    assert_eq!(found.expires_at, session.created_at.plus(2 * DAY));
    assert_eq!(found.expires_because, ExpiryReason::SessionExpiry);
    for _ in 0..2 {
        house.clock.advance(DAY - 60);
        house.find(&cookie).await.unwrap();
    }
    house.clock.advance(120);
    assert!(house.find(&cookie).await.is_none());
    assert_eq!(house.sessions.sweep().await.unwrap(), 1);
}

#[tokio::test]
async fn a_record_from_before_there_were_renewals_still_opens() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    let record = json!({
        "issuer": session.issuer(), "sub": session.sub(), "sid": session.sid(), "claims": session.claims().to_map(),
        "id_token": "the-id-token", "access_token": "the-access-token", "access_token_expires_at": 4_000_000_000_i64,
        "scope": "openid", "created_at": session.created_at, "expires_at": session.expires_at,
        "expires_because": "absolute_limit",
    });
    let sealed = record::seal(&session.record_key, "record", &house.acme, &session.id_hash, &record);
    house.stranger().execute("UPDATE sessions SET record = ?", [sealed]).unwrap();
    house.cool();
    let found = house.open(&cookie).await.unwrap();
    assert_eq!(value(found.tokens.access_token.as_ref()), Some("the-access-token"));
    assert_eq!(found.access_token.as_ref().unwrap().issued_at, session.created_at);
}
