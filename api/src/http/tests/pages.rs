use std::net::SocketAddr;

use serde_json::json;

use super::{Reply, World};
use crate::cli::DocumentFormat;
use crate::http::problem::Kind;
use crate::openapi::document;

#[tokio::test]
async fn the_document_is_served_in_both_formats() {
    let client = World::new().serve();
    let json = client.get("/openapi.json").send().await;
    assert_eq!(
        (json.status.as_u16(), json.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(json.text, document(DocumentFormat::Json));
    let yaml = client.get("/openapi.yaml").send().await;
    assert_eq!(
        (yaml.status.as_u16(), yaml.header("content-type")),
        (200, Some("application/yaml"))
    );
    assert_eq!(yaml.text, document(DocumentFormat::Yaml));
    assert_eq!(yaml.header("cache-control"), Some("public, max-age=300"));
}

#[tokio::test]
async fn the_page_of_the_document_loads_only_what_is_served() {
    let client = World::new().serve();
    let page = client.get("/docs").send().await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'self';") && !policy.contains("script"),
        "{policy}"
    );
    let loaded: Vec<&str> = page
        .text
        .split(['"', '\''])
        .filter(|part| part.starts_with("docs/"))
        .collect();
    assert_eq!(
        loaded,
        [
            "docs/swagger-ui.css",
            "docs/swagger-ui-bundle.js",
            "docs/start.js"
        ]
    );
    for address in loaded {
        assert_eq!(
            client.get(&format!("/{address}")).send().await.status,
            200,
            "{address}"
        );
    }
    assert!(!page.text.contains("http"), "{}", page.text);
}

#[tokio::test]
async fn every_kind_of_problem_has_a_page() {
    let client = World::new().serve();
    let all = client.get("/problems").send().await;
    for kind in Kind::ALL {
        let page = client.get(&kind.uri()).send().await;
        assert_eq!(
            (page.status.as_u16(), page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(page.text.contains(kind.facts().title), "{}", page.text);
        assert!(all.text.contains(&format!("problems/{}\"", kind.facts().name)));
    }
    client
        .get("/problems/nonsense")
        .send()
        .await
        .refuses(404, "not-found");
}

#[tokio::test]
async fn tokens_for_everybody_are_for_development_alone() {
    let body = r#"{"sub":"u-42","roles":["TECNICO"],"units":["cras-1"],"benefits":[],"ttl_seconds":60}"#;
    let client = World::new().serve();
    client
        .post("/dev/token")
        .json(body)
        .send()
        .await
        .refuses(404, "not-found");

    let mut world = World::new();
    world.config.dev = true;
    let client = world.serve();
    let reply = client.post("/dev/token").json(body).send().await;
    assert_eq!(
        reply.json(),
        json!({ "token": "u-42:60s", "expires_at": "2026-01-01T00:01:00.000Z" })
    );
    let reply = client.post("/dev/token").json(r#"{"sub":"u-42"}"#).send().await;
    assert_eq!(reply.json()["token"], "u-42:3600s");
    let many: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    let many = json!({ "sub": "u-42", "units": many }).to_string();
    let cases: [(&str, &[&str]); 4] = [
        ("{}", &["sub"]),
        (
            r#"{"sub":"a b","units":["x","y z"],"benefits":["*"],"ttl_seconds":0}"#,
            &["sub", "units[1]", "benefits[0]", "ttl_seconds"],
        ),
        (&many, &["units"]),
        (r#"{"sub":"u-42","admin":true}"#, &["admin"]),
    ];
    for (body, fields) in cases {
        let reply = client.post("/dev/token").json(body).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), fields, "{body}");
    }
}

#[tokio::test]
async fn outside_development_there_is_no_demo_page() {
    let client = World::new().serve();
    client.get("/").send().await.refuses(404, "not-found");
    client.get("/demo/main.js").send().await.refuses(404, "not-found");
}

async fn metrics_from(peer: &str, forwarded_for: Option<&str>) -> Reply {
    let mut world = World::new();
    world.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    world.config.metrics_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let client = world.serve();
    let mut call = client.get("/metrics");
    if let Some(forwarded_for) = forwarded_for {
        call = call.header("x-forwarded-for", forwarded_for);
    }
    let peer: SocketAddr = peer.parse().unwrap();
    call.peer(peer).send().await
}

#[tokio::test]
async fn metrics_are_for_the_machine_itself_and_listed_networks() {
    let reply = metrics_from("127.0.0.1:5", None).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text.as_str()),
        (200, "arauto_up 1\n")
    );
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(metrics_from("192.0.2.7:5", None).await.status, 200);
    assert_eq!(
        metrics_from("10.0.0.1:5", Some("127.0.0.1, 192.0.2.7"))
            .await
            .status,
        200
    );
    metrics_from("203.0.113.1:5", None)
        .await
        .refuses(404, "not-found");
    metrics_from("203.0.113.1:5", Some("127.0.0.1"))
        .await
        .refuses(404, "not-found");
    metrics_from("127.0.0.1:5", Some("127.0.0.1, 203.0.113.1"))
        .await
        .refuses(404, "not-found");
    World::new()
        .serve()
        .get("/metrics")
        .send()
        .await
        .refuses(404, "not-found");
}
