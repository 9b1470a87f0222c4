//! What shuts out whoever tries too often what they have no right to, and tells administrators.

use std::sync::Arc;

use adapters::BlocksJson;
use anyhow::Context as _;
use application::abuse::{AdministerBlocks, Alarm, FollowBlocks, Watch, detector};
use application::audit::Recorder;
use application::ports::BlocksFormat;
use application::publish::{Publish, Submission};
use async_trait::async_trait;
use domain::abuse::Block;
use domain::capability::{Principal, Role};
use domain::ids::UserId;
use domain::notification::{AudienceFields, Draft, DraftFields};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ports;
use crate::config::Config;

/// A notification names the first of them; the rest is in the audit trail.
const NAMED_MAX: usize = 5;

/// What has to do with abuse, wired.
pub(super) struct Wiring {
    pub(super) follow: FollowBlocks,
    pub(super) administer: Arc<AdministerBlocks>,
    pub(super) watch: Arc<Watch>,
}

impl Wiring {
    pub(super) fn start(
        config: &Config,
        ports: &Ports,
        recorder: &Recorder,
        life: (&TaskTracker, &CancellationToken),
    ) -> anyhow::Result<Self> {
        let format: Arc<dyn BlocksFormat> = Arc::new(BlocksJson);
        let in_force = Arc::clone(&ports.blocks);
        let settings = Arc::clone(&ports.settings);
        let follow = FollowBlocks::new(settings, Arc::clone(&format), Arc::clone(&in_force));
        let administer = Arc::new(AdministerBlocks {
            change: ports.change_settings(),
            format,
            in_force,
            clock: Arc::clone(&ports.clock),
            observer: Arc::clone(&ports.observer),
        });
        let alarm = Arc::new(Notify {
            publish: ports.publish(config),
            whom: whom(config)?,
        });
        let (limits, recorder) = (Arc::clone(&ports.limits), recorder.clone());
        let (watch, detector) = detector(limits, Arc::clone(&administer), recorder, alarm);
        life.0
            .spawn(life.1.clone().run_until_cancelled_owned(detector.run()));
        Ok(Self {
            follow,
            administer,
            watch: Arc::new(watch),
        })
    }
}

fn whom(config: &Config) -> anyhow::Result<Vec<UserId>> {
    let names = config
        .limits
        .alert_users
        .as_deref()
        .unwrap_or_default()
        .split(',');
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let whom: Result<Vec<UserId>, _> = names.map(str::parse).collect();
    whom.context("ARAUTO_ALERT_USERS takes ids of people, separated by commas")
}

/// Tells administrators by a notification of the service itself.
struct Notify {
    publish: Publish,
    whom: Vec<UserId>,
}

#[async_trait]
impl Alarm for Notify {
    async fn raise(&self, blocks: &[Block]) {
        let blocked = blocks.len();
        tracing::warn!(blocked, "somebody tried too often what they have no right to");
        if self.whom.is_empty() {
            return;
        }
        let Ok(told) = Draft::check(told(&self.whom, blocks)) else {
            return tracing::error!("the alarm is no notification");
        };
        let submission = Submission {
            draft: told,
            idempotency_key: None,
        };
        let Ok(service) = "arauto"
            .parse()
            .map(|user| Principal::new(user, [Role::new("SERVICE")]))
        else {
            return;
        };
        if let Err(error) = self.publish.one(&service, submission).await {
            tracing::warn!(%error, "administrators were not told of blocks");
        }
    }
}

fn told(whom: &[UserId], blocks: &[Block]) -> DraftFields {
    let named: Vec<String> = blocks
        .iter()
        .take(NAMED_MAX)
        .map(|block| format!("<li><code>{}</code></li>", block.suspect))
        .collect();
    let count = blocks.len();
    DraftFields {
        audience: AudienceFields {
            users: Some(whom.iter().map(ToString::to_string).collect()),
            ..AudienceFields::default()
        },
        kind: "seguranca.atividade_suspeita".to_owned(),
        priority: Some("urgent".to_owned()),
        title: format!("Atividade suspeita: {count} bloqueio(s) / Suspicious activity: {count} block(s)"),
        body: format!(
            "<p>Acesso bloqueado por 15 minutos após tentativas repetidas. / Shut out for 15 minutes after repeated \
             attempts.</p><ul>{}</ul>",
            named.concat()
        ),
        ..DraftFields::default()
    }
}
