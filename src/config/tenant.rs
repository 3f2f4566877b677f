//! `[[tenant]]`: who is served, from where, as whom.

use std::collections::{HashMap, HashSet};

use super::cluster::Clusters;
use super::reader::{Place, Section, Value};
use super::{
    PoolSettings, Role, RoutingSettings, ServerLogin, TenantConfig, TenantStatus, keys, pool,
    routing, value,
};
use crate::types::{DbName, NodeAddr, RoleName, Slug};

/// A tenant, with the places that later checks speak about.
pub(super) struct Draft {
    pub(super) tenant: TenantConfig,
    pub(super) place: Place,
    pub(super) role_places: Vec<Place>,
}

/// What holds for tenants that say nothing else.
pub(super) struct Defaults<'a> {
    pub(super) pool: &'a PoolSettings,
    pub(super) routing: &'a RoutingSettings,
}

/// Reads all `[[tenant]]`, sorted by slug.
pub(super) fn read(
    items: Vec<Value<'_>>,
    clusters: &Clusters,
    defaults: &Defaults<'_>,
) -> Vec<Draft> {
    let mut slugs = HashSet::new();
    let mut databases = HashMap::new();
    let mut drafts = Vec::new();
    for item in items {
        let s = item.section(&keys::TENANT);
        let (doc, place) = (s.doc, s.place.clone());
        let at = |key: &str| Place {
            path: format!("{}.{key}", place.path),
            ..s.place_of(key)
        };
        let (slug_place, database_place) = (at("slug"), at("database"));
        let Some(draft) = tenant(s, clusters, defaults) else {
            continue;
        };
        let t = &draft.tenant;
        if !slugs.insert(t.slug.clone()) {
            doc.error(
                &slug_place,
                format!("there are two tenants named `{}`", t.slug),
            );
        }
        let home: (NodeAddr, DbName) = (t.cluster.primary.clone(), t.database.clone());
        if let Some(other) = databases.insert(home, t.slug.clone()) {
            let message = format!("tenant `{other}` has the same database on the same node");
            doc.error(&database_place, message);
        }
        drafts.push(draft);
    }
    drafts.sort_by(|a, b| a.tenant.slug.cmp(&b.tenant.slug));
    drafts
}

fn tenant(mut s: Section<'_>, clusters: &Clusters, defaults: &Defaults<'_>) -> Option<Draft> {
    let place = s.place.clone();
    let slug = s
        .required("slug")
        .and_then(|v| v.parsed(|text| Slug::parse(text).map_err(|e| e.to_string())));
    let cluster = s.required("cluster").and_then(|v| {
        let name = v.string()?;
        if !clusters.declared.contains(name) {
            v.error(format!("there is no cluster `{name}`"));
        }
        clusters.find(name).cloned()
    });
    let database = s.required("database").and_then(|v| v.name());
    let login = login(&mut s);
    let statuses = [
        ("active", TenantStatus::Active),
        ("suspended", TenantStatus::Suspended),
        ("paused", TenantStatus::Paused),
    ];
    let status = s.word("status", &statuses).unwrap_or(TenantStatus::Active);
    let (roles, role_places) = roles(s.items("roles"));
    let pool = pool::read(s.section("pool", &keys::POOL), defaults.pool);
    let routing = routing::read(s.section("routing", &keys::ROUTING), defaults.routing);
    let networks = s.items("allowed_networks");
    let allowed_networks = networks
        .iter()
        .filter_map(|v| v.parsed(value::network))
        .collect();
    s.finish();
    let tenant = TenantConfig {
        slug: slug?,
        cluster: cluster?,
        database: DbName::new(database?),
        login,
        status,
        roles,
        pool,
        routing,
        allowed_networks,
    };
    Some(Draft {
        tenant,
        place,
        role_places,
    })
}

fn login(s: &mut Section<'_>) -> Option<ServerLogin> {
    let user = s.value("user").and_then(|v| v.name());
    let password = s.secret("password");
    if !s.has("user") && s.has("password") {
        s.error("password", "needs `user` beside it");
    }
    Some(ServerLogin {
        role: RoleName::new(user?),
        password,
    })
}

fn roles(items: Vec<Value<'_>>) -> (Vec<Role>, Vec<Place>) {
    let mut names = HashSet::new();
    let (mut roles, mut places) = (Vec::new(), Vec::new());
    for item in items {
        let mut s = item.section(&keys::ROLE);
        let place = s.place.clone();
        let name = s.required("name").and_then(|v| v.name());
        let password = s.secret("password");
        if let Some(secret) = &password
            && let Err(message) = value::stored(secret.expose())
        {
            s.error("password", message);
        }
        if let Some(name) = name {
            if !names.insert(name) {
                s.error("name", format!("there are two roles named `{name}`"));
            }
            roles.push(Role {
                name: RoleName::new(name),
                password,
            });
            places.push(place);
        }
        s.finish();
    }
    (roles, places)
}
