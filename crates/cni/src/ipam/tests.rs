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
        Ipam::open_in_boot(&self.0, "pods", boot).unwrap()
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

fn ranges(prefixes: &[&str]) -> Vec<Range> {
    prefixes
        .iter()
        .map(|prefix| Range::new(prefix.parse().unwrap()).expect(prefix))
        .collect()
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
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
        let range = Range::new(prefix.parse().unwrap()).expect(prefix);
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
        assert_eq!(Range::new(prefix.parse().unwrap()), None, "{prefix}");
    }
}

#[test]
fn both_families_are_given_together_or_not_at_all() {
    let folder = Folder::new("together");
    let narrow = ranges(&["10.244.1.0/24", "fd00::/126"]);
    let given = folder.open().allocate(&owner("1"), &narrow).unwrap();
    assert_eq!(texts(&given), ["10.244.1.2", "fd00::2"]);
    folder.open().allocate(&owner("2"), &narrow).unwrap();
    let error = folder.open().allocate(&owner("3"), &narrow).unwrap_err();
    assert_eq!(error.code(), 11, "{error}");
    assert!(error.to_string().contains("fd00::/126"), "{error}");
    assert_eq!(
        folder.open().state.addresses(&owner("3")),
        Vec::<IpAddr>::new()
    );
    let wide = ranges(&["10.244.1.0/24"]);
    let next = folder.open().allocate(&owner("3"), &wide).unwrap();
    assert_eq!(texts(&next), ["10.244.1.4"], "IPv4's was not used up");
}

#[test]
fn a_freed_address_rests_until_all_others_were_used_and_comes_back_in_order() {
    let folder = Folder::new("rests");
    let ranges = ranges(&["10.0.0.0/29"]);
    let take =
        |container: &str| texts(&folder.open().allocate(&owner(container), &ranges).unwrap());
    let give = |container: &str| texts(&folder.open().release(&owner(container)).unwrap());
    assert_eq!(take("a"), ["10.0.0.2"]);
    assert_eq!(take("b"), ["10.0.0.3"]);
    assert_eq!(take("c"), ["10.0.0.4"]);
    assert_eq!(give("b"), ["10.0.0.3"]);
    assert_eq!(give("a"), ["10.0.0.2"]);
    assert_eq!(take("d"), ["10.0.0.5"], "unused ones first");
    assert_eq!(take("e"), ["10.0.0.6"]);
    assert_eq!(take("f"), ["10.0.0.3"], "then the longest resting");
    assert_eq!(take("g"), ["10.0.0.2"]);
    let error = folder.open().allocate(&owner("h"), &ranges).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no address left in 10.0.0.0/29: all 5 are taken, delete pods or give the node a larger podCIDR"
    );
    assert_eq!(give("c"), ["10.0.0.4"]);
    assert_eq!(take("h"), ["10.0.0.4"]);
}

#[test]
fn the_same_interface_twice_is_refused_and_releasing_twice_is_not() {
    let folder = Folder::new("twice");
    let ranges = ranges(&["10.0.0.0/24"]);
    folder.open().allocate(&owner("1"), &ranges).unwrap();
    let error = folder.open().allocate(&owner("1"), &ranges).unwrap_err();
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
    let ranges = ranges(&["10.0.0.0/30"]);
    folder.open().allocate(&owner("1"), &ranges).unwrap();
    let after = folder
        .open_in("boot-2")
        .allocate(&owner("2"), &ranges)
        .unwrap();
    assert_eq!(texts(&after), ["10.0.0.2"]);
    let mut names: Vec<String> = fs::read_dir(folder.0.join("pods"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["leases-boot-2.json", "lock"]);
}

#[test]
fn what_a_crash_leaves_of_a_write_is_not_read() {
    let folder = Folder::new("crash");
    let ranges = ranges(&["10.0.0.0/24"]);
    folder.open().allocate(&owner("1"), &ranges).unwrap();
    fs::write(folder.0.join("pods/leases.new"), "{\"leases\":[").unwrap();
    let given = folder.open().allocate(&owner("2"), &ranges).unwrap();
    assert_eq!(texts(&given), ["10.0.0.3"]);
    assert_eq!(folder.open().state.addresses(&owner("1")).len(), 1);
}

#[test]
fn a_damaged_state_is_named_and_never_overwritten() {
    let folder = Folder::new("damaged");
    drop(folder.open());
    let file = folder.0.join("pods/leases-boot-1.json");
    fs::write(&file, "garbage").unwrap();
    let error = Ipam::open_in_boot(&folder.0, "pods", "boot-1").unwrap_err();
    assert!(error.to_string().contains("leases-boot-1.json"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "garbage");
}

#[test]
fn another_pod_prefix_does_not_give_out_what_is_still_used() {
    let folder = Folder::new("moved");
    folder
        .open()
        .allocate(&owner("1"), &ranges(&["10.0.0.0/29"]))
        .unwrap();
    let wider = ranges(&["10.0.0.0/28"]);
    let given = folder.open().allocate(&owner("2"), &wider).unwrap();
    assert_eq!(texts(&given), ["10.0.0.3"]);
}

#[test]
fn a_hundred_at_once_get_a_hundred_addresses() {
    let folder = Folder::new("parallel");
    let ranges = ranges(&["10.0.0.0/24", "fd00::/64"]);
    let mut addresses: Vec<IpAddr> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                let (folder, ranges) = (&folder, &ranges);
                scope.spawn(move || {
                    folder
                        .open()
                        .allocate(&owner(&n.to_string()), ranges)
                        .unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 200);
}
