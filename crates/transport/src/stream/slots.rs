//! The slots of connections: a slot is used again under the next generation, so that a stale id finds nothing.

use dialtone_wire::net::ConnectionId;

use super::connection::Connection;

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    len: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a connection into a slot and its id into its flow.
    pub(super) fn insert(&mut self, shard: u16, mut connection: Connection) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).expect("connections_max bounds the slots far below 2^32")
        });
        let place = &mut self.slots[slot as usize];
        let id = ConnectionId { shard, slot, generation: place.generation };
        connection.flow.connection = Some(id);
        place.connection = Some(Box::new(connection));
        self.len += 1;
        id
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.connection.as_deref().filter(|connection| connection.flow.connection == Some(id))
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.connection.as_deref_mut().filter(|connection| connection.flow.connection == Some(id))
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot as usize];
        let connection = slot.connection.take()?;
        self.len -= 1;
        // A slot whose generations are used up is left empty for good.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.slot);
        }
        Some(connection)
    }

    /// The connection that holds the most bytes, the first of them; `None` when none holds any.
    pub(super) fn largest(&self) -> Option<ConnectionId> {
        let connections = self.slots.iter().filter_map(|slot| slot.connection.as_deref());
        let held = connections.map(|connection| (connection.held_bytes(), connection.flow.connection));
        held.rev().max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0).and_then(|(_, id)| id)
    }

    /// The id of whatever is in a slot now.
    pub(super) fn id_at(&self, shard: u16, slot: u32) -> Option<ConnectionId> {
        let place = self.slots.get(slot as usize).filter(|place| place.connection.is_some())?;
        Some(ConnectionId { shard, slot, generation: place.generation })
    }
}
