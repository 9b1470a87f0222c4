//! The capability matcher agrees with a second writing of the table, whatever the matrix, the person and the channel.
#![no_main]

use domain::capability::{Matrix, Operation, Principal, Role, Scope};
use domain::channel::Channel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |input: (String, String, String, Vec<String>, Vec<String>, String)| {
        let (file, user, role, units, benefits, channel) = input;
        let matrix = api::capabilities::parse(&file).unwrap_or_else(|_| Matrix::default_roles());
        let again = api::capabilities::parse(&api::capabilities::write(&matrix));
        assert!(
            again.is_err() || again == Ok(matrix.clone()),
            "a matrix reads back as it was written"
        );
        let (Ok(user), Ok(channel)) = (user.parse(), channel.parse::<Channel>()) else {
            return;
        };
        let units: Vec<_> = units.iter().filter_map(|unit| unit.parse().ok()).collect();
        let benefits: Vec<_> = benefits
            .iter()
            .filter_map(|benefit| benefit.parse().ok())
            .collect();
        let Ok(person) = Principal::new(user, [Role::new(&role)]).with_memberships(units, benefits) else {
            return;
        };
        for operation in [Operation::Subscribe, Operation::History, Operation::Publish] {
            let expected = matrix
                .rows()
                .filter(|(known, _)| known.as_str() == role.to_ascii_uppercase())
                .any(|(_, grants)| {
                    let granted = |scope: Scope| {
                        grants
                            .channels
                            .get(&scope)
                            .is_some_and(|given| given.contains(operation))
                    };
                    match &channel {
                        Channel::User(id) => {
                            granted(Scope::AnyUser) || (granted(Scope::OwnUser) && *id == person.user)
                        }
                        Channel::Unit(id) => {
                            granted(Scope::AnyUnit) || (granted(Scope::OwnUnits) && person.units.contains(id))
                        }
                        Channel::Benefit(id) => {
                            granted(Scope::AnyBenefit)
                                || (granted(Scope::OwnBenefits) && person.benefits.contains(id))
                        }
                        Channel::System => granted(Scope::System),
                    }
                });
            assert_eq!(
                matrix.allows(&person, &channel, operation),
                expected,
                "{role} {channel} {operation:?}"
            );
        }
        for own in matrix.default_channels(&person) {
            assert!(matrix.allows(&person, &own, Operation::Subscribe));
        }
    }
);
