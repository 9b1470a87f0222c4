//! Who asks.

use ::tests::seed::{NEVER_READ, Scale};
use anyhow::Result;

use crate::token::Mint;

/// Somebody with a token.
pub(super) struct Person {
    pub(super) user: String,
    pub(super) token: String,
}

/// `count` different people in a scattered order, each a member of one unit, who have read everything but the last
/// tenth. The one who never read anything is not among them.
pub(super) fn typical(mint: &Mint, scale: Scale, count: usize) -> Result<Vec<Person>> {
    let numbers = 2..scale.people;
    let stride = 7_919_i64;
    (0..i64::try_from(count)?)
        .map(|n| {
            // The stride divides neither number of people: nobody comes twice in a round.
            let number = numbers.start + n * stride % (numbers.end - numbers.start);
            let user = format!("p-{number}");
            let token = mint.member(&user, format!("u-{}", number % scale.units))?;
            Ok(Person { user, token })
        })
        .collect()
}

/// The one who never read anything, from the first notification on.
pub(super) fn never_read(mint: &Mint) -> Result<Person> {
    Ok(Person {
        user: NEVER_READ.to_owned(),
        token: mint.member(NEVER_READ, "u-1".to_owned())?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nobody_is_asked_twice_and_nobody_is_the_one_who_never_read() {
        let people = typical(&Mint::new().unwrap(), Scale::FULL, 4_000).unwrap();
        let users: HashSet<&str> = people.iter().map(|person| person.user.as_str()).collect();
        assert_eq!(users.len(), 4_000);
        assert!(!users.contains(NEVER_READ));
    }
}
