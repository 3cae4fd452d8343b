use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// What a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One figure each, in the order in which they were taken.
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether no target was missed.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.lines.iter().all(|line| line.met != Some(false))
    }
}

/// One thing measured: ours, a peer's where there is one, and what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    suite: &'static str,
    /// What was measured, with its size.
    pub name: String,
    /// What it is for us.
    pub ours: Figure,
    /// Who was measured beside us, and what it is for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// Ours divided by the peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What we set ourselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether the target is met, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// Somebody else's figure.
#[derive(Debug, Clone, Serialize)]
pub struct Peer {
    /// Who or what.
    pub name: String,
    /// What it is for them.
    pub figure: Figure,
}

/// A quantity. In JSON `{"unit": ..., "value": ...}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// JSON: seconds.
    Time(Duration),
    /// How many.
    Count(u64),
    /// Memory or data.
    Bytes(u64),
    /// Something a second.
    Rate(f64),
    /// A quotient of two figures.
    Ratio(f64),
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Our figure is not above this.
    AtMost(Figure),
    /// Our figure is not below this.
    AtLeast(Figure),
    /// Our figure divided by the peer's is not above this.
    RatioAtMost(f64),
    /// Our figure divided by the peer's is not below this.
    RatioAtLeast(f64),
}

impl Line {
    /// A figure of ours alone.
    #[must_use]
    pub fn new(name: impl Into<String>, ours: Figure) -> Self {
        Self {
            suite: "",
            name: name.into(),
            ours,
            peer: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// Beside a peer's figure of the same kind.
    #[must_use]
    pub fn beside(mut self, name: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(self.ours.value() / figure.value());
        self.peer = Some(Peer {
            name: name.into(),
            figure,
        });
        self
    }

    /// Held against a target. A ratio's target without a peer is missed: what
    /// was not measured is not met.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        let ours = self.ours.value();
        self.met = Some(match target {
            Target::AtMost(bound) => ours <= bound.value(),
            Target::AtLeast(bound) => ours >= bound.value(),
            Target::RatioAtMost(bound) => self.ratio.is_some_and(|ratio| ratio <= bound),
            Target::RatioAtLeast(bound) => self.ratio.is_some_and(|ratio| ratio >= bound),
        });
        self.target = Some(target);
        self
    }

    pub(crate) fn of_suite(mut self, suite: &'static str) -> Self {
        self.suite = suite;
        self
    }
}

impl Figure {
    /// The number in the figure's unit.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a figure for people: 2^53 bytes are enough"
    )]
    pub fn value(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Count(count) | Self::Bytes(count) => count as f64,
            Self::Rate(value) | Self::Ratio(value) => value,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Time(_) => "seconds",
            Self::Count(_) => "count",
            Self::Bytes(_) => "bytes",
            Self::Rate(_) => "per second",
            Self::Ratio(_) => "ratio",
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            unit: &'static str,
            value: f64,
        }
        let (unit, value) = (self.unit(), self.value());
        Written { unit, value }.serialize(serializer)
    }
}

/// Three significant digits and a unit that keeps the number readable.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TIME: &[(f64, &str)] = &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")];
        const BYTES: &[(f64, &str)] = &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")];
        const RATE: &[(f64, &str)] = &[(1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")];
        let value = self.value();
        let scale = match self {
            Self::Count(count) => return write!(f, "{count}"),
            Self::Ratio(ratio) => return write!(f, "{ratio:.2}x"),
            Self::Time(_) => TIME,
            Self::Bytes(_) => BYTES,
            Self::Rate(_) => RATE,
        };
        let fitting = scale.iter().find(|(size, _)| value >= *size);
        let (size, unit) = fitting.unwrap_or(&scale[scale.len() - 1]);
        let value = value / size;
        let decimals = match value {
            v if v >= 99.95 => 0,
            v if v >= 9.995 => 1,
            _ => 2,
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::RatioAtMost(bound) => write!(f, "<= {bound}x"),
            Self::RatioAtLeast(bound) => write!(f, ">= {bound}x"),
        }
    }
}

/// `services  one change  57 us  (peer 1.0 s: 0.00x)  target <= 2 ms: met`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<9} {:<52} {:>9}",
            self.suite,
            self.name,
            self.ours.to_string()
        )?;
        if let (Some(peer), Some(ratio)) = (&self.peer, self.ratio) {
            write!(f, "  {} {}: {ratio:.3}x", peer.name, peer.figure)?;
        }
        if let (Some(target), Some(met)) = (&self.target, self.met) {
            write!(f, "  {target}: {}", if met { "met" } else { "MISSED" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Figure, Line, Target};

    #[test]
    fn figures_keep_three_digits_and_a_fitting_unit() {
        let time = |nanos| Figure::Time(Duration::from_nanos(nanos));
        for (figure, text) in [
            (time(0), "0.00 ns"),
            (time(57_400), "57.4 us"),
            (time(9_999_000), "10.0 ms"),
            (time(119_000_000), "119 ms"),
            (time(14_300_000_000), "14.3 s"),
            (Figure::Bytes(262_000_000), "262 MB"),
            (Figure::Count(10), "10"),
            (Figure::Rate(1_500.0), "1.50 k/s"),
            (Figure::Ratio(0.4), "0.40x"),
        ] {
            assert_eq!(figure.to_string(), text);
        }
    }

    #[test]
    fn a_target_is_met_or_missed_by_the_figure_or_by_the_ratio() {
        let line = || Line::new("x", Figure::Count(4));
        let beside = || line().beside("peer", Figure::Count(10));
        let four = Figure::Count(4);
        for (line, met) in [
            (line().target(Target::AtMost(four)), true),
            (line().target(Target::AtMost(Figure::Count(3))), false),
            (line().target(Target::AtLeast(four)), true),
            (line().target(Target::AtLeast(Figure::Count(5))), false),
            (beside().target(Target::RatioAtMost(0.4)), true),
            (beside().target(Target::RatioAtMost(0.39)), false),
            (beside().target(Target::RatioAtLeast(0.41)), false),
            (line().target(Target::RatioAtMost(9.0)), false),
        ] {
            assert_eq!(line.met, Some(met), "{line}");
        }
    }
}
