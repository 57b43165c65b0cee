//! Connectors, actions and rules declared in TOML files (`rules.d/*.toml`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine_runtime::{Engine, EngineError, FileObject, ObjectClass};
use engine_sql::Severity;
use serde_json::{Map, Value as Json};

use crate::toml_file::{Problem, TomlFile, nearest};

/// The tables that may stand at the top of a rule file.
const ROOTS: [&str; 3] = ["connectors", "actions", "rules"];

/// The objects of some files, or what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct RuleFiles {
    /// The objects, connectors first.
    pub(crate) objects: Vec<Declared>,
    /// Files that could not be read, and objects that are wrong.
    pub(crate) problems: Vec<Problem>,
    /// Parts of rules that cannot work; the rules are taken nevertheless.
    pub(crate) faults: Vec<Problem>,
    /// What is doubtful about rules.
    pub(crate) warnings: Vec<Problem>,
}

/// One object with the place where it was declared.
#[derive(Debug)]
pub(crate) struct Declared {
    /// What the engine gets.
    pub(crate) object: FileObject,
    /// Dotted path of the object in its file, `actions.http.post`.
    pub(crate) at: String,
    /// Index of its file.
    file: usize,
}

/// Lists the rule files behind `paths`: a file stands for itself, a folder for its `*.toml` files in order of their names.
///
/// # Errors
/// When a path cannot be read.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path)
            .map_err(|error| Problem::of_file(path, format!("cannot read the folder: {error}")))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && path.is_file())
            .collect();
        if found.is_empty()
            && let Some(below) = folder_with_rules(path)
        {
            let message = format!(
                "no rule file (`*.toml`) is directly in this folder, but `{}` has some: name the folders that have them",
                below.display()
            );
            return Err(Problem::of_file(path, message));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// A folder directly below `path` that has rule files.
fn folder_with_rules(path: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(path)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir());
    let has_rules = |folder: &PathBuf| {
        let mut entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == "toml"))
    };
    folders.filter(has_rules).min()
}

/// Reads and checks files. Objects with problems are left out of `objects`.
pub(crate) fn read(engine: &Engine, paths: &[PathBuf]) -> RuleFiles {
    let mut result = RuleFiles::default();
    let mut files = Vec::new();
    for path in paths {
        match TomlFile::read(path) {
            Ok(file) => files.push(file),
            Err(problem) => result.problems.push(problem),
        }
    }
    check_files(engine, &files, &mut result);
    result
}

fn check_files(engine: &Engine, files: &[TomlFile], result: &mut RuleFiles) {
    let mut seen: BTreeMap<(ObjectClass, String), usize> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        for declared in declared_in(file, index, &mut result.problems) {
            let id = id_of(&declared.object);
            if let Some(first) = seen.insert((declared.object.class, id.clone()), index) {
                let first = files[first].path.display();
                let message = format!("{} `{id}` is declared in `{first}` already", declared.object.class);
                result.problems.push(file.problem(&declared.at, message));
                continue;
            }
            let problems = problems_of(engine, file, &declared);
            if problems.is_empty() {
                let (faults, warnings) = doubts_of(file, &declared);
                result.faults.extend(faults);
                result.warnings.extend(warnings);
                result.objects.push(declared);
            } else {
                result.problems.extend(problems);
            }
        }
    }
    check_references(files, result);
    check_loops(engine, files, result);
    result.objects.sort_by_key(|declared| declared.object.class);
}

fn declared_in(file: &TomlFile, index: usize, problems: &mut Vec<Problem>) -> Vec<Declared> {
    let mut declared = Vec::new();
    for (root, value) in file.json.as_object().into_iter().flatten() {
        let class = match root.as_str() {
            "connectors" => ObjectClass::Connector,
            "actions" => ObjectClass::Action,
            "rules" => ObjectClass::Rule,
            other => {
                let near = nearest(other, ROOTS.into_iter())
                    .map(|name| format!("; did you mean `{name}`?"))
                    .unwrap_or_default();
                let message = format!(
                    "unknown table `{other}`, expected one of `connectors`, `actions`, `rules`{near}"
                );
                problems.push(file.problem(root, message));
                continue;
            }
        };
        let Some(table) = value.as_object() else {
            problems.push(file.problem(root, format!("expected a table, found {}", type_of(value))));
            continue;
        };
        if class == ObjectClass::Rule {
            collect(file, index, class, root, table, &[], problems, &mut declared);
            continue;
        }
        for (kind, objects) in table {
            let at = format!("{root}.{kind}");
            match objects.as_object() {
                Some(objects) => {
                    collect(file, index, class, &at, objects, &[("type", kind)], problems, &mut declared);
                }
                None => problems.push(file.problem(
                    &at,
                    format!("expected a table `{root}.<type>.<name>`, found {}", type_of(objects)),
                )),
            }
        }
    }
    declared
}

