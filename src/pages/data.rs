//! What a page is made of: borrowed where that is possible, and found by name.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

/// A value for a template.
#[derive(Debug)]
pub enum Data<'a> {
    /// Nothing, where there might be something.
    Nothing,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(u32),
    /// A text.
    Text(Cow<'a, str>),
    /// Several values.
    List(Vec<Data<'a>>),
    /// Values by name.
    Fields(Vec<(&'static str, Data<'a>)>),
}

impl Data<'_> {
    /// Values by name.
    pub fn fields<const N: usize>(fields: [(&'static str, Self); N]) -> Self {
        Self::Fields(fields.into())
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Whether `if` takes it for a yes.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(yes) => *yes,
            Self::Number(number) => *number != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Fields(fields) => !fields.is_empty(),
        }
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Bool(yes) => serializer.serialize_bool(*yes),
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Fields(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl From<bool> for Data<'_> {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<u16> for Data<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Data<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Data<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Data<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<Cow<'a, str>> for Data<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Data<'a>>> From<Option<T>> for Data<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl<'a, T: Into<Data<'a>>> From<Vec<T>> for Data<'a> {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<'a> FromIterator<Data<'a>> for Data<'a> {
    fn from_iter<I: IntoIterator<Item = Data<'a>>>(values: I) -> Self {
        Self::List(values.into_iter().collect())
    }
}
