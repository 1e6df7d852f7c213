//! Tables of handles: small numbers that name objects within one open file (`idr`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustix::io::Errno;

/// Handles from 1 on; a new object gets the lowest free one, and looking one up is an array access.
#[derive(Debug)]
pub(super) struct Handles<T> {
    /// The object with handle `i + 1`.
    slots: Vec<Option<T>>,
    /// Empty slots.
    free: BinaryHeap<Reverse<usize>>,
    /// The highest handle.
    max: u32,
}

impl<T> Handles<T> {
    /// A table with handles up to `max`.
    pub fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: BinaryHeap::new(),
            max,
        }
    }

    /// Gives `object` a handle; `None` if there is none left.
    pub fn insert(&mut self, object: T) -> Option<u32> {
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
        let slot = (handle as usize).checked_sub(1)?;
        self.slots.get(slot)?.as_ref()
    }

    pub fn remove(&mut self, handle: u32) -> Option<T> {
        let slot = (handle as usize).checked_sub(1)?;
        let object = self.slots.get_mut(slot)?.take()?;
        self.free.push(Reverse(slot));
        Some(object)
    }

    /// The objects that have a handle.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<T: Clone> Handles<T> {
    /// The objects with their handles, ascending.
    pub fn entries(&self) -> Vec<(u32, T)> {
        let objects = (1..).zip(&self.slots);
        objects
            .filter_map(|(handle, object)| Some((handle, object.clone()?)))
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
}
