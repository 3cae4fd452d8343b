//! The two files of `/etc` that a pod has of its own. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Search domains of a namespace's pods.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The longest host name that Linux takes is 64; DNS labels end at 63.
const LONGEST_LABEL: usize = 63;

/// A pod's host name: `spec.hostname`, else its own, cut to a DNS label; a pod
/// on the node's network has the node's.
pub(crate) fn hostname(pod: &Pod, node: &str) -> String {
    let spec = pod.spec.as_ref();
    let name = match spec {
        Some(spec) if spec.host_network == Some(true) => node,
        Some(spec)
            if spec
                .hostname
                .as_deref()
                .is_some_and(|name| !name.is_empty()) =>
        {
            spec.hostname.as_deref().unwrap_or_default()
        }
        _ => pod.metadata.name.as_deref().unwrap_or_default(),
    };
    let end = name.len().min(LONGEST_LABEL);
    // Names of objects are ASCII: every byte is a character.
    name.get(..end)
        .unwrap_or(name)
        .trim_end_matches(['-', '.'])
        .to_owned()
}

/// `/etc/hosts`: loopback, the pod itself, `spec.hostAliases`.
pub(crate) fn hosts(pod: &Pod, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for address in addresses {
        text.push_str(&format!("{address}\t{hostname}\n"));
    }
    let aliases = pod
        .spec
        .iter()
        .flat_map(|spec| spec.host_aliases.iter().flatten());
    for alias in aliases {
        let names: Vec<&str> = alias
            .hostnames
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    text
}

/// `/etc/resolv.conf`: with `dnsPolicy: Default` or on the node's network the
/// machine's own, otherwise the cluster's search domains; `spec.dnsConfig`
/// adds to both.
pub(crate) fn resolv_conf(pod: &Pod, machine: &str) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec
        .and_then(|spec| spec.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let host_network = spec.is_some_and(|spec| spec.host_network == Some(true));
    let mut searches = Vec::new();
    let mut options = Vec::new();
    let mut text = String::new();
    match policy {
        "None" => {}
        "Default" => text.push_str(machine),
        "ClusterFirst" if host_network => text.push_str(machine),
        _ => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            searches.push(format!("{namespace}.svc.{CLUSTER_DOMAIN}"));
            searches.push(format!("svc.{CLUSTER_DOMAIN}"));
            searches.push(CLUSTER_DOMAIN.to_owned());
            options.push("ndots:5".to_owned());
        }
    }
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        for server in config.nameservers.iter().flatten() {
            text.push_str(&format!("nameserver {server}\n"));
        }
        searches.extend(config.searches.iter().flatten().cloned());
        options.extend(config.options.iter().flatten().filter_map(|option| {
            let name = option.name.clone()?;
            Some(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            })
        }));
    }
    for (keyword, words) in [("search", searches), ("options", options)] {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn host_names_are_labels() {
        let long = "a".repeat(62) + "-b";
        for (name, spec, expected) in [
            ("web-1", json!({}), "web-1"),
            ("web-1", json!({"hostname": "db"}), "db"),
            ("web-1", json!({"hostNetwork": true}), "node1"),
            (long.as_str(), json!({}), &long[..62]),
        ] {
            assert_eq!(
                hostname(&pod(name, spec.clone()), "node1"),
                expected,
                "{name} {spec}"
            );
        }
    }

    #[test]
    fn the_resolver_follows_the_policy_of_the_pod() {
        let machine = "nameserver 9.9.9.9\n";
        let cluster =
            "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
        let config = json!({"nameservers": ["10.96.0.10"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]});
        for (spec, expected) in [
            (json!({}), cluster.to_owned()),
            (json!({"dnsPolicy": "Default"}), machine.to_owned()),
            (json!({"hostNetwork": true}), machine.to_owned()),
            (
                json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                cluster.to_owned(),
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": config}),
                "nameserver 10.96.0.10\nsearch x\noptions ndots:2\n".to_owned(),
            ),
        ] {
            assert_eq!(
                resolv_conf(&pod("p", spec.clone()), machine),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn hosts_name_the_pod_by_each_address() {
        let spec = json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]});
        let addresses = ["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let text = hosts(&pod("web", spec), "web", &addresses);
        assert!(
            text.ends_with("10.244.1.2\tweb\nfd00::2\tweb\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
    }
}
