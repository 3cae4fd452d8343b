use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use podway_model::{Change, Namespace, Object, ObjectRef, Update};
use podway_testkit::builders;
use podway_watch::client::Notice;
use podway_watch::objects::Fault;

use super::*;
use crate::config::Pods;
use crate::feature::{Feature, Scope, WriteError};

/// What the features were asked, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A feature that notes what it is asked and fails as often as it is told.
struct Noted {
    name: &'static str,
    log: Log,
    failures: Arc<Mutex<u32>>,
}

impl Feature for Noted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn guards_pods(&self) -> bool {
        self.name == "first"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        let namespaces = state.namespaces().count();
        self.note(&format!("plan all of {namespaces}"));
    }

    fn plan(&mut self, _: &ClusterState, updates: &[Update]) {
        self.note(&format!("plan {}", updates.len()));
    }

    fn attach(&mut self, _: &ClusterState, attachment: &Attachment) {
        self.note(&format!("attach {}", attachment.name));
    }

    fn detach(&mut self, _: &ClusterState, attachment: &Attachment) {
        self.note(&format!("detach {}", attachment.name));
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        self.note(&format!("write {scope:?}"));
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err("the kernel refused".into());
        }
        Ok(())
    }

    fn describe(&self, report: &mut Report) {
        report.mtu = Some(1430);
    }
}

impl Noted {
    fn note(&self, what: &str) {
        self.log.lock().push(format!("{}: {what}", self.name));
    }
}

#[derive(Clone, Default)]
struct Kept {
    reports: Arc<Mutex<Vec<Report>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Outbox for Kept {
    fn report(&mut self, report: Report) {
        self.reports.lock().push(report);
    }

    fn fault(&mut self, fault: &Fault) {
        self.faults.lock().push(fault.to_string());
    }
}

struct Bench {
    sync: Sync<Kept>,
    mailbox: Mailbox,
    log: Log,
    /// How often the next writes of `first` fail.
    failures: Arc<Mutex<u32>>,
    kept: Kept,
    readiness: Arc<Mutex<AgentStatus>>,
    folder: tempfile::TempDir,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        let (log, failures, kept) = (Log::default(), Arc::default(), Kept::default());
        let feature = |name, failures: &Arc<Mutex<u32>>| {
            Tracked::new(Box::new(Noted {
                name,
                log: log.clone(),
                failures: failures.clone(),
            }))
        };
        let readiness = Arc::new(Mutex::new(AgentStatus::default()));
        let pods = Pods {
            cni_conf_dir: folder.path().join("net.d"),
            ..Pods::default()
        };
        let sync = Sync::new(Parts {
            node: "node1".into(),
            features: vec![
                feature("first", &failures),
                feature("second", &Arc::default()),
            ],
            pods: Some(PodConfig::new(&pods, None, true)),
            attachments: Attachments::read(folder.path()),
            counters: Counters::default(),
            health: Arc::default(),
            readiness: readiness.clone(),
            outbox: kept.clone(),
            assembly: None,
        });
        Self {
            sync,
            mailbox: Mailbox::default(),
            log,
            failures,
            kept,
            readiness,
            folder,
            now: Instant::now(),
        }
    }

    /// A bench whose sync thread has seen every kind listed.
    fn synced() -> Self {
        let mut bench = Self::new();
        bench.mailbox.notice(Notice::Synced);
        bench.turn();
        bench.log.lock().clear();
        bench
    }

    /// Takes what is in the mailbox, and returns what the features were asked.
    fn turn(&mut self) -> Vec<String> {
        let batch = self.mailbox.take(Some(self.now));
        self.sync.take(batch, self.now);
        std::mem::take(&mut *self.log.lock())
    }

    fn upsert(&self, name: &str, revision: u64) {
        let object = Object::Namespace(Arc::new(Namespace {
            name: name.into(),
            revision,
            labels: [].into(),
        }));
        self.mailbox.notice(Notice::Change(Change::Upsert(object)));
    }

    fn node(&self, pod_prefixes: &[&str]) {
        let node = builders::node("node1", &[], pod_prefixes);
        let object = Object::Node(Arc::new(node));
        self.mailbox.notice(Notice::Change(Change::Upsert(object)));
    }

