//! One exec: a process on one side, a WebSocket on the other.

use std::io;
use std::process::{ExitStatus, Stdio};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use nix::pty::{OpenptyResult, openpty};
use podway_kernel::spawn::Isolation;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::exec::Request;
use crate::kubelet::record::Exit;
use crate::kubelet::run;
use crate::kubelet::server::terminal::Terminal;
use crate::process::Process;

/// Channels of `v5.channel.k8s.io`: the first byte of every message.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const ERROR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    /// The byte after it names the channel that is closed.
    pub(super) const CLOSE: u8 = 255;
}

type Input = Box<dyn AsyncWrite + Send + Unpin>;
type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A process with its ends of the channels.
struct Started {
    child: Child,
    input: Option<Input>,
    outputs: Vec<(u8, Output)>,
    terminal: Option<Terminal>,
}

/// Runs a command beside a container and carries its channels until it ends or
/// the client leaves.
pub(super) async fn run(socket: WebSocket, container: Process, request: Request) {
    let (mut sink, stream) = socket.split();
    let status = match start(container, &request) {
        Ok(started) => carry(&mut sink, stream, started).await,
        Err(error) => Some(failure(&format!(
            "cannot run {}: {error}",
            request.command.join(" ")
        ))),
    };
    let Some(status) = status else { return };
    // A client that has left does not need to be told.
    let _ = sink
        .send(message(channel::ERROR, status.to_string().as_bytes()))
        .await;
    // kubectl takes any other close than a normal one for a failure.
    let normal = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(normal))).await;
    let _ = sink.flush().await;
}

fn start(container: Process, request: &Request) -> io::Result<Started> {
    let (command, isolation) = run::beside(container, &request.command)?;
    if request.tty {
        start_in_terminal(command, isolation, request)
    } else {
        start_with_pipes(command, isolation, request)
    }
}

fn start_in_terminal(
    mut command: std::process::Command,
    isolation: Isolation,
    request: &Request,
) -> io::Result<Started> {
    let OpenptyResult { master, slave } = openpty(None, None)?;
    let terminal = Terminal::new(master)?;
    command
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(Stdio::from(slave));
    if command.get_envs().all(|(name, _)| name != "TERM") {
        command.env("TERM", "xterm");
    }
    isolation.own_terminal().apply(&mut command);
    let mut input: Option<Input> = None;
    if request.stdin {
        input = Some(Box::new(terminal.input()?));
    }
    let output: Output = Box::new(terminal.output()?);
    Ok(Started {
        // The slave's copies in `command` go with it: the master sees the end
        // when the last process has closed its own.
        child: spawn(command)?,
        input,
        outputs: vec![(channel::STDOUT, output)],
        terminal: Some(terminal),
    })
}

fn start_with_pipes(
    mut command: std::process::Command,
    isolation: Isolation,
    request: &Request,
) -> io::Result<Started> {
    let pipe = |wanted: bool| {
        if wanted {
            Stdio::piped()
        } else {
            Stdio::null()
        }
    };
    command
        .stdin(pipe(request.stdin))
        .stdout(pipe(request.stdout))
        .stderr(pipe(request.stderr));
    isolation.own_session().apply(&mut command);
    let mut child = spawn(command)?;
    let mut input: Option<Input> = None;
    if let Some(stdin) = child.stdin.take() {
        input = Some(Box::new(stdin));
    }
    let mut outputs: Vec<(u8, Output)> = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        outputs.push((channel::STDOUT, Box::new(stdout)));
    }
    if let Some(stderr) = child.stderr.take() {
        outputs.push((channel::STDERR, Box::new(stderr)));
    }
    Ok(Started {
        child,
        input,
        outputs,
        terminal: None,
    })
}

fn spawn(command: std::process::Command) -> io::Result<Child> {
    Command::from(command).kill_on_drop(true).spawn()
}

/// Carries the channels and returns the last word; `None` when the client left.
async fn carry(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    started: Started,
) -> Option<Value> {
    let Started {
        mut child,
        input,
        outputs,
        terminal,
    } = started;
    let (said, mut heard) = mpsc::channel(16);
    for (channel, output) in outputs {
        tokio::spawn(read(channel, output, said.clone()));
    }
    drop(said);
    let listening = listen(stream, input, terminal);
    tokio::pin!(listening);
    let mut listens = true;
    let mut open = true;
    let status = loop {
        tokio::select! {
            piece = heard.recv(), if open => match piece {
                Some(piece) => sink.send(piece).await.ok()?,
                None => open = false,
            },
            () = &mut listening, if listens => {
                listens = false;
                end(&mut child);
            }
            status = child.wait(), if !open || !listens => break status,
        }
    };
    listens.then(|| match status {
        Ok(status) => verdict(status),
        Err(error) => failure(&error.to_string()),
    })
}

/// A client that leaves hangs up: what it started ends.
fn end(child: &mut Child) {
    if let Some(process) = run::process_of(child) {
        run::signal(process, nix::sys::signal::Signal::SIGKILL);
    }
}

async fn read(channel: u8, mut output: Output, said: mpsc::Sender<Message>) {
    let mut buffer = vec![0; 32 * 1024];
    // A terminal whose last process is gone reads as an error (EIO), a pipe as
    // its end: both mean that nothing more comes.
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        if said
            .send(message(channel, &buffer[..length]))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Takes what the client sends, until it leaves.
async fn listen(
    mut stream: SplitStream<WebSocket>,
    mut input: Option<Input>,
    terminal: Option<Terminal>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        match bytes.split_first() {
            Some((&channel::STDIN, data)) => {
                let written = match &mut input {
                    Some(input) => input.write_all(data).await,
                    None => Ok(()),
                };
                if written.is_err() {
                    // It does not read any more; what it says still counts.
                    input = None;
                }
            }
            Some((&channel::CLOSE, [channel::STDIN])) => input = None,
            Some((&channel::RESIZE, size)) => {
                if let Some(terminal) = &terminal {
                    terminal.resize(size);
                }
            }
            _ => {}
        }
    }
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// The last word on the error channel: a `meta/v1` Status.
fn verdict(status: ExitStatus) -> Value {
    let code = Exit::from(status).code();
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {status}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

fn failure(message: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": message,
        "code": 500,
    })
}
