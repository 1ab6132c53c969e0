//! Starting a sign-in: which parameters count, where it shall end, and the redirect to the provider.

use url::Url;

use super::attempt::{self, Asked, Attempt, AttemptId, TooLarge};
use super::trail;
use crate::audit::Kind;
use crate::config::{AuthorizeParams, Effect, PolicySettings, Rule, SignInSettings};
use crate::gateway::Gateway;
use crate::oidc::{AuthorizationRequest, ProviderError};
use crate::policy::By;
use crate::tenant::{Place, ReturnTo, ReturnToError, Tenant};

/// The longest value of a parameter that a request may set, in bytes.
const MAX_PARAM: usize = 512;

/// What the query of `/login` asks for, as it came.
#[derive(Clone, Debug, Default)]
pub struct SignInRequest {
    /// Parameters of the authorization request.
    pub unverified_params: Vec<(String, String)>,
    /// Where to go afterwards.
    pub unverified_return_to: Option<String>,
    /// The rule that wants the person to sign in again, as [`step_up`] names it.
    pub unverified_step_up: Option<String>,
    /// Who is said to be the issuer, if somebody else starts the sign-in (OpenID Connect Core, section 4).
    pub unverified_iss: Option<String>,
    /// The handle of the session whose place the new one takes, if its cookie will not come to the callback.
    pub previous: Option<String>,
}

/// A sign-in that has begun.
#[derive(Debug)]
pub struct Started {
    /// Where the browser goes.
    pub location: Url,
    /// Which attempt it is.
    pub id: AttemptId,
    /// The value of its cookie.
    pub sealed: String,
}

/// Why a sign-in did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// `return_to` or `target_link_uri` leads somewhere that is not allowed.
    #[error("return_to {0}")]
    ReturnTo(#[from] ReturnToError),
    /// `iss` is another issuer.
    #[error("iss is not the issuer of this tenant")]
    IssuerNotOurs,
    /// A parameter cannot be understood.
    #[error("{name}: {reason}")]
    BadParameter {
        /// Which one.
        name: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The organization is not one of the tenant's.
    #[error("the tenant does not list the organization")]
    Organization,
    /// The whole is more than the cookie holds.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The provider cannot be asked.
    #[error("the provider cannot be asked")]
    Provider(#[from] ProviderError),
}

impl SignInError {
    /// The outcome's name for pages and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ReturnTo(_) => "return_to_refused",
            Self::IssuerNotOurs => "issuer_not_ours",
            Self::BadParameter { .. } | Self::TooLarge(_) => "bad_parameter",
            Self::Organization => "organization_refused",
            Self::Provider(error) => error.code(),
        }
    }
}

/// Starts a sign-in.
///
/// # Errors
/// The request asks for what it may not, or the provider cannot be asked.
pub async fn start(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    request: &SignInRequest,
) -> Result<Started, SignInError> {
    let started = checked(gateway, tenant, place, request).await;
    gateway.audit.record(match &started {
        Ok(_) => trail::event(Kind::SignInStarted, tenant),
        Err(error) => trail::event(Kind::SignInFailed, tenant).reason(error.code()),
    });
    started
}

async fn checked(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    request: &SignInRequest,
) -> Result<Started, SignInError> {
    let settings = &tenant.settings.sign_in;
    if request.unverified_iss.as_ref().is_some_and(|iss| *iss != tenant.settings.provider.issuer) {
        return Err(SignInError::IssuerNotOurs);
    }
    let return_to = match &request.unverified_return_to {
        Some(unverified) => Some(gateway.tenants.return_to(tenant, place, unverified)?),
        None => None,
    };
    let mut params = effective_params(settings, &request.unverified_params)?;
    if let Some(unverified) = &request.unverified_step_up {
        demand(&mut params, &tenant.settings.policy, unverified)?;
    }
    let (attempt, sealed) = begin(gateway, tenant, &params, return_to, request.previous.clone())?;
    let authorization = AuthorizationRequest {
        redirect_uri: &place.url("/callback"),
        state: attempt.id.as_str(),
        nonce: &attempt.nonce(),
        pkce_verifier: &attempt.pkce_verifier(),
        scopes: &settings.scopes,
        response_mode: settings.response_mode,
        params: &params,
        extra: &settings.extra_authorize_params,
    };
    let location = tenant.provider.authorization_url(&authorization).await?;
    let metrics = &gateway.metrics;
    metrics.sign_ins_started_total.with_label_values(&[metrics.tenant(tenant.id()), tenant.provider.label()]).inc();
    Ok(Started { location, id: attempt.id, sealed })
}

/// Begins the attempt. What does not fit into the cookie is left out: first the session whose place the new one takes,
/// which then goes on to its own end; then a page's address is come back to at a shorter one.
fn begin(
    gateway: &Gateway,
    tenant: &Tenant,
    params: &AuthorizeParams,
    mut return_to: Option<ReturnTo>,
    mut previous: Option<String>,
) -> Result<(Attempt, String), TooLarge> {
    loop {
        let asked = Asked { previous: previous.clone(), ..asked(tenant, params, return_to.as_ref()) };
        let attempt = Attempt::begin(tenant, gateway.clock.now(), asked);
        match (attempt.seal(tenant), &return_to) {
            (Ok(sealed), _) => return Ok((attempt, sealed)),
            (Err(_), _) if previous.take().is_some() => {}
            (Err(error), None) => return Err(error),
            (Err(_), Some(long)) => return_to = long.shorter(),
        }
    }
}

