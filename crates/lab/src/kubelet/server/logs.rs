use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use nix::sys::inotify::AddWatchFlags;
use serde::Deserialize;
use tokio::sync::watch;

use super::refuse;
use crate::changes::Changes;
use crate::kubelet::host::Host;
use crate::kubelet::run::open_log;
use crate::process::Process;

/// The options of `kubectl logs` that the lab knows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    previous: bool,
    #[serde(default)]
    timestamps: bool,
    since_seconds: Option<String>,
    since_time: Option<String>,
    tail_lines: Option<usize>,
    limit_bytes: Option<usize>,
}

pub(super) async fn answer(
    State(host): State<Arc<Host>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(options): Query<Options>,
) -> Response {
    if options.timestamps || options.since_seconds.is_some() || options.since_time.is_some() {
        let reason =
            "the lab records no time for lines of output: leave --timestamps and --since out";
        return refuse(StatusCode::BAD_REQUEST, reason);
    }
    let live = match host.live.container(&namespace, &pod, &container) {
        Ok(live) => live,
        Err(reason) => return refuse(StatusCode::NOT_FOUND, reason),
    };
    let path = if options.previous {
        let reason =
            || format!("container {container:?} of pod {namespace}/{pod} was never started again");
        match live.log_before {
            Some(path) => path,
            None => return refuse(StatusCode::BAD_REQUEST, reason()),
        }
    } else {
        live.log
    };
    match read(&path, &options) {
        Ok((start, _)) if !options.follow || options.previous => start.into_response(),
        Ok((start, offset)) => {
            let tail = Tail {
                path,
                offset,
                process: live.process,
                first: Some(start),
                changes: None,
            };
            let pieces = stream::try_unfold(tail, |mut tail| async move {
                Ok::<_, io::Error>(tail.next().await?.map(|piece| (piece, tail)))
            });
            Body::from_stream(pieces).into_response()
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// What the log holds now, as far as it was asked for, and its length.
fn read(path: &std::path::Path, options: &Options) -> io::Result<(Bytes, u64)> {
    let mut text = Vec::new();
    if let Some(mut file) = open_log(path)? {
        file.read_to_end(&mut text)?;
    }
    let length = text.len() as u64;
    if let Some(lines) = options.tail_lines {
        text.drain(..tail_start(&text, lines));
    }
    text.truncate(options.limit_bytes.unwrap_or(usize::MAX));
    Ok((text.into(), length))
}

/// Where the last `lines` lines begin; a last line without an end counts.
fn tail_start(text: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return text.len();
    }
    // The beginnings of the last lines seen so far, at most as many as asked.
    let mut starts = VecDeque::from([0]);
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    for (position, _) in body.iter().enumerate().filter(|&(_, &byte)| byte == b'\n') {
        if starts.len() == lines {
            starts.pop_front();
        }
        starts.push_back(position + 1);
    }
    starts.front().copied().unwrap_or(0)
}

/// A log that is followed.
struct Tail {
    path: PathBuf,
    offset: u64,
    process: watch::Receiver<Option<Process>>,
    first: Option<Bytes>,
    changes: Option<Changes>,
}

/// How much is sent at once.
const PIECE: u64 = 64 * 1024;

impl Tail {
    /// The next piece; `None` once the container has ended and all is said.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Ok(Some(first));
        }
        let changes = match self.changes.take() {
            Some(changes) => changes,
            None => Changes::of(&self.path, AddWatchFlags::IN_MODIFY)?,
        };
        loop {
            // Asked before reading: what was said before the end is read after it.
            let ended = self.process.borrow_and_update().is_none();
            if let Some(piece) = self.piece()? {
                self.changes = Some(changes);
                return Ok(Some(piece));
            }
            if ended {
                return Ok(None);
            }
            tokio::select! {
                changed = changes.next() => changed?,
                changed = self.process.changed() => if changed.is_err() {
                    // The worker is gone, and the container with it.
                    return self.piece();
                },
            }
        }
    }

    fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut file) = open_log(&self.path)? else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut piece = Vec::new();
        let length = file.take(PIECE).read_to_end(&mut piece)?;
        self.offset += length as u64;
        Ok((length > 0).then(|| piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        for (text, lines, tail) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 5, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 2, "\n\n"),
        ] {
            assert_eq!(
                &text[tail_start(text.as_bytes(), lines)..],
                tail,
                "{text:?} {lines}"
            );
        }
    }
}
