//! What becomes of a session's tokens: `[tokens]` of a tenant file.

use url::Url;

use super::reader::Reader;

/// The scope by which OpenID Connect asks for a refresh token (Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// Settings about tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// APIs, besides that of the sign-in, that the refresh token brings access tokens for.
    pub audiences: Vec<String>,
    /// Whether scripts of our own origin may have the access token.
    pub endpoint: bool,
    /// Whether a session ends when the provider refuses its refresh token.
    pub end_session_on_refusal: bool,
}

/// Reads them.
pub(super) fn read(reader: &mut Reader<'_>, scopes: &[String], auth0: bool) -> TokenSettings {
    let settings = TokenSettings {
        audiences: reader.list("tokens.audiences", |text| audience(text, auth0)).unwrap_or_default(),
        endpoint: reader.flag("tokens.endpoint").unwrap_or_default(),
        end_session_on_refusal: reader.flag("tokens.end_session_on_refusal").unwrap_or_default(),
    };
    let offline = scopes.iter().any(|scope| scope == OFFLINE_ACCESS);
    for (key, wants) in [
        ("tokens.audiences", !settings.audiences.is_empty()),
        ("tokens.end_session_on_refusal", settings.end_session_on_refusal),
    ] {
        if wants && !offline {
            reader.fault(key, "needs a refresh token", Some("add \"offline_access\" to scopes"));
        }
    }
    settings
}

/// An API's name: any at Auth0, an absolute URI without a fragment elsewhere (RFC 8707, section 2).
fn audience(text: &str, auth0: bool) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("is empty or has a space or control character in it".to_owned());
    }
    match auth0 || Url::parse(text).is_ok_and(|url| url.fragment().is_none()) {
        true => Ok(text.to_owned()),
        false => Err("is no absolute URI such as \"https://api.acme.example\", as RFC 8707 wants it".to_owned()),
    }
}
