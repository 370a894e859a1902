//! Several sockets that share the packets of one interface: AF_PACKET fanout (packet(7)).
//!
//! The one place with unsafe code: neither libpcap nor a crate that we have sets this option.
#![expect(unsafe_code, reason = "a socket option that no crate of ours wraps; see `set` and `get`")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel hands a packet on by a hash of its addresses and ports that is the same both ways, so that a
/// flow stays with one socket. Fragments have no ports and go by their addresses alone.
const HASH: u32 = libc::PACKET_FANOUT_HASH;
/// The kernel chooses a group that nobody has, so that two processes on one interface never mix.
const UNIQUE: u32 = libc::PACKET_FANOUT_FLAG_UNIQUEID;

/// A group of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group(u16);

/// Makes a group of one socket.
pub(super) fn found(socket: BorrowedFd<'_>) -> io::Result<Group> {
    set(socket, (HASH | UNIQUE) << 16)?;
    Ok(Group((get(socket)? & 0xffff) as u16))
}

/// Adds a socket, which must be bound to the same interface.
pub(super) fn join(socket: BorrowedFd<'_>, group: Group) -> io::Result<()> {
    set(socket, HASH << 16 | u32::from(group.0))
}

fn set(socket: BorrowedFd<'_>, value: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open, as it is borrowed; the kernel reads the four bytes of `value`,
    // which lives until the call returns, and keeps no pointer to it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let (mut value, mut length) = (0u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: the descriptor is open, as it is borrowed; the kernel writes at most `length` bytes, which is
    // the size of `value`, and both live until the call returns.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_socket_that_captures_nothing_is_refused() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(found(socket.as_fd()).is_err());
        assert!(join(socket.as_fd(), Group(1)).is_err());
    }
}
