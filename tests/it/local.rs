//! Local accounts: the form, who gets in, who does not, and what the session is.

use std::sync::Arc;
use std::time::Duration;

use lychgate::config::{LocalUser, TenantSettings};
use lychgate::credentials::PasswordHash;
use lychgate::secret::{ExposeSecret as _, SecretString};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_SECURITY_POLICY, LOCATION, RETRY_AFTER, SET_COOKIE};
use serde_json::json;

use super::support::{self, Browser, Page, Tenant, World};

const FORM: &str = "/acme/login/local";
const PASSWORD: &str = "correct horse battery";

fn grace() -> LocalUser {
    LocalUser {
        email: Some("grace@acme.example".to_owned()),
        display_name: Some("Grace Hopper".to_owned()),
        groups: vec!["operators".to_owned()],
        claims: [("department".to_owned(), "navy".to_owned())].into(),
        ..LocalUser::new("Grace", PasswordHash::of(&PASSWORD.into()))
    }
}

fn with_grace(tenant: &mut TenantSettings) {
    tenant.local_users = vec![grace()];
}

async fn acme() -> World {
    support::acme_with(with_grace).await
}

/// A browser that says where its requests come from, as today's browsers do.
fn browser(world: &World) -> Browser {
    let origin = world.url("");
    world.browser().with("sec-fetch-site", "same-origin").with("origin", &origin)
}

/// The value of a hidden field.
fn hidden<'p>(page: &'p Page, name: &str) -> &'p str {
    let after = page.body.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_default();
    after.split('"').next().unwrap_or_default()
}

fn filled(token: &str, name: &str, password: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("form", token), ("username", name), ("password", password)])
        .finish()
}

/// Opens the form and sends it.
async fn try_in(browser: &mut Browser, name: &str, password: &str) -> Page {
    let page = browser.get(FORM).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let form = filled(hidden(&page, "form"), name, password);
    browser.post(FORM, &form).await
}

async fn signed_in(world: &World) -> Browser {
    let mut browser = browser(world);
    let page = try_in(&mut browser, "grace", PASSWORD).await;
    assert_eq!((page.status, page.header(LOCATION)), (StatusCode::SEE_OTHER, "/acme/dashboard"), "{}", page.body);
    browser
}

#[tokio::test]
async fn a_name_and_a_password_make_a_session_with_claims_for_policies() {
    let world = acme().await;
    let mut browser = signed_in(&world).await;
    let session = browser.session("acme").await.unwrap();
    let user = &session["user"];
    for (claim, value) in [
        ("iss", json!("urn:lychgate:local")),
        ("sub", json!("local|Grace")),
        ("preferred_username", json!("Grace")),
        ("name", json!("Grace Hopper")),
        ("email", json!("grace@acme.example")),
        ("email_verified", json!(true)),
        ("groups", json!(["operators"])),
        ("department", json!("navy")),
        ("amr", json!(["pwd"])),
        ("local", json!(true)),
    ] {
        assert_eq!(user[claim], value, "{claim}");
    }
    let now = world.clock.now().0;
    assert!((now - 30..=now).contains(&user["auth_time"].as_i64().unwrap()));
    let page = browser.get("/acme/dashboard").await;
    assert!(page.status == StatusCode::OK && page.body.contains("Welcome, Grace Hopper"), "{}", page.body);
    assert!(page.body.contains("accounts kept here") && !page.body.contains("provider told us"), "{}", page.body);
    assert_eq!(world.metric("lychgate_sign_ins_total{provider=\"local\",result=\"ok\",tenant=\"acme\"}"), 1);
    assert_eq!(world.provider().requests().len(), 0, "no provider is asked");
}

