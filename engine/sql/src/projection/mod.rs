//! Reading only what rules need from a payload, in one pass and without building a tree.
//!
//! A plan knows which payload paths it reads; each has a slot. A [`Projection`] is the union of the paths of any
//! number of plans as a trie. Running it reads the whole payload (so that a payload that is not JSON is noticed
//! anywhere in it) and fills the [`Slots`]; everything else is skipped.
//!
//! The result is the same as if the payload had been decoded and each path had been followed from the top: of two
//! equal keys the last one wins, integers keep all digits, texts on the way are decoded as JSON.

mod fill;
mod trie;

#[cfg(test)]
mod tests;

use engine_event::{Declined, Event, JsonError, Value, decode_json};
use indexmap::IndexSet;
use smallvec::SmallVec;

use crate::Plan;
use crate::evaluate::ReadStep;

use trie::{Each, Node};

/// A path below the payload.
pub(crate) type PayloadPath = Vec<ReadStep>;

/// The payload paths that some plans read.
#[derive(Debug, Default)]
pub struct Projection {
    root: Node,
    slot_count: usize,
    /// For each plan, the slot here of each slot there.
    slots_of_plans: Vec<Vec<u16>>,
}

impl Projection {
    /// Makes the projection for all of `plans`.
    ///
    /// # Panics
    /// When the plans read more than 65,535 different paths.
    pub fn union(plans: &[&Plan]) -> Self {
        Self::of_paths(plans.iter().map(|plan| plan.payload_paths()))
    }

    /// Makes the projection for the paths of some plans.
    pub(crate) fn of_paths<'a>(paths_of_plans: impl IntoIterator<Item = &'a [PayloadPath]>) -> Self {
        let mut paths: IndexSet<&PayloadPath> = IndexSet::new();
        let mut slots_of_plans = Vec::new();
        for paths_of_plan in paths_of_plans {
            let slots = paths_of_plan.iter().map(|path| slot_number(paths.insert_full(path).0));
            slots_of_plans.push(slots.collect());
        }
        let mut root = Node::default();
        for (slot, path) in paths.iter().enumerate() {
            root.insert(path, slot_number(slot));
        }
        root.seal();
        Self { root, slot_count: paths.len(), slots_of_plans }
    }

    /// Makes the projection for one plan, which may read only something of each element of an array.
    pub(crate) fn of_plan(paths: &[PayloadPath], elements: Option<&ElementPaths>) -> Self {
        let mut root = Node::default();
        for (slot, path) in paths.iter().enumerate() {
            let slot = slot_number(slot);
            match elements {
                Some(elements) if elements.slot == Some(slot) => {
                    root.insert_each(path, slot, Each::new(&elements.paths));
                }
                _ => root.insert(path, slot),
            }
        }
        root.seal();
        Self { root, slot_count: paths.len(), slots_of_plans: Vec::new() }
    }

    /// Reads the payload of an event.
    pub fn run(&self, event: &Event) -> Slots {
        // one place for all of it: it is large, and moving it would cost more than a short payload does
        let mut slots = Slots::default();
        if self.slot_count == 0 {
            return slots;
        }
        match event.publish() {
            Some(message) => self.run_on_json(message.payload.as_bytes(), &mut slots),
            None => match event.column_named("payload") {
                Value::Text(text) => self.run_on_json(text.as_bytes(), &mut slots),
                value => self.run_on_value(&value, &mut slots),
            },
        }
        slots
    }

    /// The slots of the plan at `place` of those that the projection was made for.
    pub fn slots_of<'a>(&'a self, place: usize, slots: &'a Slots) -> PlanSlots<'a> {
        PlanSlots { slots, places: self.slots_of_plans.get(place).map(Vec::as_slice) }
    }

    /// The slot here of a slot of the plan at `place`.
    pub(crate) fn slot_of(&self, place: usize, slot: u16) -> u16 {
        self.slots_of_plans[place][usize::from(slot)]
    }

    fn run_on_json(&self, payload: &[u8], slots: &mut Slots) {
        slots.empty(self.slot_count);
        if let Err(Declined) = fill::fill(&self.root, payload, &mut slots.filled()) {
            match decode_json(payload) {
                Ok(value) => self.run_on_value(&value, slots),
                Err(error) => {
                    slots.empty(self.slot_count);
                    slots.error = Some(error);
                }
            }
        }
    }

    fn run_on_value(&self, payload: &Value, slots: &mut Slots) {
        slots.empty(self.slot_count);
        fill::fill_from_value(&self.root, payload, &mut slots.filled());
    }
}

