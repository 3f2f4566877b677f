//! The table of [`super::resolve`]: one row a combination of evidence.

use std::path::Path;

use super::Source::{Database, Option as Opt, ServerName, User};
use super::*;

/// `acme` has awkward roles; `main`'s slug is the name of `shop`'s database.
const TENANTS: &str = r#"
[[cluster]]
name = "main"
primary = "h:1"
[[tenant]]
slug = "acme"
cluster = "main"
database = "tenant_acme"
user = "u"
roles = [
    { name = "app", password = "x" }, { name = "acme", password = "x" },
    { name = "first.last", password = "x" }, { name = "app.globex", password = "x" },
    { name = "joe@example.com", password = "x" }, { name = "globex", password = "x" },
    { name = "pgbouncer", password = "x" },
]
[[tenant]]
slug = "globex"
cluster = "main"
database = "tenant_globex"
user = "u"
roles = [{ name = "app", password = "x" }, { name = "ops.acme", password = "x" }]
[[tenant]]
slug = "shop"
cluster = "main"
database = "main"
user = "u"
roles = [{ name = "app", password = "x" }]
[[tenant]]
slug = "main"
cluster = "main"
database = "tenant_main"
user = "u"
roles = [{ name = "app", password = "x" }]
"#;

/// Server name, option, user, database; what comes of it.
type Row = (
    [&'static str; 4],
    Result<(&'static str, &'static str), Failure>,
);

/// A dash is evidence that is absent.
fn run(registry: &Registry, [sni, option, user, database]: [&str; 4]) -> Result<Resolved, Failure> {
    fn given(text: &str) -> Option<&str> {
        (text != "-").then_some(text)
    }
    let evidence = Evidence {
        server_name: given(sni),
        domain: Some("db.example.com"),
        option_tenant: given(option),
        user,
        database: given(database),
    };
    resolve(registry, &evidence)
}

fn registry() -> Registry {
    let config = crate::config::parse(TENANTS, Path::new("t.toml"), &|_| None).unwrap();
    Registry::build(&config, &Registry::default())
}

fn check(rows: &[Row]) {
    let registry = registry();
    for (evidence, expected) in rows {
        let outcome = run(&registry, *evidence);
        let outcome = outcome.map(|r| (r.tenant.slug().to_string(), r.role.name.to_string()));
        let expected = expected.clone().map(|(t, r)| (t.to_owned(), r.to_owned()));
        assert_eq!(outcome, expected, "{evidence:?}");
    }
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn role(tenant: &str) -> Failure {
    Failure::UnknownRole(slug(tenant))
}

fn foreign(tenant: &str) -> Failure {
    Failure::ForeignDatabase(slug(tenant))
}

const ACME: &str = "acme.db.example.com";

#[test]
fn server_name() {
    use Failure::{NoTenant, UnknownTenant};
    check(&[
        ([ACME, "-", "app", "tenant_acme"], Ok(("acme", "app"))),
        ([ACME, "-", "app", "acme"], Ok(("acme", "app"))),
        ([ACME, "-", "app", "-"], Ok(("acme", "app"))),
        (
            ["ACME.DB.Example.COM", "-", "app", "-"],
            Ok(("acme", "app")),
        ),
        (
            ["acme.db.example.com.", "-", "app", "-"],
            Ok(("acme", "app")),
        ),
        (
            ["nobody.db.example.com", "-", "app", "-"],
            Err(UnknownTenant(ServerName)),
        ),
        (
            ["x.acme.db.example.com", "-", "app", "acme"],
            Err(UnknownTenant(ServerName)),
        ),
        (
            [".db.example.com", "-", "app", "acme"],
            Err(UnknownTenant(ServerName)),
        ),
        // No evidence: the domain itself, names outside of it, names that only end alike.
        (["db.example.com", "-", "app", "acme"], Ok(("acme", "app"))),
        (
            ["acme.example.com", "-", "app", "globex"],
            Ok(("globex", "app")),
        ),
        (
            ["acme.otherdb.example.com", "-", "app", "globex"],
            Ok(("globex", "app")),
        ),
        (["acmedb.example.com", "-", "app", "-"], Err(NoTenant)),
        (["10.0.0.1", "-", "app", "-"], Err(NoTenant)),
    ]);
}

#[test]
fn without_a_domain_the_server_name_says_nothing() {
    let e = Evidence {
        server_name: Some(ACME),
        user: "app",
        ..Evidence::default()
    };
    assert_eq!(resolve(&registry(), &e).unwrap_err(), Failure::NoTenant);
}

#[test]
fn startup_option() {
    use Failure::{Disagree, UnknownTenant};
    check(&[
        (["-", "acme", "app", "-"], Ok(("acme", "app"))),
        (["-", "acme", "app", "tenant_acme"], Ok(("acme", "app"))),
        ([ACME, "acme", "app", "acme"], Ok(("acme", "app"))),
        (["-", "nobody", "app", "acme"], Err(UnknownTenant(Opt))),
        (["-", "Acme", "app", "acme"], Err(UnknownTenant(Opt))),
        (["-", "", "app", "acme"], Err(UnknownTenant(Opt))),
        (["-", "tenant_acme", "app", "-"], Err(UnknownTenant(Opt))),
        ([ACME, "globex", "app", "-"], Err(Disagree(ServerName, Opt))),
        ([ACME, "nobody", "app", "-"], Err(UnknownTenant(Opt))),
        (
            ["-", "acme", "app.globex", "globex"],
            Err(Disagree(Opt, Database)),
        ),
        (["-", "globex", "app.acme", "-"], Err(Disagree(Opt, User))),
    ]);
}

#[test]
fn user_name() {
    use Failure::{Disagree, NoTenant, UnknownTenant};
    check(&[
        (["-", "-", "app.acme", "-"], Ok(("acme", "app"))),
        (["-", "-", "app@acme", "-"], Ok(("acme", "app"))),
        (["-", "-", "app.acme", "acme"], Ok(("acme", "app"))),
        (["-", "-", "app.acme", "tenant_acme"], Ok(("acme", "app"))),
        // The last sign is the border.
        (
            ["-", "-", "first.last.acme", "-"],
            Ok(("acme", "first.last")),
        ),
        (
            ["-", "-", "first.last@acme", "-"],
            Ok(("acme", "first.last")),
        ),
        (
            ["-", "-", "joe@example.com.acme", "-"],
            Ok(("acme", "joe@example.com")),
        ),
        (
            ["-", "-", "app.globex.acme", "-"],
            Ok(("acme", "app.globex")),
        ),
        (["-", "-", "app", "-"], Err(NoTenant)),
        (["-", "-", "", "-"], Err(NoTenant)),
        (["-", "-", "app.nobody", "-"], Err(UnknownTenant(User))),
        (["-", "-", "app.", "-"], Err(UnknownTenant(User))),
        (["-", "-", "nobody.acme", "-"], Err(role("acme"))),
        (["-", "-", ".acme", "-"], Err(role("acme"))),
        (
            ["-", "-", "app.acme", "globex"],
            Err(Disagree(User, Database)),
        ),
        (
            ["-", "-", "app.acme", "tenant_globex"],
            Err(foreign("acme")),
        ),
        (["-", "-", "app.acme", "postgres"], Err(foreign("acme"))),
        ([ACME, "-", "app.acme", "-"], Ok(("acme", "app"))),
        (
            ["globex.db.example.com", "-", "app.acme", "-"],
            Err(Disagree(ServerName, User)),
        ),
    ]);
}

#[test]
fn a_whole_user_name_that_is_a_role_is_the_role() {
    use Failure::Disagree;
    check(&[
        ([ACME, "-", "first.last", "-"], Ok(("acme", "first.last"))),
        (
            ["-", "acme", "joe@example.com", "-"],
            Ok(("acme", "joe@example.com")),
        ),
        (["-", "-", "first.last", "acme"], Ok(("acme", "first.last"))),
        // Even if its suffix is another tenant: here the name is not evidence.
        ([ACME, "-", "app.globex", "-"], Ok(("acme", "app.globex"))),
        (["-", "-", "app.globex", "acme"], Ok(("acme", "app.globex"))),
        (["-", "globex", "ops.acme", "-"], Ok(("globex", "ops.acme"))),
        // Nothing else named a tenant: the suffix does.
        (["-", "-", "app.globex", "-"], Ok(("globex", "app"))),
        (["-", "-", "ops.acme", "-"], Err(role("acme"))),
        // Unknown as a whole, and the suffix is no tenant: a role that is not there.
        ([ACME, "-", "who.knows", "-"], Err(role("acme"))),
        (["-", "-", "who.knows", "acme"], Err(role("acme"))),
        (["-", "-", "first.last", "globex"], Err(role("globex"))),
        (
            ["-", "-", "who.globex", "acme"],
            Err(Disagree(User, Database)),
        ),
    ]);
}

#[test]
fn database() {
    use Failure::NoTenant;
    check(&[
        (["-", "-", "app", "acme"], Ok(("acme", "app"))),
        (["-", "-", "nobody", "acme"], Err(role("acme"))),
        // A real database's name is checked, but names nobody.
        (["-", "-", "app", "tenant_acme"], Err(NoTenant)),
        (["-", "-", "app", "nobody"], Err(NoTenant)),
        ([ACME, "-", "app", "tenant_globex"], Err(foreign("acme"))),
        ([ACME, "-", "app", "postgres"], Err(foreign("acme"))),
        (
            [ACME, "-", "app", "globex"],
            Err(Failure::Disagree(ServerName, Database)),
        ),
        ([ACME, "-", "app", "ACME"], Err(foreign("acme"))),
        (["-", "acme", "nobody", "globex"], Err(role("acme"))),
        ([ACME, "-", "app", ""], Ok(("acme", "app"))),
    ]);
}

#[test]
fn a_database_like_the_user_may_be_libpqs_default() {
    use Failure::NoTenant;
    check(&[
        // Alone it is evidence, spelled out or not.
        (["-", "-", "acme", "acme"], Ok(("acme", "acme"))),
        (["-", "-", "acme", "-"], Ok(("acme", "acme"))),
        (["-", "-", "globex", "globex"], Err(role("globex"))),
        (["-", "-", "app", "app"], Err(NoTenant)),
        // Behind stronger evidence it is neither evidence nor a reason to refuse.
        ([ACME, "-", "app", "app"], Ok(("acme", "app"))),
        ([ACME, "-", "globex", "globex"], Ok(("acme", "globex"))),
        (["-", "acme", "globex", "globex"], Ok(("acme", "globex"))),
        (["-", "-", "app.acme", "app.acme"], Ok(("acme", "app"))),
        (["-", "-", "app@acme", "app@acme"], Ok(("acme", "app"))),
        (
            [ACME, "-", "first.last", "first.last"],
            Ok(("acme", "first.last")),
        ),
        ([ACME, "-", "nobody", "nobody"], Err(role("acme"))),
    ]);
}

#[test]
fn a_database_that_is_another_tenants_slug_may_be_ones_own() {
    check(&[
        (
            ["shop.db.example.com", "-", "app", "main"],
            Ok(("shop", "app")),
        ),
        (["-", "shop", "app", "main"], Ok(("shop", "app"))),
        (["-", "-", "app.shop", "main"], Ok(("shop", "app"))),
        (["-", "-", "app", "main"], Ok(("main", "app"))),
        (["-", "-", "app.main", "main"], Ok(("main", "app"))),
        (
            ["-", "-", "app.acme", "main"],
            Err(Failure::Disagree(User, Database)),
        ),
    ]);
}

#[test]
fn console() {
    use Failure::Console;
    check(&[
        (["-", "-", "admin", "tenantry"], Err(Console)),
        (["-", "-", "admin", "pgbouncer"], Err(Console)),
        (["-", "-", "app.acme", "pgbouncer"], Err(Console)),
        (
            [ACME, "-", "app", "tenantry"],
            Err(Failure::Disagree(ServerName, Database)),
        ),
        (["-", "-", "pgbouncer", "-"], Err(Console)),
        (["-", "-", "pgbouncer", "pgbouncer"], Err(Console)),
        // A default behind stronger evidence asks for nothing.
        (
            [ACME, "-", "pgbouncer", "pgbouncer"],
            Ok(("acme", "pgbouncer")),
        ),
        ([ACME, "-", "pgbouncer", "-"], Ok(("acme", "pgbouncer"))),
    ]);
}

#[test]
fn failures_say_which_two_disagreed_and_no_secret() {
    let registry = registry();
    let text = run(&registry, [ACME, "globex", "app", "-"])
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "the TLS server name and the startup option name different tenants"
    );
}
