//! The plan and the shadow against an array of pages.

mod model;
mod plan;
mod shadow;
