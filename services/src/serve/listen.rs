//! Takes a port: one socket per front, sharing it by SO_REUSEPORT.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error(
        "the {service} port {address} is taken by another process; --{service}-port or {variable} names another"
    )]
    Taken {
        /// The service.
        service: &'static str,
        /// The variable of its port.
        variable: &'static str,
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The system said no.
    #[error("expected to listen on {address} for the {service} service, found: {error}")]
    Io {
        /// The service.
        service: &'static str,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// A port that was had.
pub(super) struct Taken {
    /// Where, with the port if a free one was asked for.
    pub(super) address: SocketAddr,
    /// One per front.
    pub(super) sockets: Vec<TcpListener>,
}

/// A port of UDP that was had.
pub(super) struct TakenUdp {
    /// Where, with the port if a free one was asked for.
    pub(super) address: SocketAddr,
    /// One per front.
    pub(super) sockets: Vec<UdpSocket>,
}

/// A port for what is named so, or the setting that names another.
pub(super) fn take(
    (service, variable): (&'static str, &'static str),
    address: SocketAddr,
    fronts: usize,
) -> Result<Taken, ListenError> {
    let wrong = |error| wrong((service, variable), address, error);
    // With SO_REUSEPORT a second process would share the port in silence: ask first without it.
    drop(bind(address, Type::STREAM, false).map_err(wrong)?);
    let first = listen(address).map_err(wrong)?;
    let address = first.local_addr().map_err(wrong)?;
    let mut sockets = vec![first];
    while sockets.len() < fronts {
        sockets.push(listen(address).map_err(wrong)?);
    }
    Ok(Taken { address, sockets })
}

/// The same of UDP.
pub(super) fn take_udp(
    (service, variable): (&'static str, &'static str),
    address: SocketAddr,
    fronts: usize,
) -> Result<TakenUdp, ListenError> {
    let wrong = |error| wrong((service, variable), address, error);
    drop(bind(address, Type::DGRAM, false).map_err(wrong)?);
    let first = UdpSocket::from(bind(address, Type::DGRAM, true).map_err(wrong)?);
    let address = first.local_addr().map_err(wrong)?;
    let mut sockets = vec![first];
    while sockets.len() < fronts {
        sockets.push(bind(address, Type::DGRAM, true).map_err(wrong)?.into());
    }
    Ok(TakenUdp { address, sockets })
}

fn wrong(
    (service, variable): (&'static str, &'static str),
    address: SocketAddr,
    error: io::Error,
) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { service, variable, address },
        _ => ListenError::Io { service, address, error },
    }
}

fn bind(address: SocketAddr, kind: Type, share: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // Of UDP it would let anybody share.
    socket.set_reuse_address(kind == Type::STREAM)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, Type::STREAM, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts_share_a_port_and_others_do_not_get_it() {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let order = ("order", "ORDER_GRPC_PORT");
        let taken = take(order, free, 3).unwrap();
        assert_eq!(taken.sockets.len(), 3);
        let Err(error) = take(order, taken.address, 1) else { panic!("the port is taken") };
        let error = error.to_string();
        assert!(error.contains(&taken.address.to_string()) && error.contains("ORDER_GRPC_PORT"), "{error}");

        let quic = ("native-quic", "NATIVE_QUIC_PORT");
        let taken = take_udp(quic, free, 3).unwrap();
        assert_eq!(taken.sockets.len(), 3);
        let Err(error) = take_udp(quic, taken.address, 1) else { panic!("the port is taken") };
        assert!(error.to_string().contains("--native-quic-port or NATIVE_QUIC_PORT"), "{error}");
    }
}
