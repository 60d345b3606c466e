//! A table of entries with generations: a handle of an entry that has gone finds nothing, never another entry.

/// Place and generation of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// Counts the entries that have gone from the slot.
    generation: u32,
    entry: Option<T>,
}

/// The table. It grows up to the limit that its owner keeps, and never shrinks.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, entry: T) -> Handle {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.entry = Some(entry);
            return Handle { slot, generation: place.generation };
        }
        let slot = u32::try_from(self.slots.len()).expect("the owner's limit is below 2^32");
        self.slots.push(Slot { generation: 0, entry: Some(entry) });
        Handle { slot, generation: 0 }
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slots.get(handle.slot as usize)?;
        slot.entry.as_ref().filter(|_| slot.generation == handle.generation)
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation == handle.generation { slot.entry.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<T> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation != handle.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.slot);
        Some(entry)
    }

    /// The entry in a slot, whatever its generation, with its handle.
    pub(crate) fn at(&self, slot: u32) -> Option<(Handle, &T)> {
        let place = self.slots.get(slot as usize)?;
        place.entry.as_ref().map(|entry| (Handle { slot, generation: place.generation }, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_finds_nothing_in_a_reused_slot() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn entries_are_listed_in_the_order_of_their_slots() {
        let mut slab = Slab::new();
        let handles: Vec<Handle> = (0..4).map(|value| slab.insert(value)).collect();
        slab.remove(handles[1]);
        let listed: Vec<i32> = (0..8).filter_map(|slot| slab.at(slot)).map(|(_, value)| *value).collect();
        assert_eq!(listed, [0, 2, 3]);
        assert_eq!(slab.at(1), None);
        assert_eq!(slab.at(2), Some((handles[2], &2)));
        assert_eq!(slab.at(9), None);
    }
}