/// What a plan reads of each element of an array.
#[derive(Debug)]
pub(crate) struct ElementPaths {
    /// The slot of the array, when elements are read during the pass and the array is not built.
    pub(crate) slot: Option<u16>,
    /// Paths below an element.
    pub(crate) paths: Vec<PayloadPath>,
    each: Each,
}

impl ElementPaths {
    pub(crate) fn new(slot: Option<u16>, paths: Vec<PayloadPath>) -> Self {
        Self { slot, each: Each::new(&paths), paths }
    }

    /// Reads what is needed of an element that is there as a whole.
    pub(crate) fn fill(&self, element: &Value, values: &mut Vec<Value>) {
        values.clear();
        if self.each.width == 0 {
            return;
        }
        values.resize(self.each.width, Value::Undefined);
        fill::fill_from_value(&self.each.node, element, &mut Filled { values, elements: None });
    }
}

/// What a [`Projection`] found in a payload.
#[derive(Debug, Default)]
pub struct Slots {
    values: SmallVec<[Value; 8]>,
    elements: Elements,
    /// Why the payload is not JSON.
    error: Option<JsonError>,
}

impl Slots {
    /// Makes all slots undefined.
    fn empty(&mut self, count: usize) {
        self.values.clear();
        self.values.resize_with(count, Value::default);
        self.elements.clear();
        self.error = None;
    }

    /// Tells whether the payload could be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.error.is_none()
    }

    /// The value of a slot.
    pub(crate) fn value(&self, slot: u16) -> &Value {
        &self.values[usize::from(slot)]
    }

    fn filled(&mut self) -> Filled<'_> {
        Filled { values: &mut self.values, elements: Some(&mut self.elements) }
    }
}

/// Where values go during the pass.
struct Filled<'a> {
    values: &'a mut [Value],
    /// None inside an element.
    elements: Option<&'a mut Elements>,
}

/// What was read of the elements of an array, one after the other.
#[derive(Debug, Default)]
struct Elements {
    values: Vec<Value>,
    /// Number of elements; none when there was no array.
    count: Option<usize>,
}

impl Elements {
    fn begin(&mut self) {
        self.values.clear();
        self.count = Some(0);
    }

    fn clear(&mut self) {
        self.values.clear();
        self.count = None;
    }

    /// Room for another element.
    fn element(&mut self, width: usize) -> Filled<'_> {
        let begin = self.values.len();
        self.values.resize(begin + width, Value::Undefined);
        self.count = self.count.map(|count| count + 1);
        Filled { values: &mut self.values[begin..], elements: None }
    }
}

/// The slots of one plan. Empty slots are right for a plan that reads nothing below the payload.
#[derive(Clone, Copy, Debug)]
pub struct PlanSlots<'a> {
    slots: &'a Slots,
    /// Where the slots of the plan are; none when they are in the same order.
    places: Option<&'a [u16]>,
}

impl<'a> PlanSlots<'a> {
    /// The slots of a projection that was made for one plan.
    pub(crate) fn of_one(slots: &'a Slots) -> Self {
        Self { slots, places: None }
    }

    /// The slot's value, or why the payload could not be read.
    pub(crate) fn get(self, slot: u16) -> Result<&'a Value, &'a JsonError> {
        if let Some(error) = &self.slots.error {
            return Err(error);
        }
        let place = match self.places {
            Some(places) => places[usize::from(slot)],
            None => slot,
        };
        Ok(&self.slots.values[usize::from(place)])
    }

    /// Number of elements, and what was read of all of them, when they were read one by one; none when the array is not
    /// there. Only for slots of one plan.
    pub(crate) fn elements(self) -> Option<(usize, &'a [Value])> {
        self.slots.elements.count.map(|count| (count, self.slots.elements.values.as_slice()))
    }

    /// Tells whether the slots are those of a plan that is alone.
    pub(crate) fn is_alone(self) -> bool {
        self.places.is_none()
    }

    /// Tells whether the payload could be read.
    pub(crate) fn is_readable(self) -> bool {
        self.slots.error.is_none()
    }
}

fn slot_number(slot: usize) -> u16 {
    u16::try_from(slot).expect("the text of a rule is too short for that many paths")
}
