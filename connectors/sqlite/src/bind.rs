//! Values of a row as SQLite takes them.

use connectors_api::{Delivery, names_delivery_id};
use engine_event::{JsonOptions, Template, Value, encode_json};
use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// A value, ready to be bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// Makes the values of rows.
#[derive(Debug)]
pub(crate) struct Binder {
    templates: Vec<Template>,
    names_delivery_id: bool,
}

impl Binder {
    /// Makes a binder for the places of a statement.
    pub(crate) fn new(templates: Vec<Template>) -> Self {
        let names_delivery_id = templates.iter().any(names_delivery_id);
        Self { templates, names_delivery_id }
    }

    /// The values of a row, in the order of the places.
    pub(crate) fn bind(&self, delivery: &Delivery) -> Vec<Bound> {
        let with_id;
        let row = if self.names_delivery_id {
            with_id = delivery.row_with_id();
            &with_id
        } else {
            &delivery.row
        };
        self.templates.iter().map(|template| Bound::from(template.value(row))).collect()
    }
}

/// Missing and null bind as NULL, truth values as 0 and 1, text that is not UTF-8 as a blob, arrays and maps as JSON
/// text, integers beyond 64 bits as text.
impl From<Value> for Bound {
    fn from(value: Value) -> Self {
        match value {
            Value::Undefined | Value::Null => Self::Null,
            Value::Bool(value) => Self::Integer(value.into()),
            Value::Int(value) => Self::Integer(value),
            Value::BigInt(value) => Self::Text(value.to_string()),
            Value::Float(value) => Self::Real(value),
            Value::Text(text) => match text.as_str() {
                Some(text) => Self::Text(text.to_owned()),
                None => Self::Blob(text.as_bytes().to_vec()),
            },
            value @ (Value::Array(_) | Value::Map(_)) => {
                let json = encode_json(&value, JsonOptions::default());
                String::from_utf8(json).map_or_else(|error| Self::Blob(error.into_bytes()), Self::Text)
            }
        }
    }
}

/// The arguments of a statement for `rows`.
pub(crate) fn arguments(rows: &[Vec<Bound>]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(rows.iter().map(Vec::len).sum(), 0);
    for value in rows.iter().flatten() {
        let added = match value {
            Bound::Null => arguments.add(None::<i64>),
            Bound::Integer(value) => arguments.add(*value),
            Bound::Real(value) => arguments.add(*value),
            Bound::Text(value) => arguments.add(value.clone()),
            Bound::Blob(value) => arguments.add(value.clone()),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use engine_event::{Text, decode_json};

    use super::*;

    #[test]
    fn values_follow_the_table() {
        let Ok(Value::Map(mut row)) = decode_json(
            br#"{"n":null,"t":true,"f":false,"i":-5,"r":2.5,"s":"it's; DROP TABLE x","a":[1,"x"],"m":{"k":null},"big":9223372036854775808}"#,
        ) else {
            panic!()
        };
        row.insert("b", Text::copy_from(b"\xff\x00"));
        let delivery = Delivery {
            row,
            delivery_id: Text::from_static("d-1"),
            rule_id: "r".into(),
            key: None,
            attempts: 0,
        };
        for (template, want) in [
            ("${missing}", Bound::Null),
            ("${n}", Bound::Null),
            ("${t}", Bound::Integer(1)),
            ("${f}", Bound::Integer(0)),
            ("${i}", Bound::Integer(-5)),
            ("${r}", Bound::Real(2.5)),
            ("${s}", Bound::Text("it's; DROP TABLE x".into())),
            ("${b}", Bound::Blob(b"\xff\x00".to_vec())),
            ("${a}", Bound::Text(r#"[1,"x"]"#.into())),
            ("${m}", Bound::Text(r#"{"k":null}"#.into())),
            ("${big}", Bound::Text("9223372036854775808".into())),
            ("${s}/${i}/${missing}", Bound::Text("it's; DROP TABLE x/-5/undefined".into())),
            ("${$}{i}", Bound::Text("${i}".into())),
            ("plain", Bound::Text("plain".into())),
            ("", Bound::Text(String::new())),
            ("${delivery_id}", Bound::Text("d-1".into())),
        ] {
            let bound = Binder::new(vec![Template::new(template)]).bind(&delivery);
            assert_eq!(bound, [want], "{template}");
        }
    }
}
