//! Frames on the socket between two processes: a length of four bytes, then JSON; a descriptor
//! comes with the length. Bounded, blocking, within the socket's own timeouts.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::message::Message;

/// The longest frame; the longest message names a path.
const MAX: usize = 64 * 1024;

/// A message as it is sent.
pub(super) fn encode(message: &Message) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Sends a message.
pub(super) fn send(mut stream: &UnixStream, message: &Message) -> io::Result<()> {
    stream.write_all(&encode(message)?)
}

/// Sends a message and a descriptor.
pub(super) fn send_with(
    mut stream: &UnixStream,
    message: &Message,
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    let frame = encode(message)?;
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let slices = [IoSlice::new(&frame)];
    let sent = sendmsg(stream, &slices, &mut control, SendFlags::empty())?;
    stream.write_all(&frame[sent..])
}

/// The next message; `UnexpectedEof` at the end of the stream.
pub(super) fn receive(mut stream: impl Read) -> io::Result<Message> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    body(stream, length)
}

/// The next message and the descriptor that came with it.
pub(super) fn receive_with(stream: &UnixStream) -> io::Result<(Message, Option<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut length)];
    let received = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let mut rest = stream;
    rest.read_exact(&mut length[received.bytes..])?;
    Ok((body(rest, length)?, descriptor))
}

fn body(mut stream: impl Read, length: [u8; 4]) -> io::Result<Message> {
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX {
        let text = format!("a message of {length} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_message_and_with_no_other() {
        let (one, other) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&one, &Message::Taken).unwrap();
        let listener = Message::Refused {
            reason: "x".repeat(5_000),
        };
        send_with(&one, &listener, file.as_fd()).unwrap();
        send(&one, &Message::Serving).unwrap();
        let (first, none) = receive_with(&other).unwrap();
        assert!(matches!(first, Message::Taken) && none.is_none());
        let (second, descriptor) = receive_with(&other).unwrap();
        assert!(matches!(second, Message::Refused { .. }) && descriptor.is_some());
        assert!(matches!(receive(&other).unwrap(), Message::Serving));
        drop(one);
        let end = receive(&other).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn long_frames_and_strange_ones_are_refused() {
        for bytes in [&b"\0\x01\0\x01"[..], b"\0\0\0\x02{}", b"\0\0\0\x03abc"] {
            assert_eq!(receive(bytes).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert_eq!(
            receive(&b"\0\0\0\x09{"[..]).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }
}
