//! Every route of ours, asked without what it asks for.

use std::collections::BTreeSet;

use reqwest::Method;

use crate::support::{self, ADA};

/// What `docs/reference/routes.md` lists, and whether it tells something about who is signed in, or does something for
/// them.
pub const ROUTES: &[(&str, bool)] = &[
    ("/", false),
    ("/acme", false),
    ("/acme/login", false),
    ("/acme/login/local", false),
    ("/acme/signup", false),
    ("/acme/callback", false),
    ("/acme/dashboard", true),
    ("/acme/session", true),
    ("/acme/session/refresh", true),
    ("/acme/token", true),
    ("/acme/logout", false),
    ("/acme/logged-out", false),
    ("/acme/auth", true),
    ("/acme/auth/traefik", true),
    ("/acme/auth/caddy", true),
    ("/acme/auth/envoy/…", true),
    ("/acme/…", false),
    ("/acme/sessions/<reference>/revoke", true),
    ("/acme/sessions/revoke", true),
    ("/acme/disconnect", false),
    ("/acme/backchannel-logout", false),
    ("/acme/frontchannel-logout", false),
    ("/livez", false),
    ("/startupz", false),
    ("/readyz", false),
    ("/metrics", false),
    ("/reload", true),
    ("/status", true),
    ("/assets/…", false),
];

/// A route as it is asked for.
fn path(route: &str) -> String {
    route.replace('…', "x").replace("<reference>", "x")
}

#[test]
fn every_route_of_the_reference_is_attacked() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/routes.md")).unwrap();
    let cells = page.lines().filter(|line| line.starts_with("| `/")).map(|line| line.split('|').nth(1).unwrap());
    let listed: BTreeSet<String> = cells
        .flat_map(|cell| cell.split_whitespace().map(|route| route.trim_matches('`').replace("<tenant>", "acme")))
        .collect();
    assert_eq!(listed, ROUTES.iter().map(|(route, _)| (*route).to_owned()).collect());
}

/// CVE-2021-29652, CVE-2022-24797: every endpoint, without a session and with one that is none.
#[tokio::test]
async fn no_route_tells_or_does_anything_for_whom_it_does_not_know() {
    let world = support::acme_with(|tenant| tenant.tokens.endpoint = true).await;
    let (mut ada, stranger) = (world.signed_in("acme").await, world.browser());
    for (route, for_people) in ROUTES {
        for planted in [None, Some("A".repeat(70))] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let mut nobody = stranger.clone().with("sec-fetch-site", "same-origin").with("sec-fetch-mode", "cors");
                if let Some(value) = &planted {
                    nobody.plant("lychgate-acme", value);
                }
                let page = nobody.send(method.clone(), &path(route), None).await;
                assert!(!page.body.contains(ADA) && !page.body.contains("Ada Lovelace"), "{method} {route}");
                assert!(!page.status.is_server_error(), "{method} {route}: {}", page.status);
                if *for_people {
                    assert!(page.status.is_client_error(), "{method} {route}: {}", page.status);
                }
            }
        }
    }
    assert!(ada.session("acme").await.is_some());
}

/// CVE-2025-3891: a POST with nothing in it, or with what is no form.
#[tokio::test]
async fn a_post_of_nothing_or_of_nonsense_breaks_nothing() {
    let world = support::acme().await;
    let mut ada = world.signed_in("acme").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (route, _) in ROUTES.iter().filter(|(route, _)| *route != "/acme/logout") {
        for signed_in in [false, true] {
            for (kind, body) in [
                (None, ""),
                (Some("application/x-www-form-urlencoded"), ""),
                (Some("application/x-www-form-urlencoded"), "%&=%ff&==&\u{0}"),
                (Some("multipart/form-data"), "--"),
                (Some("application/json"), "[]"),
                (Some("\"\\"), "x"),
            ] {
                let mut request =
                    client.post(world.url(&path(route))).body(body).header("cookie", "=; ;;lychgate-acme; \"");
                if let Some(kind) = kind {
                    request = request.header("content-type", kind);
                }
                if signed_in {
                    let cookies = ada.cookies_named("lychgate-acme");
                    let cookies = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
                    request = request.header("cookie", cookies.join("; "));
                }
                let status = request.send().await.unwrap().status();
                assert!(!status.is_server_error(), "{route} {kind:?} {status}");
            }
        }
    }
    assert!(ada.session("acme").await.is_some());
}
