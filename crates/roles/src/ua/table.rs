//! The table of calls: handles with a generation, so that a stale one finds nothing.

use crate::io::CallHandle;

use super::call::Call;

/// All calls of a user agent.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    call: Option<Box<Call>>,
}

impl Calls {
    /// How many calls there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Puts a call into a free slot. The caller has compared [`Calls::len`] with its limit.
    pub(super) fn insert(&mut self, make: impl FnOnce(CallHandle) -> Call) -> CallHandle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, call: None });
            u32::try_from(self.slots.len() - 1).expect("the limit on calls is far below 2^32")
        });
        let place = &mut self.slots[slot as usize];
        let handle = CallHandle { slot, generation: place.generation };
        place.call = Some(Box::new(make(handle)));
        self.len += 1;
        handle
    }

    /// All calls, in the order of their slots.
    pub(super) fn handles(&self) -> Vec<CallHandle> {
        let slots = (0_u32..).zip(&self.slots);
        let taken = slots.filter(|(_, place)| place.call.is_some());
        taken.map(|(slot, place)| CallHandle { slot, generation: place.generation }).collect()
    }

    /// The call, unless it is over.
    pub(super) fn get_mut(&mut self, handle: CallHandle) -> Option<&mut Call> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        slot.call.as_deref_mut().filter(|_| slot.generation == handle.generation)
    }

    /// The call, unless it is over.
    pub(super) fn get(&self, handle: CallHandle) -> Option<&Call> {
        let slot = self.slots.get(handle.slot as usize)?;
        slot.call.as_deref().filter(|_| slot.generation == handle.generation)
    }

    /// The calls in `count` slots from this one on, and the slot after them; `None` after the last.
    pub(super) fn page(&self, from: u32, count: usize) -> (impl Iterator<Item = &Call>, Option<u32>) {
        let start = (from as usize).min(self.slots.len());
        let end = start.saturating_add(count.max(1)).min(self.slots.len());
        let next = u32::try_from(end).ok().filter(|_| end < self.slots.len());
        (self.slots[start..end].iter().filter_map(|slot| slot.call.as_deref()), next)
    }

    /// Takes a call out; its handle finds nothing from now on.
    pub(super) fn remove(&mut self, handle: CallHandle) -> Option<Call> {
        self.get(handle)?;
        let slot = &mut self.slots[handle.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.slot);
        self.len -= 1;
        slot.call.take().map(|call| *call)
    }
}
