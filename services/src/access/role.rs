//! Roles and what they permit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody is to the shop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Customer,
    /// Helps customers.
    Support,
    /// Sells.
    Merchant,
    /// May do everything.
    Admin,
}

/// What somebody may do beyond their own affairs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Permission {
    /// See other people's profiles.
    ReadUsers,
    /// See other people's orders, payments, parcels, addresses, letters and recommendations.
    ReadCustomers,
    /// Order, pay, call off and write down addresses and preferences for others; send their letters again.
    ActForCustomers,
    /// Capture and refund.
    MoveMoney,
    /// Call parcels off, take them back, look after exceptions.
    HandleParcels,
    /// Change products and stock.
    WriteCatalogue,
    /// Change what letters say.
    WriteTemplates,
    /// Have recommendations learn, and see what they rest on.
    TrainModels,
    /// See stock with its books.
    ReadStock,
    /// Counters, audit and reconciliation.
    Operate,
    /// Give and take roles.
    AssignRoles,
    /// Register programs that may ask users for grants, and take them away.
    ManageClients,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 12] = [
        Self::ReadUsers,
        Self::ReadCustomers,
        Self::ActForCustomers,
        Self::MoveMoney,
        Self::HandleParcels,
        Self::WriteCatalogue,
        Self::WriteTemplates,
        Self::TrainModels,
        Self::ReadStock,
        Self::Operate,
        Self::AssignRoles,
        Self::ManageClients,
    ];
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Customer, Self::Support, Self::Merchant, Self::Admin];

    /// The name in documents, tokens and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Support => "support",
            Self::Merchant => "merchant",
            Self::Admin => "admin",
        }
    }

    /// What this role permits.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{
            ActForCustomers, HandleParcels, MoveMoney, ReadCustomers, ReadStock, ReadUsers, TrainModels,
            WriteCatalogue, WriteTemplates,
        };
        match self {
            Self::Customer => &[],
            Self::Support => {
                &[ReadUsers, ReadCustomers, ActForCustomers, MoveMoney, HandleParcels, ReadStock]
            }
            Self::Merchant => &[WriteCatalogue, WriteTemplates, TrainModels, ReadStock],
            Self::Admin => &Permission::ALL,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(())
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Role>", into = "Vec<Role>")]
pub struct Roles(u8);

impl Roles {
    /// The same with one more.
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    /// True if the role is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// True if one of them permits it.
    pub fn permit(self, permission: Permission) -> bool {
        self.iter().any(|role| role.permissions().contains(&permission))
    }

    /// Those that are there, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), Self::with)
    }
}

impl From<Vec<Role>> for Roles {
    fn from(roles: Vec<Role>) -> Self {
        roles.into_iter().collect()
    }
}

impl From<Roles> for Vec<Role> {
    fn from(roles: Roles) -> Self {
        roles.iter().collect()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
