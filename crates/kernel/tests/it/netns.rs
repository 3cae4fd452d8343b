//! Network namespaces and per-namespace sysctls.

use std::fs;
use std::path::PathBuf;

use podway_kernel::netns::{self, Error, NetNs};
use podway_kernel::sysctl;

use crate::namespace;

/// A path of this test's own, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podway-netns-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_namespace_lives_at_its_path_until_it_is_deleted() {
    let scratch = Scratch::new("lives");
    let path = scratch.0.join("pod");
    let own = NetNs::current().unwrap().id().unwrap();

    let made = NetNs::create_at(&path).expect("create (tests run as root)");
    assert_ne!(made.id().unwrap(), own);
    assert_eq!(NetNs::current().unwrap().id().unwrap(), own, "we stayed");
    assert_eq!(
        NetNs::open(&path).unwrap().id().unwrap(),
        made.id().unwrap()
    );
    let inside = made
        .run(|| NetNs::current().unwrap().id().unwrap())
        .unwrap();
    assert_eq!(inside, made.id().unwrap());

    let error = NetNs::create_at(&path).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(netns::delete_at(&path).unwrap());
    assert!(!path.exists());
    assert!(!netns::delete_at(&path).unwrap(), "again is no error");
}

#[test]
fn what_is_no_namespace_is_refused_and_can_be_removed() {
    let scratch = Scratch::new("stale");
    let path = scratch.0.join("pod");
    assert!(matches!(
        NetNs::open(&path).unwrap_err(),
        Error::NotFound { .. }
    ));
    // What a crash between open and mount leaves behind.
    fs::write(&path, "").unwrap();
    assert!(matches!(
        NetNs::open(&path).unwrap_err(),
        Error::NotANamespace { .. }
    ));
    // A namespace of another type.
    assert!(matches!(
        NetNs::open("/proc/self/ns/uts").unwrap_err(),
        Error::NotANamespace { .. }
    ));
    assert!(netns::delete_at(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn named_namespaces_are_those_of_ip_netns() {
    let name = format!("podway-test-{}", std::process::id());
    let made = NetNs::create(&name).unwrap();
    assert!(netns::list().unwrap().contains(&name));
    assert_eq!(
        NetNs::named(&name).unwrap().id().unwrap(),
        made.id().unwrap()
    );
    assert!(netns::delete(&name).unwrap());
    assert!(!netns::list().unwrap().contains(&name));
    for invalid in ["", ".", "..", "a/b"] {
        let error = NetNs::create(invalid).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{invalid:?}: {error}");
    }
}

#[test]
fn a_panic_inside_a_namespace_reaches_the_caller() {
    let namespace = namespace();
    let caught = std::panic::catch_unwind(|| namespace.run(|| panic!("from inside")));
    let panic = caught.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"from inside"));
}

#[test]
fn sysctls_are_those_of_the_namespace_entered() {
    let (a, b) = (namespace(), namespace());
    let key = "net/ipv4/conf/all/rp_filter";
    a.run(|| {
        sysctl::write(key, "0").unwrap();
        assert!(sysctl::ensure(key, "2").unwrap());
        assert!(!sysctl::ensure(key, "2").unwrap(), "written once");
        assert_eq!(sysctl::read(key).unwrap(), "2");
    })
    .unwrap();
    b.run(|| assert_ne!(sysctl::read(key).unwrap(), "2"))
        .unwrap();
}

#[test]
fn raising_never_lowers_and_errors_name_the_key() {
    namespace()
        .run(|| {
            let key = "net/ipv4/ip_default_ttl";
            sysctl::write(key, "100").unwrap();
            assert!(!sysctl::raise(key, 60).unwrap());
            assert!(sysctl::raise(key, 200).unwrap());
            assert_eq!(sysctl::read(key).unwrap(), "200");
            for (key, words) in [
                ("net/ipv4/conf/nothing0/forwarding", "no such parameter"),
                ("../../etc/passwd", "below /proc/sys"),
                ("/proc/version", "below /proc/sys"),
                ("net/ipv4/ping_group_range", "not a number"),
            ] {
                let error = sysctl::raise(key, 1).unwrap_err().to_string();
                assert!(error.contains(words) && error.contains(key), "{error}");
            }
        })
        .unwrap();
}
