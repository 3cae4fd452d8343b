use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{AgentStatus, Attachment, Detachment, Empty, LONGEST_LINE, Request, Response};

/// How often an agent that does not listen is tried again: nothing tells when
/// somebody begins to listen on a socket whose file is there already.
const RETRY: Duration = Duration::from_millis(50);

/// Why the agent could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the agent does not listen on {}: is it running?", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("the agent on {} gave no answer within {:?}", socket.display(), limit)]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to the agent on {} broke", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The answer is no.
    #[error("the agent refused: {message}")]
    Refused {
        /// Its reason.
        message: String,
    },
    /// The answer is not one to this question.
    #[error("the agent's answer {line:?} is not one to this question")]
    Answer {
        /// The line.
        line: String,
    },
}

/// Asks the node's agent, waiting at most `limit` for each answer.
#[derive(Debug, Clone)]
pub struct AgentClient {
    socket: PathBuf,
    limit: Duration,
}

impl AgentClient {
    /// A client of the agent that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>, limit: Duration) -> Self {
        Self {
            socket: socket.into(),
            limit,
        }
    }

    /// Tells of a new interface; returns when the pod's policies are in force.
    /// An agent that does not listen yet is waited for.
    ///
    /// # Errors
    /// [`ClientError`]: then nothing is known to be in force.
    pub fn attach(&self, attachment: &Attachment) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.limit;
        let request = Request::Attach(attachment.clone());
        let stream = self.connect_until(deadline)?;
        self.expect_ok(self.ask(&stream, &request, deadline)?)
    }

    /// Tells that an interface is gone. An agent that does not listen is not
    /// waited for: it will find the interface gone when it starts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn detach(&self, detachment: &Detachment) -> Result<(), ClientError> {
        let request = Request::Detach(detachment.clone());
        let stream = self.connect()?;
        self.expect_ok(self.ask(&stream, &request, Instant::now() + self.limit)?)
    }

    /// Asks whether the agent can serve pods.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<AgentStatus, ClientError> {
        let stream = self.connect()?;
        let deadline = Instant::now() + self.limit;
        match self.ask(&stream, &Request::Status(Empty {}), deadline)? {
            Response::Status(status) => Ok(status),
            response => Err(unexpected(response)),
        }
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).map_err(|source| ClientError::Unreachable {
            socket: self.socket.clone(),
            source,
        })
    }

    fn connect_until(&self, deadline: Instant) -> Result<UnixStream, ClientError> {
        loop {
            match self.connect() {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() + RETRY > deadline => return Err(error),
                Err(_) => thread::sleep(RETRY),
            }
        }
    }

    fn ask(
        &self,
        mut stream: &UnixStream,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, ClientError> {
        let mut line = serde_json::to_string(request).expect("a request is plain text");
        line.push('\n');
        // A timeout of zero would mean "for ever".
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let mut answer = String::new();
        stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.set_write_timeout(Some(left)))
            .and_then(|()| stream.write_all(line.as_bytes()))
            .and_then(|()| BufReader::new(stream.take(LONGEST_LINE as u64)).read_line(&mut answer))
            .map_err(|source| self.failed(source))?;
        serde_json::from_str(&answer).map_err(|_| ClientError::Answer { line: answer })
    }

    fn failed(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut {
                socket,
                limit: self.limit,
            },
            _ => ClientError::Broken { socket, source },
        }
    }

    fn expect_ok(&self, response: Response) -> Result<(), ClientError> {
        match response {
            Response::Ok(_) => Ok(()),
            response => Err(unexpected(response)),
        }
    }

    /// The socket that it asks on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn unexpected(response: Response) -> ClientError {
    match response {
        Response::Error(refusal) => ClientError::Refused {
            message: refusal.message,
        },
        response => ClientError::Answer {
            line: format!("{response:?}"),
        },
    }
}
