//! What the guard of the rollout goes by.

use std::time::Duration;

use domain::cohort::Share;
use domain::guard::{BOUNDS_MS, GuardPolicy, GuardSettings};
use domain::ids::UserId;

use super::error::ConfigError;
use super::key::{Entry, Takes};
use super::keys;
use super::layers::Layers;

/// As many as one office has on duty.
const PEOPLE_MAX: usize = 50;

/// The guard of the rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardConfig {
    /// `ARAUTO_ABLY_GUARD`
    pub enabled: bool,
    /// `ARAUTO_ABLY_GUARD_ERROR_PERCENT`, `_P95`, `_WINDOW`, `_MIN_PUBLISHES`, `_HOLD`
    pub policy: GuardPolicy,
    /// `ARAUTO_ABLY_GUARD_NOTIFY`
    pub notify: Vec<UserId>,
}

/// A list of user ids.
pub(super) struct People;

impl Takes<Vec<UserId>> for People {
    fn describe(&self) -> String {
        format!("1 to {PEOPLE_MAX} user ids of A-Z a-z 0-9 _ -, separated by commas")
    }

    fn parse(&self, text: &str) -> Option<Vec<UserId>> {
        let people: Option<Vec<UserId>> = text.split(',').map(|id| id.trim().parse().ok()).collect();
        people.filter(|people| people.len() <= PEOPLE_MAX)
    }
}

/// Reads the guard's numbers, and says which of them do not go together.
pub(super) fn guard(layers: &Layers) -> Result<GuardConfig, ConfigError> {
    let percent = layers.get(&keys::ABLY_GUARD_ERROR_PERCENT)?;
    let hundredths = |percent: u64| {
        let share = u32::try_from(percent)
            .ok()
            .and_then(|share| Share::try_new(share).ok());
        share.unwrap_or(Share::ALL)
    };
    let p95 = layers.get(&keys::ABLY_GUARD_P95)?;
    let settings = GuardSettings {
        error_share: hundredths(percent * 100),
        p95,
        calm_error_share: hundredths(percent * 80),
        calm_p95: calm(p95),
        window: layers.get(&keys::ABLY_GUARD_WINDOW)?,
        publishes_min: u32::try_from(layers.get(&keys::ABLY_GUARD_MIN_PUBLISHES)?).unwrap_or(u32::MAX),
        hold: layers.get(&keys::ABLY_GUARD_HOLD)?,
    };
    let policy = GuardPolicy::try_new(settings).map_err(|invalid| {
        let entries: &[&dyn Entry] = match invalid.setting {
            "hold" => &[&keys::ABLY_GUARD_WINDOW, &keys::ABLY_GUARD_HOLD],
            _ => &[&keys::ABLY_GUARD_P95],
        };
        ConfigError::Together {
            names: super::checks::places(layers, entries),
            got: super::checks::got(layers, entries),
            rule: invalid.to_string(),
        }
    })?;
    Ok(GuardConfig {
        enabled: layers.get(&keys::ABLY_GUARD)?,
        policy,
        notify: layers.find(&keys::ABLY_GUARD_NOTIFY)?.unwrap_or_default(),
    })
}

/// The largest bound of the histogram at four fifths of a time or below.
fn calm(p95: Duration) -> Duration {
    let bounds = BOUNDS_MS.iter().map(|ms| Duration::from_millis(u64::from(*ms)));
    bounds
        .filter(|bound| *bound * 5 <= p95 * 4)
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_calm_lies_well_below_a_fault() {
        let ms = Duration::from_millis;
        assert_eq!(calm(ms(500)), ms(400));
        assert_eq!(calm(ms(750)), ms(500));
        assert_eq!(calm(ms(50)), ms(25));
    }

    #[test]
    fn people_are_ids_between_commas() {
        let people = People.parse("admin-1, admin-2").unwrap();
        assert_eq!(
            people.iter().map(UserId::as_str).collect::<Vec<_>>(),
            ["admin-1", "admin-2"]
        );
        for text in ["", "a,", "a:b", &"a,".repeat(60)] {
            assert_eq!(People.parse(text), None, "{text}");
        }
    }
}
