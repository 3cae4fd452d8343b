use std::collections::BTreeSet;

/// No higher number is taken over from the kernel: somebody else may have
/// written it, and numbers go on from the highest.
const HIGHEST_ADOPTED: u32 = 1 << 24;

/// Numbers from 1 up; those that are given back are used again, the lowest
/// first.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    taken: BTreeSet<u32>,
    free: BTreeSet<u32>,
}

impl Numbers {
    /// The lowest number that nobody has.
    pub(super) fn take(&mut self) -> u32 {
        let above = self.taken.last().map_or(1, |last| last + 1);
        let number = self.free.first().copied().unwrap_or(above);
        self.free.remove(&number);
        self.taken.insert(number);
        number
    }

    /// This number, where nobody has it and it can be one of ours.
    pub(super) fn adopt(&mut self, number: u32) -> bool {
        if !(1..=HIGHEST_ADOPTED).contains(&number) || self.taken.contains(&number) {
            return false;
        }
        self.free.remove(&number);
        self.taken.insert(number)
    }

    /// Nobody has the number any more.
    pub(super) fn give_back(&mut self, number: u32) {
        if self.taken.remove(&number) {
            self.free.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_given_first() {
        let mut numbers = Numbers::default();
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [1, 2, 3]);
        numbers.give_back(2);
        numbers.give_back(1);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [1, 2, 4]);
    }

    #[test]
    fn a_number_is_adopted_once_and_only_a_likely_one() {
        let mut numbers = Numbers::default();
        let adopted = [0, 7, 7, HIGHEST_ADOPTED + 1].map(|number| numbers.adopt(number));
        assert_eq!(adopted, [false, true, false, false]);
        assert_eq!(numbers.take(), 8);
    }
}
