use std::time::Duration;

use kube::runtime::utils::Backoff as Pauses;

/// Pauses between attempts: 0.1 s doubled up to 10 s, each between half and all
/// of it, so that the nodes of a cluster do not return to a restarted API server
/// in step.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    failures: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let whole = LONGEST.min(FIRST.saturating_mul(1 << self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        Some(whole.mul_f64(rand::random_range(0.5..=1.0)))
    }
}

impl Pauses for Backoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        for whole in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = backoff.next().unwrap().as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next().unwrap() <= FIRST);
    }
}
