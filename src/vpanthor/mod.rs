//! A virtual panthor kernel: the same ioctls, in this process, with a gpuvm and page tables one can look at.
