//! How far a node's agent is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a busy machine may take for a change that usually takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the node has in force what happened to objects of this kind up to
/// this revision.
pub(crate) fn wait(socket: &Path, kind: &str, revision: u64) {
    let begun = Instant::now();
    loop {
        let status = ask(socket);
        if status["status"]["revisions"][kind].as_u64() >= Some(revision) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{}: {kind} {revision} is not in force: {status}",
            socket.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ask(socket: &Path) -> Value {
    let answer = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"{\"status\":{}}\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        serde_json::from_str(&line).map_err(std::io::Error::other)
    };
    answer().unwrap_or_else(|error: std::io::Error| Value::String(error.to_string()))
}
