//! The agent's socket, on which the CNI plugin reports pods.
//!
//! One thread accepts, one short-lived thread serves each connection: a pod's
//! start waits in its own thread, and no other pod waits for it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use podway_cni::agent_protocol::{
    AgentStatus, Empty, LONGEST_LINE, Refusal, Request as Asked, Response,
};

use crate::mailbox::{Answer, Mailbox, Request};

/// How long a client may take to say what it wants, or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections served at the same time; a kubelet starts far fewer pods at once.
const MOST_CONNECTIONS: usize = 256;

/// The listening socket. Its file is left in place at the end: a plugin that is
/// called meanwhile is refused at once, as it would be without the file.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// What connections need.
pub(crate) struct Served {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Whether pods can be attached, and why not.
    pub(crate) readiness: Box<dyn Fn() -> AgentStatus + Send + Sync>,
    /// How long a request waits for the kernel.
    pub(crate) wait: Duration,
}

impl Socket {
    /// Listens at a path, for root only. Takes over the file of an agent that is
    /// gone; one that still answers is an error.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => fs::remove_file(path)?,
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves for as long as the process lives.
    pub(crate) fn serve(self, served: Served) -> io::Result<()> {
        let served = Arc::new(served);
        let connections = Arc::new(AtomicUsize::new(0));
        thread::Builder::new()
            .name("podway-socket".to_owned())
            .spawn(move || {
                for stream in self.listener.incoming() {
                    match stream {
                        Ok(stream) => accept(stream, &served, &connections),
                        Err(error) => {
                            tracing::warn!(socket = %self.path.display(), %error, "accept failed");
                            // Out of descriptors, most likely: give it a moment.
                            thread::sleep(Duration::from_millis(100));
                        }
                    }
                }
            })?;
        Ok(())
    }
}

fn accept(stream: UnixStream, served: &Arc<Served>, connections: &Arc<AtomicUsize>) {
    if connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!("too many connections of the CNI plugin, one refused");
        return;
    }
    let (served, counted) = (served.clone(), connections.clone());
    let thread = thread::Builder::new().name("podway-attach".to_owned());
    let spawned = thread.spawn(move || {
        if let Err(error) = converse(&stream, &served) {
            tracing::debug!(%error, "conversation with the CNI plugin ended early");
        }
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = spawned {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%error, "no thread for the CNI plugin's request");
    }
}

/// One request line, one answer line.
fn converse(stream: &UnixStream, served: &Served) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_LINE as u64)).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let response = match serde_json::from_str::<Asked>(&line) {
        Ok(asked) => respond(asked, served),
        Err(error) => refuse(format!("request not understood: {error}")),
    };
    let mut answer = serde_json::to_vec(&response)?;
    answer.push(b'\n');
    (&mut &*stream).write_all(&answer)
}

fn respond(asked: Asked, served: &Served) -> Response {
    match asked {
        Asked::Status(_) => Response::Status((served.readiness)()),
        Asked::Attach(attachment) => {
            await_answer(served, |answer| Request::Attach(attachment, answer))
        }
        Asked::Detach(detachment) => {
            await_answer(served, |answer| Request::Detach(detachment, answer))
        }
    }
}

fn await_answer(served: &Served, request: impl FnOnce(Answer) -> Request) -> Response {
    let (answer, answered) = sync_channel(1);
    served.mailbox.request(request(answer));
    match answered.recv_timeout(served.wait) {
        Ok(Ok(())) => Response::Ok(Empty {}),
        Ok(Err(reason)) => refuse(reason),
        Err(RecvTimeoutError::Timeout) => {
            let reason = (served.readiness)().message;
            refuse(format!(
                "not in force after {} s: {reason}",
                served.wait.as_secs()
            ))
        }
        Err(RecvTimeoutError::Disconnected) => refuse("the agent is ending".to_owned()),
    }
}

fn refuse(message: String) -> Response {
    Response::Error(Refusal { message })
}

#[cfg(test)]
mod tests;
