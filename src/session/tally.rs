//! What a session has done, counted where it is known, taken by the worker.

/// Counts since the last question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// ReadyForQuery that the client was sent by its server.
    pub queries: u32,
    /// Of these, that said idle.
    pub transactions: u32,
    /// Named statements that the client has parsed.
    pub client_parses: u32,
    /// Of its statements, those that a server has parsed.
    pub server_parses: u32,
    /// Times that it has bound a named statement.
    pub binds: u32,
}

impl Tally {
    /// Whether named statements had a part in it.
    #[inline]
    pub fn prepares(&self) -> bool {
        self.client_parses | self.server_parses | self.binds != 0
    }
}
