//! The protocols of a flow, from what each direction alone shows of them.

use super::piece::{Half, Piece};

/// A protocol and when it was known.
type Known<'a> = (i64, &'a str);

/// Protocols that any of the sensors confirmed, in the order that they did, and those that each direction alone
/// only fits; without those that any of them ruled out.
pub fn of(pieces: &[Piece]) -> Option<String> {
    let halves: Vec<(usize, &Half)> =
        pieces.iter().filter_map(|piece| Some((piece.end(), piece.half.as_deref()?))).collect();
    let is_stream = pieces.iter().any(|piece| piece.is_tcp);
    let begun = halves.iter().map(|(_, half)| half.first_data()).filter(|at| *at < i64::MAX).max();
    let mut all = confirmed(&halves);
    all.extend(fitting(&halves, begun, is_stream, &all));
    all.sort_by_key(|(at, _)| *at);
    let mut names: Vec<&str> = Vec::new();
    for (_, name) in all {
        let is_out = is_ruled_out(&halves, name) || !is_granted(&halves, name);
        if !names.contains(&name) && !is_out {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(","))
}

/// Whether an end had done its part by a time.
fn has_shown(half: &Half, name: &str, by: i64) -> bool {
    half.fits.iter().any(|(at, of)| at.is_some_and(|at| at <= by) && of == name)
}

fn has_begun(halves: &[(usize, &Half)], letter: u8) -> bool {
    halves.iter().any(|(_, half)| half.first_letter() == Some(letter))
}

/// What any of them confirmed.
fn confirmed<'a>(halves: &[(usize, &'a Half)]) -> Vec<Known<'a>> {
    let own = halves.iter().flat_map(|(_, half)| &half.confirmed);
    let mut confirmed: Vec<Known<'_>> = own.map(|(at, name)| (*at, name.as_str())).collect();
    if has_begun(halves, b'H') {
        // The answer to the SYN that nobody saw makes a beginning of it.
        let late = halves.iter().flat_map(|(_, half)| {
            half.begins.iter().map(|name| (half.first_data(), name.as_str()))
        });
        confirmed.extend(late);
    }
    // Stable: what one sensor confirmed at once stays in its order.
    confirmed.sort_by_key(|(at, _)| *at);
    confirmed
}

