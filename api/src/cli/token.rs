//! `arauto token`: a token for curl and scripts.

use std::time::Duration;

use application::ports::Mint;
use clap::Args;
use domain::capability::{Principal, Role};
use domain::ids::{BenefitId, UnitId, UserId};

use super::Failure;
use crate::bootstrap;
use crate::config::{KeySource, TokensConfig, duration};

const EXAMPLES: &str = "\
Examples:
  arauto token --sub u-42
  arauto token --sub tecnica-7 --roles TECNICO --units cras-1,cras-2 --benefits natalidade
  curl -H \"Authorization: Bearer $(arauto token --sub backend --roles SERVICE)\" …";

/// What the token is to say.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TokenArgs {
    /// Whom it stands for: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "ID")]
    sub: UserId,
    /// Role codes, separated by commas
    #[arg(long, value_name = "CODES", value_delimiter = ',', default_value = "CIDADAO")]
    roles: Vec<String>,
    /// Units the person belongs to, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    units: Vec<UnitId>,
    /// Benefit types the person works on, separated by commas
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    benefits: Vec<BenefitId>,
    /// How long it counts
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    ttl: Duration,
    /// The rate-limit profile it names
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    duration(text)
        .filter(|lifetime| *lifetime >= Duration::from_secs(1))
        .ok_or("it takes a duration of 1s or more, such as 30s, 15m, 12h or 7d")
}

impl TokenArgs {
    /// Mints it.
    pub(super) fn mint(self, tokens: &TokensConfig) -> Result<String, Failure> {
        if !matches!(tokens.key, KeySource::Secret(_)) {
            let line = "tokens are minted with ARAUTO_JWT_SECRET, which is not set";
            return Err(Failure::Usage(line.to_owned()));
        }
        self.mint_with(bootstrap::mint(tokens)?.as_ref())
    }

    fn mint_with(self, mint: &dyn Mint) -> Result<String, Failure> {
        let ttl = self.ttl;
        let principal = self.principal()?;
        mint.mint(&principal, ttl)
            .map_err(|error| Failure::Runtime(error.into()))
    }

    fn principal(self) -> Result<Principal, Failure> {
        let roles = self.roles.iter().map(|code| Role::new(code.trim()));
        let mut principal = Principal::new(self.sub, roles)
            .with_memberships(self.units, self.benefits)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        principal.profile = self.profile;
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use application::ports::TokenError;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn arguments(line: &str) -> TokenArgs {
        Line::parse_from(line.split(' ')).token
    }

    #[derive(Default)]
    struct Noting(Mutex<Vec<(Principal, Duration)>>);

    impl Mint for Noting {
        fn mint(&self, principal: &Principal, ttl: Duration) -> Result<String, TokenError> {
            self.0.lock().unwrap().push((principal.clone(), ttl));
            Ok("minted".to_owned())
        }
    }

    #[test]
    fn a_token_says_what_the_flags_say() {
        let mint = Noting::default();
        let line = "token --sub t-7 --roles TECNICO,AUDITOR --units cras-1,cras-2 --benefits natalidade --ttl 15m \
                    --profile premium";

        assert_eq!(arguments(line).mint_with(&mint).unwrap(), "minted");

        let (principal, ttl) = mint.0.lock().unwrap().pop().unwrap();
        assert_eq!(principal.user.as_str(), "t-7");
        assert_eq!(principal.roles, [Role::new("TECNICO"), Role::new("AUDITOR")]);
        assert_eq!(principal.units.len(), 2);
        assert_eq!(principal.benefits.len(), 1);
        assert_eq!(principal.profile.as_deref(), Some("premium"));
        assert_eq!(ttl, Duration::from_mins(15));
    }

    #[test]
    fn a_citizen_with_an_hour_is_the_default() {
        let token = arguments("token --sub u-1");
        assert_eq!(token.ttl, Duration::from_hours(1));
        assert_eq!(token.principal().unwrap().roles, [Role::new("CIDADAO")]);
    }

    #[test]
    fn ids_and_lifetimes_are_checked() {
        for line in [
            "token --sub a:b",
            "token --sub u --units cras*",
            "token --sub u --ttl 0s",
            "token --sub u --ttl 60",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn without_a_secret_there_is_nothing_to_mint_with() {
        let tokens = |key| TokensConfig {
            key,
            issuer: None,
            audience: None,
            revocations_kept: Duration::from_hours(1),
            capabilities_file: None,
        };
        let failure = arguments("token --sub u")
            .mint(&tokens(KeySource::Generated))
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "tokens are minted with ARAUTO_JWT_SECRET, which is not set"
        );
        assert_eq!(failure.code(), 2);
    }
}
