//! Objects of the server's store and of files.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::registry::{About, Registry};
use super::{Engine, FileObject, SyncProblem, SyncReport};
use crate::object::connector::read_identity;
use crate::object::name::object_id;
use crate::{EngineError, ObjectClass, Origin, StoredObject};

/// The order in which objects are brought back: what others need comes first.
const ORDER: [ObjectClass; 3] = [ObjectClass::Connector, ObjectClass::Action, ObjectClass::Rule];

impl Engine {
    /// Brings back objects from the server's store, leniently: an object that cannot work is kept with its reason.
    /// Returns those that could not be brought back at all, as `class id`, with the reason; the store still has them.
    pub async fn load(&self, objects: Vec<StoredObject>) -> Vec<(String, EngineError)> {
        let _alone = self.changes.lock().await;
        let mut problems = Vec::new();
        for class in ORDER {
            for object in objects.iter().filter(|object| object.class == class) {
                let about = About {
                    origin: Origin::Api,
                    given: object.config.clone(),
                    created_at_ms: object.created_at_ms,
                    last_modified_at_ms: object.last_modified_at_ms,
                };
                if let Err(error) = self.add(class, about) {
                    problems.push((format!("{class} {}", object.id), error));
                }
            }
        }
        problems
    }

    /// Applies the objects of all files: only what differs from the last time.
    pub async fn sync_files(&self, objects: Vec<FileObject>) -> SyncReport {
        let _alone = self.changes.lock().await;
        let mut report = SyncReport::default();
        let declared: BTreeSet<(ObjectClass, String)> =
            objects.iter().filter_map(|object| Some((object.class, id_of(object).ok()?))).collect();
        self.remove_gone(ObjectClass::Rule, &declared, &mut report);
        self.remove_gone(ObjectClass::Action, &declared, &mut report);
        let mut applied = BTreeSet::new();
        for class in ORDER {
            for object in objects.iter().filter(|object| object.class == class) {
                match id_of(object) {
                    Ok(id) if !applied.insert((class, id.clone())) => report.problems.push(SyncProblem {
                        path: object.path.clone(),
                        object: format!("{class} {id}"),
                        error: EngineError::AlreadyExists { class, id },
                    }),
                    _ => self.apply(object, &mut report),
                }
            }
        }
        // last, because actions may have moved from them to others
        self.remove_gone(ObjectClass::Connector, &declared, &mut report);
        report
    }

    fn add(&self, class: ObjectClass, about: About) -> Result<(), EngineError> {
        match class {
            ObjectClass::Connector => self.add_connector(about, true).map(|_| ()),
            ObjectClass::Action => self.add_action(about, true).map(|_| ()),
            ObjectClass::Rule => self.add_rule(about).map(|_| ()),
        }
    }

    /// Deletes what files declared before and do not any more.
    fn remove_gone(
        &self,
        class: ObjectClass,
        declared: &BTreeSet<(ObjectClass, String)>,
        report: &mut SyncReport,
    ) {
        for (id, origin) in self.file_objects(class) {
            if declared.contains(&(class, id.clone())) {
                continue;
            }
            let removed = match class {
                ObjectClass::Connector => self.remove_connector(&id, &origin),
                ObjectClass::Action => self.remove_action(&id, false, &origin),
                ObjectClass::Rule => self.remove_rule(&id, &origin),
            };
            let object = format!("{class} {id}");
            match (removed, origin) {
                (Ok(()), _) => report.deleted.push(object),
                (Err(error), Origin::File(path)) => {
                    report.problems.push(SyncProblem { path, object, error });
                }
                (Err(_), Origin::Api) => {}
            }
        }
    }

    fn file_objects(&self, class: ObjectClass) -> Vec<(String, Origin)> {
        let registry = self.registry.lock();
        abouts(&registry, class)
            .filter(|(_, about)| about.origin != Origin::Api)
            .map(|(id, about)| (id.clone(), about.origin.clone()))
            .collect()
    }

    fn apply(&self, object: &FileObject, report: &mut SyncReport) {
        let origin = Origin::File(object.path.clone());
        let class = object.class;
        let (id, result) = match id_of(object) {
            Ok(id) => {
                let known = {
                    let registry = self.registry.lock();
                    abouts(&registry, class).find(|(known, _)| **known == id).map(|(_, about)| about.clone())
                };
                match known {
                    Some(about) if about.given == object.config && about.origin == origin => {
                        report.unchanged += 1;
                        return;
                    }
                    Some(_) => {
                        let changed = self.change(class, &id, object.config.clone(), &origin);
                        (id, changed.map(|()| &mut report.updated))
                    }
                    None => {
                        let about = About::new(origin, object.config.clone(), self.now_ms());
                        (id, self.add(class, about).map(|()| &mut report.created))
                    }
                }
            }
            Err(error) => (String::new(), Err(error)),
        };
        let object_name = format!("{class} {id}");
        match result {
            Ok(list) => list.push(object_name),
            Err(error) => {
                report.problems.push(SyncProblem { path: object.path.clone(), object: object_name, error });
            }
        }
    }

    fn change(&self, class: ObjectClass, id: &str, config: Json, origin: &Origin) -> Result<(), EngineError> {
        match class {
            ObjectClass::Connector => self.change_connector(id, config, origin).map(|_| ()),
            ObjectClass::Action => self.change_action(id, config, origin),
            ObjectClass::Rule => self.change_rule(id, config, origin),
        }
    }

    /// The object with its secrets, for the server's store.
    pub fn stored(&self, class: ObjectClass, id: &str) -> Option<StoredObject> {
        let registry = self.registry.lock();
        let (_, about) = abouts(&registry, class).find(|(known, _)| *known == id)?;
        Some(StoredObject {
            class,
            id: id.to_owned(),
            config: match registry.rules.get(id) {
                // a made-up id is part of what has to be kept
                Some(rule) if class == ObjectClass::Rule => Json::Object(rule.config.to_json(id)),
                _ => about.given.clone(),
            },
            created_at_ms: about.created_at_ms,
            last_modified_at_ms: about.last_modified_at_ms,
        })
    }
}

fn abouts(registry: &Registry, class: ObjectClass) -> Box<dyn Iterator<Item = (&String, &About)> + '_> {
    match class {
        ObjectClass::Connector => Box::new(registry.connectors.iter().map(|(id, entry)| (id, &entry.about))),
        ObjectClass::Action => Box::new(registry.actions.iter().map(|(id, entry)| (id, &entry.about))),
        ObjectClass::Rule => Box::new(registry.rules.iter().map(|(id, entry)| (id, &entry.about))),
    }
}

fn id_of(object: &FileObject) -> Result<String, EngineError> {
    match object.class {
        ObjectClass::Rule => match object.config.get("id").and_then(Json::as_str) {
            Some(id) => Ok(id.to_owned()),
            None => Err(EngineError::invalid("id", "required, but missing")),
        },
        ObjectClass::Connector | ObjectClass::Action => {
            let (kind, name) = read_identity(&object.config)?;
            Ok(object_id(&kind, &name))
        }
    }
}
