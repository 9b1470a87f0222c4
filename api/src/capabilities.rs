//! The capability matrix as a file.
//!
//! ```toml
//! [roles.CIDADAO.channels]
//! "private:user:{self}:notifications" = ["subscribe", "history"]
//! "system:notifications" = ["subscribe", "history"]
//! ```
//!
//! `capabilities.example.toml` holds the matrix that is built in.

use std::collections::BTreeMap;

use domain::capability::{Matrix, Operation, Operations, Role, RoleGrants, Scope};
use serde::Deserialize;

/// Why a text is no capability matrix; one line for the operator.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CapabilitiesError {
    /// It is no TOML, or has other tables than `[roles.NAME]` and `[roles.NAME.channels]`.
    #[error("{0}")]
    Shape(String),
    /// A channel pattern is none of the seven.
    #[error("role {role}: {pattern:?} is no channel pattern; one of {}", patterns())]
    Pattern {
        /// The role.
        role: String,
        /// What was given.
        pattern: String,
    },
    /// It gives nobody anything.
    #[error("no role is given anything")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: BTreeMap<String, RoleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    #[serde(default)]
    channels: BTreeMap<String, Vec<OperationName>>,
    #[serde(default)]
    administers: bool,
    #[serde(default)]
    audits: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum OperationName {
    Subscribe,
    History,
    Publish,
}

impl From<OperationName> for Operation {
    fn from(name: OperationName) -> Self {
        match name {
            OperationName::Subscribe => Self::Subscribe,
            OperationName::History => Self::History,
            OperationName::Publish => Self::Publish,
        }
    }
}

/// Reads a capability matrix.
pub fn parse(text: &str) -> Result<Matrix, CapabilitiesError> {
    let file: File = toml::from_str(text).map_err(|error| CapabilitiesError::Shape(one_line(&error)))?;
    let rows: Vec<(Role, RoleGrants)> = file
        .roles
        .into_iter()
        .map(|(role, table)| grants(role, table))
        .collect::<Result<_, _>>()?;
    if rows.iter().all(|(_, grants)| grants.channels.is_empty()) {
        return Err(CapabilitiesError::Empty);
    }
    Ok(Matrix::new(rows))
}

fn grants(role: String, table: RoleTable) -> Result<(Role, RoleGrants), CapabilitiesError> {
    let mut channels = BTreeMap::new();
    for (pattern, operations) in table.channels {
        let Some(scope) = Scope::parse(&pattern) else {
            return Err(CapabilitiesError::Pattern { role, pattern });
        };
        let with = |set: Operations, name: OperationName| set.with(name.into());
        channels.insert(scope, operations.into_iter().fold(Operations::NONE, with));
    }
    let grants = RoleGrants {
        channels,
        administers: table.administers,
        audits: table.audits,
    };
    Ok((Role::new(&role), grants))
}

/// Writes a capability matrix as a file.
pub fn write(matrix: &Matrix) -> String {
    let roles: Vec<String> = matrix
        .rows()
        .map(|(role, grants)| write_role(role, grants))
        .collect();
    roles.concat()
}

fn write_role(role: &Role, grants: &RoleGrants) -> String {
    let flags = [("administers", grants.administers), ("audits", grants.audits)];
    let flags = flags
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| format!("{name} = true\n"));
    let channels = grants.channels.iter().map(|(scope, operations)| {
        let names = [
            (Operation::Subscribe, "\"subscribe\""),
            (Operation::History, "\"history\""),
            (Operation::Publish, "\"publish\""),
        ];
        let given: Vec<&str> = names
            .iter()
            .filter(|(operation, _)| operations.contains(*operation))
            .map(|(_, name)| *name)
            .collect();
        format!("\"{}\" = [{}]\n", scope.as_str(), given.join(", "))
    });
    let (role, flags, channels): (_, String, String) = (role.as_str(), flags.collect(), channels.collect());
    format!("[roles.{role}]\n{flags}[roles.{role}.channels]\n{channels}\n")
}

fn patterns() -> String {
    Scope::ALL.map(|(_, text)| text).join(", ")
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_matrix_that_is_built_in() {
        let example = include_str!("../../capabilities.example.toml");
        assert_eq!(parse(example), Ok(Matrix::default_roles()));
        assert!(
            example.ends_with(write(&Matrix::default_roles()).trim_start()),
            "write it anew from `write`"
        );
    }

    #[test]
    fn what_is_no_matrix_is_told_in_one_line() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert!(
            said("[roles.X.channels]\n\"private:*\" = []").contains("\"private:*\" is no channel pattern")
        );
        assert!(said("[roles.X.channels]\n\"system:notifications\" = [\"fly\"]").contains("fly"));
        assert!(said("[role.X]").contains("role"));
        assert!(said("[roles.X]\nadmin = true").contains("admin"));
        assert_eq!(parse("[roles]"), Err(CapabilitiesError::Empty));
        for text in ["x", "[roles.X.channels]\n\"private:*\" = []"] {
            assert!(!said(text).contains('\n'));
        }
    }
}