#[allow(clippy::too_many_arguments)]
fn collect(
    file: &TomlFile,
    index: usize,
    class: ObjectClass,
    at: &str,
    objects: &Map<String, Json>,
    fixed: &[(&str, &str)],
    problems: &mut Vec<Problem>,
    declared: &mut Vec<Declared>,
) {
    let name_field = if class == ObjectClass::Rule { "id" } else { "name" };
    for (name, body) in objects {
        let at = format!("{at}.{name}");
        let Some(body) = body.as_object() else {
            problems.push(file.problem(&at, format!("expected a table, found {}", type_of(body))));
            continue;
        };
        let mut config = Map::new();
        for (key, value) in fixed.iter().copied().chain([(name_field, name.as_str())]) {
            config.insert(key.to_owned(), Json::String(value.to_owned()));
        }
        let clash = config.keys().find(|key| body.contains_key(*key)).cloned();
        if let Some(key) = clash {
            let message = format!("`{key}` comes from the table's name; leave it out");
            problems.push(file.problem(&format!("{at}.{key}"), message));
            continue;
        }
        config.extend(body.iter().map(|(key, value)| (key.clone(), value.clone())));
        let object = FileObject { class, config: Json::Object(config), path: file.path.clone() };
        declared.push(Declared { object, at, file: index });
    }
}

fn problems_of(engine: &Engine, file: &TomlFile, declared: &Declared) -> Vec<Problem> {
    let config = &declared.object.config;
    let checked = match declared.object.class {
        ObjectClass::Connector => engine.check_connector(config),
        ObjectClass::Action => engine.check_action(config),
        ObjectClass::Rule => {
            let problems = sql_problems(file, &declared.at, config);
            if !problems.is_empty() {
                return problems;
            }
            engine.check_rule(config)
        }
    };
    match checked {
        // a connector of another edition is kept and shown with its reason
        Ok(()) | Err(EngineError::EditionRequired { .. }) => Vec::new(),
        Err(EngineError::Invalid(error)) => error
            .0
            .iter()
            .map(|problem| file.problem(&place_of(&declared.at, &problem.path), problem.message.clone()))
            .collect(),
        Err(other) => vec![file.problem(&declared.at, other.to_string())],
    }
}

/// Where a field of an object stands in its file: `type` and `name` are parts of the table's own name.
fn place_of(at: &str, field: &str) -> String {
    match field {
        "type" => at.rsplit_once('.').map_or(at, |(kind, _)| kind).to_owned(),
        "name" | "id" | "" => at.to_owned(),
        field => format!("{at}.{field}"),
    }
}

/// Problems inside a rule's SQL, at their line and column in the file.
fn sql_problems(file: &TomlFile, at: &str, config: &Json) -> Vec<Problem> {
    let Some(sql) = config.get("sql").and_then(Json::as_str) else { return Vec::new() };
    match engine_sql::Plan::compile(sql) {
        Ok(_) => Vec::new(),
        Err(errors) => in_sql(file, at, errors.problems()),
    }
}

/// What is allowed in a rule but cannot work, and what is only doubtful.
fn doubts_of(file: &TomlFile, declared: &Declared) -> (Vec<Problem>, Vec<Problem>) {
    let config = &declared.object.config;
    let sql = config.get("sql").and_then(Json::as_str);
    let (ObjectClass::Rule, Some(Ok(plan))) = (declared.object.class, sql.map(engine_sql::Plan::compile))
    else {
        return (Vec::new(), Vec::new());
    };
    let (faults, warnings): (Vec<_>, Vec<_>) =
        plan.warnings().iter().cloned().partition(|problem| problem.severity == Severity::Error);
    (in_sql(file, &declared.at, &faults), in_sql(file, &declared.at, &warnings))
}

