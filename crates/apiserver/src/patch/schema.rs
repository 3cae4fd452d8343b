//! Which lists of which types are merged, and by which key: what the
//! `patchStrategy` and `patchMergeKey` tags of Kubernetes' types say. A list
//! that is not here is replaced whole; objects are always merged.

/// One object type, as far as patches need to know it.
#[derive(Debug)]
pub(crate) struct Type {
    fields: &'static [(&'static str, Field)],
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// An object whose type matters.
    Object(&'static Type),
    /// A list of objects, merged by the value of a key.
    List(&'static str, &'static Type),
    /// A list of strings, merged as a set.
    Set,
}

impl Type {
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        self.fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, field)| *field)
    }
}

use Field::{List, Object, Set};

/// A type without anything to merge but objects.
static PLAIN: Type = Type { fields: &[] };

static METADATA: Type = Type {
    fields: &[
        ("finalizers", Set),
        ("ownerReferences", List("uid", &PLAIN)),
    ],
};

/// A status with nothing but conditions to merge.
static CONDITIONS: Type = Type {
    fields: &[("conditions", List("type", &PLAIN))],
};

/// Kinds whose specification has no list to merge.
pub(crate) static OBJECT: Type = Type {
    fields: &[
        ("metadata", Object(&METADATA)),
        ("status", Object(&CONDITIONS)),
    ],
};

pub(crate) static NODE: Type = Type {
    fields: &[
        ("metadata", Object(&METADATA)),
        (
            "spec",
            Object(&Type {
                fields: &[("podCIDRs", Set)],
            }),
        ),
        (
            "status",
            Object(&Type {
                fields: &[
                    ("addresses", List("type", &PLAIN)),
                    ("conditions", List("type", &PLAIN)),
                ],
            }),
        ),
    ],
};

pub(crate) static SERVICE: Type = Type {
    fields: &[
        ("metadata", Object(&METADATA)),
        (
            "spec",
            Object(&Type {
                fields: &[("ports", List("port", &PLAIN))],
            }),
        ),
        ("status", Object(&CONDITIONS)),
    ],
};

pub(crate) static POD: Type = Type {
    fields: &[
        ("metadata", Object(&METADATA)),
        ("spec", Object(&POD_SPEC)),
        ("status", Object(&POD_STATUS)),
    ],
};

static POD_SPEC: Type = Type {
    fields: &[
        ("containers", List("name", &CONTAINER)),
        ("ephemeralContainers", List("name", &CONTAINER)),
        ("hostAliases", List("ip", &PLAIN)),
        ("imagePullSecrets", List("name", &PLAIN)),
        ("initContainers", List("name", &CONTAINER)),
        ("resourceClaims", List("name", &PLAIN)),
        ("schedulingGates", List("name", &PLAIN)),
        ("topologySpreadConstraints", List("topologyKey", &PLAIN)),
        ("volumes", List("name", &PLAIN)),
    ],
};

static CONTAINER: Type = Type {
    fields: &[
        ("env", List("name", &PLAIN)),
        ("ports", List("containerPort", &PLAIN)),
        ("volumeDevices", List("devicePath", &PLAIN)),
        ("volumeMounts", List("mountPath", &PLAIN)),
    ],
};

static POD_STATUS: Type = Type {
    fields: &[
        ("conditions", List("type", &PLAIN)),
        ("hostIPs", List("ip", &PLAIN)),
        ("podIPs", List("ip", &PLAIN)),
        ("resourceClaimStatuses", List("name", &PLAIN)),
    ],
};
