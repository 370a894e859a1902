//! Which parts of the halves of a tuple are one flow.
//!
//! Where one sensor alone saw how a flow ended, the other's half goes on with what is the next flow, and has to be cut
//! at one of its rests. Parts are looked at one by one, as pieces are, and those that stay together become whole again.

use std::ops::Range;

use super::flows;
use super::piece::Piece;

/// A piece that belongs to a flow, or parts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its place.
    pub piece: usize,
    /// Which of its parts; `None` for all.
    pub parts: Option<Range<usize>>,
}

impl Member {
    /// All of a piece.
    pub fn whole(piece: usize) -> Member {
        Member { piece, parts: None }
    }

    /// What it is of these pieces.
    pub fn of(&self, pieces: &[Piece]) -> Piece {
        let piece = &pieces[self.piece];
        self.parts
            .as_ref()
            .map_or_else(|| piece.clone(), |parts| piece.part(parts.start, parts.end))
    }

    /// The same for good: a whole piece is there no longer.
    pub fn take(&self, pieces: &mut [Option<Piece>]) -> Option<Piece> {
        let piece = pieces.get_mut(self.piece)?;
        match &self.parts {
            None => piece.take(),
            Some(parts) => Some(piece.as_ref()?.part(parts.start, parts.end)),
        }
    }
}

/// Parts that follow each other.
type Run = (usize, Range<usize>);

/// Divides pieces, of which some have rests, into flows.
pub fn groups(pieces: &[Piece], order: &[usize]) -> Vec<Vec<Member>> {
    let mut parts: Vec<(usize, usize, Piece)> = Vec::new();
    for i in order {
        let count = pieces[*i].rests().len() + 1;
        parts.extend((0..count).map(|at| (*i, at, pieces[*i].part(at, at + 1))));
    }
    parts.sort_by(|a, b| flows::place(&a.2).cmp(&flows::place(&b.2)));
    let mut groups: Vec<Vec<Run>> = Vec::new();
    // What the last group is of the pieces.
    let mut runs: Vec<Piece> = Vec::new();
    for (piece, at, part) in parts {
        let flow: Vec<usize> = (0..runs.len()).collect();
        runs.push(part);
        let goes_on = !flow.is_empty() && flows::continues(&runs, &flow, flow.len());
        let Some(last) = groups.last_mut().filter(|_| goes_on) else {
            groups.push(vec![(piece, at..at + 1)]);
            runs.drain(..flow.len());
            continue;
        };
        match last.iter_mut().zip(&mut runs).find(|((i, of), _)| *i == piece && of.end == at) {
            Some(((_, of), run)) => {
                of.end = at + 1;
                *run = pieces[piece].part(of.start, of.end);
                runs.pop();
            }
            None => last.push((piece, at..at + 1)),
        }
    }
    let is_both =
        |group: &[Run]| group.iter().any(|(i, _)| pieces[*i].end() != pieces[group[0].0].end());
    let (mut groups, alone): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| is_both(group));
    groups.extend(one_way(pieces, order, &groups, alone));
    let member = |(piece, of): Run| {
        let is_whole = of == (0..pieces[piece].rests().len() + 1);
        Member { piece, parts: (!is_whole).then_some(of) }
    };
    groups.into_iter().map(|group| group.into_iter().map(member).collect()).collect()
}

/// What has nothing of the other direction is as its sensor took it: whole, where none of it is of a flow that has, else
/// parts that are alone one after the other together.
fn one_way(
    pieces: &[Piece],
    order: &[usize],
    both: &[Vec<Run>],
    alone: Vec<Vec<Run>>,
) -> Vec<Vec<Run>> {
    let is_cut = |piece: usize| both.iter().flatten().any(|(i, _)| *i == piece);
    let mut groups: Vec<Vec<Run>> = Vec::new();
    let mut runs: Vec<Run> = alone.into_iter().flatten().filter(|run| is_cut(run.0)).collect();
    runs.sort_by_key(|(piece, of)| (*piece, of.start));
    for (piece, of) in runs {
        match groups.last_mut().map(Vec::as_mut_slice) {
            Some([(last, before)]) if *last == piece && before.end == of.start => {
                before.end = of.end;
            }
            _ => groups.push(vec![(piece, of)]),
        }
    }
    for end in [0, 1] {
        let whole = order.iter().filter(|i| !is_cut(**i) && pieces[**i].end() == end);
        let whole: Vec<usize> = whole.copied().collect();
        let all = |i: &usize| (*i, 0..pieces[*i].rests().len() + 1);
        let chains = flows::chains(pieces, &whole);
        groups.extend(chains.into_iter().map(|chain| chain.iter().map(all).collect()));
    }
    groups
}
