//! Refusals tell nothing: the same messages, byte for byte but for nonce and salt, whatever the
//! reason; and salts that neither a second try nor a restart changes.

use super::client::{Tls, Wire};
use super::login::{Attempt, Challenge, End, Login, log_in, packet};
use super::world::{Method, Mode, PASSWORD, Proxy, proxy, tls};

/// Why a login is refused, and the login: each knows the right password but the first.
fn refused() -> Vec<(&'static str, Login<'static>)> {
    let user = |name| Login::new(name, PASSWORD);
    vec![
        ("wrong password", Login::new("app.acme", "wrong")),
        ("unknown tenant", user("app.nobody")),
        ("unknown role", user("nobody.acme")),
        ("no tenant", user("app")),
        (
            "option disagrees",
            user("app.acme").options("-c tenant=globex"),
        ),
        (
            "unknown option",
            user("app.acme").options("-c tenant=nobody"),
        ),
        (
            "two options",
            user("app.acme").options("-c tenant=acme tenant=globex"),
        ),
        ("database disagrees", user("app.acme").database("globex")),
        (
            "another's database",
            user("app.acme").database("tenant_globex"),
        ),
        ("foreign database", user("app.acme").database("postgres")),
        ("forbidden network", user("app.walled")),
        ("console", user("app.acme").database("tenantry")),
        ("console of old", user("app.acme").database("pgbouncer")),
        ("suspended and wrong", Login::new("app.asleep", "wrong")),
        ("no password", user("nothing.acme")),
        ("odd name", user("app.ACME")),
        // The salt is the verifier's own, the proof is right, and the database is not.
        (
            "right proof",
            user("verified.acme").database("tenant_acme_archive"),
        ),
    ]
}

/// A message without what may differ: nonces, salts, and the user's name, which the client knows.
fn shape(attempt: &Attempt, user: &str) -> Vec<(u8, String)> {
    let shape = attempt.said.iter().map(|message| {
        let body = String::from_utf8_lossy(&message.body);
        let text = match (message.tag, message.body.get(..4)) {
            (b'R', Some([0, 0, 0, 11])) => {
                let challenge = Challenge::parse(&body[4..]);
                let (nonce, salt) = (challenge.nonce.len(), challenge.salt.len());
                format!(
                    "nonce of {nonce}, salt of {salt}, {} rounds",
                    challenge.iterations
                )
            }
            (b'R', Some([0, 0, 0, 5])) => format!("md5, salt of {}", message.body.len() - 4),
            _ => body.replace(user, "USER"),
        };
        (message.tag, text)
    });
    shape.collect()
}

