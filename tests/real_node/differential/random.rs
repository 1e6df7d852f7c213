//! Choices of the generators.

use common::Random;

pub trait Choice {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T;

    /// `valid` as a rule, now and then one of the others.
    fn mostly<T: Copy>(&mut self, valid: T, others: &[T]) -> T;
}

impl Choice for Random {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn mostly<T: Copy>(&mut self, valid: T, others: &[T]) -> T {
        if self.one_in(30) {
            self.pick(others)
        } else {
            valid
        }
    }
}
