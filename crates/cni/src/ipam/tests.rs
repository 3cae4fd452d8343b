use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder of the test's own, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podway-ipam-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Ipam {
        self.open_in("boot-1")
    }

    fn open_in(&self, boot: &str) -> Ipam {
        self.try_open_in(boot).unwrap()
    }

    fn try_open_in(&self, boot: &str) -> Result<Ipam, Error> {
        let (file, state) = StateFile::open_in_boot(&self.0.join("pods"), FILE, boot)?;
        Ok(Ipam {
            file,
            state,
            host_local_dir: self.0.join("host-local"),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn owner(container: &str) -> Owner {
    Owner {
        container: container.to_string(),
        ifname: "eth0".into(),
    }
}

/// A set of one range for each prefix.
fn sets(prefixes: &[&str]) -> Vec<Vec<Range>> {
    prefixes
        .iter()
        .map(|prefix| vec![Range::of_prefix(prefix.parse().unwrap()).expect(prefix)])
        .collect()
}

/// A set of one range as a runtime writes it.
fn range(keys: serde_json::Value) -> Result<Range, String> {
    Range::of_keys(&serde_json::from_value(keys).unwrap())
}

const fn any(sets: &[Vec<Range>]) -> Request<'_> {
    Request {
        sets,
        addresses: &[],
        reserved: &[],
    }
}

fn texts(ips: &[Assigned]) -> Vec<String> {
    ips.iter().map(|ip| ip.address.to_string()).collect()
}

#[test]
fn ranges_leave_out_network_gateway_and_broadcast() {
    for (prefix, gateway, first, last, capacity) in [
        (
            "10.244.1.0/24",
            "10.244.1.1",
            "10.244.1.2",
            "10.244.1.254",
            253,
        ),
        ("10.244.1.0/30", "10.244.1.1", "10.244.1.2", "10.244.1.2", 1),
        (
            "10.244.0.0/16",
            "10.244.0.1",
            "10.244.0.2",
            "10.244.16.1",
            4096,
        ),
        ("fd00::/64", "fd00::1", "fd00::2", "fd00::1001", 4096),
        ("fd00::/126", "fd00::1", "fd00::2", "fd00::3", 2),
        (
            "255.255.255.0/24",
            "255.255.255.1",
            "255.255.255.2",
            "255.255.255.254",
            253,
        ),
    ] {
        let range = Range::of_prefix(prefix.parse().unwrap()).expect(prefix);
        let all: Vec<IpAddr> = range.from(None).collect();
        assert_eq!(range.gateway().to_string(), gateway, "{prefix}");
        assert_eq!(all[0].to_string(), first, "{prefix}");
        assert_eq!(all[all.len() - 1].to_string(), last, "{prefix}");
        assert_eq!(
            (all.len() as u64, range.capacity()),
            (capacity, capacity),
            "{prefix}"
        );
        assert!(
            all.iter().all(|&address| range.contains(address)),
            "{prefix}"
        );
        assert!(!range.contains(range.gateway()), "{prefix}");
    }
    for prefix in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/127", "fd00::/128"] {
        assert_eq!(Range::of_prefix(prefix.parse().unwrap()), None, "{prefix}");
    }
}

#[test]
fn both_families_are_given_together_or_not_at_all() {
    let folder = Folder::new("together");
    let narrow = sets(&["10.244.1.0/24", "fd00::/126"]);
    let given = folder.open().allocate(&owner("1"), &any(&narrow)).unwrap();
    assert_eq!(texts(&given), ["10.244.1.2", "fd00::2"]);
    folder.open().allocate(&owner("2"), &any(&narrow)).unwrap();
    let error = folder
        .open()
        .allocate(&owner("3"), &any(&narrow))
        .unwrap_err();
    assert_eq!(error.code(), 11, "{error}");
    assert!(error.to_string().contains("fd00::/126"), "{error}");
    assert_eq!(
        folder.open().state.addresses(&owner("3")),
        Vec::<IpAddr>::new()
    );
    let wide = sets(&["10.244.1.0/24"]);
    let next = folder.open().allocate(&owner("3"), &any(&wide)).unwrap();
    assert_eq!(texts(&next), ["10.244.1.4"], "IPv4's was not used up");
}

#[test]
fn a_freed_address_rests_until_all_others_were_used_and_comes_back_in_order() {
    let folder = Folder::new("rests");
    let sets = sets(&["10.0.0.0/29"]);
    let take = |container: &str| {
        texts(
            &folder
                .open()
                .allocate(&owner(container), &any(&sets))
                .unwrap(),
        )
    };
    let give = |container: &str| folder.open().release(&owner(container)).unwrap();
    assert_eq!(take("a"), ["10.0.0.2"]);
    assert_eq!(take("b"), ["10.0.0.3"]);
    assert_eq!(take("c"), ["10.0.0.4"]);
    assert_eq!(give("b"), ["10.0.0.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(give("a"), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(take("d"), ["10.0.0.5"], "unused ones first");
    assert_eq!(take("e"), ["10.0.0.6"]);
    assert_eq!(take("f"), ["10.0.0.3"], "then the longest resting");
    assert_eq!(take("g"), ["10.0.0.2"]);
    let error = folder
        .open()
        .allocate(&owner("h"), &any(&sets))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no address left in 10.0.0.0/29: all 5 are taken or reserved, delete pods or give the node a larger podCIDR"
    );
    assert_eq!(give("c"), ["10.0.0.4".parse::<IpAddr>().unwrap()]);
    assert_eq!(take("h"), ["10.0.0.4"]);
}

#[test]
fn the_same_interface_twice_is_refused_and_releasing_twice_is_not() {
    let folder = Folder::new("twice");
    let sets = sets(&["10.0.0.0/24"]);
    folder.open().allocate(&owner("1"), &any(&sets)).unwrap();
    let error = folder
        .open()
        .allocate(&owner("1"), &any(&sets))
        .unwrap_err();
    assert!(
        error.to_string().contains("it needs a DEL first"),
        "{error}"
    );
    assert_eq!(folder.open().release(&owner("1")).unwrap().len(), 1);
    assert_eq!(folder.open().release(&owner("1")).unwrap().len(), 0);
}

#[test]
fn a_reboot_forgets_every_lease_and_the_old_file() {
    let folder = Folder::new("reboot");
    let sets = sets(&["10.0.0.0/30"]);
    folder.open().allocate(&owner("1"), &any(&sets)).unwrap();
    let after = folder
        .open_in("boot-2")
        .allocate(&owner("2"), &any(&sets))
        .unwrap();
    assert_eq!(texts(&after), ["10.0.0.2"]);
    let mut names: Vec<String> = fs::read_dir(folder.0.join("pods"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["leases-boot-2.json", "leases.lock"]);
}

#[test]
fn what_a_crash_leaves_of_a_write_is_not_read() {
    let folder = Folder::new("crash");
    let sets = sets(&["10.0.0.0/24"]);
    folder.open().allocate(&owner("1"), &any(&sets)).unwrap();
    fs::write(folder.0.join("pods/leases.new"), "{\"leases\":[").unwrap();
    let given = folder.open().allocate(&owner("2"), &any(&sets)).unwrap();
    assert_eq!(texts(&given), ["10.0.0.3"]);
    assert_eq!(folder.open().state.addresses(&owner("1")).len(), 1);
}

#[test]
fn a_damaged_state_is_named_and_never_overwritten() {
    let folder = Folder::new("damaged");
    drop(folder.open());
    let file = folder.0.join("pods/leases-boot-1.json");
    fs::write(&file, "garbage").unwrap();
    let error = folder.try_open_in("boot-1").unwrap_err();
    assert!(error.to_string().contains("leases-boot-1.json"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "garbage");
}

#[test]
fn another_pod_prefix_does_not_give_out_what_is_still_used() {
    let folder = Folder::new("moved");
    folder
        .open()
        .allocate(&owner("1"), &any(&sets(&["10.0.0.0/29"])))
        .unwrap();
    let wider = sets(&["10.0.0.0/28"]);
    let given = folder.open().allocate(&owner("2"), &any(&wider)).unwrap();
    assert_eq!(texts(&given), ["10.0.0.3"]);
}

#[test]
fn a_hundred_at_once_get_a_hundred_addresses() {
    let folder = Folder::new("parallel");
    let sets = sets(&["10.0.0.0/24", "fd00::/64"]);
    let mut addresses: Vec<Assigned> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                let (folder, sets) = (&folder, &sets);
                scope.spawn(move || {
                    folder
                        .open()
                        .allocate(&owner(&n.to_string()), &any(sets))
                        .unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    addresses.sort_by_key(|ip| ip.address);
    addresses.dedup();
    assert_eq!(addresses.len(), 200);
}

#[test]
fn ranges_of_the_runtime_have_bounds_and_a_gateway_of_their_own() {
    let keys = serde_json::json!({
        "subnet": "10.1.0.0/24",
        "rangeStart": "10.1.0.10",
        "rangeEnd": "10.1.0.13",
        "gateway": "10.1.0.11",
    });
    let range = range(keys).unwrap();
    let all: Vec<String> = range.from(None).map(|ip| ip.to_string()).collect();
    assert_eq!(all, ["10.1.0.10", "10.1.0.12", "10.1.0.13"]);
    assert_eq!(
        (range.capacity(), range.gateway().to_string().as_str()),
        (3, "10.1.0.11")
    );
    for (keys, words) in [
        (serde_json::json!({"subnet": "10.1.0.0/31"}), "no room"),
        (
            serde_json::json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}),
            "10.2.0.1 is not in 10.1.0.0/24",
        ),
        (
            serde_json::json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"}),
            "fd00::1 is not in",
        ),
        (
            serde_json::json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}),
            "ends before it begins",
        ),
    ] {
        let error = super::tests::range(keys.clone()).unwrap_err();
        assert!(error.contains(words), "{keys}: {error}");
    }
}

#[test]
fn a_set_with_several_ranges_gives_from_the_first_with_room() {
    let folder = Folder::new("several");
    let narrow = |start: &str| {
        range(serde_json::json!({"subnet": "10.0.0.0/24", "rangeStart": start, "rangeEnd": start}))
            .unwrap()
    };
    let sets = [vec![narrow("10.0.0.7"), narrow("10.0.0.5")]];
    let given = |container: &str| folder.open().allocate(&owner(container), &any(&sets));
    assert_eq!(texts(&given("1").unwrap()), ["10.0.0.7"]);
    assert_eq!(texts(&given("2").unwrap()), ["10.0.0.5"]);
    let error = given("3").unwrap_err().to_string();
    assert!(error.contains("all 2 are taken"), "{error}");
}

#[test]
fn a_pod_gets_the_address_that_it_asks_for_or_an_error_that_says_why_not() {
    let folder = Folder::new("asked");
    let sets = sets(&["10.0.0.0/24", "fd00::/64"]);
    let ask = |container: &str, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let request = Request {
            addresses: &addresses,
            ..any(&sets)
        };
        let given = folder.open().allocate(&owner(container), &request);
        given
            .map(|ips| texts(&ips))
            .map_err(|error| (error.code(), error.to_string()))
    };
    let given = |ips: &[&str]| Ok(ips.iter().map(|ip| (*ip).to_owned()).collect::<Vec<_>>());
    assert_eq!(ask("1", &["10.0.0.3"]), given(&["10.0.0.3", "fd00::2"]));
    assert_eq!(
        ask("2", &["fd00::9", "10.0.0.9"]),
        given(&["10.0.0.9", "fd00::9"])
    );
    // Those that are asked for are not given to others.
    assert_eq!(ask("3", &[]), given(&["10.0.0.2", "fd00::3"]));
    assert_eq!(ask("4", &[]), given(&["10.0.0.4", "fd00::4"]));
    for (addresses, code, words) in [
        (["10.0.0.3"], 11, "10.0.0.3 is taken by 1/eth0"),
        (
            ["10.0.0.1"],
            7,
            "10.0.0.1 is in none of the ranges, or is the gateway's",
        ),
        (["10.9.0.1"], 7, "10.9.0.1 is in none of the ranges"),
    ] {
        let error = ask("5", &addresses).unwrap_err();
        assert!(error.0 == code && error.1.contains(words), "{error:?}");
    }
    // One that has just been given back need not rest for who asks for it.
    folder.open().release(&owner("1")).unwrap();
    assert_eq!(ask("6", &["10.0.0.3"]), given(&["10.0.0.3", "fd00::5"]));
}

#[test]
fn reserved_addresses_are_given_only_to_those_who_ask() {
    let folder = Folder::new("reserved");
    let sets = sets(&["10.0.0.0/29"]);
    let reserved: Vec<IpNet> = ["10.0.0.2/31", "10.0.0.5/32"]
        .map(|net| net.parse().unwrap())
        .into();
    let asked: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap()];
    let request = |addresses| Request {
        sets: &sets,
        addresses,
        reserved: &reserved,
    };
    let take = |container: &str, addresses| {
        let given = folder
            .open()
            .allocate(&owner(container), &request(addresses));
        given.map(|ips| texts(&ips)).map_err(|error| error.code())
    };
    assert_eq!(take("1", &[]), Ok(vec!["10.0.0.4".to_owned()]));
    assert_eq!(take("2", &[]), Ok(vec!["10.0.0.6".to_owned()]));
    assert_eq!(take("3", &[]), Err(11));
    assert_eq!(take("4", &asked), Ok(vec!["10.0.0.5".to_owned()]));
    // Once it is not reserved any more.
    let given = folder.open().allocate(&owner("5"), &any(&sets)).unwrap();
    assert_eq!(texts(&given), ["10.0.0.2"]);
}

