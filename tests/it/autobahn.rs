//! The WebSocket under `arauto.v1` conforms to RFC 6455: the Autobahn cases against the product's handshake and
//! socket, which echo here instead of carrying a stream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::socket::{CloseCode, Handshake, Inbound, Socket};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::{StatusCode, uri::Scheme};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, OnUpgrade, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The largest message of the cases is 256 KiB.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// All cases take a few seconds; a case that hangs must not hang the build.
const RUN_MAX: Duration = Duration::from_secs(180);
/// As long as the product waits for a peer to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_autobahn_case_passes() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let mut driver = Command::new(python());
    driver.arg(here().join("run.py")).arg(url).kill_on_drop(true);
    let output = tokio::select! {
        output = timeout(RUN_MAX, driver.output()) => output.context("the cases did not end")?,
        error = serve(listener) => return error,
    }
    .context("ARAUTO_TEST_PYTHON, target/test-venv/bin/python and python3: none of them runs")?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        !err.contains("No module named 'kosoku'"),
        "the Autobahn runner is missing; install it with\n    \
         python3 -m venv target/test-venv && target/test-venv/bin/pip install -r tests/autobahn/requirements.txt"
    );
    ensure!(
        output.status.success(),
        "the driver ended with {}:\n{out}\n{err}",
        output.status
    );
    Ok(())
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("autobahn")
}

/// The Python that has the runner: `ARAUTO_TEST_PYTHON`, else the tests' own environment, else the system's.
fn python() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment which tools to use"
    )]
    let told = std::env::var_os("ARAUTO_TEST_PYTHON").map(PathBuf::from);
    let own = here().join("../../target/test-venv/bin/python");
    told.or_else(|| own.exists().then_some(own))
        .unwrap_or_else(|| "python3".into())
}

/// Accepts until it fails; dropping it ends every connection.
async fn serve(listener: TcpListener) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, peer) = accepted?;
                tcp.set_nodelay(true)?;
                connections.spawn(connection(tcp, peer));
            }
            // A connection that breaks is what many cases are about; the runner judges it.
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(tcp: TcpStream, peer: SocketAddr) -> Result<()> {
    let upgrade: Arc<Mutex<Option<OnUpgrade>>> = Arc::default();
    let service = service_fn(|request| {
        let response = upgraded(request, peer, &upgrade);
        async { Ok::<_, Infallible>(hyper::Response::from(response)) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    connection.with_upgrades().await?;
    let io = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    let io = io.context("the request was not upgraded")?.await?;
    echo(Socket::accept(io, MESSAGE_MAX_BYTES).await).await;
    Ok(())
}

fn upgraded(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> Response {
    let (local, remote) = (
        LocalAddr(Addr::SocketAddr(peer)),
        RemoteAddr(Addr::SocketAddr(peer)),
    );
    let request = Request::from((request, local, remote, Scheme::HTTP));
    let checked = Handshake::check(request.method(), request.version(), request.headers(), None);
    match checked.and_then(|handshake| handshake.accept(&request)) {
        Ok(accepted) => {
            *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted.io);
            accepted.response
        }
        Err(refused) => Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(refused.to_string()),
    }
}

async fn echo<S>(mut socket: Socket<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let code: Option<CloseCode> = loop {
        match socket.read().await {
            Inbound::Text(text) => socket.queue_text(text.into()),
            Inbound::Binary(binary) => socket.queue_binary(binary),
            Inbound::Left => break None,
            Inbound::Fault(fault) => break fault.code(),
        }
        if socket.drain().await.is_err() {
            break None;
        }
    };
    let parting = async {
        match code {
            Some(code) => socket.close(None, code).await,
            None => socket.part().await,
        }
    };
    let _parted = timeout(CLOSE_WITHIN, parting).await;
}
