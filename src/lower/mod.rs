//! From runs to `VM_BIND` operations, for one kernel's capabilities.
