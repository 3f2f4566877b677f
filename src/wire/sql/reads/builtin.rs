//! What is known of the functions and relations of `pg_catalog`.
//!
//! Guarantees: a name that begins with `pg_` is on a list of those that answer alike on a standby,
//! or unfit. So what newer servers bring under such a name is unfit until it is looked at.

use super::Unfit;
use crate::wire::sql::words::Names;

/// The volatile functions of PostgreSQL 15,
///
/// ```sql
/// SELECT DISTINCT proname FROM pg_proc
/// WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND prokind <> 'p'
///   AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
///   AND proname !~ '^binary_upgrade' ORDER BY proname;
/// ```
///
/// and those that 16 to 18 have brought, other than `pg_..`: `array_sample`, `array_shuffle`,
/// `random_normal`, `uuidv4`, `uuidv7`.
static VOLATILE: Names<1024> = Names::new(include_bytes!("volatile.txt"));

/// Functions that are not volatile and answer otherwise on another server, or go through all of a
/// database, volatile views included. Those that begin with `pg_` need no mention.
static OF_ONE_SERVER: Names<64> = Names::new(include_bytes!("one_server.txt"));

/// Functions `pg_..` that are not volatile and answer alike on a standby.
static ALIKE: Names<256> = Names::new(include_bytes!("alike.txt"));

/// Relations `pg_..` that are tables of the catalog, or views that show nothing else.
static CATALOGS: Names<256> = Names::new(include_bytes!("catalogs.txt"));

/// Whether a function of that name, if it is PostgreSQL's own, may run on a standby. One of the
/// user's own that has such a name is taken for it.
pub(super) fn check_function(name: &str) -> Result<(), Unfit> {
    match name {
        "currval" | "lastval" | "nextval" | "setval" => Err(Unfit::Sequence),
        "set_config" | "setseed" => Err(Unfit::SessionState),
        _ if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") => {
            Err(Unfit::SessionState)
        }
        _ if VOLATILE.contains(name.as_bytes()) => Err(Unfit::Volatile),
        _ if OF_ONE_SERVER.contains(name.as_bytes()) => Err(Unfit::Server),
        _ if is_reserved(name) && !ALIKE.contains(name.as_bytes()) => Err(Unfit::Server),
        _ => Ok(()),
    }
}

/// Whether a relation speaks of the server that it is read on: activity, locks, settings.
pub(super) fn is_of_one_server(relation: &str) -> bool {
    is_reserved(relation) && !CATALOGS.contains(relation.as_bytes())
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("pg_") || name.starts_with("binary_upgrade_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_in_one_list() {
        for (list, verdict) in [
            (include_str!("volatile.txt"), Unfit::Volatile),
            (include_str!("one_server.txt"), Unfit::Server),
        ] {
            for name in list.split_whitespace() {
                let found = check_function(name).expect_err(name);
                let special = matches!(found, Unfit::Sequence | Unfit::SessionState);
                assert!(found == verdict || special, "{name} {found:?}");
            }
        }
        for name in include_str!("alike.txt").split_whitespace() {
            assert_eq!(check_function(name), Ok(()), "{name}");
        }
        for name in include_str!("catalogs.txt").split_whitespace() {
            assert!(!is_of_one_server(name), "{name}");
        }
    }
}
