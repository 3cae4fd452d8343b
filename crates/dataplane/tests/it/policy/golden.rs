//! One node's table as text: ours, and the `nft` program's reading of it.

use std::process::Command;

use podway_dataplane::policy::nftables::{TABLE, render};
use podway_kernel::nft::{Nft, Nftables as _, reconcile};
use podway_plan::policy::{PolicyPlanner, PolicyTable};
use podway_testkit::policy_scenario::parse;

use super::enforced::DEFAULT;
use super::namespace;

const SCENARIO: &str = "namespace x
namespace dns
node node1 172.16.0.11 fd00:172:16::11
pod x/web node1 10.0.1.1,fd00:1::1 app=web port=http:8080/tcp
pod x/db node1 10.0.1.2,fd00:1::2 app=db
pod x/far node2 10.0.2.1,fd00:2::1 app=web
pod dns/core node2 10.0.2.9,fd00:2::9 app=dns
case one of each
policy x/web app=web
ingress from block 0.0.0.0/0 except 10.0.0.0/8 | block ::/0 ports tcp/http
ingress from pods app=db
egress to pods app=db ports tcp/5432
egress to namespaces kubernetes.io/metadata.name=dns pods app=dns ports udp/53 tcp/53
policy x/db app=db
ingress from pods app=web ports tcp/5432
egress ports tcp/80-90 sctp
policy x/soon app=db
audit
ingress from pods app=web ports tcp/5432
ingress from pods app=backup
cluster first admin 10 namespaces * pods app=db
egress deny to networks 192.0.2.0/24 ports tcp/25
egress deny to nodes *
";

fn scenario() -> PolicyTable {
    let state = parse("golden", SCENARIO).remove(0).state;
    let planner = PolicyPlanner::plan(Some("node1".into()), &state);
    planner.table().clone()
}

#[test]
fn a_node_as_text() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/policy/golden.nft");
    let rendered = render(&scenario(), DEFAULT).to_string();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &rendered).expect("the golden file is writable");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(rendered, golden, "UPDATE_GOLDEN=1 rewrites {path}");
}

/// The words of a listing, elements in order: nft breaks and orders the lists
/// as it likes.
fn words(listing: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut elements: Option<String> = None;
    // nft has shorter words for the same expressions.
    let listing = listing
        .replace("meta l4proto ipv6-icmp icmpv6", "icmpv6")
        .replace("nd-router-solicit-nd-redirect", "133-137")
        .replace("meta l4proto tcp th dport", "tcp dport")
        .replace("meta l4proto udp th dport", "udp dport");
    for line in listing.lines().map(str::trim) {
        if line.starts_with("elements") {
            elements = Some(String::new());
        }
        let Some(list) = &mut elements else {
            words.push(line.to_owned());
            continue;
        };
        list.push_str(line);
        list.push(' ');
        if line.ends_with('}') {
            let inner = list
                .trim_start_matches("elements = {")
                .trim_end()
                .trim_end_matches('}');
            let mut sorted: Vec<String> = inner.split(',').map(|e| e.trim().to_owned()).collect();
            sorted.sort();
            words.extend(sorted);
            elements = None;
        }
    }
    words
}

#[test]
fn nft_lists_what_was_rendered_and_takes_it_back() {
    let listed = namespace()
        .run(|| {
            let nft = |arguments: &[&str]| {
                let output = Command::new("nft").args(arguments).output();
                let output = output.expect("the nft program is needed to judge");
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).expect("text")
            };
            let wanted = render(&scenario(), DEFAULT);
            let mut kernel = Nft::open().expect("nf_tables");
            kernel.apply(&reconcile(&wanted, None)).expect("written");
            let listed = nft(&["-s", "list", "table", "inet", TABLE]);
            // What nft lists, nft loads; and what it loaded, we recognise.
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), &listed).expect("written");
            nft(&["delete", "table", "inet", TABLE]);
            nft(&["-f", &file.path().to_string_lossy()]);
            let again = nft(&["-s", "list", "table", "inet", TABLE]);
            assert_eq!(words(&again), words(&listed));
            listed
        })
        .expect("the namespace");
    let rendered = render(&scenario(), DEFAULT).to_string();
    assert_eq!(words(&listed), words(&rendered));
}
