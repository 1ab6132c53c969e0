//! Routes that end sessions other than by `/logout`: the provider's logout requests, the list of one's own sessions,
//! and being forgotten.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;
use url::form_urlencoded;
use warp::reply::Response;

use super::super::{Problem, answers};
use super::{Answer, Scope};
use crate::flow::revocation::{self, BackchannelError, Revoked};
use crate::gateway::{Act, Work};
use crate::pages::{OwnSession, Page};
use crate::session::{Session, StoreError};

/// Sessions that a dashboard shows; whoever has more ends the rest by signing out everywhere.
const SHOWN: usize = 20;

/// How long the dashboard waits for the list.
const LIST_WAIT: Duration = Duration::from_secs(2);

/// One of these routes.
#[derive(Clone, Copy)]
pub(super) enum Route<'r> {
    Backchannel,
    Frontchannel,
    /// One session, by its reference.
    Revoke(&'r str),
    Everywhere,
    Disconnect,
}

impl<'r> Route<'r> {
    /// The route at a path below the tenant's base, without a slash at its end; none if it is another's.
    pub(super) fn of(path: &'r str) -> Option<Self> {
        match path {
            "/backchannel-logout" => Some(Self::Backchannel),
            "/frontchannel-logout" => Some(Self::Frontchannel),
            "/sessions/revoke" => Some(Self::Everywhere),
            "/disconnect" => Some(Self::Disconnect),
            _ => {
                let reference = path.strip_prefix("/sessions/")?.strip_suffix("/revoke")?;
                (!reference.is_empty() && !reference.contains('/')).then_some(Self::Revoke(reference))
            }
        }
    }

    /// Its label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Backchannel => "backchannel_logout",
            Self::Frontchannel => "frontchannel_logout",
            Self::Revoke(_) | Self::Everywhere => "sessions",
            Self::Disconnect => "disconnect",
        }
    }

    pub(super) async fn answer(self, scope: Scope<'_>) -> Answer {
        let method = scope.request.method().clone();
        let gateway = scope.gateway;
        let _pass = match (self, &method) {
            (Self::Backchannel, &Method::POST) | (Self::Frontchannel, &Method::GET) => {
                gateway.count(scope.tenant, Act::LogoutRequest, scope.request.client())?;
                Some(gateway.begin(Work::LogoutRequest).await?)
            }
            _ => None,
        };
        match (self, method) {
            (Self::Backchannel, Method::POST) => Ok(backchannel(scope).await),
            (Self::Frontchannel, Method::GET) => frontchannel(scope).await,
            (Self::Revoke(reference), Method::POST) => revoke(scope, reference).await,
            (Self::Everywhere, Method::POST) => everywhere(scope).await,
            (Self::Disconnect, Method::GET | Method::POST) => disconnect(scope).await,
            (Self::Frontchannel, _) => Err(Problem::method_not_allowed("GET")),
            (Self::Disconnect, _) => Err(Problem::method_not_allowed("GET, POST")),
            _ => Err(Problem::method_not_allowed("POST")),
        }
    }
}

/// 200, or 400 with JSON, and nothing else: "If the logout request was invalid or the logout failed, the RP MUST respond
/// with HTTP 400 Bad Request" (OpenID Connect Back-Channel Logout 1.0, section 2.8). So a store that is down is a 400,
/// too; its token may come again.
async fn backchannel(scope: Scope<'_>) -> Response {
    let count = |result: &str| {
        let metrics = &scope.gateway.metrics;
        let labels = [metrics.tenant(scope.tenant.id()), result];
        metrics.backchannel_logout_requests_total.with_label_values(&labels).inc();
    };
    let refused = |code: &str| {
        count(code);
        let document = json!({ "error": "invalid_request", "error_description": code });
        answers::json(StatusCode::BAD_REQUEST, "application/json", &document)
    };
    let token = match logout_token(&scope.request.form().await) {
        Ok(token) => token,
        Err(code) => {
            tracing::info!(code, "logout request refused");
            return refused(code);
        }
    };
    match revocation::back_channel(scope.gateway, scope.tenant, &token).await {
        Ok(sessions) => {
            tracing::info!(sessions, "the provider ended sessions");
            count("ok");
            answers::empty(StatusCode::OK)
        }
        Err(error) => {
            let code = error.code();
            if matches!(error, BackchannelError::Store(_)) {
                tracing::error!(code, %error, "logout request failed");
            } else {
                tracing::info!(code, %error, "logout request refused");
            }
            refused(code)
        }
    }
}

