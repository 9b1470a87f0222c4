//! The program that is started by hand.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tests::port::Port;

use super::{client, told};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arauto-ably-standin"));
    command.env_clear().stdin(Stdio::null());
    command
}

#[tokio::test]
async fn it_says_what_it_is_and_how_it_is_used() {
    let port = Port::free().unwrap();
    let listen = port.address().to_string();
    let mut child = program()
        .args(["--listen", &listen])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !said.contains("Ctrl-C") && out.read_line(&mut said).unwrap() > 0 {}
    for expected in [
        &format!("export ARAUTO_ABLY_ENDPOINT=http://{listen}"),
        "export ARAUTO_ABLY_PUBLISH_KEY=standin.publish:",
        "export ARAUTO_ABLY_TOKEN_KEY=standin.tokens:",
        "and not Ably",
        "cut-answer",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    let (status, _) = told(client().get(format!("http://{listen}/time"))).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status, 200);
}

#[test]
fn keys_from_the_environment_are_not_repeated() {
    let port = Port::free().unwrap();
    let mut child = program()
        .args(["--listen", &port.address().to_string()])
        .env("ARAUTO_ABLY_PUBLISH_KEY", "app.key:hunter2")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !said.contains("Ctrl-C") && out.read_line(&mut said).unwrap() > 0 {}
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        said.contains("ARAUTO_ABLY_PUBLISH_KEY") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn what_it_cannot_use_is_named() {
    for (arguments, key, expected) in [
        (["--listen", "0.0.0.0:9280"], "app.key:secret", "127.0.0.1"),
        (["--listen", "somewhere"], "app.key:secret", "--listen"),
        (["--auth-lead", "soon"], "app.key:secret", "--auth-lead"),
        (["--listen", "127.0.0.1:0"], "app.key:secret", "127.0.0.1:0"),
        (["--auth-lead", "1"], "no-key", "ARAUTO_ABLY_PUBLISH_KEY"),
    ] {
        let output = program()
            .args(arguments)
            .env("ARAUTO_ABLY_PUBLISH_KEY", key)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(expected),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains("no-key") && !said.contains("secret:"), "{said}");
    }
}
