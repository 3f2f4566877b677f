//! Tenants as immutable snapshots, and the registry that finds them.
//!
//! A [`Registry`] is replaced as a whole at each reload; whoever holds an `Arc` of a former
//! [`Tenant`] finishes with it. A tenant that a reload does not change keeps its very `Arc`.

pub mod resolve;
pub mod switches;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Role, TenantConfig};
use crate::types::{RoleName, ScramClientKey, Slug, TenantId};

/// One tenant as configured at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Stays the same over reloads while the slug stays configured; never given to another slug.
    pub id: TenantId,
    /// What the file says.
    pub config: TenantConfig,
}

impl Tenant {
    /// Its short name.
    pub fn slug(&self) -> &Slug {
        &self.config.slug
    }

    /// The configured client role of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.config.roles.iter().find(|r| r.name.as_str() == name)
    }
}

/// Proof of a login: only the end of a successful authentication makes one.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whose data.
    pub tenant: Arc<Tenant>,
    /// What the client logged in as.
    pub role: RoleName,
    /// The client's SCRAM key, where SCRAM was the method: signs us in at the server if the
    /// tenant stores no credentials.
    pub key: Option<ScramClientKey>,
}

/// All tenants at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    /// Sorted by slug.
    tenants: Vec<Arc<Tenant>>,
    by_database: HashMap<Box<str>, Vec<Arc<Tenant>>>,
    /// Grows for ever: an identifier of a tenant that has gone must not reach another one.
    next_id: u32,
}

/// What a reload did.
#[derive(Debug, Default)]
pub struct Difference {
    /// Tenants that were not there before.
    pub added: Vec<Arc<Tenant>>,
    /// Tenants whose settings differ: as they were, as they are.
    pub changed: Vec<(Arc<Tenant>, Arc<Tenant>)>,
    /// Tenants that are there no more.
    pub removed: Vec<Arc<Tenant>>,
}

impl Registry {
    /// The tenants of `config`. Those that `previous` has too keep their identifiers and, if
    /// nothing about them changed, their very snapshots.
    pub fn build(config: &Config, previous: &Self) -> Self {
        let mut next_id = previous.next_id;
        let mut tenants: Vec<Arc<Tenant>> = Vec::with_capacity(config.tenants.len());
        for config in &config.tenants {
            tenants.push(match previous.by_slug(config.slug.as_str()) {
                Some(same) if same.config == *config => Arc::clone(same),
                Some(known) => Arc::new(Tenant {
                    id: known.id,
                    config: config.clone(),
                }),
                None => {
                    let id = TenantId(next_id);
                    next_id = next_id
                        .checked_add(1)
                        .expect("four billion tenants never come");
                    Arc::new(Tenant {
                        id,
                        config: config.clone(),
                    })
                }
            });
        }
        tenants.sort_by(|a, b| a.slug().cmp(b.slug()));
        let mut by_database: HashMap<Box<str>, Vec<Arc<Tenant>>> = HashMap::new();
        for tenant in &tenants {
            let database = tenant.config.database.as_str();
            by_database
                .entry(database.into())
                .or_default()
                .push(Arc::clone(tenant));
        }
        Self {
            tenants,
            by_database,
            next_id,
        }
    }

    /// The tenant of that name. A text that is no slug names none.
    pub fn by_slug(&self, slug: &str) -> Option<&Arc<Tenant>> {
        let at = self
            .tenants
            .binary_search_by(|t| t.slug().as_str().cmp(slug))
            .ok()?;
        self.tenants.get(at)
    }

    /// The tenants whose own database has that name, each on another node; sorted by slug.
    pub fn by_database(&self, database: &str) -> &[Arc<Tenant>] {
        self.by_database.get(database).map_or(&[], Vec::as_slice)
    }

