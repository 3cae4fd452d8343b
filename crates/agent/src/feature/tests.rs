use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

/// A feature that is followed up twice after each write.
struct Later {
    log: Arc<Mutex<Vec<String>>>,
    left: u32,
    fails: Arc<Mutex<bool>>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl Feature for Later {
    fn name(&self) -> &'static str {
        "later"
    }

    fn plan_all(&mut self, _: &ClusterState) {}

    fn plan(&mut self, _: &ClusterState, _: &[Update]) {}

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        self.log.lock().push(format!("write {scope:?}"));
        self.left = 2;
        Ok(())
    }

    fn follow_up(&mut self, _: &ClusterState, now: Instant) -> Result<Option<Instant>, WriteError> {
        self.log.lock().push("follow up".to_owned());
        if std::mem::take(&mut *self.fails.lock()) {
            return Err("the kernel refused".into());
        }
        self.left -= 1;
        Ok((self.left > 0).then_some(now + PAUSE))
    }

    fn describe(&self, _: &mut Report) {}
}

#[test]
fn what_a_write_left_is_done_when_it_is_due() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let fails = Arc::new(Mutex::new(false));
    let mut tracked = Tracked::new(Box::new(Later {
        log: log.clone(),
        left: 0,
        fails: fails.clone(),
    }));
    let now = Instant::now();
    let turn = |tracked: &mut Tracked, now| {
        tracked.write(&ClusterState::default(), now);
        std::mem::take(&mut *log.lock())
    };
    assert_eq!(turn(&mut tracked, now), ["write Everything", "follow up"]);
    assert_eq!(tracked.due(), Some(now + PAUSE));
    assert_eq!(turn(&mut tracked, now), [""; 0]);
    assert_eq!(turn(&mut tracked, now + PAUSE), ["follow up"]);
    assert_eq!(tracked.due(), None);

    tracked.plan(|_| {});
    assert_eq!(turn(&mut tracked, now), ["write Change", "follow up"]);
    *fails.lock() = true;
    assert_eq!(turn(&mut tracked, now + PAUSE), ["follow up"]);
    assert!(tracked.problem().is_some());
    let again = now + PAUSE + FIRST_PAUSE;
    assert_eq!(tracked.due(), Some(again));
    assert_eq!(turn(&mut tracked, again), ["write Everything", "follow up"]);
    assert_eq!(tracked.problem(), None);
}
