//! Finding a function by name.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{
    FunctionDef, aggregates, arrays, bits, compress, context, convert, encode, format, hash, identifiers, jq,
    maps, math, regular, split, text, time, types,
};

/// The groups, in the order of the reference.
const GROUPS: &[&[FunctionDef]] = &[
    math::FUNCTIONS,
    types::FUNCTIONS,
    convert::FUNCTIONS,
    text::FUNCTIONS,
    split::FUNCTIONS,
    regular::FUNCTIONS,
    format::FUNCTIONS,
    maps::FUNCTIONS,
    arrays::FUNCTIONS,
    aggregates::FUNCTIONS,
    hash::FUNCTIONS,
    compress::FUNCTIONS,
    encode::FUNCTIONS,
    bits::FUNCTIONS,
    time::FUNCTIONS,
    identifiers::FUNCTIONS,
    jq::FUNCTIONS,
    context::FUNCTIONS,
];

/// Every function, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static FunctionDef> {
    GROUPS.iter().copied().flatten()
}

/// Returns the function called `name`, in any case, with or without the prefix `emqx_rule_funcs.`.
pub fn lookup(name: &str) -> Option<&'static FunctionDef> {
    let name = name.strip_prefix("emqx_rule_funcs.").unwrap_or(name);
    if let Some(found) = by_name().get(name) {
        return Some(found);
    }
    by_name().get(name.to_ascii_lowercase().as_str()).copied()
}

/// Returns the name nearest to one that does not exist, if there is one that may have been meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let distance = |def: &FunctionDef| strsim::damerau_levenshtein(&name, def.name);
    all()
        .map(|def| (distance(def), def.name))
        .filter(|(distance, found)| *distance <= 1 + found.len() / 4)
        .min()
        .map(|(_, found)| found)
}

type ByName = HashMap<&'static str, &'static FunctionDef, foldhash::fast::FixedState>;

fn by_name() -> &'static ByName {
    static BY_NAME: OnceLock<ByName> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|def| (def.name, def)).collect())
}
