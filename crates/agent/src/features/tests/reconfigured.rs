use podway_kernel::iptables::{Iptables as _, Xtables};

use super::*;
use crate::config;

fn with_services(services: config::Services) -> Configuration {
    Configuration {
        services,
        ..Configuration::default()
    }
}

impl Agent {
    fn configure(&mut self, config: &Configuration) -> Writes {
        self.mailbox.configure(Ok(config.clone()));
        self.turn()
    }

    /// Takes turns, for what is done in its own time.
    fn turns_until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
            self.turn();
        }
    }
}

fn has_table(name: &str) -> bool {
    Nft::open().unwrap().dump(name).unwrap().is_some()
}

fn has_kube_chains() -> bool {
    let mut xtables = Xtables::open().unwrap();
    let families = xtables.families().to_vec();
    families.into_iter().any(|family| {
        let tables = xtables.save(family).unwrap();
        let mut chains = tables.values().flat_map(|chains| chains.keys());
        chains.any(|name| name.starts_with("KUBE-SVC-"))
    })
}

#[test]
fn another_setting_writes_what_follows_from_it() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let same = Configuration::default();
        assert_eq!(agent.configure(&same), Writes::default(), "the same");
        let all = with_services(config::Services {
            masquerade_all: true,
            ..config::Services::default()
        });
        let writes = agent.configure(&all);
        assert_eq!(writes.transactions, 1, "{writes:?}");
        assert!((1..=8).contains(&writes.objects), "{writes:?}");
        assert_eq!(agent.configure(&all), Writes::default(), "again");
        let writes = agent.configure(&same);
        assert_eq!(writes.transactions, 1, "and back: {writes:?}");
        assert_eq!(agent.status().policies.unwrap().pods, 1);
    });
}

#[test]
fn another_mode_takes_the_place_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let mode = |mode: &str| {
            with_services(config::Services {
                mode: mode.to_owned(),
                ..config::Services::default()
            })
        };
        agent.configure(&mode("iptables"));
        agent.turns_until("the mode before is gone", || !has_table(SERVICE_TABLE));
        assert!(has_kube_chains());
        assert_eq!(agent.status().services.unwrap().mode, "iptables");
        // What comes afterwards is written by it.
        agent.tell(web(&["10.244.1.5", "10.244.1.6"]).object());
        agent.turn();
        assert_eq!(agent.status().services.unwrap().endpoints, 2);
        agent.configure(&mode("nftables"));
        agent.turns_until("the mode before is gone", || !has_kube_chains());
        assert!(has_table(SERVICE_TABLE));
    });
}

#[test]
fn what_is_switched_off_goes_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let mut off = Configuration::default();
        off.services.enabled = false;
        off.policies.enabled = false;
        off.pods.masquerade = false;
        agent.configure(&off);
        let tables = ["podway-services", "podway-policies", "podway-masquerade"];
        assert_eq!(tables.map(has_table), [false; 3]);
        assert!(agent.status().services.is_none() && agent.status().policies.is_none());
        agent.configure(&Configuration::default());
        assert_eq!(tables.map(has_table), [true; 3]);
        assert_eq!(agent.status().policies.unwrap().pods, 1);
        let names: Vec<_> = agent.sync.feature_names().collect();
        let all = ["policies", "services", "pods", "overlay", "loadBalancer"];
        assert_eq!(names, all);
    });
}

#[test]
fn what_is_wrong_or_comes_later_is_said() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let problem = |agent: &mut Agent, configuration| {
            agent.mailbox.configure(configuration);
            let now = Instant::now();
            let batch = agent.mailbox.take(Some(now));
            agent.sync.take(batch, now);
            let problems = agent.status().problems;
            problems
                .first()
                .map(|p| (p.feature.clone(), p.message.clone()))
        };
        let (feature, message) = problem(&mut agent, Err("a:1:1: no".to_owned())).unwrap();
        assert_eq!(feature, "configuration");
        assert!(message.ends_with("stays in force: a:1:1: no"), "{message}");
        let later = Configuration {
            node_name: Some("other".to_owned()),
            ..Configuration::default()
        };
        let (_, message) = problem(&mut agent, Ok(later)).unwrap();
        assert_eq!(message, "nodeName: in force when the agent starts again");
        assert_eq!(problem(&mut agent, Ok(Configuration::default())), None);
        // A mode that this kernel cannot do: what was there goes on.
        let ipvs = with_services(config::Services {
            mode: "ipvs".to_owned(),
            ..config::Services::default()
        });
        let (_, message) = problem(&mut agent, Ok(ipvs)).unwrap();
        assert!(
            message.starts_with("services stays as it was: "),
            "{message}"
        );
        assert!(has_table(SERVICE_TABLE));
        assert_eq!(agent.status().services.unwrap().mode, "nftables");
    });
}

#[test]
fn a_flush_of_everything_is_noticed_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        crate::foreign::watch(agent.own.clone(), agent.mailbox.clone()).unwrap();
        agent.tell(web(&["10.244.1.6"]).object());
        agent.turn();
        assert_eq!(
            agent.settle(),
            Writes::default(),
            "our own change is no news"
        );
        let flushed = std::process::Command::new("nft")
            .args(["flush", "ruleset"])
            .status()
            .expect("nft is installed");
        assert!(flushed.success() && !has_table(SERVICE_TABLE));
        agent.until("restored", |_| {
            has_table(SERVICE_TABLE) && has_table(POLICY_TABLE)
        });
        let mut before = Nft::open().unwrap();
        let sets = before.dump(SERVICE_TABLE).unwrap().unwrap().sets.len();
        assert!(sets > 0);
    });
}
