//! `[console]`: who may log in to the console, and what they may do there.

use std::collections::HashSet;

use super::reader::{Place, Section, Value};
use super::{Console, ConsoleRole, ConsoleUser, keys, value};
use crate::types::RoleName;

/// `[console]`, with the place of each user for later checks.
pub(super) struct Draft {
    pub(super) console: Console,
    pub(super) places: Vec<Place>,
}

/// Reads `[console]`.
pub(super) fn read(mut s: Section<'_>) -> Draft {
    let mut names = HashSet::new();
    let (mut users, mut places) = (Vec::new(), Vec::new());
    for item in s.items("users") {
        let place = item.place.clone();
        if let Some(user) = user(item, &mut names) {
            users.push(user);
            places.push(place);
        }
    }
    s.finish();
    Draft {
        console: Console { users },
        places,
    }
}

fn user<'a>(item: Value<'a>, names: &mut HashSet<&'a str>) -> Option<ConsoleUser> {
    let roles = [("admin", ConsoleRole::Admin), ("stats", ConsoleRole::Stats)];
    let mut s = item.section(&keys::CONSOLE_USER);
    let name = s.required("name").and_then(|v| v.name());
    if let Some(name) = name
        && !names.insert(name)
    {
        s.error("name", format!("there are two users named `{name}`"));
    }
    let password = s.required("password").and_then(|v| v.secret());
    if let Some(secret) = &password
        && let Err(message) = value::stored(secret.expose())
    {
        s.error("password", message);
    }
    let role = s.required("role").and_then(|v| v.word(&roles));
    s.finish();
    Some(ConsoleUser {
        name: RoleName::new(name?),
        password: password?,
        role: role?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ConsoleRole;
    use super::super::tests::{MD5, SCRAM, parse};

    #[test]
    fn the_console_has_users() {
        let user = |name: &str, password: &str, role: &str| {
            format!("{{ name = '{name}', password = '{password}', role = '{role}' }}")
        };
        let users = |list: &[String]| parse(&format!("console.users = [{}]", list.join(", ")));
        let console = users(&[
            user("admin", "env:SET", "admin"),
            user("watch", SCRAM, "stats"),
        ]);
        let console = console.unwrap().console;
        let [admin, watch] = &console.users[..] else {
            panic!("two users")
        };
        assert_eq!(
            (admin.name.as_str(), admin.password.expose(), admin.role),
            ("admin", "from env", ConsoleRole::Admin)
        );
        assert_eq!(
            (watch.password.expose(), watch.role),
            (SCRAM, ConsoleRole::Stats)
        );
        let twice = [user("a", "x", "admin"), user("a", "y", "stats")];
        for (list, expected) in [
            (
                &twice[..],
                "console.users[1].name: there are two users named `a`",
            ),
            (
                &[user("a", "x", "root")],
                "console.users[0].role: expected one of: admin, stats",
            ),
            (
                &[user("a", "env:UNSET", "admin")],
                "console.users[0].password: the environment variable `UNSET` is not set",
            ),
            (
                &[user("a", MD5, "admin")],
                "console.users[0]: user `a` has an md5 verifier and cannot log in by scram-sha-256",
            ),
        ] {
            let message = users(list).unwrap_err();
            assert!(message.ends_with(expected), "{message}");
        }
        let message = parse("console.users = [{ name = 'a' }]").unwrap_err();
        assert!(
            message.contains("users[0].password: is missing")
                && message.contains("role: is missing"),
            "{message}"
        );
    }
}
