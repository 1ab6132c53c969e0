//! The discovery document and the key set.

use http::StatusCode;
use serde_json::json;

use super::Shared;
use super::answer::{self, Answer};
use super::fault::{Fault, Place};

/// `/.well-known/openid-configuration`, with Auth0's fields (OpenID Connect Discovery 1.0, section 3).
pub(super) fn metadata(shared: &Shared) -> Answer {
    let mut metadata = json!({
        "issuer": shared.issuer,
        "authorization_endpoint": shared.url("/authorize"),
        "token_endpoint": shared.url("/oauth/token"),
        "userinfo_endpoint": shared.url("/userinfo"),
        "jwks_uri": shared.url("/.well-known/jwks.json"),
        "revocation_endpoint": shared.url("/oauth/revoke"),
        "end_session_endpoint": shared.url("/oidc/logout"),
        "pushed_authorization_request_endpoint": shared.url("/oauth/par"),
        "scopes_supported": ["openid", "profile", "offline_access", "name", "nickname", "email", "email_verified"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": shared.keys().algorithms(),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "PS256", "PS384", "ES256", "ES384"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["aud", "auth_time", "email", "email_verified", "exp", "iat", "iss", "name", "nickname", "sub"],
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    let wants_response_iss = [Fault::ResponseIss, Fault::WrongResponseIss, Fault::MissingResponseIss];
    if wants_response_iss.iter().any(|fault| shared.has_order(fault)) {
        metadata["authorization_response_iss_parameter_supported"] = true.into();
    }
    let fields = metadata.as_object_mut().expect("written as an object");
    for fault in shared.faults(Place::Discovery) {
        match fault {
            Fault::WrongDiscoveryIssuer => {
                fields.insert("issuer".to_owned(), "https://other.example/".into());
            }
            Fault::NoEndSession => {
                fields.remove("end_session_endpoint");
            }
            Fault::NoPar => {
                fields.remove("pushed_authorization_request_endpoint");
            }
            Fault::RequirePar => {
                fields.insert("require_pushed_authorization_requests".to_owned(), true.into());
            }
            _ => {}
        }
    }
    answer::json(StatusCode::OK, &metadata)
}

/// `/.well-known/jwks.json`.
pub(super) fn jwks(shared: &Shared) -> Answer {
    answer::json(StatusCode::OK, &shared.keys().jwks(shared.has_order(&Fault::NoKidOneKey)))
}
