//! Properties of MQTT 5.0, which stay encoded: checked once when they come in, read where they are needed, and
//! copied as bytes when they go out.

mod check;
mod id;
mod owned;
mod view;

pub(crate) use check::{Section, Seen, check};
pub use id::PropertyId;
pub use owned::{Properties, PropertyError};
pub use view::{PropertiesRef, Property, PropertyIter};