/// A file as host-local writes it.
fn host_local_file(folder: &Folder, address: &str, text: &str) -> PathBuf {
    let network = folder.0.join("host-local/cbr0");
    fs::create_dir_all(&network).unwrap();
    let file = network.join(address);
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn what_host_local_gave_to_running_pods_is_not_given_again() {
    let folder = Folder::new("host-local");
    let sets = sets(&["10.0.0.0/29", "fd00::/64"]);
    let held = host_local_file(&folder, "10.0.0.2", "old-1\r\neth0");
    let old = host_local_file(&folder, "10.0.0.4", "old-2");
    host_local_file(&folder, "fd00::2", " old-1\r\neth0\n");
    host_local_file(&folder, "last_reserved_ip.0", "10.0.0.4");
    host_local_file(&folder, "lock", "");
    // From before the machine was started.
    let stale = host_local_file(&folder, "10.0.0.3", "older\r\neth0");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let file = fs::File::options().write(true).open(&stale).unwrap();
    file.set_modified(long_ago).unwrap();
    let take = |container: &str| {
        let given = folder.open().allocate(&owner(container), &any(&sets));
        given.map(|ips| texts(&ips)).map_err(|error| error.code())
    };
    let given = |v4: &str, v6: &str| Ok(vec![v4.to_owned(), v6.to_owned()]);
    assert_eq!(take("1"), given("10.0.0.3", "fd00::3"));
    assert_eq!(take("2"), given("10.0.0.5", "fd00::4"));
    assert_eq!(take("3"), given("10.0.0.6", "fd00::5"));
    assert_eq!(take("4"), Err(11));

    let host_local = HostLocal::open(&folder.0.join("host-local"));
    let other = Owner {
        ifname: "net1".into(),
        ..owner("old-1")
    };
    assert_eq!(host_local.release(&other).unwrap(), Vec::<IpAddr>::new());
    let mut released = host_local.release(&owner("old-1")).unwrap();
    released.sort();
    assert_eq!(
        released,
        ["10.0.0.2", "fd00::2"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    assert!(!held.exists() && old.exists());
    assert_eq!(take("4"), given("10.0.0.2", "fd00::6"));
    assert_eq!(host_local.release(&owner("old-2")).unwrap().len(), 1);
}
