//! Evaluating lines without an engine.

use std::sync::Arc;

use engine_event::{Clock, Event, Map};

use super::environment::Environment;

/// Evaluates one line as [`engine_sql::eval_line`] describes, with the functions that rules of a server have.
///
/// Every line is a world of its own: what its functions store is gone after it.
pub fn eval_line(line: &str, default_sql: Option<&str>, clock: &Arc<dyn Clock>) -> String {
    let environment = Environment::new(Arc::clone(clock), JQ_TIME_LIMIT_MS);
    let nothing = Event::from_columns(Map::new());
    engine_sql::eval_line(line, default_sql, &environment.context(&nothing))
}

/// Time limit of a `jq` call that names none, as in a server.
const JQ_TIME_LIMIT_MS: u64 = 10_000;
