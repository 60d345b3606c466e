//! What waits to be written on one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

#[derive(Debug, Default)]
pub(super) struct SendQueue {
    chunks: VecDeque<Bytes>,
    /// Bytes of the first chunk that are written.
    written: usize,
    /// Bytes of all chunks, the written ones of the first included: they are held in memory too.
    bytes: usize,
}

impl SendQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// What is to be written next, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.chunks.iter().enumerate().map(|(index, chunk)| {
            let from = if index == 0 { self.written } else { 0 };
            IoSlice::new(&chunk[from..])
        })
    }

    /// Drops what was written; returns how many bytes of memory that set free.
    pub(super) fn advance(&mut self, count: usize) -> usize {
        let before = self.bytes;
        let mut left = count;
        while let Some(first) = self.chunks.front() {
            let rest = first.len() - self.written;
            if left < rest {
                self.written += left;
                break;
            }
            left -= rest;
            self.bytes -= first.len();
            self.written = 0;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        before - self.bytes
    }
}
