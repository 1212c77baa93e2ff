//! A node's children: their numbers in the order of their names, in pieces, so that none is long to insert into.

use std::cmp::Ordering;

/// Numbers in one piece.
const PIECE: usize = 256;

/// In the first piece of a few there is all; a piece is never empty but for the first.
#[derive(Debug, Default)]
pub(super) struct Children {
    first: Vec<u32>,
    more: Vec<Vec<u32>>,
    len: usize,
}

/// Before one of them, or behind all: the piece, and the place in it.
pub(super) type Place = (usize, usize);

impl Children {
    pub const NONE: Children = Children { first: Vec::new(), more: Vec::new(), len: 0 };

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn piece(&self, at: usize) -> Option<&Vec<u32>> {
        if at == 0 { Some(&self.first) } else { self.more.get(at - 1) }
    }

    fn piece_mut(&mut self, at: usize) -> &mut Vec<u32> {
        if at == 0 { &mut self.first } else { &mut self.more[at - 1] }
    }

    /// Who stands there, and the place behind.
    pub fn at(&self, (piece, at): Place) -> Option<(u32, Place)> {
        match self.piece(piece)?.get(at) {
            Some(number) => Some((*number, (piece, at + 1))),
            None => self.piece(piece + 1)?.first().map(|number| (*number, (piece + 1, 1))),
        }
    }

    /// Where somebody stands, or would: `order` says how a number's name compares to his.
    pub fn place(&self, order: impl Fn(u32) -> Ordering) -> Result<Place, Place> {
        let last = self.more.last().unwrap_or(&self.first);
        // Names often come in their order.
        if last.last().is_none_or(|number| order(*number) == Ordering::Less) {
            return Err((self.more.len(), last.len()));
        }
        let begins_before =
            |piece: &Vec<u32>| piece.first().is_some_and(|number| order(*number) != Ordering::Greater);
        let piece = self.more.partition_point(begins_before);
        let numbers = if piece == 0 { &self.first } else { &self.more[piece - 1] };
        match numbers.binary_search_by(|number| order(*number)) {
            Ok(at) => Ok((piece, at)),
            Err(at) => Err((piece, at)),
        }
    }

    pub fn insert(&mut self, (piece, at): Place, number: u32) {
        self.len += 1;
        let last = piece == self.more.len();
        let numbers = self.piece_mut(piece);
        if numbers.len() < PIECE {
            return numbers.insert(at, number);
        }
        // Behind all: the pieces before stay full.
        let cut = if last && at == PIECE { PIECE } else { PIECE / 2 };
        let mut behind = numbers.split_off(cut);
        match at.checked_sub(cut) {
            Some(at) => behind.insert(at, number),
            None => numbers.insert(at, number),
        }
        self.more.insert(piece, behind);
    }

    pub fn remove(&mut self, (piece, at): Place) {
        self.len -= 1;
        let numbers = self.piece_mut(piece);
        numbers.remove(at);
        if !numbers.is_empty() {
            return;
        }
        match piece {
            0 if self.more.is_empty() => {}
            0 => self.first = self.more.remove(0),
            piece => drop(self.more.remove(piece - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(children: &Children) -> Vec<u32> {
        let mut place = (0, 0);
        std::iter::from_fn(|| {
            let (number, next) = children.at(place)?;
            place = next;
            Some(number)
        })
        .collect()
    }

    #[test]
    fn names_that_come_in_their_order_fill_their_pieces() {
        let mut children = Children::default();
        for number in 0..1000 {
            let place = children.place(|other| other.cmp(&number)).unwrap_err();
            children.insert(place, number);
        }
        assert_eq!(all(&children), (0..1000).collect::<Vec<_>>());
        let pieces: Vec<usize> = children.more.iter().map(Vec::len).collect();
        assert_eq!((children.first.len(), pieces), (256, vec![256, 256, 232]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_stay_in_their_order_whoever_comes_and_goes(
            steps in prop::collection::vec((0u32..3000, 0..10), 1..4000),
            mostly in 2..9,
        ) {
            let (mut children, mut model) = (Children::default(), BTreeSet::new());
            for (number, chance) in steps {
                match (children.place(|other| other.cmp(&number)), chance < mostly) {
                    (Err(place), true) => {
                        children.insert(place, number);
                        prop_assert!(model.insert(number));
                    }
                    (Ok(place), false) => {
                        children.remove(place);
                        prop_assert!(model.remove(&number));
                    }
                    (Ok(_), true) => prop_assert!(model.contains(&number)),
                    (Err(_), false) => prop_assert!(!model.contains(&number)),
                }
                prop_assert_eq!(children.len(), model.len());
            }
            prop_assert_eq!(all(&children), model.into_iter().collect::<Vec<_>>());
            prop_assert!(children.more.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE));
        }
    }
}