/// What fits with each direction. `begun`: when both ends had payload.
fn fitting<'a>(
    halves: &[(usize, &'a Half)],
    begun: Option<i64>,
    is_stream: bool,
    confirmed: &[Known<'a>],
) -> Vec<Known<'a>> {
    // Of a stream that was begun before nothing is known but what its ends showed later.
    let is_whole = !is_stream || (has_begun(halves, b'S') && has_begun(halves, b'H'));
    // What is known by how both begin is known then. Beside what the stream began as it is inside of that, and later.
    let is_inside = confirmed.iter().any(|(at, _)| begun.is_some_and(|begun| *at < begun));
    let first = if is_inside && is_stream { i64::MAX } else { begun.unwrap_or(0) };
    let all = halves.iter().flat_map(|(end, half)| half.fits.iter().map(move |fit| (end, fit)));
    let both = all.filter_map(|(end, (own, name))| {
        let of_others = halves.iter().filter(|(other, _)| other != end);
        let other = of_others.flat_map(|(_, half)| &half.fits).find(|(_, of)| of == name)?.0;
        let name = name.as_str();
        match (*own, other) {
            (Some(own), Some(other)) => Some((own.max(other), name)),
            _ => is_whole.then_some((first, name)),
        }
    });
    both.collect()
}

/// Whether what one end took for granted may have been: to go on as another protocol takes the answer to what the flow
/// begins as, which nobody saw of an end whose beginning is missing.
fn is_granted(halves: &[(usize, &Half)], name: &str) -> bool {
    let is_later = |half: &Half| half.confirmed.iter().position(|(_, of)| of == name) > Some(0);
    let by: Vec<usize> =
        halves.iter().filter(|(_, half)| is_later(half)).map(|(end, _)| *end).collect();
    let is_by_other = |end: &usize| {
        let others = halves.iter().filter(|(other, _)| other != end);
        others.flat_map(|(_, half)| &half.confirmed).any(|(_, of)| of == name)
    };
    let has_no_beginning = |end: &usize| {
        let others = halves.iter().filter(|(other, _)| other != end);
        others.filter_map(|(_, half)| half.holes.first()).any(|(from, _)| *from <= 1)
    };
    by.iter().all(|end| is_by_other(end) || !has_no_beginning(end))
}

/// Whether any of them says that the flow is not of this protocol, and it matters.
fn is_ruled_out(halves: &[(usize, &Half)], name: &str) -> bool {
    // An end can confirm in a way that leaves the other nothing to do wrong after that.
    let is_safe = |end: usize, from: i64| {
        halves.iter().any(|(other, half)| {
            let confirmed = half.confirmed.iter().any(|(at, of)| *at <= from && of == name);
            *other != end && confirmed && has_shown(half, name, from)
        })
    };
    // What comes inside of something else is not what the flow begins as.
    let is_inside = |half: &Half| {
        let known =
            half.confirmed.iter().map(|(_, of)| of).chain(half.fits.iter().map(|(_, of)| of));
        let at = half.confirmed.iter().position(|(_, of)| of == name);
        at.is_some_and(|at| at > 0 || known.skip(half.confirmed.len()).any(|of| of != name))
    };
    let matters = |end: usize, half: &Half, at: Option<i64>| match at {
        Some(at) => !is_safe(end, at),
        None => !is_safe(end, half.first_data()) && !halves.iter().any(|(_, half)| is_inside(half)),
    };
    halves.iter().any(|(end, half)| {
        half.ruled_out.iter().any(|(at, of)| of == name && matters(*end, half, *at))
    })
}

#[cfg(test)]
mod tests {
    use super::super::piece::Mark;
    use super::*;

    /// Names with times; -1 for what the first payload says.
    fn timed(names: &[(i64, &str)]) -> Vec<(Option<i64>, String)> {
        let at = |at: i64| (at >= 0).then_some(at);
        names.iter().map(|(time, name)| (at(*time), (*name).to_owned())).collect()
    }

    fn half(syn: u8, data: i64, confirmed: &[(i64, &str)]) -> Half {
        let mark = |(at, letter)| Mark { at, letter, end: None, ack: None };
        Half {
            marks: [(0, syn), (data, b'D')].map(mark).to_vec(),
            confirmed: confirmed.iter().map(|(at, name)| (*at, (*name).to_owned())).collect(),
            ..Half::default()
        }
    }

    #[test]
    fn what_is_shown_by_both_is_known_then() {
        let mut client = half(b'S', 10, &[(30, "dce_rpc"), (30, "smb")]);
        let mut server = half(b'H', 15, &[(40, "smb")]);
        client.fits = timed(&[(20, "smb"), (-1, "pop3")]);
        server.fits = timed(&[(15, "smb"), (-1, "pop3")]);
        let halves = [(0, &client), (1, &server)];
        let all = confirmed(&halves);
        let mut known = fitting(&halves, Some(15), true, &all);
        known.dedup();
        known.truncate(2);
        assert_eq!(known, [(20, "smb"), (15, "pop3")]);
    }

    #[test]
    fn what_is_wrong_matters_until_the_other_end_has_done_its_part() {
        let mut client = half(b'S', 10, &[(20, "http")]);
        let mut server = half(b'H', 5, &[]);
        client.fits = timed(&[(20, "http")]);
        for (at, is_out) in [(15, true), (25, false)] {
            server.ruled_out = timed(&[(at, "http")]);
            assert_eq!(is_ruled_out(&[(0, &client), (1, &server)], "http"), is_out, "{at}");
        }
        // That it fits by how it begins is not to have done its part.
        client.fits = timed(&[(-1, "http")]);
        assert!(is_ruled_out(&[(0, &client), (1, &server)], "http"));
    }

    #[test]
    fn a_beginning_says_nothing_of_what_is_inside() {
        let mut server = half(b'H', 5, &[]);
        server.ruled_out = timed(&[(-1, "ssl")]);
        let of = |confirmed| is_ruled_out(&[(0, &half(b'S', 10, confirmed)), (1, &server)], "ssl");
        assert!(of(&[(10, "ssl")]));
        assert!(!of(&[(10, "ftp"), (30, "ssl")]));
    }

    #[test]
    fn an_end_whose_beginning_is_missing_granted_nothing() {
        let client = half(b'S', 10, &[(10, "http"), (30, "ssl")]);
        let mut server = half(b'H', 25, &[]);
        let granted = |server: &Half, name| is_granted(&[(0, &client), (1, server)], name);
        assert!(granted(&server, "ssl"));
        server.holes = vec![(1, 96)];
        assert!(!granted(&server, "ssl") && granted(&server, "http"));
        server.confirmed = vec![(40, "ssl".to_owned())];
        assert!(granted(&server, "ssl"));
    }
}
