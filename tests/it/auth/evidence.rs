//! Who the tenant is: each kind of evidence alone, every combination of them, and the special
//! rules. Who gets in asks the server which database it reached.

use std::collections::BTreeSet;

use super::login::{Attempt, Login};
use super::world::{Method, PASSWORD, proxy, tls};

/// What a client shows besides its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    server_name: Option<&'static str>,
    option: Option<(Form, &'static str)>,
    user: (&'static str, Option<&'static str>),
    database: Option<Database>,
}

/// Where the option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Setting,
    Word,
    Parameter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Slug(&'static str),
    /// The tenant's own.
    Own(&'static str),
}

const TENANTS: [&str; 2] = ["acme", "globex"];

/// Each value, and none.
fn with_none<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    [None]
        .into_iter()
        .chain(values.iter().copied().map(Some))
        .collect()
}

fn combinations() -> Vec<Shown> {
    let forms = [Form::Setting, Form::Word, Form::Parameter];
    let options: Vec<_> = forms
        .iter()
        .flat_map(|f| TENANTS.map(|t| (*f, t)))
        .collect();
    let mut users = vec![("", None)];
    users.extend(
        [".", "@"]
            .iter()
            .flat_map(|sign| TENANTS.map(|t| (*sign, Some(t)))),
    );
    let databases: Vec<_> = TENANTS
        .iter()
        .flat_map(|t| [Database::Slug(t), Database::Own(t)])
        .collect();
    let mut all = Vec::new();
    for server_name in with_none(&TENANTS) {
        for option in with_none(&options) {
            for user in &users {
                for database in with_none(&databases) {
                    all.push(Shown {
                        server_name,
                        option,
                        user: *user,
                        database,
                    });
                }
            }
        }
    }
    all
}

impl Shown {
    /// The rule: all that names a tenant names the same one, and the database is that one's.
    fn expected(&self) -> Option<&'static str> {
        let slug = match self.database {
            Some(Database::Slug(slug)) => Some(slug),
            Some(Database::Own(_)) | None => None,
        };
        let named = [
            self.server_name,
            self.option.map(|(_, t)| t),
            self.user.1,
            slug,
        ];
        let named: BTreeSet<_> = named.into_iter().flatten().collect();
        let tenant = *named.first().filter(|_| named.len() == 1)?;
        let foreign = matches!(self.database, Some(Database::Own(other)) if other != tenant);
        (!foreign).then_some(tenant)
    }

    fn log_in(&self) -> Attempt {
        let user = match self.user {
            (sign, Some(tenant)) => format!("app{sign}{tenant}"),
            (_, None) => "app".to_owned(),
        };
        let mut login = Login::new(&user, PASSWORD);
        let setting = |t: &str| format!("-c geqo=off -c tenant={t}");
        let texts = self
            .option
            .map(|(form, t)| (form, setting(t), format!("tenant={t}"), t));
        match &texts {
            Some((Form::Setting, text, ..)) | Some((Form::Word, _, text, _)) => {
                login = login.options(text);
            }
            Some((Form::Parameter, _, _, tenant)) => login = login.parameter("tenant", tenant),
            None => {}
        }
        let own;
        match self.database {
            Some(Database::Slug(slug)) => login = login.database(slug),
            Some(Database::Own(tenant)) => {
                own = format!("tenant_{tenant}");
                login = login.database(&own);
            }
            None => {}
        }
        by_server_name(
            self.server_name.map(|t| format!("{t}.db.test")).as_deref(),
            &login,
        )
    }
}

/// Over TLS where there is a server name, else plain.
fn by_server_name(name: Option<&str>, login: &Login<'_>) -> Attempt {
    match name {
        Some(name) => proxy()
            .secure(Method::Scram, &tls(name), login)
            .expect("it answers"),
        None => proxy().plain(login),
    }
}

/// Where somebody arrived; `None`: refused as logins are.
fn reached(attempt: &mut Attempt) -> Option<String> {
    if attempt.is_login_failure() {
        return None;
    }
    Some(attempt.current_database())
}

#[test]
fn all_evidence_agrees_or_nobody_gets_in() {
    let all = combinations();
    assert_eq!(all.len(), 3 * 7 * 5 * 5);
    let mut arrived = 0;
    for shown in all {
        let wanted = shown.expected().map(|t| format!("tenant_{t}"));
        let got = reached(&mut shown.log_in());
        assert_eq!(got, wanted, "{shown:?}");
        arrived += usize::from(got.is_some());
    }
    assert!(arrived > 100, "only {arrived} got in");
}

#[test]
fn the_special_rules() {
    let rows: [(&str, Login<'_>, Option<&str>); 21] = [
        // A whole user name that is a role is the role where something else names the tenant.
        (
            "",
            user("joe@example.com").database("initech"),
            Some("tenant_initech"),
        ),
        (
            "",
            user("app.globex").database("initech"),
            Some("tenant_initech"),
        ),
        (
            "",
            user("app.globex").options("-c tenant=initech"),
            Some("tenant_initech"),
        ),
        (
            "initech.db.test",
            user("app.globex"),
            Some("tenant_initech"),
        ),
        ("", user("app.globex.initech"), Some("tenant_initech")),
        ("", user("app.globex"), Some("tenant_globex")),
        ("", user("joe@example.com"), None),
        // libpq sends the user's name as database.
        (
            "",
            user("app.acme").database("app.acme"),
            Some("tenant_acme"),
        ),
        (
            "acme.db.test",
            user("app").database("app"),
            Some("tenant_acme"),
        ),
        (
            "",
            user("app").database("app").options("tenant=acme"),
            Some("tenant_acme"),
        ),
        // One tenant's database is named as another's slug: the user's name decides.
        ("", user("app.hooli").database("initech"), Some("initech")),
        ("", user("app").database("initech"), Some("tenant_initech")),
        (
            "",
            user("app").database("initech").options("tenant=hooli"),
            Some("initech"),
        ),
        // Foreign databases and unknown names.
        ("", user("app.acme").database("postgres"), None),
        ("", user("app.nobody").database("acme"), None),
        ("nobody.db.test", user("app.acme"), None),
        ("a.b.db.test", user("app.acme"), None),
        // Names outside the domain say nothing.
        ("db.test", user("app.acme"), Some("tenant_acme")),
        // Upper and lower case.
        ("", user("app").database("ACME"), None),
        // Two options.
        (
            "",
            user("app").options("-c tenant=acme --tenant=acme"),
            Some("tenant_acme"),
        ),
        (
            "",
            user("app").options("-c tenant=acme tenant=globex"),
            None,
        ),
    ];
    for (name, login, wanted) in rows {
        let name = Some(name).filter(|n| !n.is_empty());
        let got = reached(&mut by_server_name(name, &login));
        assert_eq!(got.as_deref(), wanted, "{name:?} {login:?}");
    }
}

fn user(name: &str) -> Login<'_> {
    Login::new(name, PASSWORD)
}
