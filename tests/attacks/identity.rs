//! Attacks on what an application is told about who asks.

use reqwest::{Method, StatusCode};

use crate::recorder::Recorder;
use crate::support;

const NAMES: [&str; 10] = [
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-preferred-username",
    "x-auth-request-groups",
    "x-auth-request-tenant",
    "x-auth-request-access-token",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
];

/// Forged identity headers in the spellings that servers fold into one (CVE-2025-64484, CVE-2026-39858, Traefik's fix in
/// 3.7.13), by every method (OPTIONS: ChangeLog of mod_auth_openidc 2026), on public paths and others (CVE-2017-6062,
/// CVE-2017-6413), and with `Connection` naming them (GHSA-w9mr, CVE-2024-45410): none reaches the application.
#[tokio::test]
async fn a_forged_identity_header_reaches_the_application_by_no_method_and_on_no_path() {
    let application = Recorder::start().await;
    let world = support::acme_with(|tenant| application.stand_behind(tenant)).await;
    let ada = world.signed_in("acme").await;
    let cookies = ada.cookies_named("lychgate-acme");
    let cookies = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let spellings: [fn(&str) -> String; 5] = [
        str::to_owned,
        |name| name.replace('-', "_"),
        |name| name.replace('-', "."),
        |name| name.replacen('-', "_", 1).to_uppercase(),
        |name| name.replacen('-', "~", 2),
    ];
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for (path, cookie) in
            [("/acme/app/open/x", None), ("/acme/app/open/x", Some(&cookies)), ("/acme/app/x", Some(&cookies))]
        {
            for spell in spellings {
                let mut request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), world.url(path));
                request = request.header("sec-fetch-site", "same-origin").header("connection", NAMES.join(", "));
                for name in NAMES {
                    request = request.header(spell(name), "mallory").header(spell(name), "mallory, too");
                }
                if let Some(cookie) = cookie {
                    request = request.header("cookie", cookie.as_str());
                }
                assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{method} {path}");
                let seen = application.take();
                assert_eq!(seen.len(), 1);
                assert!(!seen[0].head.contains("mallory"), "{method} {path}: {}", seen[0].head);
                let emails = seen[0].values("x-auth-request-email");
                assert_eq!(emails, cookie.map_or(vec![], |_| vec![support::ADA]), "{method} {path}");
                assert!(!seen[0].head.contains("lychgate-acme="), "{}", seen[0].head);
            }
        }
    }
}
