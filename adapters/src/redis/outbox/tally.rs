//! What nodes told of their publishes, beside the deliveries.

use std::time::Duration;

use application::ports::{StoreError, TALLY_KEPT, Tally};
use async_trait::async_trait;
use domain::guard::Publishes;
use domain::ids::NodeId;

use super::{Kind, RedisOutbox};
use crate::record::{publish_counts, sum_of_publish_counts};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the counts of a member, which stand behind the node and the number.
fn counts(member: &str) -> Vec<u32> {
    let (_, counts) = member.rsplit_once(':').unwrap_or_default();
    counts.split(',').filter_map(|count| count.parse().ok()).collect()
}

#[async_trait]
impl Tally for RedisOutbox {
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError> {
        let counts: Vec<String> = publish_counts(&publishes)
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut call = self.call(&self.scripts.tell);
        call.arg(format!("{}:{number}:{}", node.0, counts.join(",")))
            .arg(millis(TALLY_KEPT));
        self.ask(&call, Kind::Writes).await
    }

    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError> {
        let mut call = self.call(&self.scripts.recent);
        call.arg(millis(window.min(TALLY_KEPT)));
        let members: Vec<String> = self.ask(&call, Kind::Reads).await?;
        Ok(sum_of_publish_counts(members.iter().map(|member| counts(member))))
    }

    async fn lead(&self, task: &str, node: NodeId, term: Duration) -> Result<bool, StoreError> {
        let mut call = self.call(&self.scripts.lead);
        call.arg(task).arg(node.0).arg(millis(term));
        self.ask(&call, Kind::Writes).await
    }
}
