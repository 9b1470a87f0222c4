//! The served `OpenAPI` document holds: what it says is what the service does.

use std::process::Command;

use tests::script::python;
use tests::server::{Server, workspace};

/// Streams never end by themselves; development and probe paths are not part of the public document's promise.
const LEFT_OUT: &str = "^/v1/(stream|ws)$";

/// Enough to try every parameter and field in several wrong ways, and short enough for every run of the gate.
const EXAMPLES: &str = "40";

/// Python 3.11 counts the depth of syntax trees once for all threads: where another thread reads a source in between,
/// it reports "AST constructor recursion depth mismatch" (python/cpython issue 106905). Threads that only switch when they wait do not.
///
/// It also reads `application/jwt` as JSON, which a JWT is not (RFC 7519, 10.3.1).
const RUN: &str = "\
import sys
sys.setswitchinterval(60)
from schemathesis import deserializer
from schemathesis.cli import schemathesis
is_jwt = lambda answer: answer.headers['content-type'] == ['application/jwt']
deserializer('application/json')(lambda _, answer: answer.text if is_jwt(answer) else answer.json())
schemathesis()";

#[test]
fn schemathesis_finds_no_5xx_no_undocumented_status_and_no_schema_violation() {
    // Without limits: a client that is told to wait says nothing about the document.
    let server = Server::start_with(&[
        ("ARAUTO_ABLY_TOKEN_KEY", "app.key:secret"),
        ("ARAUTO_RATE_LIMIT_ENABLED", "false"),
    ])
    .unwrap();
    let token = admin_token(&server);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(python().unwrap())
        .args(["-c", RUN, "--config-file"])
        .arg(workspace().join("tests/web/schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/openapi.json", server.url()))
        .args([
            "--checks",
            "all",
            "--max-examples",
            EXAMPLES,
            "--exclude-path-regex",
            LEFT_OUT,
        ])
        .args([
            "--header",
            &format!("Authorization: Bearer {token}"),
            "--seed",
            "1",
            "--workers",
            "2",
        ])
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn admin_token(server: &Server) -> String {
    let body = serde_json::json!({ "sub": "admin", "roles": ["ADMIN"], "units": ["cras-1"], "benefits": [] });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::new();
        let answer = client
            .post(format!("{}/dev/token", server.url()))
            .json(&body)
            .send()
            .await
            .unwrap();
        let value: serde_json::Value = answer.error_for_status().unwrap().json().await.unwrap();
        value["token"].as_str().unwrap().to_owned()
    })
}
