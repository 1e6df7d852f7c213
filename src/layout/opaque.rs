//! From opaque offsets to ranges of addresses.

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
    /// The addresses of `size` bytes from the opaque offset `offset`, of metadata or of the image: as few pieces as there
    /// are gaps.
    ///
    /// An opaque offset in a tail means that tail. Any other below [`TileMap::size`] is an address, but for metadata,
    /// which is nothing but tails. (Where a tail's offset is its address, as in [`Image::by_address`](super::Image::by_address), the two
    /// agree, and every opaque offset is an address.)
    ///
    /// # Errors
    /// A byte of the range lies neither in a tail nor in a whole tile of the image that is left beside the tails.
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
            image_size: self.size(),
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
            .map(|&i| &self.tails[i])
            .filter(|tail| tail.metadata == metadata)
            .peekable();
        while from < end {
            while tails
                .next_if(|tail| tail.offset + tail.size <= from)
                .is_some()
            {}
            let (at, to) = match tails.peek() {
                Some(tail) if tail.offset <= from => {
                    (tail.at + (from - tail.offset), tail.offset + tail.size)
                }
                _ if metadata || from >= self.size() => return Err(error(from)),
                Some(tail) => (from, self.size().min(tail.offset)),
                None => (from, self.size()),
            };
            let to = to.min(end);
            // Where a tail's offsets begin or end inside a tile, what is left of the tile has no name.
            let part_of_tile = |edge: u64| {
                (offset + 1..end).contains(&edge)
                    && edge < self.tiles_end
                    && edge % self.tile_bytes != 0
            };
            let inside = [from, to].into_iter().find(|&edge| part_of_tile(edge));
            if let Some(edge) = inside.filter(|_| at == from) {
                return Err(error(edge));
            }
            let piece = Piece {
                at,
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
