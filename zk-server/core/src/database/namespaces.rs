//! Quotas added up by the first part of their paths, for `quota_*_per_namespace`.

use super::Database;
use crate::path;
use crate::quota::{self, Figures};
use std::collections::BTreeMap;

/// Limits and usage of all quotas below one top-level node; a hard limit counts where it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaTotals {
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
}

impl Database {
    /// By the name of the top-level node.
    pub fn quota_totals(&self) -> BTreeMap<String, QuotaTotals> {
        let mut totals = BTreeMap::<String, QuotaTotals>::new();
        self.tree.walk_below(path::QUOTA, &mut |path, node| {
            let Some((parent, kind @ (quota::LIMITS | quota::STATS))) = path::split(path) else { return };
            let name = quota::subject(parent).and_then(|subject| subject.split('/').nth(1));
            let Some(name) = name.filter(|name| !name.is_empty()) else { return };
            let figures = Figures::parse(node.data().unwrap_or_default());
            let of = totals.entry(name.to_owned()).or_default();
            if kind == quota::STATS {
                of.count_usage += figures.count;
                of.bytes_usage += figures.bytes;
            } else {
                let limit = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
                of.count_limit += limit(figures.count_hard, figures.count);
                of.bytes_limit += limit(figures.bytes_hard, figures.bytes);
            }
        });
        totals
    }
}
