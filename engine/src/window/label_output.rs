//! Which labels of a series the result carries.

use std::fmt;

use promql::tree::Projection;
use storage::model::label_key;

use crate::label_ops::is_reserved;
use crate::removed_name::{NameRemoval, is_marked, mark, unmarked};

/// How a result's labels follow from a series' labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelOutput {
    /// Whether the metric name goes, as under most functions.
    pub drop_name: bool,
    /// What the rest of the query can see.
    pub projection: Projection,
}

impl LabelOutput {
    /// Writes to `out` the key of the result, or says that it is `key` itself.
    pub(super) fn write<'a>(&self, key: &'a str, removal: NameRemoval, out: &'a mut String) -> &'a str {
        if !self.drop_name && self.projection == Projection::All {
            return key;
        }
        let labels = unmarked(key);
        let at_once = self.drop_name && removal == NameRemoval::AtOnce;
        mark("", out);
        if at_once || !(self.drop_name || is_marked(key)) {
            out.clear();
        }
        label_key::filter_into(labels, out, |name| {
            if at_once && is_reserved(name) {
                return false;
            }
            match &self.projection {
                Projection::All => true,
                Projection::Only(names) => names.iter().any(|n| name.is(n)),
                Projection::Without(names) => !names.iter().any(|n| name.is(n)),
            }
        });
        out
    }
}

impl fmt::Display for LabelOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.projection {
            Projection::All if self.drop_name => f.write_str(", labels=all but __name__"),
            Projection::All => Ok(()),
            Projection::Only(names) => write!(f, ", labels=[{}]", names.join(", ")),
            Projection::Without(names) => write!(f, ", labels=all but [{}]", names.join(", ")),
        }
    }
}
