//! Which client calls a back-channel endpoint: by secret, by key, or, where it has neither, by its word (OpenID Connect
//! Core, section 9).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Shared;
use super::answer::{self, Answer};
use super::call::Call;
use super::fault::Place;
use super::spec::Client;
use crate::secret::{ExposeSecret as _, same};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ASSERTION_ALGORITHMS: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::PS256, Algorithm::PS384, Algorithm::ES256, Algorithm::ES384];
/// Seconds that an assertion may live.
const MAX_ASSERTION_LIFE: i64 = 300;
/// Seconds by which clocks may differ.
const SKEW: i64 = 10;

/// Why a client is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClientAuthError {
    #[error("a parameter occurs twice")]
    ParameterDoubled,
    #[error("more than one client authentication")]
    Several,
    #[error("Unauthorized")]
    Unproven,
}

impl From<ClientAuthError> for Answer {
    fn from(error: ClientAuthError) -> Self {
        let text = error.to_string();
        if error != ClientAuthError::Unproven {
            return answer::error(StatusCode::BAD_REQUEST, "invalid_request", &text);
        }
        let mut answer = answer::error(StatusCode::UNAUTHORIZED, "invalid_client", &text);
        answer::set(&mut answer, header::WWW_AUTHENTICATE, "Basic realm=\"demo\"");
        answer
    }
}

/// The client that sent this request, if it proves to be it.
pub(super) fn authenticate(shared: &Shared, call: &Call) -> Result<Client, ClientAuthError> {
    if call.form.doubled().is_some() {
        return Err(ClientAuthError::ParameterDoubled);
    }
    let client_id = call.form.get("client_id");
    let basic = call.authorization("Basic");
    let secret = call.form.get("client_secret");
    let assertion = call.form.get("client_assertion");
    let client = match (basic, secret, assertion) {
        (Some(basic), None, None) => by_basic(shared, basic),
        (None, None, Some(assertion)) if call.form.get("client_assertion_type") == Some(ASSERTION_TYPE) => {
            by_assertion(shared, assertion)
        }
        (None, secret, None) => by_secret(shared, client_id.unwrap_or_default(), secret),
        (None, None, Some(_)) => None,
        _ => return Err(ClientAuthError::Several),
    };
    let ordered_to_fail = !shared.faults(Place::ClientAuth).is_empty();
    client
        .filter(|client| !ordered_to_fail && client_id.is_none_or(|id| id == client.client_id))
        .ok_or(ClientAuthError::Unproven)
}

fn by_secret(shared: &Shared, client_id: &str, given: Option<&str>) -> Option<Client> {
    let client = shared.state().client(client_id)?.clone();
    let proven = match (&client.secret, given) {
        (Some(secret), Some(given)) => same(secret.expose_secret().as_bytes(), given.as_bytes()),
        (None, None) => client.public_key_pem.is_none(),
        _ => false,
    };
    proven.then_some(client)
}

/// Id and secret are form-urlencoded first (RFC 6749, section 2.3.1).
fn by_basic(shared: &Shared, credentials: &str) -> Option<Client> {
    let credentials = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (client_id, secret) = credentials.split_once(':')?;
    by_secret(shared, &form_decoded(client_id)?, Some(&form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

/// `private_key_jwt` as Auth0 takes it: `aud` is the issuer, `jti` is new, `exp` is near.
fn by_assertion(shared: &Shared, assertion: &str) -> Option<Client> {
    let unverified: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode(assertion).ok()?.claims;
    let client = shared.state().client(unverified.get("sub")?.as_str()?)?.clone();
    let claims = verified(assertion, client.public_key_pem.as_deref()?)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = shared.now().0;
    let timely = time("exp").is_some_and(|exp| exp > now - SKEW && exp <= now + MAX_ASSERTION_LIFE + SKEW)
        && time("iat").is_none_or(|iat| iat <= now + SKEW)
        && time("nbf").is_none_or(|nbf| nbf <= now + SKEW);
    let ours = text("iss") == Some(&client.client_id) && text("aud") == Some(&shared.issuer);
    let fresh = timely && ours && shared.state().assertions.insert(text("jti")?.to_owned());
    fresh.then_some(client)
}

fn verified(assertion: &str, public_key_pem: &str) -> Option<Map<String, Value>> {
    let algorithm = decode_header(assertion).ok()?.alg;
    let pem = public_key_pem.as_bytes();
    let key = DecodingKey::from_rsa_pem(pem).or_else(|_| DecodingKey::from_ec_pem(pem)).ok()?;
    let mut validation = Validation::new(algorithm);
    // Times and audience are checked by the caller, against our own clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let known = ASSERTION_ALGORITHMS.contains(&algorithm) && key.family() == algorithm.family();
    known.then(|| decode(assertion, &key, &validation).ok())?.map(|token| token.claims)
}