    /// All tenants, sorted by slug.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Tenant>> {
        self.tenants.iter()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

/// What became of `old` in `new`, each part sorted by slug. A slug that went and came back in
/// between has another identifier: it counts as removed and added.
pub fn difference(old: &Registry, new: &Registry) -> Difference {
    let mut result = Difference::default();
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some(o), Some(n)) => o.slug().cmp(n.slug()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return result,
        };
        let old = olds.next_if(|_| order.is_le()).map(Arc::clone);
        let new = news.next_if(|_| order.is_ge()).map(Arc::clone);
        match (old, new) {
            (Some(o), Some(n)) if o.id == n.id => {
                if !Arc::ptr_eq(&o, &n) && o != n {
                    result.changed.push((o, n));
                }
            }
            (old, new) => {
                result.removed.extend(old);
                result.added.extend(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(tenants: &[(&str, &str)]) -> Config {
        let mut text = "[[cluster]]\nname = 'main'\nprimary = 'h:1'\n".to_owned();
        for (slug, rest) in tenants {
            text += &format!(
                "[[tenant]]\nslug = '{slug}'\ncluster = 'main'\ndatabase = 'db_{slug}'\n\
                 user = 'u'\n{rest}\n"
            );
        }
        crate::config::parse(&text, Path::new("t.toml"), &|_| None).unwrap()
    }

    fn slugs<'a>(tenants: impl IntoIterator<Item = &'a Arc<Tenant>>) -> Vec<String> {
        tenants.into_iter().map(|t| t.slug().to_string()).collect()
    }

    #[test]
    fn finds_by_slug_and_by_database() {
        let r = Registry::build(&config(&[("b", ""), ("a", "")]), &Registry::default());
        assert_eq!(slugs(r.iter()), ["a", "b"]);
        assert_eq!(r.by_slug("b").map(|t| t.slug().as_str()), Some("b"));
        assert!(r.by_slug("c").is_none() && r.by_slug("").is_none());
        assert_eq!(slugs(r.by_database("db_a")), ["a"]);
        assert!(r.by_database("a").is_empty());
    }

    #[test]
    fn unchanged_tenants_keep_their_snapshot_and_changed_ones_their_id() {
        let first = Registry::build(&config(&[("a", ""), ("b", "")]), &Registry::default());
        let second = Registry::build(&config(&[("a", ""), ("b", "status = 'paused'")]), &first);
        assert!(Arc::ptr_eq(
            first.by_slug("a").unwrap(),
            second.by_slug("a").unwrap()
        ));
        let (old, new) = (first.by_slug("b").unwrap(), second.by_slug("b").unwrap());
        assert!(old.id == new.id && !Arc::ptr_eq(old, new));
        let d = difference(&first, &second);
        assert_eq!((d.added.len(), d.changed.len(), d.removed.len()), (0, 1, 0));
        assert!(Arc::ptr_eq(&d.changed[0].0, old) && Arc::ptr_eq(&d.changed[0].1, new));
    }

    #[test]
    fn an_id_is_never_used_again() {
        let first = Registry::build(&config(&[("a", ""), ("b", "")]), &Registry::default());
        let second = Registry::build(&config(&[("a", "")]), &first);
        let third = Registry::build(&config(&[("a", ""), ("b", ""), ("c", "")]), &second);
        let mut ids: Vec<TenantId> = third.iter().map(|t| t.id).collect();
        ids.push(first.by_slug("b").unwrap().id);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4, "a and three that are new to it");
        let d = difference(&first, &third);
        assert_eq!(slugs(&d.added), ["b", "c"]);
        assert_eq!(slugs(&d.removed), ["b"]);
        assert!(d.changed.is_empty());
    }

    #[test]
    fn a_change_of_the_cluster_changes_its_tenants() {
        let old = Registry::build(&config(&[("a", "")]), &Registry::default());
        let mut moved = config(&[("a", "")]);
        let mut cluster = (*moved.clusters[0]).clone();
        cluster.max_connections = 7;
        moved.tenants[0].cluster = Arc::new(cluster);
        assert_eq!(
            difference(&old, &Registry::build(&moved, &old))
                .changed
                .len(),
            1
        );
    }
}
