//! All kinds, by what they are about.

mod hidden;
mod objects;
mod prepared;
mod roles;
mod set_config;
mod settings;
mod startup;
mod temporary;
mod transactions;

use super::kind::Kind;

/// Headings and their kinds, in the order of the table.
pub fn groups() -> Vec<(&'static str, Vec<Kind>)> {
    let groups = vec![
        ("Settings", settings::kinds()),
        ("Settings and transactions", transactions::kinds()),
        ("set_config and what else sets", set_config::kinds()),
        ("What a session starts with", startup::kinds()),
        ("Roles", roles::kinds()),
        ("Temporary objects", temporary::kinds()),
        ("Prepared statements", prepared::kinds()),
        ("Notifications", objects::notifications()),
        ("Advisory locks", objects::locks()),
        ("Cursors", objects::cursors()),
        ("Libraries, random numbers, sequences", objects::others()),
        ("What the text does not show", hidden::kinds()),
    ];
    let mut titles: Vec<&str> = groups
        .iter()
        .flat_map(|(_, k)| k)
        .map(|k| k.title)
        .collect();
    titles.sort_unstable();
    titles
        .windows(2)
        .for_each(|pair| assert_ne!(pair[0], pair[1]));
    groups
}
