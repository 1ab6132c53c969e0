//! A page of every kind, filled. An operator's templates are tried on them when they are loaded, so that a mistake is
//! found then and not in front of a person; tests look at them too.

use serde_json::{Map, Value, json};

use super::{Dashboard, ErrorPage, ErrorText, LandingTenant, LocalLogin, Page, SessionEnd, SessionTimes};
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

/// Every page, in every variant that a template may tell apart.
pub fn pages(claims: &Map<String, Value>) -> Vec<Page<'_>> {
    let tenant = |id, display_name, base| LandingTenant { id, display_name, base };
    let mut pages = vec![
        Page::Landing { tenants: vec![] },
        Page::Landing { tenants: vec![tenant("acme", Some("Acme Bank"), "/acme"), tenant("globex", None, "/globex")] },
        Page::Index,
        Page::LocalLogin(LocalLogin { form: "Zm9ybQ", username: "", return_to: None, refused: false }),
        Page::LocalLogin(LocalLogin { form: "Zm9ybQ", username: "ada", return_to: Some("/acme/a?b=c"), refused: true }),
        Page::LoggedOut,
        Page::ConfirmLogout,
    ];
    let picture = Some("https://pictures.example/ada.png");
    for (ends, picture) in [(SessionEnd::Idle, picture), (SessionEnd::Absolute, None), (SessionEnd::Provider, None)] {
        let created = Timestamp(1_795_442_700);
        let session =
            SessionTimes { created, idle_end: created.plus(86_400), absolute_end: created.plus(604_800), ends };
        let email = picture.map(|_| "ada.lovelace@acme.example");
        pages.push(Page::Dashboard(Dashboard {
            name: "Ada Lovelace",
            email,
            picture,
            claims,
            local: picture.is_none(),
            session,
        }));
    }
    for text in ErrorText::ALL {
        let detail = (text == ErrorText::BadRequest).then_some("max_age: is not a number of seconds");
        let provider_said = (text == ErrorText::AccessDenied).then_some("Please verify your e-mail address first.");
        pages.push(Page::Error(ErrorPage { status: 403, text, code: text.id(), detail, provider_said }));
    }
    pages
}
