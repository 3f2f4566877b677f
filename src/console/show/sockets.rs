//! SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: a row a connection.

use super::CONSOLE;
use crate::console::command::Show;
use crate::console::sessions::SessionRow;
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::console::time::shown;
use crate::worker::report::{ClientDoes, ClientRow, ServerDoes, ServerRow, SocketRow};

/// PgBouncer's columns of all four tables, with more behind them.
macro_rules! with_common_columns {
    ($($more:expr),* $(,)?) => {
        &[
            ("type", Type::Text),
            ("user", Type::Text),
            ("database", Type::Text),
            ("replication", Type::Text),
            ("state", Type::Text),
            ("addr", Type::Text),
            ("port", Type::Int4),
            ("local_addr", Type::Text),
            ("local_port", Type::Int4),
            ("connect_time", Type::Text),
            ("request_time", Type::Text),
            ("wait", Type::Int4),
            ("wait_us", Type::Int4),
            ("close_needed", Type::Int4),
            ("ptr", Type::Text),
            ("link", Type::Text),
            ("remote_pid", Type::Int4),
            ("tls", Type::Text),
            ("application_name", Type::Text),
            ("prepared_statements", Type::Int4),
            // PgBouncer's is four bytes wide, which a year of clients does not fit into.
            ("id", Type::Int8),
            $($more),*
        ]
    };
}

pub(super) const CLIENTS: &[Column] =
    with_common_columns![("process_id", Type::Int4), ("pin", Type::Text)];

pub(super) const SERVERS: &[Column] = with_common_columns![("node", Type::Text)];

pub(super) const SOCKETS: &[Column] = with_common_columns![
    ("recv_pos", Type::Int4),
    ("pkt_pos", Type::Int4),
    ("pkt_remain", Type::Int4),
    ("send_pos", Type::Int4),
    ("send_remain", Type::Int4),
    ("pkt_avail", Type::Int4),
    ("send_avail", Type::Int4),
];

/// SHOW CLIENTS.
pub(super) fn clients(clients: Vec<ClientRow>, own: Vec<SessionRow>) -> Table {
    let clients = clients.into_iter().map(|client| {
        let mut row = client_row(&client, client_state(client.state).into());
        row.push(process_id(client.process_id));
        row.push(client.pin.into());
        row
    });
    let own = own.into_iter().map(|session| {
        let mut row = session_row(&session, "idle");
        row.push(process_id(session.process_id));
        row.push(Value::Null);
        row
    });
    Table::new(CLIENTS, clients.chain(own))
}

/// SHOW SERVERS.
pub(super) fn servers(servers: Vec<ServerRow>) -> Table {
    let rows = servers.into_iter().map(|server| {
        let mut row = server_row(&server, server_state(server.state).into());
        row.push(server.node.to_string().into());
        row
    });
    Table::new(SERVERS, rows)
}

/// SHOW SOCKETS, or of these the ones that hold bytes.
pub(super) fn sockets(
    which: Show,
    clients: Vec<ClientRow>,
    servers: Vec<ServerRow>,
    own: Vec<SessionRow>,
) -> Table {
    let wanted =
        move |socket: &SocketRow| which == Show::Sockets || socket.held + socket.unsent > 0;
    let clients = clients.into_iter().filter(move |c| wanted(&c.socket));
    let clients = clients.map(|client| {
        // PgBouncer tells idle clients from active ones in SHOW CLIENTS only.
        let state = match client.state {
            ClientDoes::Idle => "active",
            state => client_state(state),
        };
        let row = client_row(&client, format!("cl_{state}").into());
        with_buffers(row, &client.socket)
    });
    let servers = servers.into_iter().filter(move |s| wanted(&s.socket));
    let servers = servers.map(|server| {
        let state = format!("sv_{}", server_state(server.state));
        with_buffers(server_row(&server, state.into()), &server.socket)
    });
    let own = own.into_iter().filter(move |_| which == Show::Sockets);
    let own = own.map(|session| {
        let mut row = session_row(&session, "cl_active");
        row.extend((0..7).map(|_| Value::Number(0)));
        row
    });
    Table::new(SOCKETS, clients.chain(servers).chain(own))
}

