use std::fmt;

/// Where the rules of a host's iptables live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// In nf_tables (`iptables-nft`): single chains can be written.
    Nft,
    /// In the kernel's older tables (`iptables-legacy`): each write reads and
    /// replaces a whole table.
    Legacy,
}

impl Variant {
    /// Both, the newer first.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Legacy];

    /// What stands in the names of its programs: `iptables-nft-restore`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Chooses as the host does, so that two programs do not translate the same
/// packet twice: the variant in which the kubelet left its hint, then that in
/// which a proxy worked before, then the host's own default, unless only the
/// other one has rules. `has_sign` says whether a variant has one of these
/// chains in table `mangle`.
pub(super) fn choose<E>(
    default: Variant,
    has_sign: impl Fn(Variant, &[&str]) -> Result<bool, E>,
    has_rules: impl Fn(Variant) -> Result<bool, E>,
) -> Result<Variant, E> {
    const SIGNS: [&[&str]; 2] = [
        &["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"],
        &["KUBE-PROXY-CANARY"],
    ];
    let other = default.other();
    for signs in SIGNS {
        for variant in [default, other] {
            if has_sign(variant, signs)? {
                return Ok(variant);
            }
        }
    }
    match has_rules(other)? && !has_rules(default)? {
        true => Ok(other),
        false => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variant_in_use_is_chosen() {
        const PROXY: &[&str] = &["KUBE-PROXY-CANARY"];
        const KUBELET: &[&str] = &["KUBE-IPTABLES-HINT"];
        const OLD_KUBELET: &[&str] = &["KUBE-KUBELET-CANARY"];
        type Held = (&'static [&'static str], bool);
        let (nft, legacy) = (Variant::Nft, Variant::Legacy);
        let cases: [(&str, Variant, Held, Held, Variant); 8] = [
            ("nothing yet", nft, (&[], false), (&[], false), nft),
            (
                "nothing, old host",
                legacy,
                (&[], false),
                (&[], false),
                legacy,
            ),
            ("rules in the other", nft, (&[], false), (&[], true), legacy),
            ("rules in both", nft, (&[], true), (&[], true), nft),
            ("a proxy's remains", nft, (&[], true), (PROXY, true), legacy),
            (
                "the kubelet's word",
                nft,
                (PROXY, true),
                (KUBELET, false),
                legacy,
            ),
            (
                "an older kubelet's",
                legacy,
                (OLD_KUBELET, false),
                (&[], true),
                nft,
            ),
            (
                "remains in both",
                legacy,
                (PROXY, true),
                (PROXY, true),
                legacy,
            ),
        ];
        for (what, default, in_nft, in_legacy, expected) in cases {
            let held = |variant| match variant {
                Variant::Nft => in_nft,
                Variant::Legacy => in_legacy,
            };
            let has_sign = |variant, signs: &[&str]| {
                let mut chains = held(variant).0.iter();
                Ok::<_, ()>(chains.any(|chain| signs.contains(chain)))
            };
            let chosen = choose(default, has_sign, |variant| Ok(held(variant).1));
            assert_eq!(chosen, Ok(expected), "{what}");
        }
    }
}
