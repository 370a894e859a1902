//! The protocols of a flow, from what each direction alone shows of them.

use super::piece::{Half, Piece};

/// A protocol and when it was known.
type Known<'a> = (i64, &'a str);

/// Protocols that any of the sensors confirmed, in the order that they did, and those that each direction alone
/// only fits; without those that any of them ruled out.
pub fn of(pieces: &[Piece]) -> Option<String> {
    let halves: Vec<(usize, &Half)> =
        pieces.iter().filter_map(|piece| Some((piece.end(), piece.half.as_ref()?))).collect();
    let is_stream = pieces.iter().any(|piece| piece.is_tcp);
    let begun = halves.iter().map(|(_, half)| half.first_data()).filter(|at| *at < i64::MAX).max();
    let mut all = confirmed(&halves);
    all.extend(fitting(&halves, begun, is_stream, &all));
    all.sort_by_key(|(at, _)| *at);
    let mut names: Vec<&str> = Vec::new();
    for (_, name) in all {
        if !names.contains(&name) && !is_ruled_out(&halves, name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(","))
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|of| of == name)
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

/// What fits with each direction, and nobody confirmed. `begun`: when both ends had payload.
fn fitting<'a>(
    halves: &[(usize, &'a Half)],
    begun: Option<i64>,
    is_stream: bool,
    confirmed: &[Known<'a>],
) -> Vec<Known<'a>> {
    // Of a stream that was begun before nothing is known.
    if is_stream && !(has_begun(halves, b'S') && has_begun(halves, b'H')) {
        return Vec::new();
    }
    // It is known when both have begun. Beside what the stream began as it is inside of that, and later.
    let is_inside = confirmed.iter().any(|(at, _)| begun.is_some_and(|begun| *at < begun));
    let at = if is_inside && is_stream { i64::MAX } else { begun.unwrap_or(0) };
    let is_known = |name: &str| confirmed.iter().any(|(_, of)| *of == name);
    let all = halves.iter().flat_map(|(end, half)| half.fits.iter().map(move |name| (end, name)));
    let both = all.filter(|(end, name)| {
        halves.iter().any(|(other, half)| other != *end && has(&half.fits, name))
    });
    both.filter(|(_, name)| !is_known(name)).map(|(_, name)| (at, name.as_str())).collect()
}

fn is_ruled_out(halves: &[(usize, &Half)], name: &str) -> bool {
    // An end can confirm in a way that leaves the other nothing to do wrong after that.
    let is_safe = |end: usize, from: i64| {
        halves.iter().any(|(other, half)| {
            let confirmed = half.confirmed.iter().any(|(at, of)| *at <= from && of == name);
            *other != end && confirmed && has(&half.fits, name)
        })
    };
    halves.iter().any(|(end, half)| has(&half.ruled_out, name) && !is_safe(*end, half.first_data()))
}
