//! Accepting: TCP, TLS, then HTTP/1.1 or HTTP/2 as the client asks.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::http::Api;
use crate::pki::Pki;
use crate::server::stopped;

/// A client that does not finish its TLS greeting in this time is cut off; it
/// would hold a descriptor for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// HTTP/2 connections that do not answer pings are cut off, so that the watches
/// of a vanished client end.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Requests that are under way at shutdown have this long to finish.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept: with no descriptors left (EMFILE) it would fail
/// again at once, and nothing tells when one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    pki: Arc<Pki>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let address = listener
        .local_addr()
        .map(|address| address.to_string())
        .unwrap_or_default();
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| Error::Listen {
            address: address.clone(),
            source,
        })?;
    tracing::info!(%address, "serving the API");
    let acceptor = TlsAcceptor::from(Arc::clone(&pki.tls));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, api, pki) = (acceptor.clone(), Arc::clone(&api), Arc::clone(&pki));
                let stop = stop.clone();
                connections.spawn(async move {
                    if let Err(error) = connection(stream, acceptor, api, pki, stop).await {
                        tracing::debug!(%peer, error, "connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(%address, left = connections.len(), "connections cut off at shutdown");
        connections.shutdown().await;
    }
    tracing::info!(%address, "stopped serving the API");
    Ok(())
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    api: Arc<Api>,
    pki: Arc<Pki>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    // Watch events are small writes that must not wait for each other's ACKs.
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| "no TLS greeting in time".to_owned())?
        .map_err(|error| format!("TLS: {error}"))?;
    let service = service_fn(move |request| {
        let (api, pki) = (Arc::clone(&api), Arc::clone(&pki));
        async move { Ok::<_, std::convert::Infallible>(api.answer(&pki.tokens, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|error| error.to_string())
}