#[tokio::test]
async fn the_session_cookie_is_fresh_and_the_one_before_opens_nothing() {
    let world = acme().await;
    let mut browser = signed_in(&world).await;
    let mut old = browser.clone();
    let page = try_in(&mut browser, "GRACE", PASSWORD).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert!(browser.session("acme").await.is_some());
    assert_eq!(old.session("acme").await, None);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let world = acme().await;
    let mut answers = Vec::new();
    for (name, password) in
        [("grace", "wrong"), ("nobody", PASSWORD), ("Grace Hopper", ""), ("grace", &"x".repeat(2000))]
    {
        let mut browser = browser(&world);
        let page = try_in(&mut browser, name, password).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(browser.session("acme").await, None);
        assert!(page.body.contains("User name or password is wrong."), "{}", page.body);
        assert!(!page.body.contains(PASSWORD) && !page.body.contains("xxxx"), "no password comes back");
        let alike = page.body.replace(hidden(&page, "form"), "").replace(&format!("value=\"{name}\""), "");
        answers.push(alike.split("<footer").next().unwrap().to_owned());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    let failed = "lychgate_sign_ins_total{provider=\"local\",result=\"local_refused\",tenant=\"acme\"}";
    assert_eq!(world.metric(failed), 4);
}

#[tokio::test]
async fn a_script_reads_the_refusal_as_json() {
    let world = acme().await;
    let mut browser = browser(&world);
    let form = browser.get(FORM).await;
    let body = filled(hidden(&form, "form"), "grace", "wrong");
    let page = browser.with("accept", "application/json").with("sec-fetch-mode", "cors").post(FORM, &body).await;
    assert_eq!((page.status, page.json()["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("local_refused")));
}

#[tokio::test]
async fn bcrypt_opens_as_argon2_does() {
    let made = bcrypt::hash_with_salt(PASSWORD, 10, [7; 16]).unwrap().format_for_version(bcrypt::Version::TwoY);
    assert!(made.starts_with("$2y$10$"), "as `htpasswd -B -C 10` writes it: {made}");
    let world = support::acme_with(|tenant| {
        tenant.local_users = vec![LocalUser::new("grace", PasswordHash::parse(&made).unwrap())];
    })
    .await;
    signed_in(&world).await;
}

#[tokio::test]
async fn too_many_tries_must_wait_however_the_name_is_spelled() {
    let world = acme().await;
    let mut browser = browser(&world);
    for name in ["grace", "Grace", "GRACE", "ｇｒａｃｅ", "grace", "grace", "grace", "grace", "grace", "grace"] {
        assert_eq!(try_in(&mut browser, name, "wrong").await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let page = try_in(&mut browser, "grace", PASSWORD).await;
    assert_eq!((page.status, page.code()), (StatusCode::TOO_MANY_REQUESTS, "local_limited"), "the right one neither");
    assert_eq!(world.metric(r#"lychgate_rate_limited_requests_total{limit="local_name",tenant="acme"}"#), 1);
    let wait: i64 = page.header(RETRY_AFTER).parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    world.pass(wait);
    assert_eq!(try_in(&mut browser, "grace", PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_address_that_tries_many_names_must_wait_at_this_tenant_alone() {
    let (mut acme, mut globex) = (Tenant::start("acme").await, Tenant::start("globex").await);
    with_grace(&mut acme.settings);
    with_grace(&mut globex.settings);
    let world = World::start(vec![acme, globex]).await;
    let mut browser = browser(&world);
    for number in 0..30 {
        // Too long to be verified, and counted all the same.
        let page = try_in(&mut browser, &format!("name {number}"), &"x".repeat(2000)).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(try_in(&mut browser, "grace", PASSWORD).await.code(), "local_limited");
    assert_eq!(world.metric(r#"lychgate_rate_limited_requests_total{limit="local_address",tenant="acme"}"#), 1);
    let page = browser.get("/globex/login/local").await;
    let body = filled(hidden(&page, "form"), "grace", PASSWORD);
    assert_eq!(browser.post("/globex/login/local", &body).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_from_another_site_signs_nobody_in() {
    let world = acme().await;
    let mut victim = browser(&world);
    let form = victim.get(FORM).await;
    let body = filled(hidden(&form, "form"), "grace", PASSWORD);
    let own = world.url("");
    for (site, origin) in [
        (Some("cross-site"), Some("https://evil.example")),
        (Some("cross-site"), Some(own.as_str())),
        (Some("same-site"), Some("http://evil.127.0.0.1")),
        (Some("none"), None),
        (Some("same-origin"), Some("https://evil.example")),
        (None, Some("https://evil.example")),
        (None, Some("null")),
        (None, None),
    ] {
        let mut browser = victim.clone();
        browser.headers.retain(|(name, _)| !["sec-fetch-site", "origin"].contains(name));
        let headers = [("sec-fetch-site", site), ("origin", origin)];
        browser.headers.extend(headers.iter().filter_map(|(name, value)| Some((*name, (*value)?.to_owned()))));
        let page = browser.post(FORM, &body).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "form_foreign"), "{site:?} {origin:?}");
        assert!(browser.cookies_named("lychgate-acme").iter().all(|(name, _)| name.contains('.')));
    }
    victim.headers.retain(|(name, _)| *name != "sec-fetch-site");
    assert_eq!(victim.post(FORM, &body).await.status, StatusCode::SEE_OTHER, "an older browser sends Origin alone");
}

#[tokio::test]
async fn a_form_counts_with_its_own_cookie_at_its_own_tenant_and_for_an_hour() {
    let (mut acme, mut globex) = (Tenant::start("acme").await, Tenant::start("globex").await);
    with_grace(&mut acme.settings);
    with_grace(&mut globex.settings);
    let world = World::start(vec![acme, globex]).await;
    let mut mine = browser(&world);
    let form = mine.get(FORM).await;
    let token = hidden(&form, "form").to_owned();
    let body = filled(&token, "grace", PASSWORD);

    let mut without_cookie = browser(&world);
    assert_eq!(without_cookie.post(FORM, &body).await.code(), "form_expired");
    let mut others = browser(&world);
    others.get(FORM).await;
    assert_eq!(others.post(FORM, &body).await.code(), "form_expired", "the token of another browser");
    let (_, nonce) = mine.cookies_named("lychgate-acme.form").remove(0);
    let mut elsewhere = browser(&world);
    elsewhere.plant("lychgate-globex.form", &nonce);
    assert_eq!(elsewhere.post("/globex/login/local", &body).await.code(), "form_expired");
    for bad in ["", "AAAA", &token[1..]] {
        let page = mine.clone().post(FORM, &filled(bad, "grace", PASSWORD)).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "form_expired"), "{bad}");
    }
    let doubled = format!("{body}&username=grace");
    assert_eq!(mine.clone().post(FORM, &doubled).await.code(), "bad_parameter");
    world.pass(3601);
    let late = mine.post(FORM, &body).await;
    assert_eq!(late.code(), "form_expired");
    assert!(late.body.contains("href=\"/acme/login/local\""), "{}", late.body);
}

#[tokio::test]
async fn two_tabs_do_not_spoil_one_anothers_form() {
    let world = acme().await;
    let mut browser = browser(&world);
    let first = browser.get(FORM).await;
    let second = browser.get(FORM).await;
    for page in [&second, &first] {
        let answer = browser.clone().post(FORM, &filled(hidden(page, "form"), "grace", PASSWORD)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn one_comes_back_where_one_wanted_to_go_by_the_same_rules_as_ever() {
    let world = support::acme_with(|tenant| {
        with_grace(tenant);
        tenant.sign_in.return_to_origins = vec![lychgate::config::OriginPattern {
            scheme: "https".to_owned(),
            host: "acme.example".to_owned(),
            port: 443,
            subdomains: true,
        }];
    })
    .await;
    for to in ["/acme/reports?year=1906#may", "https://app.acme.example/a?b=c"] {
        let mut browser = browser(&world);
        let query: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let page = browser.get(&format!("{FORM}?return_to={query}")).await;
        assert!(page.header(CONTENT_SECURITY_POLICY).contains("https://*.acme.example"), "Chromium asks for it");
        let body = format!("{}&return_to={query}", filled(hidden(&page, "form"), "grace", PASSWORD));
        let page = browser.post(FORM, &body).await;
        assert_eq!((page.status, page.header(LOCATION)), (StatusCode::SEE_OTHER, to));
    }
    let mut browser = browser(&world);
    for to in ["https://evil.example/", "//evil.example", "/globex", "/acme/logout", FORM] {
        let page = browser.get(&format!("{FORM}?return_to={to}")).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "return_to_refused"), "{to}");
        let page = browser.get(FORM).await;
        let body = format!("{}&return_to={to}", filled(hidden(&page, "form"), "grace", PASSWORD));
        assert_eq!(browser.post(FORM, &body).await.code(), "return_to_refused", "{to}");
        assert_eq!(browser.session("acme").await, None);
    }
}

#[tokio::test]
async fn a_local_session_has_limits_of_its_own() {
    let world = acme().await;
    let mut idle = signed_in(&world).await;
    let mut used = signed_in(&world).await;
    let mut by_provider = world.signed_in("acme").await;
    for _ in 0..2 {
        world.pass(800);
        assert!(used.session("acme").await.is_some());
    }
    assert_eq!(idle.session("acme").await, None, "fifteen minutes without a request");
    for _ in 0..35 {
        world.pass(800);
        used.session("acme").await;
    }
    assert_eq!(used.session("acme").await, None, "eight hours in all");
    assert!(by_provider.session("acme").await.is_some(), "a session by the provider has the others");
}

#[tokio::test]
async fn the_limits_are_the_tenants() {
    let world = support::acme_with(|tenant| {
        with_grace(tenant);
        tenant.session.local_idle = Duration::from_mins(2);
        tenant.session.local_absolute = Duration::from_mins(5);
    })
    .await;
    let mut browser = signed_in(&world).await;
    let session = browser.session("acme").await.unwrap();
    let at = |name: &str| {
        let text = session[name].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap().unix_timestamp()
    };
    assert_eq!(at("expires_at") - at("issued_at"), 300);
    world.pass(121);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_restart_keeps_a_local_session_and_its_limits() {
    let mut world = acme().await;
    let mut browser = signed_in(&world).await;
    world.restart_with(|_| {}).await;
    assert!(browser.session("acme").await.is_some());
    world.pass(901);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn the_sessions_of_an_account_that_is_gone_or_another_are_over() {
    let changes: [fn(&mut Vec<LocalUser>); 4] = [
        Vec::clear,
        |users| users.iter_mut().for_each(|user| user.name.push('2')),
        |users| users.iter_mut().for_each(|user| user.password_hash = PasswordHash::of(&PASSWORD.into())),
        |users| users.iter_mut().for_each(|user| user.groups = vec!["others".to_owned()]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut world = acme().await;
        let mut browser = signed_in(&world).await;
        world.restart_with(|settings| change(&mut Arc::make_mut(&mut settings.tenants[0]).local_users)).await;
        assert_eq!(browser.session("acme").await, None, "{number}");
    }
}

#[tokio::test]
async fn a_sign_out_ends_a_local_session_here_and_asks_no_provider() {
    let world = acme().await;
    let mut browser = signed_in(&world).await;
    let mut old = browser.clone();
    let page = browser.get("/acme/logout").await;
    assert_eq!((page.status, page.location().path()), (StatusCode::FOUND, "/acme/logged-out"));
    assert_eq!(old.session("acme").await, None);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert_eq!(world.provider().requests().len(), 0);
    assert_eq!(world.metric("lychgate_sign_outs_total{kind=\"local\",tenant=\"acme\"}"), 1);
}

#[tokio::test]
async fn when_the_provider_is_down_its_page_leads_to_the_form_and_back_to_the_page_that_was_wanted() {
    let mut world = acme().await;
    world.providers.get_mut("acme").unwrap().stop().await;
    let mut browser = browser(&world);
    let page = browser.get("/acme/login?return_to=/acme/reports?x").await;
    assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "provider_unreachable"));
    let href = page.body.split("href=\"").find(|rest| rest.starts_with("/acme/login/local")).unwrap();
    let href = href.split('"').next().unwrap().replace("&#x3D;", "=");
    let form = browser.get(&href).await;
    assert_eq!(form.status, StatusCode::OK, "{href}");
    let return_to = hidden(&form, "return_to").replace("&#x3D;", "=");
    assert_eq!(return_to, "/acme/reports?x");
    let body = format!("{}&return_to={return_to}", filled(hidden(&form, "form"), "grace", PASSWORD));
    assert_eq!(browser.post(FORM, &body).await.header(LOCATION), "/acme/reports?x");
    assert!(browser.session("acme").await.is_some());
}

#[tokio::test]
async fn a_tenant_without_local_accounts_shows_no_trace_of_them() {
    let mut world = support::acme().await;
    let mut browser = browser(&world);
    assert!(!browser.get("/acme").await.body.contains("login/local"));
    assert_eq!(browser.get(FORM).await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.post(FORM, "username=grace").await.status, StatusCode::NOT_FOUND);
    world.providers.get_mut("acme").unwrap().stop().await;
    let page = browser.get("/acme/login").await;
    assert!(page.status == StatusCode::SERVICE_UNAVAILABLE && !page.body.contains("login/local"), "{}", page.body);
}

#[tokio::test]
async fn the_first_page_leads_to_the_form_and_the_form_to_the_provider() {
    let world = acme().await;
    let mut browser = browser(&world);
    let page = browser.get("/acme").await;
    assert!(page.body.contains("href=\"/acme/login/local\""), "{}", page.body);
    let form = browser.get(FORM).await;
    assert!(form.body.contains("href=\"/acme/login\""), "{}", form.body);
    let cookie = form.header(SET_COOKIE);
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=3600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

#[tokio::test]
async fn other_methods_and_prefetches_do_nothing() {
    let world = acme().await;
    let mut browser = browser(&world);
    assert_eq!(browser.send(reqwest::Method::PUT, FORM, None).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let page = browser.clone().with("sec-purpose", "prefetch").get(FORM).await;
    assert_eq!((page.status, page.header(SET_COOKIE)), (StatusCode::NO_CONTENT, ""));
}

#[tokio::test]
async fn a_local_session_has_no_tokens_and_asks_for_none() {
    let world = support::acme_with(|tenant| {
        with_grace(tenant);
        tenant.tokens.endpoint = true;
    })
    .await;
    let mut browser = signed_in(&world).await.with("sec-fetch-mode", "cors");
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status, page.json()["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("token_unavailable")));
    browser.post("/acme/session/refresh", "").await;
    assert!(browser.session("acme").await.is_some());
    assert_eq!(world.provider().requests().len(), 0);
}

#[tokio::test]
async fn access_admits_local_accounts_by_their_claims_too() {
    for (domain, code) in [("acme.example", ""), ("globex.example", "access_refused")] {
        let world = support::acme_with(|tenant| {
            with_grace(tenant);
            tenant.policy.access.email_domains = vec![lychgate::config::HostPattern::Exact(domain.to_owned())];
        })
        .await;
        let mut browser = browser(&world);
        let page = try_in(&mut browser, "grace", PASSWORD).await;
        assert_eq!(page.code(), code, "{}", page.status);
        assert_eq!(browser.session("acme").await.is_some(), code.is_empty());
    }
}

#[tokio::test]
async fn no_password_and_no_hash_shows_up_anywhere() {
    let world = acme().await;
    signed_in(&world).await;
    let hash = grace().password_hash.to_text().expose_secret().to_owned();
    let settings = format!("{:?}", world.gateway.tenants);
    let metrics = String::from_utf8(world.gateway.metrics.render()).unwrap();
    let shown = [settings, metrics, format!("{:?}", SecretString::from(PASSWORD))].concat();
    assert!(!shown.contains("argon2id") && !shown.contains(PASSWORD) && !shown.contains(&hash));
}
