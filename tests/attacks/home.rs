//! A tenant as the world meets it: at `https://login.acme.example/acme`, behind a proxy that ends TLS.

use reqwest::StatusCode;
use url::Url;

use crate::support::{Browser, Tenant, World};

pub const HOST: &str = "login.acme.example";

/// `acme`, whose provider signs Ada in without a page.
pub async fn acme() -> World {
    let tenant = Tenant::start("acme").await;
    let base = format!("https://{HOST}/acme");
    let client = tenant.settings.provider.client_id.clone();
    tenant.provider.allow(&client, &format!("{base}/callback"), &format!("{base}/logged-out"));
    World::start_with(vec![tenant], |settings| {
        settings.public_url = Some(format!("https://{HOST}").parse().unwrap());
    })
    .await
}

/// A browser there, which keeps its cookies by the address of the gateway.
pub fn browser(world: &World) -> Browser {
    world.browser().with("host", HOST).with("x-forwarded-proto", "https")
}

/// Starts a sign-in and lets the provider answer; path and query of the callback, not yet opened.
pub async fn until_callback(world: &World, browser: &mut Browser) -> String {
    let begun = browser.get("/acme/login").await;
    assert_eq!(begun.status, StatusCode::FOUND, "{}", begun.body);
    let mut at_provider = world.browser();
    let mut page = at_provider.get(begun.header("location")).await;
    while !page.header("location").starts_with("https://") {
        let next = page.location();
        page = at_provider.get(next.as_str()).await;
    }
    Url::parse(page.header("location")).unwrap()[url::Position::BeforePath..].to_owned()
}

/// A browser in which Ada has signed in there.
pub async fn signed_in(world: &World) -> Browser {
    let mut browser = browser(world);
    let callback = until_callback(world, &mut browser).await;
    let page = browser.get(&callback).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
    assert!(browser.session("acme").await.is_some());
    browser
}
