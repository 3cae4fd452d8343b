use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{StatusCode, Uri};
use nix::unistd::gethostname;
use podway_model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::Error;
use crate::toolbox::answer::Answerer;
use crate::toolbox::datagrams::Datagrams;
use crate::toolbox::ports::Ports;
use crate::toolbox::sctp;

/// Connections that wait to be accepted: a burst of a load test fits.
const BACKLOG: u32 = 1024;

/// Serves every port until the process is ended.
pub(super) async fn serve(ports: &Ports) -> Result<ExitCode, Error> {
    let hostname = gethostname().map_err(|errno| Error::io("read the host name")(errno.into()))?;
    let answerer = Arc::new(Answerer {
        hostname: hostname.to_string_lossy().into_owned(),
        form: ports.form,
    });
    // All sockets first: a port that is taken ends the server before it
    // answers on another one.
    let mut servers = JoinSet::new();
    let http = open(&ports.http, Protocol::Tcp, tcp)?;
    let tcp = open(&ports.tcp, Protocol::Tcp, tcp)?;
    let sctp = open(&ports.sctp, Protocol::Sctp, sctp::listen)?;
    let udp = open(&ports.udp, Protocol::Udp, Datagrams::bind)?;
    for listener in http {
        servers.spawn(serve_http(listener, Arc::clone(&answerer)));
    }
    for listener in tcp.into_iter().chain(sctp) {
        servers.spawn(serve_stream(listener, Arc::clone(&answerer)));
    }
    for socket in udp {
        servers.spawn(serve_datagrams(socket, Arc::clone(&answerer)));
    }
    match servers.join_next().await {
        Some(Ok(Err(source))) => Err(Error::io("serve")(source)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn open<T>(
    ports: &[u16],
    protocol: Protocol,
    open: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<Vec<T>, Error> {
    let both = |port| {
        match open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            // A kernel without IPv6: the port is served in IPv4 alone.
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            result => result,
        }
    };
    ports
        .iter()
        .map(|&port| both(port).map_err(Error::io(format!("listen on {protocol} port {port}"))))
        .collect()
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn serve_http(
    listener: TcpListener,
    answerer: Arc<Answerer>,
) -> impl Future<Output = io::Result<()>> {
    let router = Router::new().fallback(answer).with_state(answerer);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).into_future()
}

async fn answer(
    State(answerer): State<Arc<Answerer>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    uri: Uri,
) -> (StatusCode, String) {
    let (code, body) = answerer.http(uri.path(), &query.unwrap_or_default(), client);
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    (code, body)
}

async fn serve_stream(listener: TcpListener, answerer: Arc<Answerer>) -> io::Result<()> {
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The client gave up between its handshake and accept(2).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let line = answerer.line(client);
        tokio::spawn(async move {
            // The client went away: nothing is left to be told.
            let _ = converse(stream, &line).await;
        });
    }
}

/// Says the line, then echoes whatever comes until the client closes, so that
/// a test can hold a connection open and see it live.
async fn converse(mut stream: TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes()).await?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn serve_datagrams(socket: Datagrams, answerer: Arc<Answerer>) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let datagram = socket.receive(&mut buffer).await?;
        let answer = answerer.datagram(&buffer[..datagram.length], datagram.client);
        // An answer that cannot be sent (no route back) is a lost datagram.
        let _ = socket.answer(&datagram, &answer).await;
    }
}
