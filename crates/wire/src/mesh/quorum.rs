use std::collections::BTreeSet;
use std::sync::Arc;

use super::Timing;
use crate::Moment;

/// Who votes, and what a majority is. After a change the former voters' majority
/// is needed too, for a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Voters {
    current: BTreeSet<Arc<str>>,
    former: Vec<(BTreeSet<Arc<str>>, Moment)>,
}

impl Voters {
    pub(super) fn set(&mut self, voters: BTreeSet<Arc<str>>, timing: &Timing, now: Moment) {
        self.former.retain(|(_, until)| *until > now);
        if voters == self.current {
            return;
        }
        let former = std::mem::replace(&mut self.current, voters);
        if !former.is_empty() {
            self.former.push((former, now + timing.grace));
        }
    }

    /// Everybody who votes now or did a short time ago.
    pub(super) fn all(&self) -> BTreeSet<Arc<str>> {
        let former = self.former.iter().map(|(voters, _)| voters);
        former.chain([&self.current]).flatten().cloned().collect()
    }

    fn lists(&self, now: Moment) -> impl Iterator<Item = &BTreeSet<Arc<str>>> {
        let former = self.former.iter().filter(move |(_, until)| *until > now);
        former.map(|(voters, _)| voters).chain([&self.current])
    }

    /// Until when votes that last until these moments are a majority, of every
    /// list of voters. The witness is asked only where voters are even in number.
    pub(super) fn majority_until(
        &self,
        vote: impl Fn(&Arc<str>) -> Option<Moment>,
        witness: Option<Moment>,
        now: Moment,
    ) -> Option<Moment> {
        let of_list = |voters: &BTreeSet<Arc<str>>| {
            let even = voters.len().is_multiple_of(2);
            let mut votes: Vec<Moment> = voters.iter().filter_map(&vote).collect();
            votes.extend(witness.filter(|_| even));
            votes.sort_unstable_by(|a, b| b.cmp(a));
            let needed = needed(voters.len());
            votes.get(needed - 1).copied()
        };
        let mut until: Option<Moment> = None;
        for voters in self.lists(now) {
            let list = of_list(voters)?;
            until = Some(until.map_or(list, |until| until.min(list)));
        }
        until.filter(|until| *until > now)
    }

    /// Whether some list of voters is split in halves, so that the witness
    /// decides.
    pub(super) fn is_tied(&self, votes: impl Fn(&Arc<str>) -> bool, now: Moment) -> bool {
        let lacking = |voters: &BTreeSet<Arc<str>>| {
            let count = voters.iter().filter(|voter| votes(voter)).count();
            needed(voters.len()).saturating_sub(count)
        };
        let even = |voters: &BTreeSet<Arc<str>>| voters.len().is_multiple_of(2);
        self.lists(now).any(|voters| lacking(voters) == 1)
            && self
                .lists(now)
                .all(|voters| lacking(voters) == 0 || (lacking(voters) == 1 && even(voters)))
    }
}

/// A majority of so many voters, the witness counted where they are even.
const fn needed(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn set(names: &str) -> BTreeSet<Arc<str>> {
        names.split(' ').map(Arc::from).collect()
    }

    #[test]
    fn majorities_by_value() {
        let at = |seconds| Moment::after_origin(Duration::from_secs(seconds));
        // voters, votes, witness; majority, tied
        let cases = [
            ("a", "a", false, true, false),
            ("a b", "a", false, false, true),
            ("a b", "a", true, true, true),
            ("a b", "a b", false, true, false),
            ("a b c", "a", true, false, false),
            ("a b c", "a c", false, true, false),
            ("a b c d", "a b", false, false, true),
            ("a b c d", "a b", true, true, true),
            ("a b c d", "a", true, false, false),
            ("a b", "x y", true, false, false),
        ];
        for (voters, votes, witness, majority, tied) in cases {
            let mut all = Voters::default();
            all.set(set(voters), &Timing::for_nodes(3), at(1));
            let votes = set(votes);
            let until = all.majority_until(
                |voter| votes.contains(voter).then(|| at(9)),
                witness.then(|| at(8)),
                at(2),
            );
            assert_eq!(until.is_some(), majority, "{voters:?} {votes:?} {witness}");
            let is_tied = all.is_tied(|voter| votes.contains(voter), at(2));
            assert_eq!(is_tied, tied, "{voters:?} {votes:?} {witness}");
        }
    }

    #[test]
    fn for_a_while_the_former_voters_count_too() {
        let at = |seconds| Moment::after_origin(Duration::from_secs(seconds));
        let mut voters = Voters::default();
        voters.set(set("a b c"), &Timing::for_nodes(3), at(0));
        voters.set(set("a"), &Timing::for_nodes(3), at(10));
        let only_a = |voter: &Arc<str>| (**voter == *"a").then(|| at(90));
        assert_eq!(voters.majority_until(only_a, None, at(39)), None);
        assert_eq!(voters.majority_until(only_a, None, at(40)), Some(at(90)));
    }
}
