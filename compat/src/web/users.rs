//! `basic_auth_users`: who may come in, with hashes of their passwords in bcrypt.

use std::collections::BTreeMap;
use std::str::FromStr;

use bcrypt::HashParts;

use super::secret::Secret;

/// Least and most rounds of bcrypt, as powers of two: those of Go.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// Users by name; where there are none, everybody may come in.
#[derive(Debug, Clone, Default)]
pub struct Users {
    hashes: BTreeMap<String, Secret>,
    /// The hash that takes longest to compare with: names that do not exist are compared with it.
    slowest: Option<Secret>,
}

impl Users {
    /// Checks the hashes.
    ///
    /// # Errors
    /// The user whose hash is none.
    pub fn try_new(hashes: BTreeMap<String, Secret>) -> Result<Self, String> {
        let mut slowest: Option<(u32, &Secret)> = None;
        for (user, hash) in &hashes {
            let cost = HashParts::from_str(hash.expose()).map(|parts| parts.get_cost()).ok();
            let Some(cost) = cost.filter(|cost| COSTS.contains(cost)) else {
                return Err(format!("the password of {user:?} is not a bcrypt hash, as $2y$10$ and 53 characters"));
            };
            if slowest.is_none_or(|(most, _)| cost > most) {
                slowest = Some((cost, hash));
            }
        }
        let slowest = slowest.map(|(_, hash)| hash.clone());
        Ok(Self { hashes, slowest })
    }

    /// Whether everybody may come in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash to compare with, and whether the user exists.
    pub fn hash_of(&self, user: &str) -> Option<(&Secret, bool)> {
        match self.hashes.get(user) {
            Some(hash) => Some((hash, true)),
            None => self.slowest.as_ref().map(|hash| (hash, false)),
        }
    }
}

#[cfg(test)]
impl Users {
    /// The hashes by name.
    pub fn hashes_for_test(&self) -> BTreeMap<String, Secret> {
        self.hashes.clone()
    }
}
