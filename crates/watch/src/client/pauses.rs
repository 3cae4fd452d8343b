use std::time::{Duration, Instant};

/// Pauses after failures: 0.1 s doubled up to 10 s, each between half and all of
/// it, so that the nodes of a cluster do not return to a restarted API server in
/// step.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    failures: u32,
    last: Option<Instant>,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// A failure this long after the last one begins a new series.
const QUIET: Duration = Duration::from_secs(60);

impl Pauses {
    /// The pause after a failure now.
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        let last = self.last.replace(now);
        if last.is_none_or(|last| now.duration_since(last) > QUIET) {
            self.failures = 0;
        }
        let whole = LONGEST.min(FIRST.saturating_mul(1 << self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_start_over() {
        let mut pauses = Pauses::default();
        let mut now = Instant::now();
        for whole in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = pauses.next(now).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
            now += Duration::from_secs(10);
        }
        now += QUIET;
        assert!(pauses.next(now) <= FIRST);
    }
}
