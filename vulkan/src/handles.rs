//! What is known of a Vulkan handle, kept beside it: maps keyed by the handle, as layers keep them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

/// Hashes a handle by one multiplication: handles are addresses or counters, not chosen by an adversary.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandleHasher(u64);

impl Hasher for HandleHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, handle: u64) {
        let mixed = (self.0.rotate_left(5) ^ handle).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A hash map keyed by raw handles.
pub type HandleHashMap<V> = HashMap<u64, V, BuildHasherDefault<HandleHasher>>;

/// A map from handles to shared values that any thread may use. A panic of a holder of the lock leaves the
/// map as it is: an insertion or a removal is done or not done.
#[derive(Debug)]
pub struct HandleMap<V>(RwLock<HandleHashMap<Arc<V>>>);

impl<V> Default for HandleMap<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<V> HandleMap<V> {
    /// Remembers `value` for `handle`, in place of what was known of a handle of the same number before.
    pub fn insert(&self, handle: u64, value: Arc<V>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle, value);
    }

    pub fn get(&self, handle: u64) -> Option<Arc<V>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&handle)
            .cloned()
    }

    pub fn remove(&self, handle: u64) -> Option<Arc<V>> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle)
    }

    /// Forgets every handle whose value `dies`.
    pub fn remove_where(&self, dies: impl Fn(&V) -> bool) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, value| !dies(value));
    }
}