/// Each refusal has the same shape; returns it.
fn all_alike(
    cases: Vec<(&str, Login<'_>)>,
    log_in: impl Fn(&Login<'_>) -> Attempt,
) -> Vec<(u8, String)> {
    let mut first: Option<Vec<(u8, String)>> = None;
    for (reason, login) in cases {
        let attempt = log_in(&login);
        assert_eq!(
            attempt.end,
            End::Refused,
            "{reason}: {}",
            attempt.last_words()
        );
        let shape = shape(&attempt, login.user);
        assert_eq!(
            first.get_or_insert_with(|| shape.clone()),
            &shape,
            "{reason}"
        );
    }
    first.expect("there are cases")
}

fn by(method: Method) -> impl Fn(&Login<'_>) -> Attempt {
    move |login| {
        let wire = Wire::plain(proxy().tcp(method)).expect("it accepts");
        log_in(wire, login).expect("it answers")
    }
}

const TOLD: &str = "SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"USER\"\0\0";

#[test]
fn scram_refuses_everybody_alike() {
    let said = all_alike(refused(), by(Method::Scram));
    let text = |s: &str| s.to_owned();
    assert_eq!(
        said,
        [
            (b'R', text("\0\0\0\nSCRAM-SHA-256\0\0")),
            (b'R', text("nonce of 44, salt of 16, 4096 rounds")),
            (b'E', text(TOLD)),
        ]
    );
}

#[test]
fn scram_over_tls_refuses_everybody_alike() {
    // The server name of acme makes a good login of role "app".
    let mut cases: Vec<_> = refused()
        .into_iter()
        .filter(|(why, _)| *why != "no tenant")
        .collect();
    cases.push(("server name disagrees", Login::new("app.globex", PASSWORD)));
    cases.push((
        "server name and unknown role",
        Login::new("nobody", PASSWORD),
    ));
    let said = all_alike(cases, |login| {
        proxy()
            .secure(Method::Scram, &tls("acme.db.test"), login)
            .expect("it answers")
    });
    assert_eq!(said.len(), 3);
    let said = all_alike(refused(), |login| {
        proxy()
            .secure(Method::Scram, &tls("nobody.db.test"), login)
            .expect("it answers")
    });
    assert_eq!(said[0].1, "\0\0\0\nSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
}

#[test]
fn md5_refuses_everybody_alike() {
    let said = all_alike(refused(), by(Method::Md5));
    assert_eq!(
        said,
        [(b'R', "md5, salt of 4".to_owned()), (b'E', TOLD.to_owned())]
    );
}

#[test]
fn certificates_and_trust_refuse_everybody_alike() {
    let knows_a_password = ["wrong password", "suspended and wrong", "no password"];
    let cases = || {
        refused()
            .into_iter()
            .filter(|(why, _)| !knows_a_password.contains(why))
    };
    let said = all_alike(cases().collect(), by(Method::Trust));
    assert_eq!(said, [(b'E', TOLD.to_owned())]);
    let mut cases: Vec<_> = cases().collect();
    cases.push(("certificate of another", Login::new("app.globex", "")));
    let shown = Tls {
        identity: Some("app.acme"),
        ..tls("db.test")
    };
    let said = all_alike(cases, |login| {
        proxy()
            .secure(Method::Cert, &shown, login)
            .expect("it answers")
    });
    assert_eq!(said, [(b'E', TOLD.to_owned())]);
}

#[test]
fn what_concerns_a_tenant_is_told_after_the_proof_only() {
    let asleep = proxy().plain(&Login::new("app.asleep", PASSWORD));
    let (code, text, hint) = asleep.refusal();
    assert_eq!(
        (code.as_str(), text.as_str()),
        ("57P03", "tenant \"asleep\" is suspended")
    );
    assert!(!hint.is_empty());
    let mut inside = proxy().plain(&Login::new("app.full", PASSWORD));
    assert_eq!(inside.current_database(), "db_own");
    let (code, text, hint) = proxy().plain(&Login::new("app.full", PASSWORD)).refusal();
    assert_eq!(code, "53300");
    assert!(
        text.contains("max_clients = 1 of tenant \"full\"") && !hint.is_empty(),
        "{text}"
    );
    assert!(
        proxy()
            .plain(&Login::new("app.full", "wrong"))
            .is_login_failure()
    );
}

#[test]
fn a_full_proxy_says_so_to_everybody_alike() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "max_clients = 1");
    let mut inside = proxy.plain(&Login::new("app.acme", PASSWORD));
    assert_eq!(inside.current_database(), "tenant_acme");
    // The console has room of its own, and tells nothing of tenants.
    let mut refused = refused();
    refused.retain(|(reason, _)| !reason.starts_with("console"));
    let said = all_alike(refused, |login| proxy.plain(login));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].1.contains("C53300\0") && said[0].1.contains("max_clients = 1"),
        "{said:?}"
    );
}

#[test]
fn a_full_proxy_still_takes_cancel_requests() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "max_clients = 1");
    let mut inside = proxy.plain(&Login::new("app.acme", PASSWORD));
    let key = inside.of_type(b'K')[0].body.clone();
    std::thread::scope(|scope| {
        let query = scope.spawn(|| inside.query("SELECT pg_sleep(60)"));
        // One that comes before the query has nothing to cancel.
        while !query.is_finished() {
            let mut wire = Wire::plain(proxy.tcp(Method::Scram)).expect("it accepts");
            let request = [&[4, 210, 22, 46], key.as_slice()].concat();
            wire.send(&packet(&request)).expect("it reads");
            assert!(wire.rest().is_empty(), "a cancel request has no answer");
        }
        let (code, ..) = query.join().expect("it ends").expect_err("it is cancelled");
        assert_eq!(code, "57014");
    });
}

/// The salts of these names, each asked for twice.
fn salts(proxy: &Proxy) -> Vec<Vec<u8>> {
    let login = |user| Login::new(user, "wrong").made_proof();
    let logins = [
        login("app.acme"),
        login("verified.acme"),
        login("app.nobody"),
        login("nobody.acme"),
        login("nobody").database("acme"),
        login("nobody").options("-c tenant=acme"),
        login("nobody@acme").database("tenant_acme"),
        login("app"),
    ];
    let salt = |login: &Login<'_>| {
        let attempt = proxy.plain(login);
        let text = String::from_utf8_lossy(&attempt.said[1].body[4..]).into_owned();
        Challenge::parse(&text).salt
    };
    let twice = logins.iter().map(|login| {
        let first = salt(login);
        assert_eq!(first, salt(login), "{login:?} tried again");
        first
    });
    twice.collect()
}

