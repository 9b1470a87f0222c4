//! The switches of a stand-in that was started by hand: `/standin/…`, as JSON.
//!
//! No other origin is allowed in, and everything that changes something is JSON or no simple method, so a page in a
//! browser cannot reach it.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ErrorInfo;
use super::answer::{self, Answer};
use super::call::Call;
use super::connections::Order;
use super::fault::{Fault, Rule};
use super::power::Remembers;
use super::rest::tell_all;
use super::site::Site;

/// So that the answer is out before its connection is cut.
const SOON: Duration = Duration::from_millis(100);
const LEDGER: usize = 200;

/// Says what each switch does, for whoever asks and for the program's own help.
pub const SWITCHES: &str = "\
GET    /standin              this text
GET    /standin/faults       the faults that are on
PUT    /standin/faults       a list of faults, in the place of all others; [] turns everything off
POST   /standin/faults       one more fault
DELETE /standin/faults       turns everything off
POST   /standin/cut          cuts every connection; it goes on listening
POST   /standin/kill         {\"for_ms\":5000,\"remembers\":\"everything\"|\"nothing\"}: nobody listens for that long
POST   /standin/reauthenticate  asks every realtime client for another token (AUTH)
POST   /standin/expire       tells every realtime client that its token has expired (40142)
GET    /standin/connections  who is connected, and attached to what
GET    /standin/ledger       what was asked, accepted and delivered; ?limit=200
DELETE /standin/ledger       forgets that
";

/// Says what each fault does.
pub const FAULTS: &str = "\
{\"fault\":\"refuse\"}                               resets connections as soon as they are there
{\"fault\":\"cut\"}                                  reads the request and cuts the connection; nothing is done
{\"fault\":\"hang\"}                                 reads the request and never answers; nothing is done
{\"fault\":\"answer\",\"status\":503,\"code\":50003}     answers with an error: 500, 503, 429 (42913), 401 (40142), 400 ...
{\"fault\":\"edge\",\"status\":502,\"code\":50002}       answers as the edge does: no JSON, Server: CloudFront
{\"fault\":\"slow\",\"ms\":2000}                       does everything as always, so much later
{\"fault\":\"cut-answer\"}                           does everything as always, then cuts the connection without an answer
{\"fault\":\"swallow\"}                              answers 201, and nobody receives the message
{\"fault\":\"fail-items\",\"status\":429,\"code\":42913} refuses what is published to a channel; the rest of its batch is served

Each of them takes limits: \"times\":3, \"channel\":\"system:notifications\", \"path\":\"/messages\" (what is below it
too; \"/\" is the WebSocket). \"answer\" takes \"retry_after_s\".
";

/// A rule as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    fault: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl Written {
    fn rule(self) -> Result<Rule, String> {
        let fault = match self.fault.as_str() {
            "refuse" => Fault::Refuse,
            "cut" => Fault::Cut,
            "hang" => Fault::Hang,
            "cut-answer" => Fault::CutAnswer,
            "swallow" => Fault::Swallow,
            "slow" => Fault::Slow(Duration::from_millis(self.ms.ok_or("slow needs ms")?)),
            "answer" => Fault::Answer {
                error: self.error()?,
                retry_after: self.retry_after_s,
            },
            "edge" => Fault::Edge { error: self.error()? },
            "fail-items" => Fault::FailItems { error: self.error()? },
            other => {
                return Err(format!(
                    "no fault is called \"{other}\"; there are refuse, cut, hang, answer, edge, slow, cut-answer, \
                     swallow and fail-items"
                ));
            }
        };
        if self.times == Some(0) {
            return Err("times is 1 at least".to_owned());
        }
        Ok(Rule {
            fault,
            times: self.times,
            channel: self.channel,
            path: self.path,
        })
    }

    fn error(&self) -> Result<ErrorInfo, String> {
        let missing = || format!("{} needs a status, 400 to 599", self.fault);
        let status = self
            .status
            .filter(|status| (400..600).contains(status))
            .ok_or_else(missing)?;
        let code = self.code.unwrap_or(u32::from(status) * 100);
        let message = self.message.clone();
        Ok(ErrorInfo::new(
            code,
            status,
            message.unwrap_or_else(|| "a fault that was asked for".to_owned()),
        ))
    }
}

impl From<&Rule> for Written {
    fn from(rule: &Rule) -> Self {
        let mut written = Self {
            times: rule.times,
            channel: rule.channel.clone(),
            path: rule.path.clone(),
            ..Self::default()
        };
        let name = match &rule.fault {
            Fault::Refuse => "refuse",
            Fault::Cut => "cut",
            Fault::Hang => "hang",
            Fault::CutAnswer => "cut-answer",
            Fault::Swallow => "swallow",
            Fault::Slow(delay) => {
                written.ms = u64::try_from(delay.as_millis()).ok();
                "slow"
            }
            Fault::Answer { error, retry_after } => {
                written.retry_after_s = *retry_after;
                written.says(error);
                "answer"
            }
            Fault::Edge { error } => {
                written.says(error);
                "edge"
            }
            Fault::FailItems { error } => {
                written.says(error);
                "fail-items"
            }
        };
        name.clone_into(&mut written.fault);
        written
    }
}

impl Written {
    fn says(&mut self, error: &ErrorInfo) {
        (self.status, self.code, self.message) =
            (Some(error.status), Some(error.code), Some(error.message.clone()));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outage {
    for_ms: u64,
    #[serde(default = "everything")]
    remembers: Remembers,
}

const fn everything() -> Remembers {
    Remembers::Everything
}

/// Tells whether a request is for the switches. No fault hits them.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    path == "/standin" || path.starts_with("/standin/")
}

/// Serves the switches.
pub(super) async fn serve(site: &Site, request: Request<Incoming>) -> Answer {
    let call = Call::read(request, site.app.now_ms()).await;
    match switched(site, &call) {
        Ok(answer) => answer,
        Err(why) => answer::told(400, &json!({ "error": why })),
    }
}

fn switched(site: &Site, call: &Call) -> Result<Answer, String> {
    if let Some(error) = &call.unread {
        return Err(error.message.clone());
    }
    let is_json = call
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"));
    if call.method == Method::POST && !is_json {
        return Err("send it as content-type: application/json".to_owned());
    }
    let faults = &site.app.faults;
    match (call.method.as_str(), call.route().as_slice()) {
        ("GET", ["standin"]) => Ok(answer::whole(200, "text/plain", format!("{SWITCHES}\n{FAULTS}"))),
        ("GET", ["standin", "faults"]) => Ok(rules(site)),
        ("PUT", ["standin", "faults"]) => {
            let written: Vec<Written> = read(&call.body)?;
            let fresh: Vec<Rule> = written.into_iter().map(Written::rule).collect::<Result<_, _>>()?;
            faults.set(fresh);
            Ok(rules(site))
        }
        ("POST", ["standin", "faults"]) => {
            faults.add(read::<Written>(&call.body)?.rule()?);
            Ok(rules(site))
        }
        ("DELETE", ["standin", "faults"]) => {
            faults.clear();
            Ok(rules(site))
        }
        ("POST", ["standin", "cut"]) => {
            let power = Arc::clone(&site.power);
            site.tasks.spawn(async move {
                tokio::time::sleep(SOON).await;
                power.cut();
            });
            Ok(done())
        }
        ("POST", ["standin", "kill"]) => {
            let outage: Outage = read(&call.body)?;
            let away = Duration::from_millis(outage.for_ms);
            site.power.interrupt(SOON, away, outage.remembers);
            Ok(done())
        }
        ("POST", ["standin", "reauthenticate"]) => {
            tell_all(&site.app, &Order::Authenticate);
            Ok(done())
        }
        ("POST", ["standin", "expire"]) => {
            tell_all(&site.app, &Order::Disconnect(ErrorInfo::expired()));
            Ok(done())
        }
        ("GET", ["standin", "connections"]) => Ok(connections(site)),
        ("GET", ["standin", "ledger"]) => {
            let limit = call
                .asks("limit")
                .and_then(|text| text.parse().ok())
                .unwrap_or(LEDGER);
            Ok(answer::told(200, &site.app.ledger.to_value(limit)))
        }
        ("DELETE", ["standin", "ledger"]) => {
            site.app.ledger.clear();
            Ok(done())
        }
        _ => Err(format!("there is no such switch. There are:\n{SWITCHES}")),
    }
}

fn read<T: for<'de> Deserialize<'de>>(body: &Value) -> Result<T, String> {
    T::deserialize(body).map_err(|error| error.to_string())
}

fn rules(site: &Site) -> Answer {
    let rules: Vec<Written> = site.app.faults.rules().iter().map(Written::from).collect();
    answer::told(200, &serde_json::to_value(rules).unwrap_or_default())
}

fn connections(site: &Site) -> Answer {
    let present = site.app.memory().connections.present();
    let shown = present.into_iter().map(|connection| {
        json!({ "id": connection.id, "clientId": connection.client_id, "channels": connection.channels })
    });
    answer::told(200, &shown.collect())
}

fn done() -> Answer {
    answer::told(202, &json!({ "ok": true }))
}
