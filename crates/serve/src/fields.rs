//! The fields of a request: each is taken by its name, and those that are left were not heeded.

use std::ops::RangeInclusive;

use axum::http::HeaderValue;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ApiError, Result};

/// Fields that are not taken yet.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// Stands before their names in errors.
    within: String,
}

impl Fields {
    /// Of a body, or of an object in it.
    pub fn new(map: Map<String, Value>, within: &str) -> Self {
        Self { map, within: within.to_owned() }
    }

    /// Of a body of JSON.
    ///
    /// # Errors
    /// It is none, or no object.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Ok(Self::new(crate::body::json(bytes)?, ""))
    }

    /// How errors name a field.
    pub fn param(&self, name: &str) -> String {
        match &*self.within {
            "" => name.to_owned(),
            within => format!("{within}.{name}"),
        }
    }

    /// A field; none where there is none, or null.
    ///
    /// # Errors
    /// It is not of this type: the part that is wrong is named.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.map.remove(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let read = serde_path_to_error::deserialize(value).map_err(|error| {
            let (path, reason) = (error.path().to_string(), error.into_inner());
            let dot = if path.starts_with('[') { "" } else { "." };
            let param = match &*path {
                "." => self.param(name),
                path => format!("{}{dot}{path}", self.param(name)),
            };
            ApiError::invalid(param, reason.to_string())
        });
        read.map(Some)
    }

    /// Whether a field is there, and not null.
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// As [`take`](Self::take); it is not there.
    pub fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.take(name)?.ok_or_else(|| ApiError::missing(&self.param(name)))
    }

    /// The first of several names under which a field may stand.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn any<T: DeserializeOwned>(&mut self, names: &[&str]) -> Result<Option<T>> {
        let there = names.iter().find(|name| self.has(name));
        there.map_or(Ok(None), |name| self.take(name))
    }

    /// A number of a range.
    ///
    /// # Errors
    /// It is none, or beyond the range.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(number) = self.take::<f64>(name)? else { return Ok(None) };
        match range.contains(&number) {
            true => Ok(Some(number)),
            false => {
                let (least, most) = range.into_inner();
                let message = format!("expected a number from {least} to {most}, got {number}");
                Err(ApiError::invalid(self.param(name), message))
            }
        }
    }

    /// A whole number of a range.
    ///
    /// # Errors
    /// It is none, or beyond the range.
    pub fn count(&mut self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(number) = self.take::<i128>(name)? else { return Ok(None) };
        let fits = usize::try_from(number).ok().filter(|number| range.contains(number));
        let (least, most) = range.into_inner();
        let message = match most {
            usize::MAX => format!("expected a whole number from {least} up, got {number}"),
            most => format!("expected a whole number from {least} to {most}, got {number}"),
        };
        fits.map(Some).ok_or_else(|| ApiError::invalid(self.param(name), message))
    }

    /// An object whose fields are taken in their turn.
    ///
    /// # Errors
    /// It is no object.
    pub fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let map: Option<Map<String, Value>> = self.take(name)?;
        Ok(map.map(|map| Self { map, within: self.param(name) }))
    }

    /// Fields that hold for what a server does with a request, not for its answer: there is nothing to heed.
    pub fn pass(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// The response to a request, which names in the header `x-sensorium-ignored` what was not heeded.
    pub fn heeded(self, mut response: Response) -> Response {
        if let Some(ignored) = self.ignored() {
            response.headers_mut().insert("x-sensorium-ignored", ignored);
        }
        response
    }

    /// The names of those that were not heeded.
    pub fn ignored(self) -> Option<HeaderValue> {
        let names: Vec<String> = self.map.keys().map(|name| self.param(name)).collect();
        let known = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
        let names: Vec<String> = names.into_iter().filter(known).take(32).collect();
        if names.is_empty() {
            return None;
        }
        log::warn!("not heeded: {}", names.join(", "));
        HeaderValue::from_str(&names.join(", ")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_or_named() {
        let body = br#"{"a": 3, "b": null, "c": [{"d": "x"}], "n": -1, "t": 2.5, "o": {"p": true}, "left": 1}"#;
        let mut fields = Fields::read(body).unwrap();
        assert_eq!(fields.take::<u32>("a").unwrap(), Some(3));
        assert_eq!(fields.take::<u32>("b").unwrap(), None);
        let error = fields.take::<Vec<std::collections::HashMap<String, u32>>>("c").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("c[0].d"));
        assert_eq!(fields.need::<u32>("e").unwrap_err().code, "missing_field");
        assert_eq!(fields.count("n", 0..=5).unwrap_err().param.as_deref(), Some("n"));
        assert!(fields.number("t", 0.0..=2.0).unwrap_err().message.contains("0 to 2"));
        let mut inner = fields.object("o").unwrap().unwrap();
        assert_eq!(inner.take::<u32>("p").unwrap_err().param.as_deref(), Some("o.p"));
        assert_eq!(fields.ignored().unwrap(), "left");
    }
}
