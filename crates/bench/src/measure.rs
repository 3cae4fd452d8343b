//! Times, taken so that noise hits all that is compared alike.

use std::time::{Duration, Instant};

/// Durations of one thing done again and again; never empty.
#[derive(Debug, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// # Panics
    /// Without a single duration: there is no median of nothing.
    #[must_use]
    pub fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "samples need a duration");
        durations.sort_unstable();
        Self(durations)
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The smallest duration that at least `percent` of them do not exceed
    /// (nearest rank). `percent` is 0 to 100.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank.min(self.0.len()) - 1]
    }
}

/// How long something took, and what came of it.
pub fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let value = work();
    (begin.elapsed(), value)
}

/// One contestant: does its work once and says how long the part that counts took.
pub type Contestant<'a> = Box<dyn FnMut() -> anyhow::Result<Duration> + 'a>;

/// Lets contestants take turns for some rounds, so that a busy moment of the
/// machine hits each of them. Who begins changes from round to round. The
/// samples come back in the contestants' order.
///
/// # Errors
/// The first error of a contestant ends it.
pub fn take_turns(
    rounds: usize,
    contestants: &mut [Contestant<'_>],
) -> anyhow::Result<Vec<Samples>> {
    let count = contestants.len();
    let mut taken = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let who = (round + turn) % count;
            taken[who].push(contestants[who]()?);
        }
    }
    Ok(taken.into_iter().map(Samples::new).collect())
}

#[cfg(test)]
mod tests {
    use super::{Duration, Samples, take_turns};

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let samples = Samples::new((1..=200).rev().map(Duration::from_millis).collect());
        let at = |percent| samples.percentile(percent).as_millis();
        assert_eq!([0, 1, 50, 99, 100].map(at), [1, 2, 100, 198, 200]);
        assert_eq!(samples.median().as_millis(), 100);
        let one = Samples::new(vec![Duration::from_secs(7)]);
        assert_eq!(one.percentile(99), Duration::from_secs(7));
    }

    #[test]
    fn everybody_has_each_place_in_turn() {
        let order = std::cell::RefCell::new(String::new());
        let contestant = |name: char| {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(Duration::from_millis(u64::from(u32::from(name))))
            }) as super::Contestant<'_>
        };
        let samples = take_turns(3, &mut [contestant('a'), contestant('b')]).expect("no errors");
        assert_eq!(*order.borrow(), "abbaab");
        let medians: Vec<_> = samples.iter().map(Samples::median).collect();
        assert_eq!(medians, [97, 98].map(Duration::from_millis));
    }
}
