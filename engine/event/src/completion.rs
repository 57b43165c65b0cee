//! Knowing when every row of a message is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How everything that hung on a message ended: the worst of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Settled {
    /// Every part was confirmed.
    Ok = 0,
    /// Some part failed or was dropped.
    Failed = 1,
}

/// A shared obligation: when its last clone is dropped, the function given at the start is called once with the
/// worst outcome.
///
/// A clone that is dropped without [`Completion::fail`] counts as confirmed.
#[derive(Clone)]
pub struct Completion(Arc<Shared>);

type OnSettled = Box<dyn FnOnce(Settled) + Send + Sync>;

struct Shared {
    worst: AtomicU8,
    on_settled: Option<OnSettled>,
}

impl Completion {
    /// Makes an obligation that calls `on_settled` in the end, on whatever thread drops the last clone. The function
    /// must not block.
    pub fn new(on_settled: impl FnOnce(Settled) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            worst: AtomicU8::new(Settled::Ok as u8),
            on_settled: Some(Box::new(on_settled)),
        }))
    }

    /// Notes that a part failed or was dropped.
    pub fn fail(&self) {
        self.0.worst.store(Settled::Failed as u8, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let worst = if *self.worst.get_mut() == Settled::Ok as u8 { Settled::Ok } else { Settled::Failed };
        if let Some(on_settled) = self.on_settled.take() {
            on_settled(worst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn is_called_once_with_the_worst_outcome() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let first = Completion::new({
            let seen = Arc::clone(&seen);
            move |settled| seen.lock().unwrap().push(settled)
        });
        let second = first.clone();
        second.fail();
        drop(second);
        assert!(seen.lock().unwrap().is_empty());
        drop(first);
        assert_eq!(*seen.lock().unwrap(), [Settled::Failed]);
    }
}