/// Rules whose messages come back to them, over other rules of the files too.
fn check_loops(engine: &Engine, files: &[TomlFile], result: &mut RuleFiles) {
    let is_rule = |declared: &&Declared| declared.object.class == ObjectClass::Rule;
    let rules: Vec<(String, &Json)> = result
        .objects
        .iter()
        .filter(is_rule)
        .map(|declared| (id_of(&declared.object), &declared.object.config))
        .collect();
    let mut warnings = Vec::new();
    for declared in result.objects.iter().filter(is_rule) {
        let id = id_of(&declared.object);
        for (field, message) in engine.rule_loops(&id, &declared.object.config, &rules) {
            let file = &files[declared.file];
            warnings.push(file.problem(&format!("{}.{field}", declared.at), message));
        }
    }
    result.warnings.extend(warnings);
}

fn in_sql(file: &TomlFile, at: &str, problems: &[engine_sql::Problem]) -> Vec<Problem> {
    let path = format!("{at}.sql");
    problems
        .iter()
        .map(|problem| {
            let at = problem.span.start;
            let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            file.problem_in_text(
                &path,
                at.line as usize,
                at.column as usize,
                format!("{}{hint}", problem.message),
            )
        })
        .collect()
}

/// Actions name their connector, rules their actions, actions those that take over. What is declared nowhere may be one
/// of the server's other objects, which the engine knows; only what looks like a slip of the pen is a problem here.
fn check_references(files: &[TomlFile], result: &mut RuleFiles) {
    let connectors = ids(result, ObjectClass::Connector);
    let actions = ids(result, ObjectClass::Action);
    let mut problems = Vec::new();
    for declared in &result.objects {
        for (class, wanted, at) in references(declared) {
            let known = if class == ObjectClass::Connector { &connectors } else { &actions };
            let near = nearest(&wanted, known.iter().map(String::as_str));
            if let Some(near) = near.filter(|near| *near != wanted) {
                let message = format!("no {class} `{wanted}` is declared; did you mean `{near}`?");
                problems.push(files[declared.file].problem(&format!("{}.{at}", declared.at), message));
            }
        }
    }
    result.problems.append(&mut problems);
}

/// The objects that an object names: class, id, and the field that names it.
fn references(declared: &Declared) -> Vec<(ObjectClass, String, String)> {
    let config = &declared.object.config;
    let text = |value: &Json, field: &str| value.get(field).and_then(Json::as_str).map(str::to_owned);
    let list = |field: &str| config.get(field).and_then(Json::as_array).into_iter().flatten().enumerate();
    match declared.object.class {
        ObjectClass::Connector => Vec::new(),
        ObjectClass::Action => {
            let connector = text(config, "type").zip(text(config, "connector"));
            let connector = connector.map(|(kind, name)| {
                (ObjectClass::Connector, format!("{kind}:{name}"), "connector".to_owned())
            });
            let fallbacks = list("fallback_actions").filter_map(|(index, fallback)| {
                let (kind, name) = text(fallback, "type").zip(text(fallback, "name"))?;
                Some((
                    ObjectClass::Action,
                    format!("{kind}:{name}"),
                    format!("fallback_actions[{index}].name"),
                ))
            });
            connector.into_iter().chain(fallbacks).collect()
        }
        ObjectClass::Rule => list("actions")
            .filter_map(|(index, action)| {
                Some((ObjectClass::Action, action.as_str()?.to_owned(), format!("actions[{index}]")))
            })
            .collect(),
    }
}

fn ids(result: &RuleFiles, class: ObjectClass) -> Vec<String> {
    result
        .objects
        .iter()
        .filter(|declared| declared.object.class == class)
        .map(|d| id_of(&d.object))
        .collect()
}

fn id_of(object: &FileObject) -> String {
    let field = |name: &str| object.config.get(name).and_then(Json::as_str).unwrap_or_default();
    match object.class {
        ObjectClass::Rule => field("id").to_owned(),
        ObjectClass::Connector | ObjectClass::Action => format!("{}:{}", field("type"), field("name")),
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "a table",
    }
}

/// Tells rule files from configuration files: only the former have these tables at their top.
pub(crate) fn is_rule_file(file: &TomlFile) -> bool {
    // `rules` of a configuration file is a list of paths
    let has_tables = |value: &Json| match value {
        Json::Array(items) => items.iter().any(Json::is_object),
        value => value.is_object(),
    };
    file.json.as_object().is_some_and(|top| {
        ROOTS.iter().any(|root| top.get(*root).is_some_and(|value| *root != "rules" || has_tables(value)))
    })
}

/// The folder that a path of a rule file is watched by.
pub(crate) fn watched_folder(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}