#[test]
fn salts_survive_a_restart_and_depend_on_the_secret() {
    let start = |auth: &str| Proxy::start(Mode::Disable, auth, "");
    let before = salts(&start("secret = \"salts\""));
    assert_eq!(before, salts(&start("secret = \"salts\"")));
    let other = salts(&start("secret = \"other\""));
    let random = salts(&start(""));
    for (at, salt) in before.iter().enumerate() {
        let is_stored = at == 1;
        assert_eq!(other[at] == *salt, is_stored, "of name {at}");
        assert_eq!(random[at] == *salt, is_stored, "of name {at}");
    }
    let of_nobody = &before[3..7];
    assert!(
        of_nobody.iter().all(|s| *s == of_nobody[0]),
        "one role has one salt"
    );
    let different: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(different.len(), 5, "different names have different ones");
}

/// Ways to name a role of a tenant, right and wrong: TLS server name, user, database, options.
fn namings(role: &str, tenant: &str) -> Vec<[String; 4]> {
    let none = String::new;
    let (dotted, at) = (format!("{role}.{tenant}"), format!("{role}@{tenant}"));
    let own = format!("tenant_{tenant}");
    let name = |label: &str| format!("{label}.db.test");
    let option = |options: &str| options.replace("TENANT", tenant);
    let user = || role.to_owned();
    vec![
        [none(), dotted.clone(), none(), none()],
        [none(), at.clone(), none(), none()],
        [none(), user(), tenant.to_owned(), none()],
        [none(), user(), none(), option("-c tenant=TENANT")],
        [
            none(),
            dotted.clone(),
            tenant.to_owned(),
            option("tenant=TENANT"),
        ],
        [none(), at, own.clone(), none()],
        [none(), dotted.clone(), dotted.clone(), none()],
        [name(tenant), user(), none(), none()],
        [name(&tenant.to_uppercase()), user(), none(), none()],
        [name(tenant), dotted.clone(), own.clone(), none()],
        // Wrong ones.
        [
            none(),
            user(),
            none(),
            option("tenant=TENANT tenant=globex"),
        ],
        [
            none(),
            user(),
            none(),
            option("tenant=globex tenant=TENANT"),
        ],
        [none(), dotted.clone(), format!("{own}_archive"), none()],
        [none(), dotted.clone(), "postgres".to_owned(), none()],
        [none(), dotted.clone(), "globex".to_owned(), none()],
        [none(), dotted.clone(), none(), option("tenant=globex")],
        [none(), dotted.clone(), "tenantry".to_owned(), none()],
        [none(), user(), own, none()],
        [name(tenant), user(), "globex".to_owned(), none()],
        [name(tenant), user(), none(), option("tenant=globex")],
        [name("globex"), dotted, none(), none()],
    ]
}

fn salt_of([server_name, user, database, options]: &[String; 4]) -> Vec<u8> {
    let mut login = Login::new(user, "").made_proof();
    if !database.is_empty() {
        login = login.database(database);
    }
    if !options.is_empty() {
        login = login.options(options);
    }
    let attempt = if server_name.is_empty() {
        proxy().plain(&login)
    } else {
        proxy()
            .secure(Method::Scram, &tls(server_name), &login)
            .expect("it answers")
    };
    let text = String::from_utf8_lossy(&attempt.said[1].body[4..]).into_owned();
    Challenge::parse(&text).salt
}

#[test]
fn salts_do_not_tell_which_names_exist() {
    // For each way of naming, the first way that shows the same salt.
    let pattern = |role: &str, tenant: &str| -> Vec<usize> {
        let salts: Vec<_> = namings(role, tenant).iter().map(salt_of).collect();
        let first = |salt| salts.iter().position(|other| other == salt);
        salts
            .iter()
            .map(|salt| first(salt).expect("it is among them"))
            .collect()
    };
    let of_nobody = pattern("nobody", "acne");
    for (role, tenant) in [
        ("nobody", "acme"),
        ("app", "acme"),
        ("verified", "acme"),
        ("nothing", "acme"),
        ("old", "acme"),
        ("app", "walled"),
    ] {
        assert_eq!(pattern(role, tenant), of_nobody, "{role} of {tenant}");
    }
}

#[test]
fn a_database_of_another_name_does_not_tell_which_roles_exist() {
    let none = String::new;
    for role in ["app", "nobody"] {
        let user = format!("{role}.hooli");
        let alone = salt_of(&[none(), user.clone(), none(), none()]);
        let with_database = salt_of(&[none(), user, "initech".to_owned(), none()]);
        assert_eq!(alone, with_database, "{role}");
    }
}
