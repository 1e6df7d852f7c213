//! The kernel boundary: uAPI structs, the transport, the capability probe, VMs, BOs, syncobjs, counters.

pub mod uapi;
