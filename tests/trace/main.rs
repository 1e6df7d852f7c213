//! Recordings: the format, and what a replay counts.

mod arbitrary;
mod format;
mod recorded;
mod replay;
