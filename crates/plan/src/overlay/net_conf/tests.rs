use super::*;

fn settings(text: &str) -> OverlaySettings {
    let conf = NetConf::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    conf.settings
}

#[test]
fn the_usual_file_is_read() {
    let text = r#"{
        "Network": "10.244.0.0/16",
        "EnableNFTables": false,
        "Backend": { "Type": "vxlan" }
    }"#;
    let conf = NetConf::parse(text).unwrap();
    let expected = OverlaySettings {
        networks: vec!["10.244.0.0/16".parse().unwrap()],
        ..OverlaySettings::new(OverlayMode::Vxlan)
    };
    assert_eq!(conf.settings, expected);
    assert_eq!(
        conf.ignored,
        [("EnableNFTables".to_owned(), "rules are always nftables'")]
    );
}

#[test]
fn keys_and_types_have_any_case() {
    let text = r#"{
        "network": "10.0.0.0/8", "ENABLEIPV6": true, "ipv6network": "fd00:10::/32",
        "backend": { "type": "VXLAN", "vni": 7, "PORT": 4789, "directrouting": true, "mtu": 9001,
                     "macprefix": "0E-2A" }
    }"#;
    let expected = OverlaySettings {
        vni: 7,
        port: NonZeroU16::new(4789),
        mtu: Some(9001),
        mac_prefix: Some([0x0e, 0x2a]),
        direct_routing: true,
        networks: vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00:10::/32".parse().unwrap(),
        ],
        ..OverlaySettings::new(OverlayMode::Vxlan)
    };
    assert_eq!(settings(text), expected);
}

#[test]
fn every_backend_has_its_keys() {
    let network = r#""Network":"10.244.0.0/16""#;
    let mode = |backend: &str| settings(&format!("{{{network},\"Backend\":{backend}}}"));
    assert_eq!(settings(&format!("{{{network}}}")).mode, OverlayMode::Udp);
    for (text, expected) in [
        (r#"{"Type":"udp","Port":8286}"#, OverlayMode::Udp),
        (r#"{"Type":"host-gw"}"#, OverlayMode::HostGw),
        (r#"{"Type":"Host-GW"}"#, OverlayMode::HostGw),
        (r#"{"Type":"ipip","DirectRouting":true}"#, OverlayMode::Ipip),
        (r#"{"Type":"alloc"}"#, OverlayMode::None),
        (
            r#"{"Type":"wireguard","ListenPort":51000,"PersistentKeepaliveInterval":25,"Mode":"separate"}"#,
            OverlayMode::WireGuard,
        ),
    ] {
        assert_eq!(mode(text).mode, expected, "{text}");
    }
    assert_eq!(
        mode(r#"{"Type":"udp","Port":8286}"#).port,
        NonZeroU16::new(8286)
    );
    assert!(mode(r#"{"Type":"ipip","DirectRouting":true}"#).direct_routing);
    assert!(
        !mode(r#"{"Type":"wireguard","DirectRouting":true}"#).direct_routing,
        "nothing leaves in the clear"
    );
    let wireguard =
        mode(r#"{"Type":"wireguard","ListenPort":51000,"PersistentKeepaliveInterval":25}"#);
    assert_eq!(
        (wireguard.port, wireguard.keepalive),
        (NonZeroU16::new(51000), NonZeroU16::new(25))
    );
    let zero = mode(r#"{"Type":"vxlan","VNI":0,"Port":0,"MTU":0}"#);
    assert_eq!((zero.vni, zero.port, zero.mtu), (1, None, None));
}

#[test]
fn mistakes_are_named_by_key() {
    for (text, words) in [
        ("", "1:0: not a JSON object"),
        ("{\n \"Network\": }", "2:13: not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "Network is missing: the pods' IPv4 network"),
        (
            r#"{"EnableIPv4":false}"#,
            "EnableIPv6 is missing: EnableIPv4 is false",
        ),
        (
            r#"{"EnableIPv4":false,"EnableIPv6":true}"#,
            "IPv6Network is missing",
        ),
        (
            r#"{"Network":"10.244.0.0"}"#,
            r#"Network is "10.244.0.0": expected an IPv4 prefix"#,
        ),
        (r#"{"network":7}"#, "network is 7: expected an IPv4 prefix"),
        (
            r#"{"Network":"10.244.0.0/16","EnableIPv6":"yes"}"#,
            r#"EnableIPv6 is "yes": expected true or false"#,
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":"vxlan"}"#,
            r#"Backend is "vxlan": not an object"#,
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"ipsec"}}"#,
            r#"Backend.Type is "ipsec": expected vxlan,"#,
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}"#,
            "Backend.VNI is 16777216: expected a number up to 16777215",
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","Port":-1}}"#,
            "Backend.Port is -1: expected a number up to 65535",
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","gbp":true}}"#,
            "Backend.gbp is true: group policies",
        ),
        (
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","MacPrefix":"01-00"}}"#,
            r#"Backend.MacPrefix is "01-00": expected two pairs"#,
        ),
    ] {
        let error = NetConf::parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