    fn attach(&self, pod: &str) -> Receiver<Result<(), String>> {
        let (answer, answered) = sync_channel(1);
        let attachment = Attachment {
            namespace: "x".to_owned(),
            name: pod.to_owned(),
            uid: String::new(),
            container_id: format!("sandbox-{pod}"),
            ifname: "eth0".to_owned(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
        };
        self.mailbox.request(Request::Attach(attachment, answer));
        answered
    }

    fn detach(&self, pod: &str) -> Receiver<Result<(), String>> {
        let (answer, answered) = sync_channel(1);
        let detachment = Detachment {
            container_id: format!("sandbox-{pod}"),
            ifname: "eth0".to_owned(),
            namespace: String::new(),
            name: String::new(),
            addresses: Vec::new(),
        };
        self.mailbox.request(Request::Detach(detachment, answer));
        answered
    }

    fn status(&self) -> NodeStatus {
        self.kept.reports.lock().last().unwrap().status.clone()
    }
}

#[test]
fn nothing_is_written_before_every_kind_is_listed() {
    let mut bench = Bench::new();
    bench.upsert("a", 1);
    let answered = bench.attach("p");
    assert_eq!(bench.turn(), Vec::<String>::new());
    assert!(!bench.readiness.lock().ready);
    assert!(!bench.status().synced);
    assert!(answered.try_recv().is_err());

    bench.upsert("b", 2);
    bench.mailbox.notice(Notice::Synced);
    assert_eq!(
        bench.turn(),
        [
            "first: plan all of 2",
            "second: plan all of 2",
            "first: write Everything",
            "second: write Everything",
            // Now the pod that has waited.
            "first: attach p",
            "second: attach p",
            "first: write Change",
            "second: write Change",
        ]
    );
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    assert!(bench.readiness.lock().ready);
    assert_eq!((bench.status().revision, bench.status().heard), (2, 2));
}

#[test]
fn changes_that_queued_up_are_one_write() {
    let mut bench = Bench::synced();
    for revision in 1..=5 {
        bench.upsert("a", revision);
        bench.upsert("b", revision);
    }
    assert_eq!(
        bench.turn(),
        [
            "first: plan 2",
            "second: plan 2",
            "first: write Change",
            "second: write Change",
        ]
    );
}

#[test]
fn a_failing_feature_is_alone_and_tried_again_later() {
    let mut bench = Bench::synced();
    *bench.failures.lock() = 2;
    bench.upsert("a", 7);
    assert_eq!(
        bench.turn(),
        [
            "first: plan 1",
            "second: plan 1",
            "first: write Change",
            // The kernel may hold something else than expected: once more, whole.
            "first: write Everything",
            "second: write Change",
        ]
    );
    assert_eq!((bench.status().revision, bench.status().heard), (0, 7));
    let problem = &bench.status().problems[0];
    assert_eq!(
        (&*problem.feature, &*problem.message),
        ("first", "the kernel refused")
    );
    assert!(!bench.readiness.lock().ready);

    // During the pause, changes are planned and not written.
    bench.upsert("a", 8);
    assert_eq!(
        bench.turn(),
        ["first: plan 1", "second: plan 1", "second: write Change"]
    );

    bench.now += Duration::from_millis(100);
    assert_eq!(bench.turn(), ["first: write Everything"]);
    assert_eq!((bench.status().revision, bench.status().heard), (8, 8));
    let problems = bench.status().problems;
    assert!(
        !problems.iter().any(|p| p.feature == "first"),
        "{problems:?}"
    );
}

#[test]
fn pauses_grow_while_the_failure_lasts() {
    let mut bench = Bench::synced();
    *bench.failures.lock() = u32::MAX;
    bench.upsert("a", 1);
    bench.turn();
    for pause in [100, 200, 400, 800] {
        let retry_at = bench.sync.features[0].due().unwrap();
        assert_eq!(retry_at - bench.now, Duration::from_millis(pause));
        bench.now = retry_at;
        let asked = bench.turn();
        assert!(
            asked.contains(&"first: write Everything".to_owned()),
            "{asked:?}"
        );
    }
}

#[test]
fn an_attachment_is_refused_while_its_rules_are_not_in_force() {
    let mut bench = Bench::synced();
    *bench.failures.lock() = 2;
    let answered = bench.attach("p");
    bench.turn();
    assert_eq!(
        answered.try_recv(),
        Ok(Err("first: the kernel refused".to_owned()))
    );

    // The kubelet tries again: at once, whatever the pause.
    let answered = bench.attach("p");
    let asked = bench.turn();
    assert_eq!(
        &asked[asked.len() - 2..],
        ["first: write Everything", "second: write Change"]
    );
    assert_eq!(answered.try_recv(), Ok(Ok(())));
}

#[test]
fn an_agent_that_starts_again_knows_the_attached_pods_that_exist() {
    let mut bench = Bench::synced();
    // The receivers live on: nobody hangs up.
    let _waiting = [bench.attach("gone"), bench.attach("left")];
    bench.turn();
    let answered = bench.detach("left");
    assert_eq!(
        bench.turn(),
        [
            "first: detach left",
            "second: detach left",
            "first: write Change",
            "second: write Change"
        ]
    );
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    let answered = bench.detach("left");
    bench.turn();
    assert_eq!(answered.try_recv(), Ok(Ok(())), "a second DEL is no error");

    let mut again = Bench::in_folder(bench.folder);
    assert_eq!(again.sync.attachments.list().count(), 1);
    again.mailbox.notice(Notice::Synced);
    let asked = again.turn();
    assert!(
        !asked.contains(&"first: attach gone".to_owned()),
        "{asked:?}"
    );
    assert_eq!(again.sync.attachments.list().count(), 0);
}

#[test]
fn foreign_changes_lead_to_a_whole_comparison() {
    let mut bench = Bench::synced();
    bench.mailbox.disturb();
    assert_eq!(
        bench.turn(),
        ["first: write Everything", "second: write Everything"]
    );
}

#[test]
fn the_runtime_is_configured_once_the_node_has_prefixes_and_a_network() {
    let mut bench = Bench::synced();
    let file = bench.folder.path().join("net.d/10-podway.conflist");
    assert!(!file.exists());
    assert_eq!(bench.status().problems[0].feature, "pods");

    *bench.failures.lock() = 2;
    bench.node(&["10.244.1.0/24", "fd00:10:244:1::/64"]);
    bench.turn();
    assert!(!file.exists(), "pods would not be guarded");

    bench.now += Duration::from_secs(1);
    bench.turn();
    let text = std::fs::read_to_string(&file).unwrap();
    for expected in ["10.244.1.0/24", "fd00:10:244:1::/64", "1430", "podway-cni"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(bench.status().problems.is_empty(), "{:?}", bench.status());
    assert!(bench.status().pods.unwrap().configured);
}

#[test]
fn faults_and_lost_watches_are_told_until_they_are_over() {
    let mut bench = Bench::synced();
    let object = ObjectRef::Namespace("a".into());
    let fault = Fault {
        object: object.clone(),
        field: "metadata.name".to_owned(),
        reason: "wrong".to_owned(),
    };
    for _ in 0..2 {
        bench
            .mailbox
            .notice(Notice::Faults(object.clone(), vec![fault.clone()]));
        bench.turn();
    }
    assert_eq!(
        *bench.kept.faults.lock(),
        ["Namespace a: metadata.name: wrong"],
        "told once"
    );
    assert_eq!(bench.status().fault_count, 1);

    bench.mailbox.notice(Notice::Lost(
        ObjectKind::Pod,
        "connection refused".to_owned(),
    ));
    bench.turn();
    let problems = bench.status().problems;
    assert!(
        problems
            .iter()
            .any(|p| p.message == "Pod: connection refused"),
        "{problems:?}"
    );

    bench.mailbox.notice(Notice::Regained(ObjectKind::Pod));
    bench.mailbox.notice(Notice::Faults(object, Vec::new()));
    bench.turn();
    assert_eq!(bench.status().fault_count, 0);
    assert!(!bench.status().problems.iter().any(|p| p.feature == "watch"));
}
