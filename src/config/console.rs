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
