//! Who takes part, and the dice.

/// Chance that a seed decides: a schedule can be had again.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64, player: u64) -> Self {
        Self(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ player.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03),
        )
    }

    /// `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> std::time::Duration {
        std::time::Duration::from_millis(from + self.next() % (to - from))
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// How many units there are. Everybody belongs to one.
const UNITS: usize = 10;

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Person {
    pub(crate) user: String,
    pub(crate) unit: String,
}

/// That many people.
pub(crate) fn people(count: usize) -> Vec<Person> {
    (0..count)
        .map(|index| Person {
            user: format!("u-{index}"),
            unit: format!("cras-{}", index % UNITS),
        })
        .collect()
}
