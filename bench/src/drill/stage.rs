//! Everything that takes part in a drill.

use std::thread;
use std::time::Duration;

use ::tests::follower::{Follower, Site};
use ::tests::server::now;
use ::tests::standin::{PUBLISH_KEY, StandIn, TOKEN_KEY};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::OPENING;
use super::guard::{HOLD, STAGE, Step, WINDOW};
use crate::cluster::Cluster;
use crate::publisher::{Endpoint, Publisher};
use crate::subject::Server;

/// How many in a hundred are on Ably.
pub(super) const SHARE: u64 = 50;
/// Of so many publishes at least the guard judges.
const MIN_PUBLISHES: &str = "50";
/// Ably is probed this often, so that a drill of minutes has some of it.
const PROBE_EVERY: &str = "2s";

/// The stand-in for Ably, two nodes, and their database.
pub(super) struct Stage {
    pub(super) stand_in: StandIn,
    nodes: [Server; 2],
    cluster: Cluster,
}

impl Stage {
    pub(super) fn set(binary: &str) -> Result<Self> {
        let stand_in = StandIn::start()?;
        let (cluster, url) = (Cluster::start(binary)?, stand_in.url());
        let (window, hold) = (seconds(WINDOW), seconds(HOLD));
        let more = [
            ("ARAUTO_ABLY_ENDPOINT", url.as_str()),
            ("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY),
            ("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY),
            ("ARAUTO_ABLY_GUARD_WINDOW", window.as_str()),
            ("ARAUTO_ABLY_GUARD_HOLD", hold.as_str()),
            ("ARAUTO_ABLY_GUARD_MIN_PUBLISHES", MIN_PUBLISHES),
            ("ARAUTO_ABLY_PROBE_EVERY", PROBE_EVERY),
        ];
        let nodes = [cluster.node_with(&more)?, cluster.node_with(&more)?];
        let stage = Self {
            stand_in,
            nodes,
            cluster,
        };
        let lasts = |share: u64, lasts: Duration| json!({ "share": share, "lasts_seconds": lasts.as_secs() });
        let rollout = json!({
            "version": 0, "why": "the drill", "share": SHARE, "schedule": "running",
            "stages": [lasts(25, STAGE), lasts(SHARE, STAGE * 100), lasts(100, STAGE)],
        });
        let (status, answer) = stage.ask(&stage.nodes[0], "PUT", "/v1/admin/rollout", &rollout)?;
        ensure!(status == 200, "the rollout was not raised: {status} {answer}");
        for node in &stage.nodes {
            let since = now();
            while stage.rollout(node)?["in_force"] != 1 {
                ensure!(since.elapsed() < OPENING, "a node does not go by the rollout");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(stage)
    }

    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.nodes.iter().map(Server::endpoint).collect()
    }

    /// Everybody at once, as after a deployment.
    pub(super) async fn open(&self, people: &[String]) -> Result<Vec<Follower>> {
        let urls = self.endpoints()?.into_iter();
        let urls = urls.map(|node| format!("http://{}", node.address));
        let site = Site::new(urls, self.stand_in.address())?;
        let tokens: Vec<String> = (0..people.len())
            .map(|person| self.cluster.mint().reader(person))
            .collect::<Result<_>>()?;
        let opening = tokens.into_iter().map(|token| Follower::open(&site, token));
        futures_util::future::try_join_all(opening).await
    }

    fn ask(&self, node: &Server, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let endpoint = Endpoint {
            token: self.cluster.mint().admin()?,
            ..node.endpoint()?
        };
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = Publisher::connect(&endpoint)?.request(method, path, body.as_bytes())?;
        let document = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer.status, document))
    }

    fn rollout(&self, node: &Server) -> Result<Value> {
        Ok(self.ask(node, "GET", "/v1/admin/rollout", &Value::Null)?.1)
    }

    /// The share now, in percent.
    pub(super) fn share(&self) -> Result<u64> {
        let rollout = self.rollout(&self.nodes[0])?;
        rollout["share"].as_u64().context("no share")
    }

    /// Who moved the share, oldest first.
    pub(super) fn steps(&self) -> Result<Vec<Step>> {
        let rollout = self.rollout(&self.nodes[0])?;
        let changes = rollout["changes"].as_array().context("no changes")?;
        let mut steps: Vec<Step> = changes.iter().filter_map(Step::of).collect();
        steps.sort_by(|one, next| one.at.cmp(&next.at));
        Ok(steps)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
