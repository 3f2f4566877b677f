//! What a client sends that has a lease: message by message, to its server or held back.

use super::expected::{By, Expected, Feed};
use super::flow::Flow;
use super::link::{Batch, Bound, CopyIn, Link};
use super::message::{Message, next_header, unknown_message};
use super::{Leased, Replies, Session, Step, Verdict, WHOLE};
use crate::error::{ClientError, SqlState};
use crate::wire::frame;

impl Session {
    /// Reads messages of a client that has a lease.
    pub fn read(
        &mut self,
        input: &[u8],
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
        to_client: &mut Vec<u8>,
    ) -> Step {
        let mut used = 0;
        if std::mem::take(&mut self.owes_sync) {
            self.sync_by_client(leased.link, flow);
        }
        loop {
            if self.left > 0 {
                let take = self.left.min(input.len() - used);
                if !self.left_dropped {
                    flow.pass(used..used + take);
                }
                self.left -= take;
                used += take;
            }
            let head = match next_header(&input[used..]) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    return Step {
                        used,
                        verdict: Verdict::More,
                    };
                }
                Err(e) => {
                    return Step {
                        used,
                        verdict: Verdict::Fail(e),
                    };
                }
            };
            let available = (input.len() - used).min(head.total);
            // Data of a COPY pass in pieces, stray ones as other messages do: between their pieces
            // the server connection could not be prepared for what follows them.
            let copied = head.tag == b'd' && leased.link.copy != CopyIn::None;
            if available < head.total.min(WHOLE) && !copied {
                return Step {
                    used,
                    verdict: Verdict::More,
                };
            }
            let message = Message {
                head,
                at: used,
                bytes: &input[used..used + available],
            };
            match self.message(&message, leased, flow, to_client) {
                Ok(()) => used += self.taken(&message, available),
                Err(verdict) => return Step { used, verdict },
            }
        }
    }

    /// A message was handled: what of it is still to come follows it, or is dropped with it.
    fn taken(&mut self, message: &Message<'_>, available: usize) -> usize {
        self.left = message.head.total - available;
        available
    }

    #[inline]
    fn message(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
        to_client: &mut Vec<u8>,
    ) -> Result<(), Verdict> {
        self.left_dropped = false;
        let link = &mut *leased.link;
        if link.batch == Batch::Skipping && !matches!(message.head.tag, b'S' | b'X') {
            self.left_dropped = true;
            return Ok(());
        }
        let of_copy = matches!(message.head.tag, b'd' | b'c' | b'f' | b'H' | b'S' | b'X');
        if link.copy != CopyIn::None && !of_copy {
            return Err(Verdict::Fail(during_copy(message.head.tag)));
        }
        if (link.awaiting && link.is_awaiting()) || (link.routed && link.must_part(message.head)) {
            return Err(Verdict::Hold);
        }
        match message.head.tag {
            b'Q' => self.query(message, leased, flow),
            b'P' => self.parse(message, leased, flow),
            b'B' => self.bind(message, leased, flow),
            b'D' => self.describe(message, leased, flow),
            b'C' => self.close(message, leased, flow),
            b'E' => {
                self.execute(message, leased, flow);
                Ok(())
            }
            b'S' => self.sync(message, link, flow),
            b'H' => {
                // Not into the middle of a message of the server.
                if link.left == 0 {
                    Replies {
                        session: None,
                        link,
                    }
                    .answer_local(&mut Flow::new(&[], to_client));
                }
                // Behind a Sync or Query the server flushes by itself.
                self.left_dropped = link.batch != Batch::Open;
                if !self.left_dropped {
                    flow.pass(message.range());
                }
                Ok(())
            }
            b'F' => self.call(message, link, flow),
            b'd' | b'c' | b'f' => copy_message(message, link, flow),
            b'X' => Err(Verdict::Terminate),
            _ => Err(Verdict::Fail(unknown_message(message.head.tag))),
        }
    }

    fn sync(
        &mut self,
        message: &Message<'_>,
        link: &mut Link,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        if let CopyIn::Reading { sync_dropped, .. } = &mut link.copy {
            // The server would eat it (it reads copy data), so no ReadyForQuery is due.
            *sync_dropped = true;
            self.left_dropped = true;
            return Ok(());
        }
        if link.copy_portal && link.bound == Bound::Plain {
            link.bound = Bound::Copy;
        }
        if link.bound != Bound::Plain && link.may_copy() {
            if link.bound == Bound::Copy {
                frame::put(flow.own(), b'H', &[]);
                link.bound = Bound::CopyFlushed;
            }
            return Err(Verdict::Hold);
        }
        link.batch = Batch::Closed;
        link.bound = Bound::Plain;
        link.expected.push_back(Expected::Sync(By::Client));
        flow.pass(message.range());
        if let Some(stray) = link.stray.take() {
            let out = flow.own();
            frame::put(out, b'C', &[b"S", &stray, b"\0"]);
            frame::put(out, b'S', &[]);
            link.expected.push_back(Expected::Close(By::Proxy));
            link.expected.push_back(Expected::Sync(By::Proxy));
        }
        Ok(())
    }

    /// Sends the Sync that the client had sent and that was kept from the server.
    fn sync_by_client(&self, link: &mut Link, flow: &mut Flow<'_>) {
        link.batch = Batch::Closed;
        link.expected.push_back(Expected::Sync(By::Client));
        frame::put(flow.own(), b'S', &[]);
    }

    /// Holds a message until it is known what a name in it stands for.
    pub(super) fn must_know(
        &self,
        name: &[u8],
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let link = &mut *leased.link;
        must_be_certain(name, link, flow)?;
        match self.names.find(name) {
            Some(statement)
                if statement.is_kept() && link.is_undecided(statement, leased.max_prepared) =>
            {
                Err(Verdict::Hold)
            }
            _ => Ok(()),
        }
    }
}

/// Holds a message until all is answered that may still change what a name in it stands for.
pub(super) fn must_be_certain(
    name: &[u8],
    link: &mut Link,
    flow: &mut Flow<'_>,
) -> Result<(), Verdict> {
    if link.forgets && !name.is_empty() && link.may_copy() {
        link.ask_to_flush(flow);
        return Err(Verdict::Hold);
    }
    if link.is_uncertain(name) {
        return Err(Verdict::Hold);
    }
    Ok(())
}

fn copy_message(
    message: &Message<'_>,
    link: &mut Link,
    flow: &mut Flow<'_>,
) -> Result<(), Verdict> {
    if let CopyIn::Reading { fed, .. } = &mut link.copy {
        *fed = true;
        if message.head.tag != b'd' {
            link.copy = CopyIn::None;
        }
    } else if message.head.tag != b'd' {
        copy_ends_early(link)?;
    }
    flow.pass(message.range());
    Ok(())
}

/// A server that reads the data of a COPY ends the connection, too (manual 55.2.7).
#[cold]
fn during_copy(tag: u8) -> ClientError {
    let text = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
    ClientError::fatal(SqlState::PROTOCOL, text)
}

/// CopyDone or CopyFail is sent before the server has said that it copies. Behind a simple query,
/// which may copy more than once, it is held until the server says so or has answered.
fn copy_ends_early(link: &mut Link) -> Result<(), Verdict> {
    let newest = link.expected.iter_mut().rev();
    let mut syncs = 0;
    for expected in newest {
        match expected {
            Expected::Sync(By::Client) => syncs += 1,
            Expected::Execute(feed @ Feed::Due) => {
                *feed = Feed::Ended(syncs);
                break;
            }
            Expected::Query(By::Client) => return Err(Verdict::Hold),
            _ => break,
        }
    }
    Ok(())
}
