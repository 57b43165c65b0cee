//! A coarse timing wheel: one timer for all connections of a worker.

/// Entries that come out when their turn has come, or earlier: who takes them out looks whether it is time.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    turns: Vec<Vec<T>>,
    now: u32,
}

/// With ticks of a quarter of a second, the wheel turns once in about two minutes.
const TURNS: usize = 512;

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self { turns: (0..TURNS).map(|_| Vec::new()).collect(), now: 0 }
    }

    /// Returns the present tick.
    pub(crate) fn now(&self) -> u32 {
        self.now
    }

    /// Has an entry come out at `tick`, or before that when it is far away.
    pub(crate) fn add(&mut self, tick: u32, entry: T) {
        let ahead = (tick.wrapping_sub(self.now) as usize).clamp(1, TURNS - 1);
        self.turns[(self.now as usize + ahead) % TURNS].push(entry);
    }

    /// Goes on by one tick and takes its entries out.
    pub(crate) fn turn(&mut self) -> Vec<T> {
        self.now = self.now.wrapping_add(1);
        std::mem::take(&mut self.turns[self.now as usize % TURNS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_time() {
        let mut wheel = Wheel::new();
        for tick in [1, 2, 511, 600, 5000] {
            wheel.add(tick, tick);
        }
        let mut out = Vec::new();
        while wheel.now() < 5001 {
            for tick in wheel.turn() {
                if tick > wheel.now() {
                    wheel.add(tick, tick);
                } else {
                    out.push((tick, wheel.now()));
                }
            }
        }
        assert_eq!(out, [1, 2, 511, 600, 5000].map(|tick| (tick, tick)));
    }
}
