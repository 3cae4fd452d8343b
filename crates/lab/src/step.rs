use std::fmt;

/// One thing that `up`, `down` or another verb did, for progress and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The thing: `namespace podway-lab-node1`, `process agent of node1 (812)`.
    pub object: String,
    /// What was done with it.
    pub outcome: Outcome,
}

/// What was done with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was missing and has been made or started.
    Made,
    /// It was there and in order.
    Kept,
    /// It has become ready.
    Ready,
    /// A manifest was applied.
    Applied,
    /// It has been removed or ended.
    Removed,
}

impl Step {
    pub(crate) fn new(object: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            object: object.into(),
            outcome,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "made",
            Self::Kept => "kept",
            Self::Ready => "ready",
            Self::Applied => "applied",
            Self::Removed => "removed",
        })
    }
}
