//! What the listener for operators tells of the process, and to whom.

use std::net::Ipv4Addr;

use lychgate::config::Settings;
use lychgate::gateway::LiveGateway;
use lychgate::server::{self, Listener, Shutdown, ShutdownHandle};
use lychgate::web;
use serde_json::{Value, json};

use crate::support::{Browser, Tenant, World};

/// The listener for operators of a world.
async fn operator(world: &World) -> (Browser, ShutdownHandle) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), "admin", None).await.unwrap();
    let home = format!("http://{}", listener.local_addr());
    let (shutdown, handle) = Shutdown::manual();
    let route = web::admin_routes(LiveGateway::from(world.gateway.clone()), None, shutdown.clone());
    let (mut settings, metrics) = (Settings::least(world.data_dir(), Vec::new()).server, world.gateway.metrics.clone());
    settings.drain_delay = std::time::Duration::from_mins(1);
    tokio::spawn(async move { server::serve(listener, route, &settings, shutdown, metrics).await });
    (Browser::new(home), handle)
}

async fn status(operator: &mut Browser) -> Value {
    serde_json::from_str(&operator.get("/status").await.body).unwrap()
}

#[tokio::test]
async fn status_tells_tenants_providers_keys_and_sessions() {
    let mut globex = Tenant::start("globex").await;
    globex.provider.stop().await;
    let world = World::start(vec![Tenant::start("acme").await, globex]).await;
    let (mut operator, shutdown) = operator(&world).await;
    assert_eq!(status(&mut operator).await["tenants"][0]["provider"]["up"], Value::Null, "nobody has asked it");
    world.signed_in("acme").await;
    world.signed_in("acme").await;
    for _ in 0..5 {
        world.pass(60);
        world.browser().get("/globex/login").await;
    }
    let told = status(&mut operator).await;
    assert_eq!((&told["ready"], &told["draining"]), (&json!(true), &json!(false)));
    assert_eq!((&told["sessions"]["store"], &told["sessions"]["active"]), (&json!("embedded"), &json!(2)));
    assert_eq!(told["uptime_seconds"].as_i64().unwrap() / 60, 5, "{told}");
    let key = &told["keys"][0];
    assert_eq!((&key["role"], key["id"].as_str().unwrap().len()), (&json!("active"), 8), "{told}");
    let [acme, globex] = &told["tenants"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&acme["id"], &acme["sessions"], &acme["provider"]["up"]), (&json!("acme"), &json!(2), &json!(true)));
    assert!(acme["provider"]["keys_fetched_at"].is_string(), "{acme}");
    assert_eq!((&globex["sessions"], &globex["provider"]["up"]), (&json!(0), &json!(false)));
    assert!(globex["provider"]["left_alone_seconds"].as_u64().unwrap() > 1, "{globex}");

    world.check_store().await;
    shutdown.trigger();
    let told = status(&mut operator).await;
    assert_eq!((&told["ready"], &told["draining"]), (&json!(false), &json!(true)), "{told}");
}

#[tokio::test]
async fn status_is_for_this_machine_alone_and_never_on_the_main_listener() {
    let world = World::start(vec![Tenant::start("acme").await]).await;
    let (mut operator, _shutdown) = operator(&world).await;
    assert_eq!(operator.get("/status").await.status, 200);
    for (header, value) in [("x-forwarded-for", "203.0.113.9"), ("origin", "https://evil.example")] {
        let told = operator.clone().with(header, value).get("/status").await;
        assert_eq!(told.status, 404, "{header}");
    }
    assert_eq!(operator.post("/status", "").await.status, 404);
    assert_eq!(world.browser().get("/status").await.status, 404);
}
