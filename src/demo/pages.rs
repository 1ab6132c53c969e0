//! The provider's own pages: plain HTML with one embedded style, and a script on one of them. They say on every page
//! that this is a demo.

use std::fmt::Write as _;

use http::StatusCode;

use super::Shared;
use super::answer::{self, Answer};
use super::call::Params;
use super::spec::User;
use crate::secret::{ExposeSecret as _, random_text};

const STYLE: &str = include_str!("style.css");

/// What the sign-in and the sign-up page show.
pub(super) struct Form<'a> {
    pub(super) sign_up: bool,
    /// The name of the pending authorization request.
    pub(super) state: &'a str,
    /// The name of the application.
    pub(super) client: &'a str,
    /// What stands in the first field.
    pub(super) username: &'a str,
    /// What was wrong with the last try.
    pub(super) problem: Option<&'a str>,
}

/// The sign-in or the sign-up page.
pub(super) fn form(shared: &Shared, form: &Form<'_>) -> Answer {
    let (title, path, button, autocomplete) = if form.sign_up {
        ("Sign up", "/u/signup", "Sign up", "new-password")
    } else {
        ("Sign in", "/u/login", "Continue", "current-password")
    };
    let (other, other_path, question) = if form.sign_up {
        ("Sign in", "/u/login", "Have an account?")
    } else {
        ("Sign up", "/u/signup", "No account yet?")
    };
    let state = escaped(form.state);
    let (problem, invalid) = match form.problem {
        Some(problem) => (
            format!("<p role=\"alert\" id=\"problem\">{}</p>", escaped(problem)),
            " aria-invalid=\"true\" aria-describedby=\"problem\"",
        ),
        None => (String::new(), ""),
    };
    let (first, second) = if form.username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let body = format!(
        "<h1>{title} to {name}</h1>\n<p class=\"muted\">to continue to {client}</p>\n{problem}\n\
         <form method=\"post\" action=\"{path}?state={state}\">\n\
         <label for=\"username\">E-mail address</label>\n\
         <input id=\"username\" name=\"username\" inputmode=\"email\" autocomplete=\"username\" autocapitalize=\"none\" \
         spellcheck=\"false\" required value=\"{username}\"{invalid}{first}>\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"{autocomplete}\" required{invalid}{second}>\n\
         <button type=\"submit\" name=\"action\" value=\"default\">{button}</button>\n</form>\n\
         <p>{question} <a href=\"{other_path}?state={state}\">{other}</a></p>\n{people}",
        name = escaped(&shared.name),
        client = escaped(form.client),
        username = escaped(form.username),
        people = if form.sign_up { String::new() } else { people(&shared.people) },
    );
    let status = if form.problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    page(shared, status, title, &body, None)
}

/// Whom one can sign in as.
fn people(users: &[User]) -> String {
    if users.is_empty() {
        return String::new();
    }
    let mut html = "<details open><summary>Accounts of this demo</summary>\n<dl>\n".to_owned();
    for user in users {
        let (username, password) = (escaped(&user.username), escaped(user.password.expose_secret()));
        let blocked = if user.blocked { " (blocked)" } else { "" };
        writeln!(html, "<dt>{username}{blocked}</dt><dd><code>{password}</code></dd>").expect("writing to memory");
    }
    html + "</dl></details>"
}

/// The page that posts the authorization response to the client (OAuth 2.0 Form Post Response Mode).
pub(super) fn form_post(shared: &Shared, redirect_uri: &str, pairs: &[(&str, String)]) -> Answer {
    let body = format!(
        "<h1>One moment</h1>\n<p class=\"muted\">You are being sent back to the application.</p>\n\
         <form method=\"post\" action=\"{}\">\n{}<button type=\"submit\">Continue</button>\n</form>",
        escaped(redirect_uri),
        hidden(pairs.iter().map(|(name, value)| (*name, value.as_str()))),
    );
    page(shared, StatusCode::OK, "One moment", &body, Some("document.forms[0].submit()"))
}

/// Asks whether somebody wants to sign out, where no hint says that they do.
pub(super) fn confirm_sign_out(shared: &Shared, params: &Params) -> Answer {
    let params = params.0.iter().filter(|(name, _)| name != "confirmed").map(|(name, value)| (&**name, &**value));
    let body = format!(
        "<h1>Sign out of {}?</h1>\n<p class=\"muted\">An application asks for it.</p>\n\
         <form method=\"post\" action=\"/oidc/logout\">\n{}\
         <button type=\"submit\" name=\"confirmed\" value=\"yes\">Sign out</button>\n</form>",
        escaped(&shared.name),
        hidden(params),
    );
    page(shared, StatusCode::OK, "Sign out", &body, None)
}

/// Says that the person is signed out.
pub(super) fn signed_out(shared: &Shared) -> Answer {
    page(shared, StatusCode::OK, "Signed out", "<h1>You are signed out</h1>", None)
}

/// Says what this is.
pub(super) fn home(shared: &Shared) -> Answer {
    let body =
        format!("<h1>{}</h1>\n<p>Start at the application that you want to sign in to.</p>", escaped(&shared.name));
    page(shared, StatusCode::OK, "Demo provider", &body, None)
}

/// Says what is wrong, where no client can be told.
pub(super) fn failure(shared: &Shared, status: StatusCode, message: &str) -> Answer {
    let body = format!("<h1>This does not work</h1>\n<p>{}</p>", escaped(message));
    page(shared, status, "Error", &body, None)
}

fn hidden<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs.fold(String::new(), |html, (name, value)| {
        html + &format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value))
    })
}

/// A whole page. `form-action` is left out of the policy on purpose: Chromium applies it to the redirects that follow a
/// form, which lead to any client.
fn page(shared: &Shared, status: StatusCode, title: &str, body: &str, script: Option<&str>) -> Answer {
    let nonce = random_text();
    let script = script.map(|script| format!("<script nonce=\"{nonce}\">{script}</script>\n")).unwrap_or_default();
    let (name, accent) = (escaped(&shared.name), &shared.accent);
    let initial = escaped(&shared.name.chars().take(1).collect::<String>());
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · {name} (demo provider)</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style nonce=\"{nonce}\">\n{STYLE}:root {{ --accent: {accent}; }}\n</style>\n</head>\n<body>\n\
         <header class=\"banner\">Demo provider of lychgate: type no real password here.</header>\n\
         <main>\n<p class=\"badge\" aria-hidden=\"true\">{initial}</p>\n{body}\n</main>\n{script}</body>\n</html>\n",
    );
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    answer::page(status, html, &policy)
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}
