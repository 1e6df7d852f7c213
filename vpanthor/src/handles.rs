//! Tables of handles: small numbers that name objects within one open file (`idr`, `xarray`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustix::io::Errno;

/// Handles from 1 on (and see [`Handles::remove_zero`]); a new object gets the lowest free one, and looking one up is an array access.
#[derive(Debug)]
pub(super) struct Handles<T> {
    /// The object with handle `i + 1`.
    slots: Vec<Option<T>>,
    /// Empty slots.
    free: BinaryHeap<Reverse<usize>>,
    /// The highest handle.
    max: u32,
    zero: Zero<T>,
}

/// Whether handle 0 can be given out. Only [`Handles::remove_zero`] makes it so.
#[derive(Debug)]
enum Zero<T> {
    Reserved,
    Free,
    Taken(T),
}

impl<T> Handles<T> {
    /// A table with handles up to `max`.
    pub fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: BinaryHeap::new(),
            max,
            zero: Zero::Reserved,
        }
    }

    /// Gives `object` a handle; `None` if there is none left.
    pub fn insert(&mut self, object: T) -> Option<u32> {
        if let Zero::Free = self.zero {
            self.zero = Zero::Taken(object);
            return Some(0);
        }
        if let Some(Reverse(slot)) = self.free.pop() {
            self.slots[slot] = Some(object);
            return u32::try_from(slot + 1).ok();
        }
        let handle = u32::try_from(self.slots.len() + 1).ok()?;
        if handle > self.max {
            return None;
        }
        self.slots.push(Some(object));
        Some(handle)
    }

    pub fn get(&self, handle: u32) -> Option<&T> {
        let Some(slot) = (handle as usize).checked_sub(1) else {
            return match &self.zero {
                Zero::Taken(object) => Some(object),
                Zero::Reserved | Zero::Free => None,
            };
        };
        self.slots.get(slot)?.as_ref()
    }

    pub fn remove(&mut self, handle: u32) -> Option<T> {
        let slot = (handle as usize).checked_sub(1)?;
        let object = self.slots.get_mut(slot)?.take()?;
        self.free.push(Reverse(slot));
        Some(object)
    }

    /// Takes handle 0 away, in a table that the kernel keeps in an `xarray`. There a place-holder keeps the number 0 from
    /// being given out, but only while no other handle is taken is it out of reach: else it is removed like an object, which
    /// the caller is told was not there, and from then on 0 is a handle like any other.
    pub fn remove_zero(&mut self) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        match std::mem::replace(&mut self.zero, Zero::Free) {
            Zero::Taken(object) => Some(object),
            Zero::Reserved | Zero::Free => None,
        }
    }

    fn zero(&self) -> Option<&T> {
        self.get(0)
    }

    /// The objects that have a handle.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.zero().into_iter().chain(self.slots.iter().flatten())
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() + usize::from(self.zero().is_some())
    }
}

impl<T: Clone> Handles<T> {
    /// The objects with their handles, ascending.
    pub fn entries(&self) -> Vec<(u32, T)> {
        let zero = self.zero().map(|object| (0, object));
        let others = (1..).zip(&self.slots);
        let others = others.filter_map(|(handle, object)| Some((handle, object.as_ref()?)));
        zero.into_iter()
            .chain(others)
            .map(|(handle, object)| (handle, object.clone()))
            .collect()
    }

    /// The objects of all handles, or `missing` where one names none.
    pub fn get_all(&self, handles: &[u32], missing: Errno) -> Result<Vec<T>, Errno> {
        handles
            .iter()
            .map(|handle| self.get(*handle).cloned().ok_or(missing))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_handle_is_given_again() {
        let mut handles = Handles::new(3);
        assert_eq!(
            [
                handles.insert('a'),
                handles.insert('b'),
                handles.insert('c')
            ],
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(handles.insert('d'), None);
        assert_eq!(handles.remove(2), Some('b'));
        assert_eq!(handles.remove(1), Some('a'));
        assert_eq!(handles.remove(1), None);
        assert_eq!(handles.insert('e'), Some(1));
        assert_eq!(handles.get(1), Some(&'e'));
        assert_eq!(handles.get(0), None);
        assert_eq!(handles.len(), 2);
    }

    #[test]
    fn handle_0_is_given_out_once_it_was_removed_beside_another() {
        let mut handles = Handles::new(9);
        assert_eq!(handles.remove_zero(), None);
        assert_eq!(handles.insert('a'), Some(1));
        assert_eq!(handles.remove(0), None);
        assert_eq!(handles.insert('b'), Some(2));
        assert_eq!(handles.remove_zero(), None);
        assert_eq!(handles.len(), 2);
        assert_eq!(handles.remove(1), Some('a'));
        assert_eq!(handles.remove(2), Some('b'));
        assert_eq!(handles.insert('c'), Some(0));
        assert_eq!(handles.insert('d'), Some(1));
        assert_eq!((handles.get(0), handles.len()), (Some(&'c'), 2));
        assert_eq!(handles.entries(), [(0, 'c'), (1, 'd')]);
        assert_eq!(handles.remove_zero(), Some('c'));
        assert_eq!(handles.insert('e'), Some(0));
    }
}
