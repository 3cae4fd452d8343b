use crate::netlink::{Attribute, Attributes, attributes};

const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// A rule as the kernel holds it: expressions that load registers, compare
/// them and act on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expressions {
    bytes: Vec<u8>,
}

impl Expressions {
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn push(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        Attributes::new(&mut self.bytes).nest(LIST_ELEMENT, |element| {
            element.text(NAME, name).nest(DATA, fill);
        });
    }

    /// Whether `held`, read from the kernel, is this rule. The kernel adds
    /// attributes that we leave at their defaults (counters among them), so
    /// each attribute of ours must be there with the same value.
    #[must_use]
    pub fn are(&self, held: &Self) -> bool {
        let ours: Vec<Attribute<'_>> = attributes(&self.bytes).collect();
        let theirs: Vec<Attribute<'_>> = attributes(&held.bytes).collect();
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(&theirs)
                .all(|(ours, theirs)| covers(ours, theirs))
    }
}

fn covers(ours: &Attribute<'_>, theirs: &Attribute<'_>) -> bool {
    if !ours.nested {
        return ours.value == theirs.value;
    }
    ours.nest().all(|attribute| {
        theirs
            .find(attribute.kind)
            .is_some_and(|theirs| covers(&attribute, &theirs))
    })
}
