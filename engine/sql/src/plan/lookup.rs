//! From paths to lookups: which places a path may lead to, in the order in which they are tried (rule language,
//! sections 7.1 and 9.2).

use engine_event::{Column, Text};

use crate::evaluate::ReadStep;
use crate::syntax::{Index, Path, Step};

use super::compile::{Compiler, slot_number};
use super::ir::{Candidate, LookedStep, Lookup, Origin, Steps, TargetStep};
use super::layout::{Known, Names, Node, fixed, is_looked_up};

/// Where names are looked up at some place of a rule.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The row so far: tried first, with the whole path.
    pub(super) output: Option<&'a Names>,
    /// The name of the element of FOREACH.
    pub(super) item: Option<&'a Text>,
    /// A row whose names hide the columns.
    pub(super) merged: Option<&'a Names>,
}

/// A half of a scope.
#[derive(Clone, Copy)]
enum Layer {
    Output,
    /// The element, the merged row and the columns.
    Base,
}

impl Compiler<'_> {
    /// Compiles a path.
    pub(super) fn lookup(&mut self, path: &Path, scope: Scope<'_>) -> Lookup {
        let mut lookup = self.lookup_in(path, Layer::Output, scope);
        lookup.candidates.extend(self.lookup_in(path, Layer::Base, scope).candidates);
        lookup
    }

    /// Compiles the index of an alias.
    pub(super) fn target_index(&mut self, path: &Path, scope: Scope<'_>) -> TargetStep {
        TargetStep::Lookup(vec![self.lookup(path, scope)])
    }

    fn lookup_in(&mut self, path: &Path, layer: Layer, scope: Scope<'_>) -> Lookup {
        let candidates = match layer {
            Layer::Output => match scope.output {
                Some(names) => self.in_row(path, names, layer, scope).into_iter().collect(),
                None => Vec::new(),
            },
            Layer::Base => self.in_base(path, scope),
        };
        Lookup { candidates }
    }

    fn in_base(&mut self, path: &Path, scope: Scope<'_>) -> Vec<Candidate> {
        if scope.item.is_some_and(|item| *item == path.root.as_str()) {
            return vec![self.item(path, scope)];
        }
        let mut candidates = Vec::with_capacity(1);
        match scope.merged {
            // the name hides the column, also where the path leads nowhere
            Some(Names::Known(known)) if known.entries.contains_key(&path.root) => {
                candidates.extend(self.in_known(path, known, Layer::Base, scope));
                return candidates;
            }
            Some(Names::Written) => {
                let origin = Origin::Merged(path.root.as_str().into());
                candidates.push(self.candidate(origin, path, 0, Layer::Base, scope));
            }
            Some(Names::Known(_)) | None => {}
        }
        candidates.push(self.column(path, scope));
        candidates
    }

    fn item(&mut self, path: &Path, scope: Scope<'_>) -> Candidate {
        // stepping into an element called `payload` may fail
        if path.steps.is_empty() || path.root == "payload" || path.steps.iter().any(is_looked_up) {
            self.reads_whole_elements = true;
            return self.candidate(Origin::Item, path, 0, Layer::Base, scope);
        }
        let steps = path.steps.iter().filter_map(known_step).collect();
        let (slot, _) = self.element_paths.insert_full(steps);
        Candidate {
            origin: Origin::ItemSlot(slot_number(slot)),
            steps: Steps::Known(Vec::new()),
            is_payload: false,
        }
    }

    fn in_row(&mut self, path: &Path, names: &Names, layer: Layer, scope: Scope<'_>) -> Option<Candidate> {
        match names {
            Names::Known(known) => self.in_known(path, known, layer, scope),
            Names::Written => {
                let origin = Origin::Output(path.root.as_str().into());
                Some(self.candidate(origin, path, 0, layer, scope))
            }
        }
    }

    fn in_known(&mut self, path: &Path, known: &Known, layer: Layer, scope: Scope<'_>) -> Option<Candidate> {
        let mut node = known.entries.get(&path.root)?;
        let mut done = 0;
        loop {
            match (node, path.steps.get(done)) {
                (Node::Register(register), _) => {
                    return Some(self.candidate(Origin::Register(*register), path, done, layer, scope));
                }
                (Node::Map(below), None) => {
                    return Some(self.candidate(Origin::Map(fixed(below)), path, done, layer, scope));
                }
                (Node::Map(below), Some(Step::Key(key))) => node = below.get(key)?,
                (Node::Map(_), Some(Step::Index(_))) => return None,
            }
            done += 1;
        }
    }

    fn column(&mut self, path: &Path, scope: Scope<'_>) -> Candidate {
        if path.root == "payload" && !path.steps.is_empty() {
            return self.slot(path, scope);
        }
        let origin = Origin::Column(Column::by_name(&path.root), path.root.as_str().into());
        self.candidate(origin, path, 0, Layer::Base, scope)
    }

    /// Compiles a path below the payload: its known steps become a slot.
    fn slot(&mut self, path: &Path, scope: Scope<'_>) -> Candidate {
        let known = path.steps.iter().take_while(|step| !is_looked_up(step)).count();
        let slot_path = path.steps[..known].iter().filter_map(known_step).collect();
        let origin = Origin::Slot(self.payload_slot(slot_path));
        // whether the payload is JSON is the slot's to say
        Candidate { is_payload: false, ..self.candidate(origin, path, known, Layer::Base, scope) }
    }

    /// Compiles what follows the first `done` steps of a path.
    fn candidate(
        &mut self,
        origin: Origin,
        path: &Path,
        done: usize,
        layer: Layer,
        scope: Scope<'_>,
    ) -> Candidate {
        let rest = &path.steps[done..];
        let steps = if rest.iter().any(is_looked_up) {
            Steps::Looked(rest.iter().map(|step| self.looked_step(step, path, layer, scope)).collect())
        } else {
            Steps::Known(rest.iter().filter_map(known_step).collect())
        };
        let is_payload = done == 0 && path.root == "payload" && !rest.is_empty();
        Candidate { origin, steps, is_payload }
    }

    fn looked_step(&mut self, step: &Step, path: &Path, layer: Layer, scope: Scope<'_>) -> LookedStep {
        match (known_step(step), step) {
            (Some(known), _) => LookedStep::Known(known),
            (None, Step::Index(Index::Path(index))) => {
                let inside = self.inside(index, path, layer, scope);
                LookedStep::Lookup(vec![inside, self.lookup(index, scope)])
            }
            (None, _) => unreachable!("only looked up steps are not known"),
        }
    }

    /// The first place where an index is looked for: beside the value that the path begins with, or in the payload when
    /// the path begins there.
    fn inside(&mut self, index: &Path, path: &Path, layer: Layer, scope: Scope<'_>) -> Lookup {
        if path.root != "payload" {
            return self.lookup_in(index, layer, scope);
        }
        let mut steps = vec![Step::Key(index.root.clone())];
        steps.extend(index.steps.iter().cloned());
        let in_payload = Path { root: path.root.clone(), steps, span: index.span };
        self.lookup_in(&in_payload, layer, scope)
    }
}

fn known_step(step: &Step) -> Option<ReadStep> {
    match step {
        Step::Key(key) => Some(ReadStep::Key(key.as_str().into())),
        Step::Index(Index::Start(place)) => Some(ReadStep::Start(*place)),
        Step::Index(Index::End(place)) => Some(ReadStep::End(*place)),
        Step::Index(Index::Path(_)) => None,
    }
}
