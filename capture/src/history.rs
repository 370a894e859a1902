//! Letters of a flow's history. Nearly all flows have a few, which are kept in place.

use std::ops::Deref;

/// Letters kept in place: `ShADadFfRr` and some that are rarer.
const FEW: usize = 14;

/// ASCII letters in order.
#[derive(Debug, Clone)]
pub struct History(Letters);

#[derive(Debug, Clone)]
enum Letters {
    Few(u8, [u8; FEW]),
    #[expect(clippy::box_collection, reason = "a vector in place would make every flow larger")]
    Many(Box<Vec<u8>>),
}

impl Default for History {
    fn default() -> History {
        History(Letters::Few(0, [0; FEW]))
    }
}

impl History {
    /// Adds a letter.
    pub fn push(&mut self, letter: u8) {
        match &mut self.0 {
            Letters::Many(letters) => letters.push(letter),
            Letters::Few(len, letters) => {
                if let Some(place) = letters.get_mut(usize::from(*len)) {
                    *place = letter;
                    *len += 1;
                } else {
                    let mut many = letters.to_vec();
                    many.push(letter);
                    self.0 = Letters::Many(Box::new(many));
                }
            }
        }
    }
}

impl Deref for History {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Letters::Few(len, letters) => letters.get(..usize::from(*len)).unwrap_or_default(),
            Letters::Many(letters) => letters,
        }
    }
}

impl FromIterator<u8> for History {
    fn from_iter<I: IntoIterator<Item = u8>>(letters: I) -> History {
        let mut history = History::default();
        letters.into_iter().for_each(|letter| history.push(letter));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_letters() {
        let text: Vec<u8> = (b'A'..=b'Z').collect();
        for len in 0..text.len() {
            let history: History = text[..len].iter().copied().collect();
            assert_eq!(*history, text[..len]);
        }
        assert_eq!(size_of::<History>(), 16);
    }
}
