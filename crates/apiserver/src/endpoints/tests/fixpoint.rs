//! Applying the writes and asking again yields nothing, and what is stored then
//! holds exactly the endpoints that the pods give.

use super::*;

/// A store of what reconcile writes, which passes through admission as it would
/// in the server.
#[derive(Debug, Default)]
struct Stored {
    slices: BTreeMap<String, Value>,
    endpoints: Option<Value>,
    version: u64,
}

impl Stored {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.version += 1;
            let (kind, object) = match write {
                Write::Create(kind, value) => {
                    let name = value["metadata"]["name"].as_str().unwrap().to_owned();
                    let taken = kind.kind == "EndpointSlice" && self.slices.contains_key(&name);
                    assert!(!taken, "{name} exists: {self:#?}");
                    let decoded = kind.decode_value(value).unwrap().object;
                    let admitted = kind.admit_create(decoded).unwrap();
                    (kind, admitted)
                }
                Write::Update(kind, value) => {
                    let name = value["metadata"]["name"].as_str().unwrap();
                    let old = match kind.kind.as_str() {
                        "EndpointSlice" => &self.slices[name],
                        _ => self.endpoints.as_ref().unwrap(),
                    };
                    assert_eq!(
                        value["metadata"]["resourceVersion"],
                        old["metadata"]["resourceVersion"]
                    );
                    let decoded = kind.decode_value(value.clone()).unwrap().object;
                    let part = crate::kinds::Part::Object;
                    let admitted = kind.admit_update(decoded, old, part).unwrap();
                    (kind, admitted)
                }
                Write::Status(..) => panic!("endpoints have no status: {self:#?}"),
                Write::Delete(kind, name) => {
                    match kind.kind.as_str() {
                        "EndpointSlice" => assert!(self.slices.remove(&name).is_some()),
                        _ => self.endpoints = None,
                    }
                    continue;
                }
            };
            let mut object = object;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            match kind.kind.as_str() {
                "EndpointSlice" => {
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    self.slices.insert(name, object);
                }
                _ => self.endpoints = Some(object),
            }
        }
    }

    fn run(&mut self, service: Option<&Value>, pods: &[Value]) {
        let slices: Vec<Value> = self.slices.values().cloned().collect();
        let writes = run(service, pods, &slices, self.endpoints.as_ref());
        self.apply(writes);
        let slices: Vec<Value> = self.slices.values().cloned().collect();
        let again = run(service, pods, &slices, self.endpoints.as_ref());
        assert_eq!(again, [], "after {self:#?}");
    }

    fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self
            .slices
            .values()
            .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
            .map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned())
            .collect();
        addresses.sort();
        addresses
    }
}

/// One pod in one step: absent, or its readiness, target port and end.
#[derive(Debug, Clone, Copy)]
enum Life {
    Absent,
    Running { ready: bool, port: i32 },
    Terminating,
    Finished,
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        2 => Just(Life::Absent),
        6 => (any::<bool>(), 8080..8082).prop_map(|(ready, port)| Life::Running { ready, port }),
        1 => Just(Life::Terminating),
        1 => Just(Life::Finished),
    ]
}

fn born(number: usize, life: Life) -> Option<Value> {
    let change = match life {
        Life::Absent => return None,
        Life::Running { ready, port } => json!({
            "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}]},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}}),
        Life::Terminating => json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        Life::Finished => json!({"status": {"phase": "Succeeded"}}),
    };
    Some(pod(&format!("p{number:03}"), number, &change))
}

#[derive(Debug, Clone)]
struct Step {
    lives: Vec<Life>,
    families: Vec<&'static str>,
    present: bool,
}

fn step(pods: usize) -> impl Strategy<Value = Step> {
    let families = prop::sample::select(vec![vec!["IPv4"], vec!["IPv6"], vec!["IPv4", "IPv6"]]);
    (
        prop::collection::vec(life(), pods),
        families,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(lives, families, present)| Step {
            lives,
            families,
            present,
        })
}

fn check(steps: &[Step]) {
    let mut stored = Stored::default();
    for step in steps {
        let service = service(&json!({"ipFamilies": step.families,
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}));
        let pods: Vec<Value> = step
            .lives
            .iter()
            .enumerate()
            .filter_map(|(n, life)| born(n, *life))
            .collect();
        stored.run(step.present.then_some(&service), &pods);
        let mut expected = Vec::new();
        let in_slices = step
            .lives
            .iter()
            .enumerate()
            .filter(|(_, l)| !matches!(l, Life::Absent | Life::Finished));
        for (number, _) in in_slices.filter(|_| step.present) {
            let ips = &pod("x", number, &json!({}))["status"]["podIPs"];
            let of = |n: usize| ips[n]["ip"].as_str().unwrap().to_owned();
            expected.extend(
                step.families
                    .iter()
                    .map(|family| of(usize::from(*family == "IPv6"))),
            );
        }
        expected.sort();
        assert_eq!(stored.addresses(), expected, "{steps:?}");
        for slice in stored.slices.values() {
            let count = slice["endpoints"].as_array().map_or(0, Vec::len);
            assert!(count <= 100, "{count} endpoints in {slice:#}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn small_services_settle(steps in prop::collection::vec(step(4), 1..6)) {
        check(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn large_services_settle(steps in prop::collection::vec(step(230), 1..4)) {
        check(&steps);
    }
}
