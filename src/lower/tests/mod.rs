//! Lowering against page tables that are arrays of pages, and the rules of the kernels.

mod kernel;
mod properties;
mod rows;
mod syncs;

use crate::bind::{Ranges, Resource, SparseRange};

fn ranges_of(resources: &[Resource]) -> Ranges {
    let mut ranges = Ranges::default();
    for resource in resources {
        let range = SparseRange::new(resource.va, resource.size, resource.granularity);
        ranges.add(range).unwrap();
    }
    ranges
}
