//! What both ends of a flow did, in the one order that a sensor of both would have seen.

use super::tcp::Event;

/// Each end's own order stands. Between them a packet comes before one that acknowledges it, whatever the clocks of the
/// sensors say, and else the earlier one; of one moment a SYN and its answer, then who acknowledges, then what the end
/// did that began the flow.
pub fn of_both(ends: [Vec<Event>; 2], first: usize) -> Vec<Event> {
    let least = [least_ends(&ends[0]), least_ends(&ends[1])];
    let mut at = [0, 0];
    let mut all = Vec::with_capacity(ends[0].len() + ends[1].len());
    while let [Some(a), Some(b)] = [ends[0].get(at[0]), ends[1].get(at[1])] {
        let is_acked = |by: &Event, of: usize| match (by.mark.ack, least[of].get(at[of])) {
            (Some(ack), Some(Some(end))) => ack.wrapping_sub(*end) as i32 >= 0,
            _ => false,
        };
        let place = |event: &Event, end: usize| (event.mark.at, rank(event), end != first);
        let takes_a = match (is_acked(b, 0), is_acked(a, 1)) {
            (true, false) => true,
            (false, true) => false,
            _ => place(a, 0) <= place(b, 1),
        };
        all.push(if takes_a { *a } else { *b });
        at[usize::from(!takes_a)] += 1;
    }
    for (events, at) in ends.iter().zip(at) {
        all.extend(events.get(at..).unwrap_or_default());
    }
    all
}

/// For each packet of an end the number at which the first one from there on ends that took any: of those left it goes
/// least far.
fn least_ends(events: &[Event]) -> Vec<Option<u32>> {
    let mut next = None;
    let mut least: Vec<Option<u32>> = events
        .iter()
        .rev()
        .map(|event| {
            next = event.mark.end.or(next);
            next
        })
        .collect();
    least.reverse();
    least
}

fn rank(event: &Event) -> u8 {
    match event.mark.letter {
        b'S' => 0,
        b'H' => 1,
        b'A' => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::piece::Mark;
    use super::*;

    /// Time, letter, where it ends and what it acknowledges; zeros for nothing.
    type Packet = (i64, char, u32, u32);

    fn order(a: &[Packet], b: &[Packet]) -> String {
        let some = |number: u32| (number > 0).then_some(number);
        let events = |end: usize, of: &[Packet]| -> Vec<Event> {
            let event = |&(at, letter, to, ack): &Packet| {
                let mark = Mark { at, letter: letter as u8, end: some(to), ack: some(ack) };
                Event { mark, end, to_orig: false, piece: end }
            };
            of.iter().map(event).collect()
        };
        let letter = |event: &Event| {
            let letter = char::from(event.mark.letter);
            if event.end == 0 { letter } else { letter.to_ascii_lowercase() }
        };
        of_both([events(0, a), events(1, b)], 0).iter().map(letter).collect()
    }

    #[test]
    fn by_time_or_by_what_was_acknowledged() {
        let client = [(0, 'S', 11, 0), (20, 'A', 0, 91), (21, 'D', 31, 91), (40, 'F', 32, 95)];
        let server = [(10, 'H', 91, 11), (30, 'A', 0, 31), (31, 'D', 95, 31), (50, 'F', 96, 32)];
        assert_eq!(order(&client, &server), "ShADadFf");
        // The server's sensor is an hour behind, or has no clock to speak of.
        for shift in [-3600, 3600] {
            let late = server.map(|(at, letter, end, ack)| (at + shift, letter, end, ack));
            assert_eq!(order(&client, &late), "ShADadFf", "{shift}");
        }
        let no_time = |of: [Packet; 4]| of.map(|(_, letter, end, ack)| (0, letter, end, ack));
        assert_eq!(order(&no_time(client), &no_time(server)), "ShADadFf");
    }

    #[test]
    fn without_numbers_by_time_alone() {
        assert_eq!(
            order(&[(1, 'D', 0, 0), (5, 'A', 0, 0)], &[(3, 'D', 0, 0), (4, 'F', 0, 0)]),
            "DdfA"
        );
        assert_eq!(order(&[(1, 'D', 0, 0)], &[(1, 'S', 0, 0)]), "sD");
        assert_eq!(order(&[], &[(1, 'S', 0, 0)]), "s");
    }

    #[test]
    fn numbers_that_contradict_each_other_change_nothing() {
        let (a, b) = ([(1, 'D', 10, 99)], [(2, 'D', 20, 99)]);
        assert_eq!(order(&a, &b), "Dd");
    }
}
