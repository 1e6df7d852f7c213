//! From opaque offsets of mip tails and metadata to ranges of addresses.

use super::{OpaqueError, Piece, TileMap};

/// The pieces of a range of opaque offsets, in its order.
#[derive(Clone, Debug)]
pub struct OpaquePieces(std::vec::IntoIter<Piece>);

impl Iterator for OpaquePieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl TileMap {
    /// The addresses of `size` bytes from the opaque offset `offset`, of metadata or of mip tails: one piece for each
    /// tail, fewer where tails that follow one another in opaque offsets also do so in addresses.
    ///
    /// # Errors
    /// A byte of the range lies in no tail.
    pub fn opaque_pieces(
        &self,
        offset: u64,
        size: u64,
        metadata: bool,
    ) -> Result<OpaquePieces, OpaqueError> {
        let error = |outside| OpaqueError {
            offset,
            size,
            metadata,
            outside,
        };
        let end = offset.checked_add(size).ok_or(error(u64::MAX))?;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut from = offset;
        let after = self.tails_by_offset.partition_point(|&i| {
            let tail = &self.tails[i];
            (tail.metadata, tail.offset) <= (metadata, from)
        });
        // The last one that starts at or before the range, and those after it.
        let mut tails = self.tails_by_offset[after.saturating_sub(1)..]
            .iter()
            .map(|&i| &self.tails[i]);
        while from < end {
            let tail = tails
                .next()
                .filter(|tail| tail.metadata == metadata && tail.offset <= from)
                .filter(|tail| from - tail.offset < tail.size)
                .ok_or(error(from))?;
            let to = end.min(tail.offset + tail.size);
            let piece = Piece {
                at: tail.at + (from - tail.offset),
                len: to - from,
                memory: from - offset,
            };
            match pieces.last_mut() {
                Some(last) if last.at + last.len == piece.at => last.len += piece.len,
                _ => pieces.push(piece),
            }
            from = to;
        }
        Ok(OpaquePieces(pieces.into_iter()))
    }
}
