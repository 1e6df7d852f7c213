//! The same changes, said to other kernels than panthor.

use kernels::{Counts, Encoder, Kernel, Step, Unfit};
use panvk_sparse::bind::{Ranges, SparseRange};
use panvk_sparse::lower::PlannedBatch;

/// What a recording asks of one of them. Nothing runs: its calls are made as bytes, and counted.
#[derive(Clone, Debug)]
pub struct Other {
    pub kernel: Kernel,
    pub counts: Counts,
    /// The first thing that this kernel cannot be told.
    pub unfit: Option<Unfit>,
}

impl Other {
    pub(super) fn new(kernel: Kernel) -> Self {
        Other {
            kernel,
            counts: Counts::default(),
            unfit: None,
        }
    }

    pub(super) fn create(&mut self, range: &SparseRange) {
        self.note(self.encoder().create(range));
    }

    pub(super) fn destroy(&mut self, range: &SparseRange) {
        self.note(self.encoder().destroy(range));
    }

    pub(super) fn call(&mut self, batches: &[PlannedBatch<'_>], ranges: &Ranges) {
        self.note(self.encoder().call(batches, ranges));
    }

    fn encoder(&self) -> Encoder {
        Encoder::to_count(self.kernel)
    }

    fn note(&mut self, steps: Result<Vec<Step>, Unfit>) {
        self.counts.add(&steps);
        if let (None, Err(unfit)) = (&self.unfit, steps) {
            self.unfit = Some(unfit);
        }
    }
}