/// The value of `step_up` in the query of `/login` that stands for a rule which asks for one: its name, else its place
/// in the list.
pub fn step_up(policy: &PolicySettings, by: By) -> Option<String> {
    let By::Rule(place) = by else { return None };
    let rule = policy.rules.get(place).filter(|rule| matches!(rule.effect, Effect::StepUp { .. }))?;
    Some(rule.name.clone().unwrap_or_else(|| place.to_string()))
}

/// Adds what a rule demands of the authentication. What others ask for never makes it less.
fn demand(params: &mut AuthorizeParams, policy: &PolicySettings, unverified: &str) -> Result<(), SignInError> {
    let named = |rule: &&Rule| rule.name.as_deref() == Some(unverified);
    let placed = || policy.rules.get(unverified.parse::<usize>().ok()?).filter(|rule| rule.name.is_none());
    let rule = policy.rules.iter().find(named).or_else(placed);
    let Some(Effect::StepUp { max_age, acr_values }) = rule.map(|rule| &rule.effect) else {
        return Err(SignInError::BadParameter { name: "step_up", reason: "is no rule that asks for a step-up" });
    };
    params.max_age = params.max_age.into_iter().chain(*max_age).min();
    if acr_values.is_some() {
        params.acr_values.clone_from(acr_values);
    }
    Ok(())
}

fn asked(tenant: &Tenant, params: &AuthorizeParams, return_to: Option<&ReturnTo>) -> Asked {
    let prompts =
        |wanted: &str| params.prompt.as_ref().is_some_and(|prompt| prompt.split(' ').any(|word| word == wanted));
    Asked {
        audience: attempt::audience(tenant),
        return_to: return_to.map(|return_to| return_to.as_str().to_owned()),
        silent: prompts("none") && tenant.settings.sign_in.fixed.prompt.is_none(),
        prompt_login: prompts("login"),
        max_age: params.max_age,
        acr_values: params.acr_values.clone(),
        organization: params.organization.clone(),
        previous: None,
    }
}

/// The tenant's own values, and what the request may add to them. A request overrides nothing; it may lower `max_age`.
fn effective_params(settings: &SignInSettings, request: &[(String, String)]) -> Result<AuthorizeParams, SignInError> {
    let mut params = settings.fixed.clone();
    if params.organization.is_none() && settings.organizations.len() == 1 {
        params.organization = settings.organizations.first().cloned();
    }
    let fixed = params.clone();
    for (name, value) in request.iter().filter(|(name, _)| settings.allowed_params.contains(name)) {
        macro_rules! text {
            ($field:ident) => {
                if fixed.$field.is_none() {
                    params.$field = Some(checked_text(stringify!($field), value, params.$field.is_some())?)
                }
            };
        }
        match name.as_str() {
            "audience" => text!(audience),
            "connection" => text!(connection),
            "organization" => text!(organization),
            "invitation" => text!(invitation),
            "screen_hint" => text!(screen_hint),
            "prompt" => text!(prompt),
            "login_hint" => text!(login_hint),
            "ui_locales" => text!(ui_locales),
            "acr_values" => text!(acr_values),
            "max_age" => params.max_age = Some(max_age(value)?.min(fixed.max_age.unwrap_or(i64::MAX))),
            _ => {}
        }
    }
    check_prompt(params.prompt.as_deref())?;
    check_organization(settings, params.organization.as_deref())?;
    Ok(params)
}

fn checked_text(name: &'static str, value: &str, already: bool) -> Result<String, SignInError> {
    let refuse = |reason| Err(SignInError::BadParameter { name, reason });
    match value {
        _ if already => refuse("stands twice"),
        "" => refuse("is empty"),
        _ if value.len() > MAX_PARAM => refuse("is longer than 512 bytes"),
        _ if value.contains(char::is_control) => refuse("holds a control character"),
        _ => Ok(value.to_owned()),
    }
}

fn max_age(value: &str) -> Result<i64, SignInError> {
    let seconds = value.parse::<i64>().ok().filter(|seconds| *seconds >= 0);
    seconds.ok_or(SignInError::BadParameter { name: "max_age", reason: "is not a number of seconds" })
}

/// `none` stands alone; the others are those of OpenID Connect Core, section 3.1.2.1, and `create`.
fn check_prompt(prompt: Option<&str>) -> Result<(), SignInError> {
    let Some(prompt) = prompt else { return Ok(()) };
    let known = ["login", "consent", "select_account", "create"];
    if prompt == "none" || prompt.split(' ').all(|word| known.contains(&word)) {
        return Ok(());
    }
    Err(SignInError::BadParameter {
        name: "prompt",
        reason: "is neither none nor any of login, consent, select_account, create",
    })
}

fn check_organization(settings: &SignInSettings, organization: Option<&str>) -> Result<(), SignInError> {
    let Some(organization) = organization else { return Ok(()) };
    let listed = settings.organizations.is_empty() || settings.organizations.iter().any(|known| known == organization);
    if listed { Ok(()) } else { Err(SignInError::Organization) }
}
