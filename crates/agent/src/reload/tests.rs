use std::os::unix::fs::symlink;
use std::time::Instant;

use super::*;
use crate::config::Configuration;
use crate::features::Counters;

const HEADER: &str = "apiVersion: podway.dev/v1alpha1\nkind: PodwayConfiguration\n";

/// A watched file.
struct Bench {
    file: PathBuf,
    mailbox: Arc<Mailbox>,
    settings: watch::Receiver<Settings>,
}

impl Bench {
    fn start(file: &Path) -> Self {
        let source = Source::agent(file);
        let loaded = (source.read)().unwrap();
        let mailbox = Arc::new(Mailbox::default());
        let (servers, settings) = watch::channel(Settings::of(&loaded.config));
        let readers = Readers {
            mailbox: mailbox.clone(),
            facts: Facts::new(&mailbox, &Counters::default(), &loaded),
            servers,
        };
        watch(source, loaded, readers).unwrap();
        Self {
            file: file.to_owned(),
            mailbox,
            settings,
        }
    }

    fn next(&self) -> Result<Configuration, String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let batch = self.mailbox.take(Some(deadline));
        batch.configuration.expect("nothing was told")
    }
}

#[test]
fn a_change_is_told_and_a_broken_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.yaml");
    fs::write(&file, HEADER).unwrap();
    let bench = Bench::start(&file);
    fs::write(&file, format!("{HEADER}services: {{mode: iptables}}\n")).unwrap();
    assert_eq!(bench.next().unwrap().services.mode, "iptables");
    fs::write(&file, format!("{HEADER}services: {{mode: iptable}}\n")).unwrap();
    let complaint = bench.next().unwrap_err();
    assert!(
        complaint.contains("agent.yaml:3:18: services.mode"),
        "{complaint}"
    );
    fs::remove_file(&file).unwrap();
    assert!(bench.next().unwrap_err().contains("cannot be read"));
    // A new file in the old one's place, as editors do.
    let new = folder.path().join("new");
    fs::write(
        &new,
        format!("{HEADER}observability: {{healthAddress: \"off\"}}\n"),
    )
    .unwrap();
    fs::rename(&new, &bench.file).unwrap();
    assert_eq!(bench.next().unwrap().health_address(), None);
    assert_eq!(bench.settings.borrow().health, None);
}

#[test]
fn a_config_map_is_followed_through_its_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, mode) in [("v1", "nftables"), ("v2", "ipvs")] {
        fs::create_dir(path(version)).unwrap();
        let text = format!("{HEADER}services: {{mode: {mode}}}\n");
        fs::write(path(version).join("agent.yaml"), text).unwrap();
    }
    symlink("v1", path("..data")).unwrap();
    symlink("..data/agent.yaml", path("agent.yaml")).unwrap();
    let bench = Bench::start(&path("agent.yaml"));
    symlink("v2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(bench.next().unwrap().services.mode, "ipvs");
}
