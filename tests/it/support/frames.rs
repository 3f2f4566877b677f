//! Bytes of client messages (manual, 55.7), to be sent in one packet or in pieces.

/// Messages in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Frames(pub Vec<u8>);

impl Frames {
    /// Any message.
    #[must_use]
    pub fn message(mut self, tag: u8, body: &[u8]) -> Self {
        self.0.push(tag);
        let len = u32::try_from(body.len() + 4).expect("tests send what fits");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(body);
        self
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Query.
    #[must_use]
    pub fn query(self, sql: &str) -> Self {
        self.message(b'Q', &[sql.as_bytes(), b"\0"].concat())
    }

    /// Parse, all parameter types left to the server.
    #[must_use]
    pub fn parse(self, name: &str, sql: &str) -> Self {
        let body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat();
        self.message(b'P', &body)
    }

    /// Bind of the unnamed portal, all in text.
    #[must_use]
    pub fn bind(self, statement: &str, parameters: &[&str]) -> Self {
        self.bind_portal("", statement, parameters)
    }

    /// Bind.
    #[must_use]
    pub fn bind_portal(self, portal: &str, statement: &str, parameters: &[&str]) -> Self {
        let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
        let count = u16::try_from(parameters.len()).expect("few parameters");
        body.extend_from_slice(&count.to_be_bytes());
        for parameter in parameters {
            let len = u32::try_from(parameter.len()).expect("tests send what fits");
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(parameter.as_bytes());
        }
        body.extend_from_slice(b"\0\0");
        self.message(b'B', &body)
    }

    /// Describe of a statement.
    #[must_use]
    pub fn describe(self, statement: &str) -> Self {
        self.message(b'D', &[b"S", statement.as_bytes(), b"\0"].concat())
    }

    /// Describe of a portal.
    #[must_use]
    pub fn describe_portal(self, portal: &str) -> Self {
        self.message(b'D', &[b"P", portal.as_bytes(), b"\0"].concat())
    }

    /// Close of a statement.
    #[must_use]
    pub fn close(self, statement: &str) -> Self {
        self.message(b'C', &[b"S", statement.as_bytes(), b"\0"].concat())
    }

    /// Close of a portal.
    #[must_use]
    pub fn close_portal(self, portal: &str) -> Self {
        self.message(b'C', &[b"P", portal.as_bytes(), b"\0"].concat())
    }

    /// Execute of the unnamed portal, all rows.
    #[must_use]
    pub fn execute(self) -> Self {
        self.execute_portal("", 0)
    }

    /// Execute; 0 rows: all.
    #[must_use]
    pub fn execute_portal(self, portal: &str, rows: u32) -> Self {
        let body = [portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat();
        self.message(b'E', &body)
    }

    /// Parse, Bind and Execute of the unnamed statement.
    #[must_use]
    pub fn run(self, sql: &str) -> Self {
        self.parse("", sql).bind("", &[]).execute()
    }

    /// Sync.
    #[must_use]
    pub fn sync(self) -> Self {
        self.message(b'S', b"")
    }

    /// Flush.
    #[must_use]
    pub fn flush(self) -> Self {
        self.message(b'H', b"")
    }

    /// CopyData.
    #[must_use]
    pub fn copy_data(self, data: &str) -> Self {
        self.message(b'd', data.as_bytes())
    }

    /// CopyDone.
    #[must_use]
    pub fn copy_done(self) -> Self {
        self.message(b'c', b"")
    }

    /// CopyFail.
    #[must_use]
    pub fn copy_fail(self, why: &str) -> Self {
        self.message(b'f', &[why.as_bytes(), b"\0"].concat())
    }

    /// Terminate.
    #[must_use]
    pub fn terminate(self) -> Self {
        self.message(b'X', b"")
    }
}
