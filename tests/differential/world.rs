//! The server, pairs of identical databases, and proxies in front of one of each pair.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use tenantry::app::App;
use tenantry::config;
use tenantry::demo::cluster::Cluster;

use crate::sequence::{Login, SESSIONS, Sequence, Touched};
use crate::support::client::Client;

/// The server of all tests: it ends with the process.
pub(crate) fn server() -> &'static Cluster {
    static SERVER: LazyLock<Cluster> = LazyLock::new(start);
    &SERVER
}

/// A server on which everyone from 127.0.0.1 is trusted, with the roles of the sequences.
fn start() -> Cluster {
    let cluster = Cluster::builder()
        .max_connections(200)
        .hba("host all all 127.0.0.1/32 trust")
        .setting("autovacuum", "off")
        .setting("full_page_writes", "off")
        .setting("synchronous_commit", "off")
        .setting("log_statement", "none")
        .setting("log_min_messages", "fatal")
        .setting("log_min_error_statement", "fatal")
        .setting("lock_timeout", "5s")
        .start()
        .expect("PostgreSQL is installed and starts");
    let roles = "CREATE ROLE plain LOGIN; CREATE ROLE super LOGIN SUPERUSER; \
         CREATE ROLE role_a ROLE plain; CREATE ROLE role_b ROLE plain; \
         ALTER ROLE plain SET work_mem = '5MB'; ALTER ROLE super SET IntervalStyle = 'postgres_verbose'";
    cluster.psql("postgres", roles).expect("roles");
    cluster
}

/// One of a pair of databases.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) name: String,
    port: u16,
    admin: Client,
    /// What the last sequence may have done to each session's tables.
    touched: Vec<Touched>,
    functions: Option<bool>,
}

/// Never written.
const SHARED: &str = "CREATE SCHEMA alt AUTHORIZATION plain; \
     CREATE TABLE public.items (id int, name text); CREATE TABLE alt.items (id int, name text); \
     INSERT INTO public.items VALUES (1, 'one'), (2, 'two'), (3, 'three'); \
     INSERT INTO alt.items VALUES (1, 'alt one'), (2, 'alt two'); \
     ALTER TABLE public.items OWNER TO plain; ALTER TABLE alt.items OWNER TO plain; \
     ALTER SCHEMA public OWNER TO plain; \
     GRANT USAGE ON SCHEMA alt TO PUBLIC; GRANT SELECT ON public.items TO role_a; \
     GRANT SELECT ON alt.items TO role_b";

const NO_FUNCTIONS: &str = "DROP FUNCTION IF EXISTS f_set, f_lock, f_temp, f_pure";

const FUNCTIONS: &str = "CREATE OR REPLACE FUNCTION f_set(v text) RETURNS text LANGUAGE sql \
       AS $$ SELECT set_config('work_mem', v, false) $$; \
     CREATE OR REPLACE FUNCTION f_lock(k bigint) RETURNS boolean LANGUAGE plpgsql \
       AS $$ BEGIN RETURN pg_try_advisory_lock(k); END $$; \
     CREATE OR REPLACE FUNCTION f_temp() RETURNS text LANGUAGE plpgsql \
       AS $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS x0 (i int); RETURN 'made'; END $$; \
     CREATE OR REPLACE FUNCTION f_pure(i int) RETURNS int LANGUAGE sql IMMUTABLE \
       AS $$ SELECT i + 1 $$";

impl Database {
    pub(crate) fn create(cluster: &Cluster, name: &str) -> Self {
        let sql = format!("CREATE DATABASE {name} OWNER plain");
        cluster.psql("postgres", &sql).expect("a fresh database");
        let address = SocketAddr::from(([127, 0, 0, 1], cluster.port()));
        let mut admin =
            Client::log_in(address, "postgres", name, &[]).expect("the superuser is trusted");
        let quietly = "SET client_min_messages = error; SET lock_timeout = '20s'";
        for sql in [SHARED, quietly] {
            assert!(admin.query(sql).errors().is_empty());
        }
        Self {
            name: name.to_owned(),
            port: cluster.port(),
            admin,
            touched: vec![Touched::Shape; SESSIONS],
            functions: None,
        }
    }

    /// As every sequence finds it.
    pub(crate) fn reset(&mut self, sequence: &Sequence) {
        let touched: Vec<Touched> = (0..SESSIONS).map(|s| sequence.touches(s)).collect();
        let mut sql = String::new();
        for (s, before) in std::mem::replace(&mut self.touched, touched)
            .iter()
            .enumerate()
        {
            if *before == Touched::Shape {
                sql += &format!(
                    "DROP TABLE IF EXISTS public.t{s}, public.e{s}, alt.t{s}, alt.e{s}; \
                     CREATE TABLE public.t{s} (id int, name text); \
                     ALTER TABLE public.t{s} OWNER TO plain; "
                );
            }
            if *before != Touched::Nothing {
                sql += &format!(
                    "DELETE FROM public.t{s}; \
                     INSERT INTO public.t{s} VALUES (1, 'first'), (2, 'second'); "
                );
            }
        }
        if self.functions.replace(sequence.functions) != Some(sequence.functions) {
            sql += if sequence.functions {
                FUNCTIONS
            } else {
                NO_FUNCTIONS
            };
        }
        let reply = self.admin.query(&sql);
        assert!(reply.errors().is_empty(), "{reply:?}");
    }

    pub(crate) fn direct(&self, login: Login, startup: &[(&str, &str)]) -> io::Result<Client> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        Client::log_in(address, login.name(), &self.name, startup)
    }

    pub(crate) fn pooled(&self, proxy: &App, startup: &[(&str, &str)]) -> io::Result<Client> {
        let address = proxy.tcp_address().expect("it listens on TCP");
        Client::connect(address, &self.name, startup)
    }

    /// A proxy with nothing but this database.
    pub(crate) fn proxy(&self, login: Login, pool: usize, acquire_timeout: u64) -> App {
        let (name, port, user) = (&self.name, self.port, login.name());
        let text = format!(
            "[server]\nlisten = ['127.0.0.1:0']\nworkers = 1\n\
             [auth]\nmethod = 'trust'\nsecret = 'of the tests, long enough for salts'\n\
             [pool]\nmax_pins = 100\nsize = {pool}\nacquire_timeout = '{acquire_timeout}ms'\n\
             [[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{port}'\ntls = 'disable'\n\
             [[tenant]]\nslug = '{name}'\ncluster = 'main'\ndatabase = '{name}'\nuser = '{user}'\n\
             roles = [{{ name = 'app', password = 'unused' }}]\n"
        );
        let config = config::parse(&text, Path::new("differential.toml"), &|_| None)
            .unwrap_or_else(|e| panic!("{e}\n{text}"));
        App::start(config).expect("the proxy starts")
    }
}
