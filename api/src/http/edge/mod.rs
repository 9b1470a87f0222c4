//! What happens to every request and every answer, whatever they are about.

mod client;
pub(crate) mod limit;
mod methods;
mod origins;
mod request_id;
pub(crate) mod trace;

use std::sync::Arc;
use std::time::Duration;

use application::boundary::{Panicked, bounded};
use application::ports::Observation;
use domain::audit::{Entry, Note};
use futures_util::future::join_all;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Result};
use tokio::time::timeout;
use tracing::Instrument as _;

pub(crate) use self::client::ClientAddress;
use self::limit::Told;
pub(crate) use self::methods::{Methods, RoutePattern};
pub(crate) use self::origins::{Origins, is_loopback_host};
use self::trace::{Asked, Settling, Trace};
use super::Services;
use super::problem::{Form, Kind, Problem};

/// Pages and answers are never guessed to be something else, and no address leaks to where a link leads.
const SECURITY: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// An answer that is no page runs and frames nothing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Whatever was slow gets a moment to recover.
const TIMED_OUT_RETRY_AFTER: Duration = Duration::from_secs(2);

/// The outermost endpoint: a request id, a span, one form for every error, and the headers of every answer.
pub(crate) struct Edge<E> {
    inner: E,
    services: Arc<Services>,
    origins: Arc<Origins>,
}

impl<E: Endpoint<Output = Response>> Edge<E> {
    pub(crate) fn new(inner: E, services: Arc<Services>) -> Self {
        Self {
            inner,
            origins: Arc::new(Origins::new(&services.config)),
            services,
        }
    }

    async fn answer(&self, mut request: Request, request_id: &str, told: Told, trace: Trace) -> Response {
        if let Some(answer) = self.origins.preflight(request.method(), request.headers()) {
            return answer.unwrap_or_else(|problem| problem.into_answer(Form::Problem, request_id));
        }
        let form = Form::at(request.uri().path());
        request.set_data(Arc::clone(&self.services));
        request.set_data(Arc::clone(&self.origins));
        request.set_data(told);
        request.set_data(trace);
        // Streams answer at once and go on afterwards; whatever takes longer hangs on somebody who does not answer.
        let limit = self.services.config.request_timeout;
        let answer = timeout(
            limit,
            bounded(&*self.services.observer, "request", self.inner.call(request)),
        )
        .await;
        let problem = match answer {
            Ok(Ok(Ok(response))) => return response,
            Ok(Ok(Err(error))) => {
                let pattern = error.data::<RoutePattern>().copied();
                let mut response = Problem::from(error).into_answer(form, request_id);
                if let Some(pattern) = pattern {
                    response.set_data(pattern);
                }
                return response;
            }
            Ok(Err(Panicked(_))) => Problem::new(Kind::InternalError, "the request could not be answered"),
            Err(_elapsed) => Problem::new(Kind::Unavailable, "the request was not answered in time")
                .retry_after(TIMED_OUT_RETRY_AFTER),
        };
        problem.into_answer(form, request_id)
    }

    fn finish(&self, request_headers: &HeaderMap, request_id: &str, told: &Told, response: &mut Response) {
        let headers = response.headers_mut();
        told.write(headers);
        if let Ok(value) = HeaderValue::from_str(request_id) {
            headers.insert("x-request-id", value);
        }
        let mut default = |name, value| {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        };
        default(header::CACHE_CONTROL.as_str(), "no-store");
        default(header::CONTENT_SECURITY_POLICY.as_str(), CONTENT_SECURITY_POLICY);
        for (name, value) in SECURITY {
            default(name, value);
        }
        self.origins.share(request_headers, headers);
    }

    /// Lets the trail know of an answer. Returns another one where this one counts only with its record, and that could not be
    /// written.
    async fn record(&self, asked: &Asked, trace: &Trace, response: &Response) -> Option<Response> {
        let recorder = &self.services.recorder;
        let settling = trace.settling().filter(|_| response.status().is_success());
        // Nearly every publish: nothing is written of it here.
        if settling == Some(&Settling::FromLog) {
            return None;
        }
        let entry = trace.entry(asked, response, self.services.clock.now())?;
        let Some(Settling::First(each)) = settling else {
            recorder.record(entry);
            return None;
        };
        let named = each.iter().map(|id| Entry {
            target: Note::new(&format!("{} {} {id}", asked.method, asked.path)),
            ..entry.clone()
        });
        let settled = join_all(named.chain([entry.clone()]).map(|entry| recorder.settle(entry)));
        let settled = timeout(self.services.config.request_timeout, settled).await;
        if settled.is_ok_and(|settled| settled.iter().all(Result::is_ok)) {
            return None;
        }
        let detail = "it is stored, but could not be recorded in time; repeat it with the same key";
        let problem = Problem::new(Kind::OutcomeUnknown, detail).retry_after(TIMED_OUT_RETRY_AFTER);
        Some(problem.into_answer(Form::at(&asked.path), &asked.request_id))
    }

    fn report(&self, response: &Response, span: &tracing::Span, duration: Duration) {
        let status = response.status();
        self.services.observer.saw(&Observation::Request {
            status: status.as_u16(),
            duration,
        });
        let route = response.data::<RoutePattern>().map_or("-", |pattern| pattern.0);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Told with the line, not kept by the span: nothing is logged in it any more, and a span would write all its
        // fields anew for each that it learns.
        let failed = status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
        let status = status.as_u16();
        span.in_scope(|| {
            if failed {
                tracing::error!(route, status, duration_ms, "a request failed");
            } else {
                tracing::debug!(route, status, duration_ms, "a request was answered");
            }
        });
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let started = self.services.clock.uptime();
        let request_id = request_id::of(request.headers(), &*self.services.entropy);
        // Only what sharing needs: the rest of the request is consumed on the way.
        let request_headers = Origins::relevant(request.headers());
        let span = tracing::info_span!(
            "http.request",
            method = %method_name(request.method()),
            request_id = %request_id,
        );
        let (told, trace) = (Told::default(), Trace::default());
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            request_id: request_id.clone(),
        };
        let answering = self.answer(request, &request_id, told.clone(), trace.clone());
        let mut response = answering.instrument(span.clone()).await;
        if let Some(unsettled) = self.record(&asked, &trace, &response).await {
            response = unsettled;
        }
        self.finish(&request_headers, &request_id, &told, &mut response);
        let duration = self.services.clock.uptime().saturating_sub(started);
        self.report(&response, &span, duration);
        trace.watch(&self.services, &response);
        Ok(response)
    }
}

/// A method as a log may hold it: an invented one could be of any length.
fn method_name(method: &Method) -> &str {
    let name = method.as_str();
    name.get(..name.len().min(16)).unwrap_or("-")
}
