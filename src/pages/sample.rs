//! A page of every kind, filled. An operator's templates are tried on them when they are loaded, so that a mistake is
//! found then and not in front of a person; tests look at them too.

use serde_json::{Map, Value, json};

use super::{Dashboard, ErrorPage, ErrorText, LandingTenant, LocalLogin, OwnSession, Page, SessionEnd, SessionTimes};
use crate::clock::Timestamp;

/// The claims of somebody, with a value of every form.
pub fn claims() -> Map<String, Value> {
    let claims = json!({
        "address": {"locality": "London", "country": "GB"},
        "amr": ["pwd", "mfa"],
        "aud": "b1a7c0ffee",
        "auth_time": 1_795_442_700,
        "email": "ada.lovelace@acme.example",
        "email_verified": true,
        "exp": 1_795_478_700,
        "https://acme.example/roles": ["admin", "treasury"],
        "https://acme.example/limit": null,
        "iat": 1_795_442_700,
        "iss": "https://acme.eu.auth0.com/",
        "name": "Ada Lovelace",
        "nickname": "ada",
        "org_id": "org_9ybsU1dN2dKfDkBi",
        "phone_number_verified": false,
        "picture": "https://pictures.example/ada.png",
        "sid": "yCHPvHoZ_DzQXr2SXkJ1sfzSGvr1DPyd",
        "sub": "auth0|66f2a8c4e1b0d6a7f3c9b512",
        "updated_at": "2026-11-23T14:05:00.123Z",
    });
    claims.as_object().cloned().unwrap_or_default()
}

/// Somebody's sessions, known and unknown browsers.
pub fn sessions() -> Vec<OwnSession> {
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let created = Timestamp(1_795_442_700);
    [(Some(firefox), true), (Some("curl/8.16.0"), false), (None, false)]
        .into_iter()
        .map(|(user_agent, is_this)| OwnSession {
            reference: "pGkDVnDfOcVQOIcCJsbLEQ".to_owned(),
            user_agent: user_agent.map(str::to_owned),
            address: is_this.then_some([192, 0, 2, 7].into()),
            created,
            last_seen: created.plus(3600),
            is_this,
        })
        .collect()
}

/// Every page, in every variant that a template may tell apart.
pub fn pages<'a>(claims: &'a Map<String, Value>, sessions: &'a [OwnSession]) -> Vec<Page<'a>> {
    let tenant = |id, display_name, base| LandingTenant { id, display_name, base };
    let mut pages = vec![
        Page::Landing { tenants: vec![] },
        Page::Landing { tenants: vec![tenant("acme", Some("Acme Bank"), "/acme"), tenant("globex", None, "/globex")] },
        Page::Index,
        Page::LocalLogin(LocalLogin { form: "Zm9ybQ", username: "", return_to: None, refused: false }),
        Page::LocalLogin(LocalLogin { form: "Zm9ybQ", username: "ada", return_to: Some("/acme/a?b=c"), refused: true }),
        Page::LoggedOut,
        Page::ConfirmLogout,
        Page::ConfirmDisconnect,
    ];
    let picture = Some("https://pictures.example/ada.png");
    for (ends, picture) in [(SessionEnd::Idle, picture), (SessionEnd::Absolute, None), (SessionEnd::Provider, None)] {
        let created = Timestamp(1_795_442_700);
        let session =
            SessionTimes { created, idle_end: created.plus(86_400), absolute_end: created.plus(604_800), ends };
        let email = picture.map(|_| "ada.lovelace@acme.example");
        let sessions = if picture.is_some() { sessions } else { &[] };
        pages.push(Page::Dashboard(Dashboard {
            name: "Ada Lovelace",
            email,
            picture,
            claims,
            local: picture.is_none(),
            session,
            sessions,
        }));
    }
    for text in ErrorText::ALL {
        let detail = (text == ErrorText::BadRequest).then_some("max_age: is not a number of seconds");
        let provider_said = (text == ErrorText::AccessDenied).then_some("Please verify your e-mail address first.");
        pages.push(Page::Error(ErrorPage { status: 403, text, code: text.id(), detail, provider_said }));
    }
    pages
}
