//! Somebody who holds a token of a pushed transport, as a record.

use domain::capability::Role;
use domain::ids::UnitId;
use serde::{Deserialize, Serialize};

use super::{Unreadable, parse};

/// The units and roles that they had when they asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HolderRecord {
    units: Vec<String>,
    roles: Vec<String>,
}

impl HolderRecord {
    /// Writes units and roles.
    pub(crate) fn new(units: &[UnitId], roles: &[Role]) -> Self {
        Self {
            units: units.iter().map(UnitId::to_string).collect(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        }
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Result<(Vec<UnitId>, Vec<Role>), Unreadable> {
        let units = self.units.iter().map(|unit| parse(unit, "unit"));
        let roles = self.roles.iter().map(|role| Role::new(role));
        Ok((units.collect::<Result<_, _>>()?, roles.collect()))
    }
}