/// Positions in buffers are PgBouncer's alone; how much they hold is not.
fn with_buffers(mut row: Row, socket: &SocketRow) -> Row {
    row.extend((0..5).map(|_| Value::Number(0)));
    row.extend([socket.held.into(), socket.unsent.into()]);
    row
}

fn client_state(state: ClientDoes) -> &'static str {
    match state {
        ClientDoes::Active => "active",
        ClientDoes::Idle => "idle",
        ClientDoes::Waiting => "waiting",
        ClientDoes::ActiveCancel => "active_cancel_req",
        ClientDoes::WaitingCancel => "waiting_cancel_req",
    }
}

fn server_state(state: ServerDoes) -> &'static str {
    match state {
        ServerDoes::Active => "active",
        ServerDoes::ActiveCancel => "active_cancel",
        ServerDoes::BeingCanceled => "being_canceled",
        ServerDoes::Idle => "idle",
        ServerDoes::Used => "used",
        ServerDoes::Tested => "tested",
        ServerDoes::Closing => "closing",
    }
}

fn replication(replicates: bool) -> Value {
    if replicates { "logical" } else { "none" }.into()
}

fn pointer(id: u64) -> String {
    format!("{id:#x}")
}

fn process_id(id: i32) -> Value {
    Value::Number(u64::try_from(id).unwrap_or(0))
}

/// Address and port of both ends.
fn ends(socket: &SocketRow) -> [Value; 4] {
    let end = |address: Option<std::net::SocketAddr>| match address {
        Some(address) => (
            address.ip().to_canonical().to_string().into(),
            u64::from(address.port()).into(),
        ),
        None => ("unix".into(), Value::Number(0)),
    };
    let (peer, peer_port) = end(socket.peer);
    let (local, local_port) = end(socket.local);
    [peer, peer_port, local, local_port]
}

fn client_row(client: &ClientRow, state: Value) -> Row {
    let mut row: Row = vec![
        "C".into(),
        client.role.to_string().into(),
        client.tenant.slug().to_string().into(),
        replication(client.replicates),
        state,
    ];
    row.extend(ends(&client.socket));
    row.extend([
        shown(client.socket.connected).into(),
        shown(client.requested).into(),
        client.waited.as_secs().into(),
        u64::from(client.waited.subsec_micros()).into(),
        Value::Number(0),
        pointer(client.id).into(),
        client.server.map(pointer).unwrap_or_default().into(),
        Value::Number(0),
        client.socket.tls.clone().unwrap_or_default().into(),
        client.application_name.clone().into(),
        client.prepared.into(),
        client.id.into(),
    ]);
    row
}

fn server_row(server: &ServerRow, state: Value) -> Row {
    let mut row: Row = vec![
        "S".into(),
        server.role.to_string().into(),
        server.tenant.slug().to_string().into(),
        replication(server.replicates),
        state,
    ];
    row.extend(ends(&server.socket));
    row.extend([
        shown(server.socket.connected).into(),
        shown(server.requested).into(),
        Value::Number(0),
        Value::Number(0),
        server.close_needed.into(),
        pointer(server.id).into(),
        server.client.map(pointer).unwrap_or_default().into(),
        process_id(server.process_id),
        server.socket.tls.clone().unwrap_or_default().into(),
        server.application_name.clone().into(),
        server.prepared.into(),
        server.id.into(),
    ]);
    row
}

/// A session of the console.
fn session_row(session: &SessionRow, state: &'static str) -> Row {
    let login = &session.login;
    let socket = SocketRow {
        peer: login.peer,
        local: login.local,
        connected: login.connected,
        tls: login.tls.clone(),
        held: 0,
        unsent: 0,
    };
    let mut row: Row = vec![
        "C".into(),
        login.user.clone().into(),
        CONSOLE.into(),
        replication(false),
        state.into(),
    ];
    row.extend(ends(&socket));
    row.extend([
        shown(login.connected).into(),
        shown(session.requested).into(),
        Value::Number(0),
        Value::Number(0),
        Value::Number(0),
        pointer(session.id).into(),
        "".into(),
        Value::Number(0),
        login.tls.clone().unwrap_or_default().into(),
        login.application_name.clone().into(),
        session.statements.into(),
        session.id.into(),
    ]);
    row
}
