//! Rows on their way to a target.

use std::sync::Arc;

use engine_event::{Row, Segment, Template, Text};

/// One row for a target.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What templates see. For a fallback action it also has the reserved map `fallback`.
    pub row: Row,
    /// The idempotence key: the same for every attempt at this row of this rule for this action, and for no other.
    pub delivery_id: Text,
    /// The rule that made the row.
    pub rule_id: Arc<str>,
    /// The client or other key whose rows stay in order.
    pub key: Option<Text>,
    /// How often the row was sent before.
    pub attempts: u32,
}

/// Rows given to a target in one request.
pub type Batch<'a> = &'a [Delivery];

/// The reserved placeholder: `${delivery_id}` is the idempotence key in every template, whatever the row holds.
pub const DELIVERY_ID: &str = "delivery_id";

impl Delivery {
    /// The row with the key `delivery_id` set, for templates that name it (see [`names_delivery_id`]).
    pub fn row_with_id(&self) -> Row {
        let mut row = self.row.clone();
        row.insert(Text::from_static(DELIVERY_ID), self.delivery_id.clone());
        row
    }
}

/// Tells whether a template has the placeholder `${delivery_id}`. Asked once, when a channel is added: a row is
/// copied only for templates that need it.
pub fn names_delivery_id(template: &Template) -> bool {
    template.segments().iter().any(
        |segment| matches!(segment, Segment::Path(path) if matches!(path.first(), Some(key) if *key == DELIVERY_ID)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_added_to_a_copy() {
        let delivery = Delivery {
            row: [("a", 1_i64)].into_iter().collect(),
            delivery_id: Text::from_static("id-1"),
            rule_id: "r".into(),
            key: None,
            attempts: 0,
        };
        let template = Template::new("${a} ${delivery_id}");
        assert!(names_delivery_id(&template));
        assert!(!names_delivery_id(&Template::new("${a} ${x.delivery_id} delivery_id")));
        assert_eq!(template.render(&delivery.row_with_id(), Default::default()), b"1 id-1");
        assert!(!delivery.row.contains_key(DELIVERY_ID));
    }
}
