//! Calls that are no longer needed: the next ones get their lists, for memory from the allocator is most of what a short
//! call costs.

use vulkan::calls::{BindCall, BindInfo};

/// Binds that the lists of all spare calls have room for, at most: some megabytes. What is more is freed.
const MOST: usize = 1 << 17;

/// Spare calls.
#[derive(Debug, Default)]
pub(super) struct Spare {
    calls: Vec<BindCall>,
    /// Of all of them, see [`room`].
    room: usize,
}

impl Spare {
    /// A call with anything in it.
    pub fn take(&mut self) -> BindCall {
        let call = self.calls.pop().unwrap_or_default();
        self.room = self.room.saturating_sub(room(&call));
        call
    }

    pub fn keep(&mut self, call: BindCall) {
        let room = self.room.saturating_add(room(&call));
        if room <= MOST {
            self.room = room;
            self.calls.push(call);
        }
    }
}

/// What the lists of a call have room for, each item counted as one, and the call itself.
fn room(call: &BindCall) -> usize {
    let of_info = |info: &BindInfo| {
        let binds: usize = info.binds.iter().map(|(_, list)| list.capacity()).sum();
        let tiles = info.image_binds.iter().map(|(_, list)| list.capacity());
        let lists = info.binds.capacity() + info.image_binds.capacity();
        let semaphores = info.waits.capacity() + info.signals.capacity();
        binds + tiles.sum::<usize>() + lists + semaphores
    };
    1 + call.infos.capacity() + call.infos.iter().map(of_info).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vulkan::calls::{Bind, ResourceId};

    fn call(binds: usize) -> BindCall {
        let list: Vec<Bind> = Vec::with_capacity(binds);
        let binds = vec![(ResourceId::Buffer(1), list)];
        let infos = vec![BindInfo {
            binds,
            ..BindInfo::default()
        }];
        BindCall { infos, fence: None }
    }

    #[test]
    fn a_call_that_was_kept_is_given_with_its_room_and_no_more_are_kept_than_fit() {
        let mut spare = Spare::default();
        spare.keep(call(MOST));
        assert_eq!(room(&spare.take()), room(&BindCall::default()));
        for _ in 0..5 {
            spare.keep(call(MOST / 4));
        }
        assert_eq!(spare.calls.len(), 3);
        for _ in 0..3 {
            assert!(room(&spare.take()) >= MOST / 4);
        }
        assert_eq!(spare.room, 0);
    }
}
