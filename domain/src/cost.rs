//! What Ably costs, estimated from counters and prices.
//!
//! Money is in millionths of the currency, so that nothing is rounded on the way; prices are for a million, as Ably
//! publishes them.

use std::time::Duration;

const MILLION: u128 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A month of a projection.
const MONTH_DAYS: u128 = 30;

/// Prices for a million, in millionths of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Of a million messages.
    pub messages: u64,
    /// Of a million connection minutes.
    pub connection_minutes: u64,
    /// Of a million channel minutes.
    pub channel_minutes: u64,
}

impl Default for Prices {
    /// As Ably published them in August 2026, in US dollars: 2.50, 1.00 and 1.00 for a million, without volume rates.
    fn default() -> Self {
        Self {
            messages: 2_500_000,
            connection_minutes: 1_000_000,
            channel_minutes: 1_000_000,
        }
    }
}

/// What was used, or is estimated to have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Publishes that were accepted, each of which is one message in.
    pub published: u64,
    /// Messages out: one for each of those who get it. Ably does not tell; the caller says what it assumes.
    pub delivered: u64,
    /// Minutes of connections.
    pub connection_minutes: u64,
    /// Minutes of channels.
    pub channel_minutes: u64,
}

/// What a usage costs, in millionths of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Of messages, in and out.
    pub messages: u64,
    /// Of connection minutes.
    pub connections: u64,
    /// Of channel minutes.
    pub channels: u64,
}

impl Cost {
    /// Returns the sum.
    pub const fn total(&self) -> u64 {
        self.messages
            .saturating_add(self.connections)
            .saturating_add(self.channels)
    }

    /// Projects what was spent within a time to a day; nothing where no time has passed.
    #[must_use]
    pub fn per_day(&self, within: Duration) -> Self {
        self.times(DAY.as_millis(), within.as_millis())
    }

    /// Projects what was spent within a time to a month of 30 days.
    #[must_use]
    pub fn per_month(&self, within: Duration) -> Self {
        self.times(DAY.as_millis() * MONTH_DAYS, within.as_millis())
    }

    fn times(&self, by: u128, of: u128) -> Self {
        let project = |amount: u64| match of {
            0 => 0,
            of => narrow(u128::from(amount) * by / of),
        };
        Self {
            messages: project(self.messages),
            connections: project(self.connections),
            channels: project(self.channels),
        }
    }
}

impl Usage {
    /// Returns what it costs.
    pub fn cost(&self, prices: &Prices) -> Cost {
        let price = |count: u128, price: u64| narrow(count.saturating_mul(u128::from(price)) / MILLION);
        Cost {
            messages: price(
                u128::from(self.published) + u128::from(self.delivered),
                prices.messages,
            ),
            connections: price(u128::from(self.connection_minutes), prices.connection_minutes),
            channels: price(u128::from(self.channel_minutes), prices.channel_minutes),
        }
    }
}

fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10,000 people, a channel and a tab each for 8 h on 22 days, 20 notices a day.
    #[test]
    fn minutes_and_not_messages_dominate() {
        let usage = Usage {
            published: 4_400_000,
            delivered: 4_400_000,
            connection_minutes: 105_600_000,
            channel_minutes: 105_600_000,
        };
        let cost = usage.cost(&Prices::default());
        assert_eq!(
            (cost.messages, cost.connections, cost.channels),
            (22_000_000, 105_600_000, 105_600_000)
        );
        assert_eq!(cost.total(), 233_200_000);
    }

    #[test]
    fn a_projection_is_by_the_time_that_passed() {
        let cost = Cost {
            messages: 1_000,
            connections: 60,
            channels: 0,
        };
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            cost.per_day(hour),
            Cost {
                messages: 24_000,
                connections: 1_440,
                channels: 0
            }
        );
        assert_eq!(cost.per_month(hour * 24).total(), 31_800);
        assert_eq!(cost.per_day(Duration::ZERO), Cost::default());
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let all = Usage {
            published: u64::MAX,
            delivered: u64::MAX,
            connection_minutes: u64::MAX,
            channel_minutes: u64::MAX,
        };
        let prices = Prices {
            messages: u64::MAX,
            connection_minutes: u64::MAX,
            channel_minutes: u64::MAX,
        };
        assert_eq!(
            all.cost(&prices).per_month(Duration::from_millis(1)).total(),
            u64::MAX
        );
        let one = Usage {
            published: 1,
            ..Usage::default()
        };
        assert_eq!(one.cost(&Prices::default()).messages, 2);
    }
}
