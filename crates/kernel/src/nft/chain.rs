use std::fmt;
use std::sync::Arc;

/// A chain: a list of rules, entered from a hook or from another chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Its name within the table.
    pub name: Arc<str>,
    /// Where packets enter it; `None` where only rules lead to it.
    pub base: Option<BaseChain>,
}

/// How packets enter a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseChain {
    /// What the chain may do.
    pub kind: ChainType,
    /// Where on a packet's way.
    pub hook: Hook,
    /// Lower is earlier.
    pub priority: i32,
    /// What becomes of a packet that no rule decided.
    pub policy: ChainPolicy,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// Every packet passes.
    Filter,
    /// Only the first packet of a connection passes.
    Nat,
    /// Like filter; a local packet is routed again where it was changed.
    Route,
}

/// A place on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Everything that arrives.
    Prerouting,
    /// What is for this host.
    Input,
    /// What is for somebody else.
    Forward,
    /// What this host sends.
    Output,
    /// Everything that leaves.
    Postrouting,
}

/// The policy of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainPolicy {
    /// Goes on.
    Accept,
    /// Is gone.
    Drop,
}

impl Chain {
    /// A chain that only rules lead to.
    pub fn regular(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            base: None,
        }
    }

    /// A chain on a hook, with policy accept.
    pub fn base(name: impl Into<Arc<str>>, kind: ChainType, hook: Hook, priority: i32) -> Self {
        Self {
            name: name.into(),
            base: Some(BaseChain {
                kind,
                hook,
                priority,
                policy: ChainPolicy::Accept,
            }),
        }
    }
}

impl ChainType {
    /// Its name in the kernel and in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Filter, Self::Nat, Self::Route]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Hook {
    const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// `NF_INET_*`.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    pub(super) fn parse(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// nft's names of priorities: each means something on some hooks only.
    const fn priorities(self) -> &'static [(i32, &'static str)] {
        match self {
            Self::Prerouting => &[
                (-300, "raw"),
                (-150, "mangle"),
                (-100, "dstnat"),
                (0, "filter"),
                (50, "security"),
            ],
            Self::Postrouting => &[
                (-300, "raw"),
                (-150, "mangle"),
                (0, "filter"),
                (50, "security"),
                (100, "srcnat"),
            ],
            Self::Input | Self::Forward | Self::Output => &[
                (-300, "raw"),
                (-150, "mangle"),
                (0, "filter"),
                (50, "security"),
            ],
        }
    }
}

/// A priority within 10 of a name prints by that name.
fn priority(hook: Hook, value: i32) -> String {
    const NEAR: i32 = 10;
    let named = hook
        .priorities()
        .iter()
        .find(|(base, _)| (value - base).abs() <= NEAR);
    match named {
        None => value.to_string(),
        Some((base, name)) if *base == value => (*name).to_owned(),
        Some((base, name)) if value < *base => format!("{name} - {}", base - value),
        Some((base, name)) => format!("{name} + {}", value - base),
    }
}

impl fmt::Display for BaseChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self.policy {
            ChainPolicy::Accept => "accept",
            ChainPolicy::Drop => "drop",
        };
        write!(
            f,
            "type {} hook {} priority {}; policy {policy};",
            self.kind.name(),
            self.hook.name(),
            priority(self.hook, self.priority),
        )
    }
}
