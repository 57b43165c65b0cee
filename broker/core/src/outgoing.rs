//! Bytes on their way to a socket.

use std::io::IoSlice;

use broker_codec::{Packet, Peer};
use bytes::Bytes;
use tracing::debug;

/// Payloads from this size on are not copied behind their header but sent from where they lie.
pub const SHARE_LIMIT_BYTES: usize = 4096;

/// What goes out next on one connection: encoded packets, large payloads by reference.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    /// Payloads and where in `bytes` they come in between, in order.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    /// How much of it all has been sent.
    sent: usize,
}

/// So much must have been sent before what is left is moved to the front.
const COMPACT_FROM_BYTES: usize = 64 * 1024;

impl Outgoing {
    /// Takes an empty buffer to write into, to use its memory again.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, ..Self::default() }
    }

    /// Gives the buffer away, empty.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    /// Returns how many bytes are still to be sent.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_len - self.sent
    }

    /// Says whether everything is sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether no memory is held.
    pub fn is_unused(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Returns the end of the written bytes, for an encoder.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds `payload` without a copy.
    pub fn push_shared(&mut self, payload: Bytes) {
        self.shared_len += payload.len();
        self.shared.push((self.bytes.len(), payload));
    }

    /// Adds a packet; one that cannot be written for this peer is left out.
    pub fn push_packet(&mut self, packet: &Packet, peer: &Peer) -> bool {
        match packet.encode_for(peer, &mut self.bytes) {
            Ok(_) => true,
            Err(error) => {
                debug!(%error, "packet not sent");
                false
            }
        }
    }

    /// Returns the unsent bytes when they are in one piece.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// Fills `slices` from the first unsent byte on and returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.sent;
        let mut filled = 0;
        let mut from = 0;
        let ends = self.shared.iter().map(|(at, payload)| (*at, payload.as_ref()));
        for (at, payload) in ends.chain(std::iter::once((self.bytes.len(), &[][..]))) {
            for piece in [&self.bytes[from..at], payload] {
                if skip >= piece.len() {
                    skip -= piece.len();
                    continue;
                }
                let Some(slot) = slices.get_mut(filled) else { return filled };
                *slot = IoSlice::new(&piece[skip..]);
                skip = 0;
                filled += 1;
            }
            from = at;
        }
        filled
    }

    /// Notes that the first `count` unsent bytes are sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.is_empty() {
            self.bytes.clear();
            self.shared.clear();
            self.shared_len = 0;
            self.sent = 0;
        } else if self.sent >= COMPACT_FROM_BYTES {
            self.forget_sent();
        }
    }

    /// Gives the memory of sent bytes up for new ones: a slow reader may never have taken everything.
    #[cold]
    fn forget_sent(&mut self) {
        let shared_end = self.shared.last().map_or(0, |(at, _)| at + self.shared_len);
        if self.sent < shared_end {
            return;
        }
        let sent = self.sent - self.shared_len;
        // as often as not: each byte is moved once at most on average
        if sent * 2 >= self.bytes.len() {
            self.bytes.drain(..sent);
            self.shared.clear();
            self.shared_len = 0;
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_order_however_they_are_cut() {
        let make = || {
            let mut outgoing = Outgoing::default();
            outgoing.buffer().extend_from_slice(b"ab");
            outgoing.push_shared(Bytes::from_static(b"CDE"));
            outgoing.push_shared(Bytes::from_static(b"F"));
            outgoing.buffer().extend_from_slice(b"gh");
            outgoing.push_shared(Bytes::from_static(b"I"));
            outgoing
        };
        for step in 1..10 {
            for room in 1..7 {
                let mut outgoing = make();
                let mut got = Vec::new();
                while !outgoing.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 7];
                    let filled = outgoing.slices(&mut slices[..room]);
                    let flat: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    let count = flat.len().min(step);
                    got.extend_from_slice(&flat[..count]);
                    outgoing.advance(count);
                }
                assert_eq!(got, b"abCDEFghI", "step {step}, room {room}");
            }
        }
        assert!(make().contiguous().is_none());
    }

    #[test]
    fn what_is_sent_takes_no_memory_while_more_keeps_coming() {
        let mut outgoing = Outgoing::default();
        outgoing.push_shared(Bytes::from_static(&[0; 10_000]));
        let mut expected = 0;
        for number in 0..100_000_u32 {
            outgoing.buffer().extend_from_slice(&number.to_be_bytes());
            // never empty
            if number == 10_000 {
                outgoing.advance(10_000);
            } else if number > 10_000 {
                let mut slices = [IoSlice::new(&[]); 2];
                outgoing.slices(&mut slices);
                assert_eq!(slices[0][..4], u32::to_be_bytes(expected));
                outgoing.advance(4);
                expected += 1;
            }
        }
        assert_eq!(outgoing.len(), 4 * (100_000 - expected as usize));
        assert!(outgoing.bytes.len() < 4 * COMPACT_FROM_BYTES, "{} bytes", outgoing.bytes.len());
    }
}