/// The one `logout_token` of the form; other parameters are ignored (section 2.5).
fn logout_token(form: &Result<String, Problem>) -> Result<String, &'static str> {
    let form = form.as_ref().map_err(|problem| problem.code)?;
    let mut tokens = form_urlencoded::parse(form.as_bytes()).filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) if !token.is_empty() => Ok(token.into_owned()),
        (Some(_), Some(_)) => Err("parameter_doubled"),
        _ => Err("logout_token_missing"),
    }
}

/// An empty page, the same whatever it found, that the provider may show in a frame. No cookie comes to a foreign frame,
/// and none is set.
async fn frontchannel(scope: Scope<'_>) -> Answer {
    let pairs = scope.request.query_pairs();
    let only = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| key == name);
        values.next().filter(|_| values.next().is_none()).map(|(_, value)| value.as_str())
    };
    if let (Some(iss), Some(sid), false) = (only("iss"), only("sid"), scope.request.is_prefetch()) {
        let sessions = revocation::front_channel(scope.gateway, scope.tenant, iss, sid).await?;
        tracing::info!(sessions, "the provider's frame asked to end sessions");
    }
    let mut response = answers::with_type(StatusCode::OK, "text/html; charset=utf-8", "<!doctype html>\n".into());
    let policy = format!("default-src 'none'; frame-ancestors {}", scope.tenant.provider.origins().join(" "));
    let policy = HeaderValue::from_str(&policy);
    response.headers_mut().extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    answers::share(&mut response);
    Ok(response)
}

/// Ends one of the person's own sessions.
async fn revoke(scope: Scope<'_>, reference: &str) -> Answer {
    let session = own_request(&scope).await?;
    match revocation::revoke(scope.gateway, scope.tenant, scope.place, &session, reference).await? {
        Revoked::Other => Ok(answers::redirect(StatusCode::SEE_OTHER, &scope.place.path("/dashboard"))),
        Revoked::This(location) => Ok(signed_out(&scope, &location)),
    }
}

/// Ends all of them.
async fn everywhere(scope: Scope<'_>) -> Answer {
    let session = own_request(&scope).await?;
    let location = revocation::everywhere(scope.gateway, scope.tenant, scope.place, &session).await?;
    Ok(signed_out(&scope, &location))
}

/// Asks, then forgets the person. Nothing but our own page may have caused it; everybody else is asked.
async fn disconnect(scope: Scope<'_>) -> Answer {
    let Some(session) = scope.session().await? else {
        return Ok(answers::redirect(StatusCode::SEE_OTHER, &scope.place.path("/dashboard")));
    };
    if scope.request.method() != Method::POST || !scope.request.is_same_origin(&scope.place.origin) {
        return Ok(scope.page(&Page::ConfirmDisconnect));
    }
    revocation::disconnect(scope.gateway, scope.tenant, &session).await?;
    Ok(signed_out(&scope, &scope.place.path("/logged-out")))
}

/// The session of a request that our own page made.
async fn own_request(scope: &Scope<'_>) -> Result<Arc<Session>, Problem> {
    if !scope.request.is_same_origin(&scope.place.origin) {
        return Err(Problem::new("csrf_refused"));
    }
    scope.session().await?.ok_or(Problem::new("not_signed_in"))
}

fn signed_out(scope: &Scope<'_>, location: &str) -> Response {
    let mut response = answers::redirect(StatusCode::SEE_OTHER, location);
    answers::add_cookies(&mut response, scope.cookies.remove_all(scope.request));
    response
}

/// The person's sessions for the dashboard, which goes without when the store is down.
pub(super) async fn listed(scope: &Scope<'_>, session: &Session) -> Vec<OwnSession> {
    let reference = scope.gateway.sessions.references(scope.tenant.id());
    let listed = tokio::time::timeout(LIST_WAIT, revocation::own(scope.gateway, session)).await;
    match listed.unwrap_or(Err(StoreError::Slow)) {
        Ok(listed) => listed
            .iter()
            .take(SHOWN)
            .map(|own| OwnSession {
                reference: reference(own),
                user_agent: own.summary.user_agent.clone(),
                address: own.summary.address,
                created: own.summary.created_at,
                last_seen: own.last_seen_at,
                is_this: own.is(session),
            })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the dashboard goes without the list of sessions");
            Vec::new()
        }
    }
}
