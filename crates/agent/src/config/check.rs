use podway_dataplane::{policy, service};
use podway_plan::overlay::{OverlayMode, mac_prefix_of};
use podway_watch::yaml::nearest;

use super::{API_VERSION, Configuration, KIND, LocalPods, NodePortAddress, Overlay, Services};

/// What is wrong with values that have the right type: fields and reasons.
pub(super) fn check(config: &Configuration) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut require = |field, outcome: Result<(), String>| {
        wrong.extend(outcome.err().map(|reason| (field, reason)));
    };
    require("apiVersion", one_of(&config.api_version, &[API_VERSION]));
    require("kind", one_of(&config.kind, &[KIND]));
    require("nodeName", node_name(config.node_name.as_deref()));
    require(
        "pods.policyWaitSeconds",
        in_range(config.pods.policy_wait_seconds, 1, 60),
    );
    overlay(&config.overlay, &mut require);
    require(
        "services.mode",
        one_of(
            &config.services.mode,
            &service::BACKENDS.iter().map(|b| b.name).collect::<Vec<_>>(),
        ),
    );
    services(&config.services, &mut require);
    require(
        "observability.lateAfterSeconds",
        in_range(config.observability.late_after_seconds, 1, 86_400),
    );
    require(
        "policies.backend",
        one_of(
            &config.policies.backend,
            &policy::BACKENDS.iter().map(|b| b.name).collect::<Vec<_>>(),
        ),
    );
    wrong
}

fn overlay(config: &Overlay, require: &mut impl FnMut(&'static str, Result<(), String>)) {
    let known: Vec<&str> = podway_dataplane::overlay::BACKENDS
        .iter()
        .map(|spec| spec.name)
        .collect();
    require("overlay.backend", one_of(&config.backend, &known));
    require("overlay.vni", in_range(config.vni, 1, 0xff_ffff));
    let mtu = config.mtu.map_or(Ok(()), |mtu| in_range(mtu, 576, 0xffff));
    require("overlay.mtu", mtu);
    let prefix = config.mac_prefix.as_deref();
    let is_usable = prefix.is_none_or(|prefix| mac_prefix_of(prefix).is_some());
    let mac_prefix = is_usable.then_some(()).ok_or_else(|| {
        let said = prefix.unwrap_or_default();
        format!(
            "{said:?} is not the beginning of a local unicast address: expected two bytes, as 0e:2a"
        )
    });
    require("overlay.macPrefix", mac_prefix);
    let can_route =
        OverlayMode::of_name(&config.backend).is_none_or(OverlayMode::can_route_directly);
    let direct = if config.direct_routing && !can_route {
        Err(format!(
            "backend {} has no tunnel to do without, or one that must not be left",
            config.backend
        ))
    } else {
        Ok(())
    };
    require("overlay.directRouting", direct);
    for also in &config.also {
        require("overlay.also", one_of(also, &known));
        if *also == config.backend {
            let reason = format!("{also:?} is the backend already");
            require("overlay.also", Err(reason));
        }
    }
}

fn services(config: &Services, require: &mut impl FnMut(&'static str, Result<(), String>)) {
    let addresses = &config.node_port_addresses;
    let is_mixed = addresses.len() > 1 && addresses.contains(&NodePortAddress::Primary);
    let mixed = || Err("primary stands alone: leave out the others, or it".to_owned());
    require(
        "services.nodePortAddresses",
        if is_mixed { mixed() } else { Ok(()) },
    );
    let named = match &config.local_pods {
        LocalPods::Interface(name) | LocalPods::InterfacePrefix(name) => interface(name),
        LocalPods::PodPrefixes | LocalPods::Prefixes(_) | LocalPods::None => Ok(()),
    };
    require("services.localPods", named);
    require(
        "services.affinityClients",
        in_range(config.affinity_clients, 1, 16_777_216),
    );
}

/// IFNAMSIZ, and what the kernel refuses in names.
fn interface(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if (1..16).contains(&name.len()) && name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not the name of an interface: expected 1-15 characters without / and :"
        ))
    }
}

fn one_of(value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) {
        return Ok(());
    }
    let guess = nearest(value, known.iter().copied())
        .map_or_else(String::new, |word| format!(" (probably {word})"));
    Err(format!(
        "{value:?} is not one of {}{guess}",
        known.join(", ")
    ))
}

fn node_name(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else {
        return Ok(());
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|byte| plain(byte) || byte == b'-' || byte == b'.');
    if well_formed {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not a node's name: expected lower-case letters, digits, '-' and '.'"
        ))
    }
}

fn in_range(value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{value} is out of range: expected {least}-{most}"))
    }
}
