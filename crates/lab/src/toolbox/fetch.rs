use std::io;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Error;
use crate::toolbox::connect::Outcome;

/// Prints the body of what `target` (HOST:PORT) answers to `GET /`, or the word
/// for why it does not answer within `limit`.
pub(super) async fn run(target: String, limit: Duration) -> Result<ExitCode, Error> {
    let (text, code) = match timeout(limit, fetch(&target)).await {
        Ok(Ok(body)) => (body, ExitCode::SUCCESS),
        Ok(Err(error)) => (Outcome::from(&error).to_string(), ExitCode::FAILURE),
        Err(_) => (Outcome::Timeout.to_string(), ExitCode::FAILURE),
    };
    println!("{}", text.trim_end());
    Ok(code)
}

async fn fetch(target: &str) -> io::Result<String> {
    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the connection; its error reaches us through the request.
    tokio::spawn(connection);
    let request = hyper::Request::get("/")
        .header(hyper::header::HOST, target)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}
