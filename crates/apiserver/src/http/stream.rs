//! Watch: events as they come, one JSON value a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::accept::Form;
use super::query::Selection;
use super::{Answer, Api, Call, respond};
use crate::kinds::Kind;
use crate::server::stopped;
use crate::status::Status;
use crate::store::Object;
use crate::table;
use crate::validate::Cause;
use crate::watch::{Cursor, Event, EventKind};

/// A watch without `timeoutSeconds` ends after this and up to twice as long, so
/// that clients do not come back all at once (as Kubernetes does).
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// So often a quiet watcher that asked for bookmarks learns how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// From where a watcher wants to see.
enum Start {
    /// Everything that is there as ADDED events, then what happens.
    State { end_bookmark: bool },
    /// What happened after a revision.
    After(u64),
    /// What happens from now on.
    Now,
}

/// What a watcher sees first.
struct Beginning {
    objects: Vec<Arc<Object>>,
    end_bookmark: bool,
    /// It then follows the events after this revision.
    revision: u64,
}

/// One open watch.
struct Watcher {
    kind: Arc<Kind>,
    /// Namespace and name that are wanted; empty for all.
    namespace: String,
    name: String,
    selection: Selection,
    form: Form,
    cursor: Cursor,
    lines: VecDeque<Bytes>,
    end: Instant,
    bookmark: Option<Instant>,
    stopped: watch::Receiver<bool>,
    finished: bool,
}

impl Api {
    pub(super) fn watch(&self, call: &Call) -> Answer {
        let target = &call.path.target;
        let form = call.form()?;
        let selection = call.query.selection(&target.kind)?;
        let bookmarks = call.query.flag("allowWatchBookmarks")?;
        let timeout: Option<u64> = call.query.number("timeoutSeconds")?;
        let timeout = match timeout {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => TIMEOUT.mul_f64(1.0 + rand::random::<f64>()),
        };
        let now = Instant::now();
        let beginning = self.beginning(call)?;
        let mut watcher = Watcher {
            kind: Arc::clone(&target.kind),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            selection,
            form,
            cursor: self
                .registry
                .store()
                .watch(&target.resource(), beginning.revision),
            lines: VecDeque::new(),
            end: now + timeout,
            bookmark: bookmarks.then_some(now + BOOKMARK_EVERY),
            stopped: self.stopped.clone(),
            finished: false,
        };
        for object in &beginning.objects {
            if watcher.wants(object) {
                watcher.push(EventKind::Added.name(), object);
            }
        }
        if beginning.end_bookmark && bookmarks {
            watcher.push_bookmark(beginning.revision, true);
        }
        // A history that is too short is told as an event, and not as the answer:
        // only there do clients look for it, and then list anew.
        if let Err(status) = watcher.look() {
            watcher.fail(&status);
        }
        let stream = futures_util::stream::unfold(watcher, |mut watcher| async move {
            let line = watcher.next_lines().await?;
            Some((Ok::<Bytes, std::convert::Infallible>(line), watcher))
        });
        Ok(respond::json_stream(Body::from_stream(stream)))
    }

    fn beginning(&self, call: &Call) -> Result<Beginning, Status> {
        let target = &call.path.target;
        let objects = self.registry.store().read();
        let revision = objects.revision();
        let after = |revision| Beginning {
            objects: Vec::new(),
            end_bookmark: false,
            revision,
        };
        match start(call)? {
            Start::After(asked) => Ok(after(asked)),
            Start::Now => Ok(after(revision)),
            Start::State { end_bookmark } => {
                let namespace = Some(target.namespace.as_str()).filter(|name| !name.is_empty());
                let listed = objects.list(&target.resource(), namespace);
                Ok(Beginning {
                    objects: listed.cloned().collect(),
                    end_bookmark,
                    revision,
                })
            }
        }
    }
}

