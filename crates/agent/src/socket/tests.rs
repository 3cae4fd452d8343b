use podway_cni::agent_protocol::{Attachment, Detachment};

use super::*;

struct Agent {
    folder: tempfile::TempDir,
    mailbox: Arc<Mailbox>,
}

impl Agent {
    fn start(wait: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Arc::new(Mailbox::default());
        let socket = Socket::bind(&folder.path().join("agent.sock")).unwrap();
        socket
            .serve(Served {
                mailbox: mailbox.clone(),
                readiness: Box::new(|| AgentStatus {
                    ready: false,
                    message: "objects are not listed yet".to_owned(),
                    ..AgentStatus::default()
                }),
                wait,
            })
            .unwrap();
        Self { folder, mailbox }
    }

    fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("agent.sock")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn attach() -> String {
    let attachment = Attachment {
        namespace: "x".to_owned(),
        name: "a".to_owned(),
        uid: "u".to_owned(),
        container_id: "c".to_owned(),
        ifname: "eth0".to_owned(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
    };
    format!(
        "{}\n",
        serde_json::to_string(&Asked::Attach(attachment)).unwrap()
    )
}

#[test]
fn an_attachment_is_answered_with_what_the_sync_thread_says() {
    let agent = Agent::start(Duration::from_secs(60));
    for (outcome, expected) in [
        (Ok(()), "{\"ok\":{}}\n"),
        (
            Err("policies: no room".to_owned()),
            "{\"error\":{\"message\":\"policies: no room\"}}\n",
        ),
    ] {
        let mailbox = agent.mailbox.clone();
        let sync = thread::spawn(move || match mailbox.take(None).requests.pop_front() {
            Some(Request::Attach(attachment, answer)) => {
                answer.send(outcome).unwrap();
                attachment
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(agent.ask(&attach()), expected);
        assert_eq!(sync.join().unwrap().name, "a");
    }
}

#[test]
fn who_waits_too_long_is_told_why() {
    let agent = Agent::start(Duration::ZERO);
    assert_eq!(
        agent.ask(&attach()),
        "{\"error\":{\"message\":\"not in force after 0 s: objects are not listed yet\"}}\n"
    );
}

#[test]
fn other_lines_are_answered_at_once() {
    let agent = Agent::start(Duration::from_secs(60));
    for (line, expected) in [
        (
            "{\"status\":{}}\n",
            "{\"status\":{\"ready\":false,\"message\":\"objects are not listed yet\"}}\n",
        ),
        (
            "{\"detached\":{}}\n",
            "request not understood: unknown variant `detached`",
        ),
        ("nonsense\n", "request not understood: expected"),
    ] {
        let answer = agent.ask(line);
        assert!(answer.contains(expected), "{expected:?} in {answer:?}");
    }
    let detach = Asked::Detach(Detachment {
        container_id: "c".to_owned(),
        ifname: "eth0".to_owned(),
        namespace: String::new(),
        name: String::new(),
        addresses: Vec::new(),
    });
    let mailbox = agent.mailbox.clone();
    let sync = thread::spawn(move || match mailbox.take(None).requests.pop_front() {
        Some(Request::Detach(_, answer)) => answer.send(Ok(())).unwrap(),
        other => panic!("{other:?}"),
    });
    let line = format!("{}\n", serde_json::to_string(&detach).unwrap());
    assert_eq!(agent.ask(&line), "{\"ok\":{}}\n");
    sync.join().unwrap();
}

#[test]
fn a_socket_is_taken_over_from_the_dead_and_from_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/agent.sock");
    let first = Socket::bind(&path).unwrap();
    let error = Socket::bind(&path).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    assert!(path.exists());
    Socket::bind(&path).unwrap();
}
