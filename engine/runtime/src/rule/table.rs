//! Rules by their slot. Reading takes no lock; slots are never given twice.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use engine_event::RuleSlot;
use parking_lot::Mutex;

use super::RuleRuntime;

/// Slots of one part of the table.
const PART: usize = 256;

type Part = [ArcSwapOption<RuleRuntime>; PART];

/// Rules by slot, in parts: adding a rule copies pointers to parts, not to rules.
#[derive(Debug, Default)]
pub(super) struct RuleTable {
    parts: ArcSwap<Vec<Arc<Part>>>,
    next: Mutex<u32>,
}

impl RuleTable {
    /// Gives out a slot.
    pub(super) fn allocate(&self) -> RuleSlot {
        let mut next = self.next.lock();
        let slot = RuleSlot(*next);
        *next = next.checked_add(1).expect("four thousand million rules were never created in one process");
        if slot.0 as usize / PART == self.parts.load().len() {
            let mut parts = self.parts.load().as_ref().clone();
            parts.push(Arc::new(std::array::from_fn(|_| ArcSwapOption::empty())));
            self.parts.store(Arc::new(parts));
        }
        slot
    }

    /// Sets or clears the rule of a slot that was given out.
    pub(super) fn set(&self, slot: RuleSlot, rule: Option<Arc<RuleRuntime>>) {
        if let Some(part) = self.parts.load().get(slot.0 as usize / PART) {
            part[slot.0 as usize % PART].store(rule);
        }
    }

    /// The rule of a slot.
    pub(super) fn get(&self, slot: RuleSlot) -> Guard<Option<Arc<RuleRuntime>>> {
        match self.parts.load().get(slot.0 as usize / PART) {
            Some(part) => part[slot.0 as usize % PART].load(),
            None => Guard::from_inner(None),
        }
    }
}
