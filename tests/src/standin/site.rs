//! One socket's requests: faults first, then whoever serves them.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, Answer};
use super::app::App;
use super::call::Call;
use super::control;
use super::fault::{Befalling, Fault, Moment};
use super::ledger::Outcome;
use super::power::Power;
use super::{ErrorInfo, realtime, rest};

/// A request that hangs is let go of after this long, if the client still waits.
const HANG_MAX: Duration = Duration::from_secs(600);

/// The connection is cut in the place of an answer.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by a fault")
    }
}

impl std::error::Error for Cut {}

/// What every socket is served with.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) app: Arc<App>,
    pub(super) power: Arc<Power>,
    /// Cuts the sockets.
    pub(super) cut: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Serves one socket until it ends or is cut.
pub(super) async fn serve(site: Site, tcp: TcpStream) {
    if site.app.faults.refuse_connection() {
        site.app.ledger.count(|counts| counts.resets += 1);
        // Without lingering the peer gets a reset, which nobody takes for an orderly end.
        let _ = tcp.set_zero_linger();
        return;
    }
    let _ = tcp.set_nodelay(true);
    let cut = site.cut.clone();
    let service = service_fn(move |request| serve_request(site.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    tokio::select! {
        () = cut.cancelled() => {}
        // A socket that breaks, and one that is cut by a fault, have ended like any other.
        _ended = serving => {}
    }
}

async fn serve_request(site: Site, request: Request<Incoming>) -> Result<Answer, Cut> {
    if control::is_wanted(&request) {
        return Ok(control::serve(&site, request).await);
    }
    if request.method() == Method::OPTIONS {
        return Ok(answer::for_every_origin(answer::whole(
            200,
            "text/plain",
            String::new(),
        )));
    }
    if realtime::is_wanted(&request) {
        return serve_socket(site, request).await;
    }
    serve_call(&site, request).await
}

async fn serve_call(site: &Site, request: Request<Incoming>) -> Result<Answer, Cut> {
    let app = &site.app;
    let call = Call::read(request, app.now_ms()).await;
    app.ledger.count(|counts| counts.rest_calls += 1);
    let (channels, publishes) = rest::named(&call);
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let befalling = app.faults.befalling(&Moment {
        path: &call.path,
        channels: &names,
        publishes,
    });
    sleep(befalling.delay()).await;
    if let Some(fault) = befalling.ending() {
        return end(app, &call, fault).await;
    }
    let served = rest::serve(app, &call, &befalling);
    if befalling.cuts_answer() {
        app.ledger.saw(call.seen(Outcome::Cut));
        return Err(Cut);
    }
    let answered = match served {
        Ok(answer) => {
            note(app, &call, &answer, None);
            answer
        }
        Err(error) => {
            let answer = answer::refused(&error);
            note(app, &call, &answer, Some(error.code));
            answer
        }
    };
    Ok(answer::for_every_origin(answered))
}

/// Ends a call that a fault hit before anything was done.
async fn end(app: &App, call: &Call, fault: &Fault) -> Result<Answer, Cut> {
    let (answer, code) = match fault {
        Fault::Answer { error, retry_after } => (answer::refused_for_now(error, *retry_after), error.code),
        Fault::Edge { error } => (answer::refused_by_edge(error), error.code),
        Fault::Hang => {
            app.ledger.saw(call.seen(Outcome::Hung));
            let _ = timeout(HANG_MAX, pending::<()>()).await;
            return Err(Cut);
        }
        _ => {
            app.ledger.saw(call.seen(Outcome::Cut));
            return Err(Cut);
        }
    };
    note(app, call, &answer, Some(code));
    Ok(answer::for_every_origin(answer))
}

fn note(app: &App, call: &Call, answer: &Answer, code: Option<u32>) {
    let status = answer.status().as_u16();
    app.ledger.saw(call.seen(Outcome::Answered { status, code }));
}

async fn serve_socket(site: Site, mut request: Request<Incoming>) -> Result<Answer, Cut> {
    let app = &site.app;
    let call = Call::head(&request, app.now_ms());
    let befalling = app.faults.befalling(&Moment {
        path: "/",
        channels: &[],
        publishes: false,
    });
    sleep(befalling.delay()).await;
    match befalling.ending() {
        // It is told in a frame.
        Some(Fault::Answer { .. }) | None => {}
        Some(fault) => return end(app, &call, fault).await,
    }
    if call.asks("format") == Some("msgpack") {
        let why = "this stand-in speaks JSON alone: set useBinaryProtocol to false";
        return Ok(refuse_socket(app, &call, &ErrorInfo::new(40000, 400, why)));
    }
    match realtime::agree(&mut request) {
        Ok((answer, io)) => {
            site.tasks
                .spawn(serve_connection(site.clone(), call, io, befalling));
            Ok(answer)
        }
        Err(error) => Ok(refuse_socket(app, &call, &error)),
    }
}

fn refuse_socket(app: &App, call: &Call, error: &ErrorInfo) -> Answer {
    let answer = answer::refused(error);
    note(app, call, &answer, Some(error.code));
    answer
}

async fn serve_connection(site: Site, call: Call, io: hyper::upgrade::OnUpgrade, befalling: Befalling) {
    tokio::select! {
        () = site.cut.cancelled() => {}
        () = realtime::serve(site.app, call, io, befalling) => {}
    }
}
