//! Reading the query of a request: repeated fields, numbers and truth values, nothing unknown.

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::value::{Error as ReadError, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{ApiError, Code};

/// Takes the query apart into `T`, which denies unknown fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The query of an endpoint that knows no fields.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoQuery {}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Fields of every list that is given in pages: what is wrong with them has a code of its own.
const PAGE_FIELDS: [&str; 2] = ["page", "limit"];

/// Reads a query. A field that occurs several times is a list.
fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let mut fields: Vec<(String, Values)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.0.push(value),
            None => fields.push((name, Values(vec![value]))),
        }
    }
    serde_path_to_error::deserialize(MapDeserializer::<_, ReadError>::new(fields.into_iter())).map_err(
        |error| {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            if PAGE_FIELDS.contains(&path.as_str()) {
                ApiError::new(Code::InvalidParameter, format!("page_limit_invalid: {path}: {message}"))
            } else if path == "." || message.starts_with("unknown field") {
                ApiError::bad_request(format!("query: {message}"))
            } else {
                ApiError::bad_request(format!("query field {path}: {message}"))
            }
        },
    )
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| ApiError::bad_request(format!("query: `{text}` is not percent-encoded UTF-8")))
}

/// The values of one field, at least one.
struct Values(Vec<String>);

impl Values {
    fn single(self) -> Result<String, ReadError> {
        let count = self.0.len();
        let mut values = self.0.into_iter();
        match (values.next(), count) {
            (Some(value), 1) => Ok(value),
            _ => Err(ReadError::custom(format!("expected one value, got {count}"))),
        }
    }

    fn parse<T: std::str::FromStr>(self, expected: &str) -> Result<T, ReadError> {
        let text = self.single()?;
        text.parse().map_err(|_| ReadError::custom(format!("expected {expected}, got `{text}`")))
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Values {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident => $visit:ident, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            visitor.$visit(self.parse($expected)?)
        }
    )*};
}

impl<'de> serde::Deserializer<'de> for Values {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_string(self.single()?)
    }

    parsed! {
        deserialize_bool => visit_bool, "`true` or `false`";
        deserialize_u8 => visit_u8, "an integer from 0 to 255";
        deserialize_u16 => visit_u16, "an integer from 0 to 65535";
        deserialize_u32 => visit_u32, "an integer from 0 to 4294967295";
        deserialize_u64 => visit_u64, "an integer of 0 or more";
        deserialize_i64 => visit_i64, "an integer";
        deserialize_f64 => visit_f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let items = self.0.into_iter().map(|value| Self(vec![value]));
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(self.single()?.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Connected,
        Idle,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        page: Option<u32>,
        #[serde(default)]
        clientid: Vec<String>,
        enable: Option<bool>,
        state: Option<State>,
    }

    fn check(query: &str, expect: Result<Sample, &str>) {
        let result = parse_query::<Sample>(query);
        match (result, expect) {
            (Ok(result), Ok(expect)) => assert_eq!(result, expect, "{query}"),
            (Err(error), Err(expect)) => assert_eq!(error.message(), expect, "{query}"),
            (result, expect) => panic!("{query}: {result:?}, expected {expect:?}"),
        }
    }

    fn empty() -> Sample {
        Sample { page: None, clientid: vec![], enable: None, state: None }
    }

    #[test]
    fn reads_repeated_fields_numbers_and_words() {
        check("", Ok(empty()));
        check("&&", Ok(empty()));
        check(
            "clientid=a&clientid=b%2Fc+d",
            Ok(Sample { clientid: vec!["a".into(), "b/c d".into()], ..empty() }),
        );
        check(
            "page=3&enable=false&state=idle",
            Ok(Sample { page: Some(3), enable: Some(false), state: Some(State::Idle), ..empty() }),
        );
    }

    #[test]
    fn names_the_field_and_what_was_expected() {
        check(
            "pagge=1",
            Err("query: unknown field `pagge`, expected one of `page`, `clientid`, `enable`, `state`"),
        );
        check("enable=yes", Err("query field enable: expected `true` or `false`, got `yes`"));
        check("enable=true&enable=false", Err("query field enable: expected one value, got 2"));
        check("page=x", Err("page_limit_invalid: page: expected an integer from 0 to 4294967295, got `x`"));
        check("state=gone", Err("query field state: unknown variant `gone`, expected `connected` or `idle`"));
        check("clientid=%ff", Err("query: `%ff` is not percent-encoded UTF-8"));
    }
}
