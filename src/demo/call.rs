//! What comes in: a request's parts, its parameters, and the record that a test reads.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use warp::path::FullPath;

/// Parameters of a query or form, in order.
#[derive(Clone, Default)]
pub(super) struct Params(pub(super) Vec<(String, String)>);

impl Params {
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value of `name`; an empty one counts as none (RFC 6749, section 3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A name that occurs more than once (RFC 6749, section 3.1, forbids it).
    pub(super) fn doubled(&self) -> Option<&str> {
        let names = self.0.iter().enumerate();
        names.into_iter().find(|(i, (name, _))| self.0[..*i].iter().any(|(other, _)| other == name)).map(|(_, p)| &*p.0)
    }
}

/// One request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Params,
    pub(super) form: Params,
    pub(super) headers: HeaderMap,
}

impl Call {
    pub(super) fn new(method: Method, path: &FullPath, query: &str, headers: HeaderMap, body: &Bytes) -> Self {
        Self {
            method,
            path: path.as_str().to_owned(),
            query: Params::parse(query.as_bytes()),
            form: Params::parse(body),
            headers,
        }
    }

    /// Where an endpoint that takes GET and POST finds its parameters.
    pub(super) fn params(&self) -> &Params {
        if self.method == Method::POST { &self.form } else { &self.query }
    }

    /// The value of the cookie `name`.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// What follows `scheme` in the Authorization header.
    pub(super) fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, value) = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| value.trim())
    }

    pub(super) fn record(&self) -> Request {
        let params = [self.query.0.as_slice(), self.form.0.as_slice()].concat();
        let authorization = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        Request {
            method: self.method.to_string(),
            path: self.path.clone(),
            params,
            authorization: authorization.map(str::to_owned),
        }
    }
}

/// A request that the provider received, for tests to look at. Its `Debug` names parameters without their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The parameters of query and form, in this order.
    pub params: Vec<(String, String)>,
    /// The Authorization header.
    pub authorization: Option<String>,
}

impl Request {
    /// The first value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "{} {} {names:?}", self.method, self.path)
    }
}
