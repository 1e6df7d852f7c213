//! The ioctls of the virtual kernel, in this process and (see `node::transport`) on a node.

mod ioctl;
mod syncobj;
mod vm_bind;
mod work;
