//! `deploy/nginx/arauto.conf` in Debian's nginx, as browsers meet it.

use tests::port::Port;
use tests::script::{Runner, run_told};
use tests::server::{Server, workspace};

use crate::cluster::Front;

#[test]
fn chromium_keeps_twelve_tabs_live_over_http_2_behind_nginx() {
    let (port, redirect) = (Port::free().unwrap(), Port::free().unwrap());
    let url = format!("https://{}", port.address());
    let elsewhere = format!("http://{}/", redirect.address());
    let mut server = Server::start_with(&[
        ("ARAUTO_PUBLIC_URL", url.as_str()),
        ("ARAUTO_TRUSTED_PROXIES", "127.0.0.1"),
        // One person has all these tabs.
        ("ARAUTO_MAX_STREAMS_PER_USER", "20"),
    ])
    .unwrap();
    let front = Front::at(port, &redirect, &[server.address()]);
    assert_eq!(front.url(), url);
    let told = [("FRONT_URL", url.as_str()), ("REDIRECT_URL", elsewhere.as_str())];
    let passed = run_told(Runner::Node, "tabs.mjs", &mut server, &told).unwrap();
    assert_eq!(passed, 3);
    // Tickets stand in addresses, and addresses in logs.
    let logged = std::fs::read_to_string(front.nginx.folder().join("access.log")).unwrap();
    assert!(logged.contains("GET /v1/stream HTTP/2.0 200"), "{logged}");
    assert!(!logged.contains("ticket="), "{logged}");
}

#[test]
fn the_compose_file_changes_the_line_of_nodes_that_the_proxys_configuration_has() {
    let text = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap();
    let line = "server 127.0.0.1:8080;";
    assert_eq!(text("deploy/nginx/arauto.conf").matches(line).count(), 1);
    assert!(text("docker-compose.yml").contains(&format!(
        "sed 's/{line}/server arauto-1:8080; server arauto-2:8080;/'"
    )));
}
