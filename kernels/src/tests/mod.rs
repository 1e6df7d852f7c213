//! The bytes against the drivers: each is modelled as far as its ioctl goes, and refuses what the real one refuses. The rules are
//! learnt from the headers and the drivers' sources; where a driver is lenient (a reserved field that it does not look at), the
//! model is not.

mod amdgpu;
mod asahi;
mod bits;
mod model;
mod msm;
mod nouveau;
mod properties;
mod refusals;
mod xe;
