//! Flows by number: a bounded table whose numbers name one flow for good, so that a late event never reaches another.

/// A place in a [`Slab`], and which use of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Id {
    /// The place.
    pub index: u32,
    /// How many had it before, 24 bits.
    pub turn: u32,
}

/// The table.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The number the next one gets.
    pub fn next(&self) -> Id {
        match self.free.last() {
            Some(&index) => Id { index, turn: self.slots[index as usize].0 },
            None => Id { index: self.slots.len() as u32, turn: 0 },
        }
    }

    /// Adds one, with the number that [`Slab::next`] told.
    pub fn add(&mut self, item: T) -> Id {
        let id = self.next();
        match self.free.pop() {
            Some(index) => self.slots[index as usize].1 = Some(item),
            None => self.slots.push((0, Some(item))),
        }
        id
    }

    /// The one of this number, if it is still there.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (turn, item) = self.slots.get_mut(id.index as usize)?;
        item.as_mut().filter(|_| *turn == id.turn)
    }

    /// Takes it out.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let (turn, item) = self.slots.get_mut(id.index as usize)?;
        if *turn != id.turn {
            return None;
        }
        let item = item.take()?;
        *turn = (*turn + 1) & 0xff_ffff;
        self.free.push(id.index);
        Some(item)
    }

    /// All, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, (turn, item))| Some((Id { index: index as u32, turn: *turn }, item.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_things_for_good() {
        let mut slab = Slab::default();
        let next = slab.next();
        let a = slab.add('a');
        assert_eq!(a, next);
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.add('b');
        assert_eq!(b.index, a.index);
        assert!(slab.get_mut(a).is_none() && slab.remove(a).is_none());
        assert_eq!(slab.get_mut(b), Some(&mut 'b'));
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }
}