fn start(call: &Call) -> Result<Start, Status> {
    let revision: u64 = call.query.number("resourceVersion")?.unwrap_or(0);
    let matching = call.query.text("resourceVersionMatch");
    let refuse = |field: &str, message: &str| {
        let mut status = Status::new(
            422,
            "Invalid",
            format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}"),
        );
        status.details.causes = vec![Cause {
            reason: "FieldValueForbidden",
            message: message.to_owned(),
            field: field.to_owned(),
        }];
        Err(status)
    };
    match (call.query.optional_flag("sendInitialEvents")?, matching) {
        (None, Some(_)) => refuse(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), matching) if matching != Some("NotOlderThan") => refuse(
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (Some(true), _) => Ok(Start::State { end_bookmark: true }),
        (None, _) if revision == 0 => Ok(Start::State {
            end_bookmark: false,
        }),
        (Some(false), _) if revision == 0 => Ok(Start::Now),
        _ => Ok(Start::After(revision)),
    }
}

impl Watcher {
    fn wants(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || self.namespace == object.namespace())
            && (self.name.is_empty() || self.name == object.name())
            && self.selection.matches(object)
    }

    /// Waits for lines and returns all that are there; `None` at the end.
    async fn next_lines(&mut self) -> Option<Bytes> {
        while self.lines.is_empty() {
            if self.finished {
                return None;
            }
            self.wait().await;
        }
        let size = self.lines.iter().map(Bytes::len).sum();
        let mut joined = BytesMut::with_capacity(size);
        for line in self.lines.drain(..) {
            joined.put(line);
        }
        Some(joined.freeze())
    }

    async fn wait(&mut self) {
        let wake = self
            .bookmark
            .map_or(self.end, |bookmark| bookmark.min(self.end));
        tokio::select! {
            () = self.cursor.moved() => {}
            () = sleep_until(wake) => {}
            () = stopped(&mut self.stopped) => self.finished = true,
        }
        let now = Instant::now();
        self.finished |= now >= self.end;
        match self.look() {
            Ok(revision) => {
                if self.bookmark.is_some_and(|due| now >= due)
                    || (self.finished && self.bookmark.is_some())
                {
                    self.push_bookmark(revision, false);
                }
            }
            Err(status) => self.fail(&status),
        }
    }

    /// Ends the watch with an event that says why.
    fn fail(&mut self, status: &Status) {
        self.push_line("ERROR", &status.to_value());
        self.finished = true;
    }

    /// Takes over what is new; returns up to which revision.
    fn look(&mut self) -> Result<u64, Status> {
        let news = self.cursor.look()?;
        for event in &news.events {
            self.take(event);
        }
        Ok(news.revision)
    }

    fn take(&mut self, event: &Event) {
        let Some(kind) = event.seen_by(|object| self.wants(object)) else {
            return;
        };
        self.push(kind.name(), &event.object);
    }

    fn push(&mut self, event_type: &str, object: &Object) {
        match self.form {
            Form::Object => {
                let json = respond::json_of(&self.kind, object);
                let head = format!("{{\"type\":\"{event_type}\",\"object\":");
                let mut line = BytesMut::with_capacity(head.len() + json.len() + 2);
                line.put_slice(head.as_bytes());
                line.put_slice(&json);
                line.put_slice(b"}\n");
                self.lines.push_back(line.freeze());
            }
            Form::Table(style) => {
                let metadata = table::list_metadata(object);
                let row = table::table(&self.kind, style, [object], &metadata);
                self.push_line(event_type, &row);
            }
            Form::Metadata(version) => self.push_line(event_type, &table::partial(object, version)),
        }
    }

    fn push_line(&mut self, event_type: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": event_type, "object": object }));
        self.lines.push_back(Bytes::from(line));
    }

    fn push_bookmark(&mut self, revision: u64, initial_events_end: bool) {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.form {
            Form::Table(style) => table::table(&self.kind, style, [], &metadata),
            Form::Object | Form::Metadata(_) => json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
        };
        self.push_line("BOOKMARK", &object);
        self.bookmark = Some(Instant::now() + BOOKMARK_EVERY);
    }
}
