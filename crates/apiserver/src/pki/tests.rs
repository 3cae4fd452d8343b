use std::os::unix::fs::PermissionsExt;

use super::{Pki, User};

#[test]
fn a_second_start_keeps_the_ca_and_the_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let pki_dir = dir.path().join("pki");
    let names = ["172.16.0.1".to_owned(), "fd00:172:16::1".to_owned()];
    let first = Pki::open(&pki_dir, &names).unwrap();
    let second = Pki::open(&pki_dir, &[]).unwrap();
    assert_eq!(first.ca_pem, second.ca_pem);
    for user in [User::Admin, User::Node] {
        assert_eq!(first.tokens.of(user), second.tokens.of(user));
        assert_eq!(second.tokens.user(first.tokens.of(user)), Some(user));
    }
    assert_ne!(first.tokens.of(User::Admin), first.tokens.of(User::Node));
    assert_eq!(first.tokens.user(""), None);
}

#[test]
fn only_the_owner_reads_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let pki_dir = dir.path().join("pki");
    Pki::open(&pki_dir, &[]).unwrap();
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&pki_dir).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["admin.token", "ca.crt", "ca.key", "node.token"]);
    let folder = std::fs::metadata(&pki_dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(folder, 0o700);
}

#[test]
fn damage_is_named_and_not_overwritten() {
    let cases: &[(&str, &str)] = &[("ca.key", "no key"), ("admin.token", "short")];
    for (file, content) in cases {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path(), &[]).unwrap();
        let path = dir.path().join(file);
        std::fs::write(&path, content).unwrap();
        let message = Pki::open(dir.path(), &[])
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(message.contains(file), "{file}: {message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *content);
    }
}
