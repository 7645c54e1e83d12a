//! Questions and requests over netlink(7), without a runtime.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use rtnetlink::sys::{Socket, SocketAddr};

/// A socket to the kernel that hears of `groups`, and does not block.
pub(super) fn socket(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    groups.iter().try_for_each(|&group| socket.add_membership(group))?;
    Ok(socket)
}

/// Throws away what a socket has heard.
pub(super) fn forget(socket: &Socket) {
    // Having missed some (ENOBUFS) is news like any other.
    let mut bytes = [0u8; 512];
    while !matches!(
        socket.recv(&mut &mut bytes[..], libc::MSG_TRUNC),
        Err(error) if error.raw_os_error() != Some(libc::ENOBUFS)
    ) {}
}

/// Shows `each` the items of the list that `question` asks for. The kernel
/// writes the list as it is read, so nothing here waits.
pub(super) fn each<M>(socket: &Socket, question: M, mut each: impl FnMut(M)) -> io::Result<()>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    send(socket, question, NLM_F_REQUEST | NLM_F_DUMP)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(item) => each(item),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Sends one request. Who does not ask for an acknowledgement (`NLM_F_ACK`) hears of
/// failures only, by the next question.
pub(super) fn send<M: NetlinkSerializable>(
    socket: &Socket,
    request: M,
    flags: u16,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}
