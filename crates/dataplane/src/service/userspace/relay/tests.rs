use std::collections::VecDeque;

use super::*;

/// What a socket does next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Bytes(usize),
    Blocks,
    Breaks,
    Ends,
}

/// Ends that do what a test says, and block when it says nothing more.
#[derive(Default)]
struct Script {
    source: VecDeque<Next>,
    sink: VecDeque<Next>,
    /// What the buffer holds at most.
    capacity: usize,
    passed: usize,
    is_finished: bool,
}

impl Script {
    fn of(source: &[Next], sink: &[Next]) -> Self {
        Self {
            source: source.iter().copied().collect(),
            sink: sink.iter().copied().collect(),
            capacity: 100,
            ..Self::default()
        }
    }
}

fn play(next: Option<Next>, most: usize) -> io::Result<usize> {
    match next {
        Some(Next::Bytes(count)) => Ok(count.min(most)),
        Some(Next::Ends) => Ok(0),
        Some(Next::Breaks) => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        Some(Next::Blocks) | None => Err(io::Error::from(io::ErrorKind::WouldBlock)),
    }
}

impl Carrier for Script {
    fn fill(&mut self, held: usize) -> io::Result<usize> {
        if held == self.capacity {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        play(self.source.pop_front(), self.capacity - held)
    }

    fn drain(&mut self, held: usize) -> io::Result<usize> {
        let went = play(self.sink.pop_front(), held)?;
        self.passed += went;
        Ok(went)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.is_finished = true;
        Ok(())
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn a_direction_moves_what_it_can_and_says_why_it_rests() {
    use Next::{Blocks, Breaks, Bytes, Ends};
    const ALL: Next = Bytes(1000);
    type Case = (
        &'static str,
        &'static [Next],
        &'static [Next],
        Option<Rest>,
        Direction,
        usize,
    );
    let cases: [Case; 9] = [
        (
            "nothing",
            &[],
            &[],
            Some(Rest::Blocked),
            Direction::Open(0),
            0,
        ),
        (
            "some",
            &[Bytes(30)],
            &[ALL],
            Some(Rest::Blocked),
            Direction::Open(0),
            30,
        ),
        (
            "sink full",
            &[Bytes(30)],
            &[Bytes(10)],
            Some(Rest::Blocked),
            Direction::Open(20),
            10,
        ),
        (
            "buffer full",
            &[ALL, ALL],
            &[],
            Some(Rest::Blocked),
            Direction::Open(100),
            0,
        ),
        (
            "the end",
            &[Bytes(30), Ends],
            &[ALL],
            Some(Rest::Ended),
            Direction::Ended,
            30,
        ),
        (
            "the end waits",
            &[Bytes(30), Ends],
            &[Blocks, Bytes(10)],
            Some(Rest::Blocked),
            Direction::Ending(20),
            10,
        ),
        (
            "nothing but the end",
            &[Ends],
            &[],
            Some(Rest::Ended),
            Direction::Ended,
            0,
        ),
        (
            "source breaks",
            &[Bytes(30), Breaks],
            &[],
            None,
            Direction::Open(30),
            0,
        ),
        (
            "sink breaks",
            &[Bytes(30)],
            &[Breaks],
            None,
            Direction::Open(30),
            0,
        ),
    ];
    for (what, source, sink, rest, left, passed) in cases {
        let mut script = Script::of(source, sink);
        let mut direction = Direction::START;
        let outcome = direction.pump(&mut script, 1 << 20).ok();
        assert_eq!((outcome, direction), (rest, left), "{what}");
        assert_eq!(script.passed, passed, "{what}");
        assert_eq!(script.is_finished, left == Direction::Ended, "{what}");
    }
}

#[test]
fn a_direction_goes_on_where_it_was() {
    let mut script = Script::of(&[Next::Bytes(30), Next::Ends], &[Next::Bytes(10)]);
    let mut direction = Direction::START;
    assert_eq!(direction.pump(&mut script, 1 << 20).unwrap(), Rest::Blocked);
    script.sink.push_back(Next::Bytes(1000));
    assert_eq!(direction.pump(&mut script, 1 << 20).unwrap(), Rest::Ended);
    assert_eq!(script.passed, 30);
    // And no further than its end.
    assert_eq!(direction.pump(&mut script, 1 << 20).unwrap(), Rest::Ended);
}

#[test]
fn who_has_much_to_say_lets_others_have_their_say() {
    let mut script = Script::of(&[Next::Bytes(100); 50], &[Next::Bytes(100); 50]);
    let mut direction = Direction::START;
    assert_eq!(direction.pump(&mut script, 1000).unwrap(), Rest::Busy);
    assert_eq!(script.passed, 1000);
    assert_eq!(direction.pump(&mut script, 1 << 20).unwrap(), Rest::Blocked);
    assert_eq!(script.passed, 5000);
}
