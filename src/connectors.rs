//! The connector types of this build.

use connectors_api::ConnectorDef;
use engine_runtime::EditionVerdict;

use crate::editions::{Edition, needed_for};

/// Every connector type, in the order of the reference.
const DEFINITIONS: &[ConnectorDef] =
    &[connectors_http::DEFINITION, connectors_sqlite::DEFINITION, connectors_postgres::DEFINITION];

/// Every connector type with the verdict of `edition`.
pub(crate) fn definitions(edition: Edition) -> Vec<(ConnectorDef, EditionVerdict)> {
    DEFINITIONS
        .iter()
        .map(|definition| {
            let needed = needed_for(definition.kind);
            let verdict = if needed <= edition {
                EditionVerdict::Allowed
            } else {
                EditionVerdict::Refused { edition: needed.to_string() }
            };
            (*definition, verdict)
        })
        .collect()
}
