//! The component as a driver author uses it.
