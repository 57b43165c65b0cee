//! Events, values and rows: the words that the broker, the rule language and the connectors share.
//!
//! This crate has no async runtime, no clock, no I/O and no global state. It holds
//!
//! * [`Value`], [`Text`], [`Map`]: the value model of the rule language, with its text form and its JSON form;
//! * [`Template`]: text with `${placeholders}`, rendered from a row;
//! * [`Event`], [`EventKind`] and the table of event kinds and their columns;
//! * [`topic`]: matching of topic names against topic filters;
//! * the seams between the parts: [`EventTap`], [`RuleTopics`], [`Publisher`], [`Clock`], [`Completion`], [`Tracer`].

#![forbid(unsafe_code)]

mod completion;
mod event;
mod event_table;
mod json;
mod kinds;
mod map;
mod scan;
mod seams;
mod template;
mod text;
mod text_form;
pub mod topic;
mod trace;
mod value;

pub use completion::{Completion, Settled};
pub use event::{Event, PublishEvent, PublishProperties};
pub use event_table::EVENTS;
pub use json::{JsonError, JsonOptions, UndefinedAs, decode_json, encode_json, encode_json_into};
pub use kinds::{Column, ColumnDef, ColumnType, EventDef, EventKind, Interest};
pub use map::{Map, Row};
pub use scan::{Declined, JsonScan};
pub use seams::{
    Clock, EventTap, ManualClock, NewMessage, PublishError, PublishReport, Publisher, RuleSlot, RuleTopics,
};
pub use template::{Missing, Segment, Template, TemplateError, lookup};
pub use text::Text;
pub use text_form::{decimal_text, float_text, write_text_form};
pub use trace::{TraceEvent, TraceLevel, TraceSet, Tracer};
pub use value::Value;
